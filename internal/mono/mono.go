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

// At converts a result of time.Now to the scale of Now.
func At(t time.Time) int64 { return base + int64(t.Sub(start)) }

// Time converts an instant of Now to a time by the wall clock as it is now.
func Time(ns int64) time.Time { return Retell(start.Add(time.Duration(ns - base))) }

// setting is how far the wall clock must have departed from the monotonic one
// for Retell to heed it: below that, a time is told the same whenever it is told.
const setting = 100 * time.Millisecond

// Retell returns the instant t by the wall clock as it is now, which may have
// been set since t was a result of time.Now. A t without a monotonic reading, or
// zero, stays as it is.
func Retell(t time.Time) time.Time {
	if t.IsZero() {
		return t
	}
	now := time.Now()
	told := now.Add(t.Sub(now))
	if told.Round(0).Sub(t.Round(0)).Abs() < setting {
		return t
	}
	return told
}

func read() int64 {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		panic("clock_gettime(CLOCK_MONOTONIC): " + err.Error()) // no POSIX system lacks it
	}
	return ts.Nano()
}
