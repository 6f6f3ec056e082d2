package prefork

import (
	"context"
	"math/rand/v2"
	"runtime/debug"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// lookEvery is how often a process looks whether it has memory to give back, on average: copies that were started together
	// must not all do it in the same moment.
	lookEvery = 5 * time.Second
	// quiet is how much of the time it may compute then, as a divisor: who works needs what it has.
	quiet = 100
	// worthwhile is how many times of what giving back takes a process must have computed since the last time.
	worthwhile = 20
)

// KeepSmall gives memory back until ctx ends: at once, soon again, and from then on whenever the process is quiet after it
// has worked. release, if not nil, is called before the garbage is collected, to drop what is kept for reuse, and once more
// behind it. If it has the process's main goroutine do something, that shrinks its stack then, and the many tables it takes for
// that are given back, too.
func KeepSmall(ctx context.Context, release func()) {
	shed := func() (cost time.Duration) {
		before := computed()
		if release == nil {
			release = func() {}
		}
		release()
		debug.FreeOSMemory()
		release()
		dropClean()
		return computed() - before
	}
	shed()
	last, due := computed(), time.Duration(0)
	for before, began := computed(), time.Now(); ; before, began = computed(), time.Now() {
		select {
		case <-time.After(lookEvery/2 + rand.N(lookEvery)):
		case <-ctx.Done():
			return
		}
		now := computed()
		if now-before <= time.Since(began)/quiet && now-last >= due {
			due = worthwhile * shed()
			last = computed()
		}
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
