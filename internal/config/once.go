package config

import (
	"io"
	"os"
	"strings"
)

// Stdin is the name of a file that stands for the standard input.
const Stdin = "-"

// ReadOnce reads the file asked for by --config if it can be read by this process only, and only once: the standard
// input, a pipe, what a shell has opened as /dev/fd/63. Such a text goes into Options.Text, and from process to process.
// It is nil for any other file, and for one that cannot be read, of which Load tells.
func ReadOnce(name, dir string, stdin io.Reader) ([]byte, error) {
	if name == Stdin {
		return readLimited("the standard input", stdin)
	}
	name = within(dir, name)
	info, err := os.Stat(name)
	if err != nil || info.IsDir() || info.Mode().IsRegular() && !strings.HasPrefix(name, "/dev/") && !strings.HasPrefix(name, "/proc/") {
		return nil, nil
	}
	file, err := os.Open(name)
	if err != nil {
		return nil, fileError(name, err)
	}
	defer func() { _ = file.Close() }()
	return readLimited(name, file)
}

// readLimited reads as much as shows that a file is too large. Without an error the text is not nil.
func readLimited(name string, file io.Reader) ([]byte, error) {
	text, err := io.ReadAll(io.LimitReader(file, maxFile+1))
	if err != nil {
		return nil, fileError(name, err)
	}
	return text, nil
}
