package prefork

import (
	"context"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// lookEvery is how often a process looks whether it has memory to give back.
	lookEvery = 5 * time.Second
	// quiet is how much of the time it may compute then, as a divisor: who works needs what it has.
	quiet = 100
	// worthwhile is how many times of what giving back takes a process must have computed since the last time.
	worthwhile = 20
)

// KeepSmall gives memory back until ctx ends: at once, soon again, and from then on whenever the process is quiet after it
// has worked. release, if not nil, is called before each time, to drop what is kept for reuse.
func KeepSmall(ctx context.Context, release func()) {
	shed := func() (cost time.Duration) {
		before := computed()
		if release != nil {
			release()
		}
		Shed()
		return computed() - before
	}
	shed()
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	last, before := computed(), computed()
	for due := time.Duration(0); ; {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		now := computed()
		if now-before <= lookEvery/quiet && now-last >= due {
			due = worthwhile * shed()
			now = computed()
			last = now
		}
		before = now
	}
}

// computed is the processor time that this process has taken.
func computed() time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
