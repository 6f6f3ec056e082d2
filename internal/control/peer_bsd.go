//go:build darwin || freebsd

package control

import (
	"os"

	"golang.org/x/sys/unix"
)

// peerOf is the user of the process at the other end of a socket: who connected, or who listened.
func peerOf(fd int) (uid int, err error) {
	c, err := unix.GetsockoptXucred(fd, unix.SOL_LOCAL, unix.LOCAL_PEERCRED)
	if err != nil {
		return 0, os.NewSyscallError("getsockopt", err)
	}
	return int(c.Uid), nil
}

// unmapped is false: there are no user namespaces.
func unmapped(int) bool { return false }
