package process

import (
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// giveWay sets the niceness of what this thread starts from now on; 0 leaves it as it is. Who is nicer already, and may not
// change that, stays so.
func giveWay(nice int) {
	if nice == 0 {
		return
	}
	_ = unix.Setpriority(unix.PRIO_PROCESS, 0, nice)
	// Linux may group programs by their sessions: then niceness counts within the group, and that of the group beyond
	// (sched(7), autogroup). A session that is not the supervisor's own is not its to change.
	if session, err := unix.Getsid(0); err == nil && session == os.Getpid() {
		_ = os.WriteFile("/proc/self/autogroup", []byte(strconv.Itoa(nice)), 0)
	}
}
