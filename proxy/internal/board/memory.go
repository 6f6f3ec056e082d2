package board

import (
	"os"

	"golang.org/x/sys/unix"
)

func mapMemory(f *os.File, size int) ([]byte, error) {
	return unix.Mmap(int(f.Fd()), 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
}

func unmapMemory(mem []byte) error { return unix.Munmap(mem) }
