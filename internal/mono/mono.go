// Package mono tells the time of the machine's monotonic clock.
//
// Now is CLOCK_MONOTONIC in nanoseconds: it never steps, and every process of
// the machine reads the same value, so an instant written to shared memory by
// one process means the same to another.
package mono

import (
	"time"

	"golang.org/x/sys/unix"
)

// Go keeps the monotonic clock inside time.Time and reads it without a system
// call. One real reading at start-up ties that private scale to the kernel's.
var (
	start = time.Now()
	base  = read()
)

// Now returns the monotonic clock in nanoseconds.
func Now() int64 { return base + int64(time.Since(start)) }

// Time converts an instant of Now to wall-clock time, as far as the wall clock
// has not been set since.
func Time(ns int64) time.Time { return time.Now().Add(time.Duration(ns - Now())) }

func read() int64 {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		panic("clock_gettime(CLOCK_MONOTONIC): " + err.Error()) // no POSIX system lacks it
	}
	return ts.Nano()
}
