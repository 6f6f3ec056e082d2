package daemon

import (
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// background is whether [Start] has started this process.
var background = os.Getenv(reportEnv) != "" // before init, which takes it away

// mostGuessed bounds the descriptors that are tried where the system does not list them.
const mostGuessed = 1024

// OwnDescriptors parts this process from what whoever started it had open, and did not close for it: a lock, the
// end of a pipe, the descriptors of a socket unit. What this process starts then inherits only what it is given.
// In a daemon in the background, which outlives whoever that was, they are closed. The caller is about to begin:
// what was passed on purpose is claimed already, or claimed later, as a file descriptor, by its number.
func OwnDescriptors() {
	for _, fd := range open() {
		// This program's own have the flag from the beginning.
		flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
		switch {
		case err != nil || flags&unix.FD_CLOEXEC != 0:
		case background:
			_ = unix.Close(fd)
		default:
			unix.CloseOnExec(fd)
		}
	}
}

// open lists the descriptors beyond the standard streams, and maybe some that are not open.
func open() (fds []int) {
	names, err := os.ReadDir("/dev/fd")
	if err != nil || len(names) == 0 {
		for fd := 3; fd < mostGuessed; fd++ {
			fds = append(fds, fd)
		}
		return fds
	}
	for _, entry := range names {
		if fd, err := strconv.Atoi(entry.Name()); err == nil && fd > 2 {
			fds = append(fds, fd)
		}
	}
	return fds
}
