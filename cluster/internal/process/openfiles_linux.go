package process

import (
	"syscall"
	"unsafe"
)

// setFiles sets the limit of open files without the Go runtime: it goes on to know the limit that this process was
// started with, which the program that this process becomes is to have again. A child is given that one only where the
// limit is the runtime's own, one less than the hard one.
func setFiles(l *syscall.Rlimit) error {
	_, _, errno := syscall.RawSyscall6(syscall.SYS_PRLIMIT64, 0, syscall.RLIMIT_NOFILE, uintptr(unsafe.Pointer(l)), 0, 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}
