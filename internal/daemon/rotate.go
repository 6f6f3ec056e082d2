package daemon

import (
	"fmt"
	"os"
)

// Rotate gives the log at path the name of its first rotated file, and each of those the next one's; the oldest of keep
// is overwritten. With keep 0 the log is removed.
func Rotate(path string, keep int) error {
	if keep == 0 {
		return os.Remove(path)
	}
	for i := keep - 1; i >= 0; i-- {
		if err := os.Rename(Rotated(path, i), Rotated(path, i+1)); err != nil && !os.IsNotExist(err) {
			return err
		}
	}
	return nil
}

// Rotated is the name of the i-th file of a log; 0 is the one being written.
func Rotated(path string, i int) string {
	if i == 0 {
		return path
	}
	return fmt.Sprintf("%s.%d", path, i)
}
