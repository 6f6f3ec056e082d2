//go:build unix

package pages

import "golang.org/x/sys/unix"

func mapped(size int) ([]byte, error) {
	return unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
}

// unmap ends a mapping. What is none is refused, as unix knows all that it has made.
func unmap(b []byte) { _ = unix.Munmap(b) }
