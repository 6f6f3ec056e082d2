//go:build !linux

package prefork

import (
	"fmt"
	"os"
)

// Executable is what to execute to get this very binary again.
func Executable() (string, error) {
	path, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("prefork: find own executable: %w", err)
	}
	return path, nil
}

// NameProcess does nothing: the process is already named after its file.
func NameProcess() {}
