package node

import (
	"os"

	"golang.org/x/sys/unix"
)

// sharedMemory returns an empty file in memory that has no name.
func sharedMemory() (*os.File, error) {
	fd, err := unix.MemfdCreate("erlmcp-node", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("memfd_create", err)
	}
	return os.NewFile(uintptr(fd), "memfd:erlmcp-node"), nil
}
