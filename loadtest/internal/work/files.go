package work

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// files are those that templates name, as they are read.
type files struct {
	dir   string // what relative names begin at; "" is the working directory
	texts map[string][]byte
	bytes int
}

// add reads a file, unless it was read before.
func (f *files) add(name string) error {
	if _, there := f.texts[name]; there {
		return nil
	}
	at := name
	if !filepath.IsAbs(at) {
		at = filepath.Join(f.dir, at)
	}
	text, err := readFile(at)
	if err != nil {
		return err
	}
	if _, err := splitLines(text); err != nil {
		return fmt.Errorf("%s: the file %w to take", at, err)
	}
	if f.bytes += len(text); f.bytes > MaxFiles {
		return fmt.Errorf("%s: the files up to this one are larger than %d bytes together", at, MaxFiles)
	}
	if f.texts == nil {
		f.texts = make(map[string][]byte)
	}
	f.texts[name] = text
	return nil
}

// readFile reads a file that is not too large. Errors begin with its name.
func readFile(name string) ([]byte, error) {
	text, err := readLimited(name)
	switch {
	case err != nil:
		var of *fs.PathError
		if errors.As(err, &of) {
			err = of.Err
		}
		return nil, fmt.Errorf("%s: %w", name, err)
	case len(text) > MaxText:
		return nil, fmt.Errorf("%s: the file is larger than %d bytes", name, MaxText)
	case len(text) == 0:
		return nil, fmt.Errorf("%s: the file is empty", name)
	}
	return text, nil
}

func readLimited(name string) ([]byte, error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }()
	return io.ReadAll(io.LimitReader(file, MaxText+1))
}
