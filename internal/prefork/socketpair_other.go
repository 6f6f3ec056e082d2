//go:build !linux

package prefork

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// socketpair returns two connected stream sockets that exec closes.
func socketpair() (a, b int, err error) {
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err == nil {
		unix.CloseOnExec(fds[0])
		unix.CloseOnExec(fds[1])
	}
	return fds[0], fds[1], err
}
