//go:build !linux

package node

import "os"

// sharedMemory returns an empty file that has lost its name.
func sharedMemory() (*os.File, error) {
	f, err := os.CreateTemp("", "erlmcp-node")
	if err != nil {
		return nil, err
	}
	if err := os.Remove(f.Name()); err != nil {
		_ = f.Close()
		return nil, err
	}
	return f, nil
}
