package control

import (
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// peerOf is the user of the process at the other end of a socket: who connected, or who listened.
func peerOf(fd int) (uid int, err error) {
	c, err := unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
	if err != nil {
		return 0, os.NewSyscallError("getsockopt", err)
	}
	return int(c.Uid), nil
}

// unmapped reports whether this is what users look like that a user namespace does not have, such as the
// root outside.
func unmapped(uid int) bool {
	text, err := os.ReadFile("/proc/sys/kernel/overflowuid")
	if err != nil || strings.TrimSpace(string(text)) != strconv.Itoa(uid) {
		return false
	}
	users, err := os.ReadFile("/proc/self/uid_map")
	return err == nil && !mapped(string(users), uid)
}

// mapped reports whether a table of lines "INSIDE OUTSIDE COUNT" has a user.
func mapped(table string, uid int) bool {
	for line := range strings.Lines(table) {
		f := strings.Fields(line)
		if len(f) != 3 {
			return true
		}
		first, err := strconv.Atoi(f[0])
		count, err2 := strconv.Atoi(f[2])
		if err != nil || err2 != nil || first <= uid && uid-first < count {
			return true
		}
	}
	return false
}
