package prefork

import "golang.org/x/sys/unix"

// socketpair returns two connected stream sockets that exec closes.
func socketpair() (a, b int, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	return fds[0], fds[1], err
}
