//go:build !linux

package sharedmem

import (
	"errors"
	"os"
)

// Create returns a temporary file of that size that has no name any more, so
// that it lives exactly as long as the processes that hold it.
func Create(name string, size int64) (*os.File, error) {
	f, err := os.CreateTemp("", name+"-")
	if err != nil {
		return nil, err
	}
	if err := errors.Join(os.Remove(f.Name()), f.Truncate(size)); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}
