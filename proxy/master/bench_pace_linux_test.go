package master

import (
	"time"

	"golang.org/x/sys/unix"
)

// rest sleeps with the precision of the kernel: that of the runtime is a millisecond.
func rest(d time.Duration) {
	left := unix.NsecToTimespec(int64(d))
	_ = unix.Nanosleep(&left, nil)
}
