//go:build !linux

package board

import "os"

// newMemory returns a temporary file of the given size that has no name any
// more, so that it lives exactly as long as the processes that hold it.
func newMemory(size int64) (*os.File, error) {
	f, err := os.CreateTemp("", "erlmcp-board-")
	if err != nil {
		return nil, err
	}
	if err := os.Remove(f.Name()); err != nil {
		f.Close()
		return nil, err
	}
	if err := f.Truncate(size); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}
