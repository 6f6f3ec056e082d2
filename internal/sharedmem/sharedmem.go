// Package sharedmem makes memory that processes share which have inherited its file.
package sharedmem

import (
	"os"

	"golang.org/x/sys/unix"
)

// Map maps so many bytes of memory that was created here or in another process. The file may be closed afterwards;
// unix.Munmap ends the mapping.
func Map(f *os.File, size int64) ([]byte, error) {
	mem, err := unix.Mmap(int(f.Fd()), 0, int(size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	return mem, os.NewSyscallError("mmap", err)
}
