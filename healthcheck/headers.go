package healthcheck

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/textproto"
	"os"
	"strings"
)

// maxHeaders bounds a file of header fields, in bytes.
const maxHeaders = 64 << 10

// ReadHeaders reads header fields from a file, "Name: value" one a line. Empty lines at its end do not matter.
// The error never holds a value: it may be a secret.
func ReadHeaders(file string) (http.Header, error) {
	f, err := os.Open(file)
	if err != nil {
		var path *fs.PathError
		if errors.As(err, &path) {
			err = path.Err
		}
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	defer f.Close()
	text := io.MultiReader(io.LimitReader(f, maxHeaders), strings.NewReader("\n\n"))
	header, err := textproto.NewReader(bufio.NewReader(text)).ReadMIMEHeader()
	if err != nil {
		return nil, fmt.Errorf("%s: no list of header fields, \"Name: value\" one a line", file)
	}
	return http.Header(header), nil
}
