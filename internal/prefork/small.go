package prefork

import (
	"context"
	"math/rand/v2"
	"runtime/debug"
	"runtime/metrics"
	"time"

	"golang.org/x/sys/unix"

	"github.com/erlmcp/erlmcp/internal/tempo"
)

const (
	// lookEvery is how often a process looks whether it has memory to give back, on average: copies that were started together
	// must not all do it in the same moment.
	lookEvery = 5 * time.Second
	// quiet is how much of the time it may compute then, as a divisor: who works needs what it has.
	quiet = 100
	// worthwhile is how many times of what giving back takes a process must have computed since the last time.
	worthwhile = 20
	// much is how large a heap is looked through again even without that, as what was in use the last time may not be now,
	// and rarely how many times of what that takes must have passed.
	much   = 64 << 20
	rarely = 500
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
	last, cost, at := computed(), time.Duration(0), time.Now()
	for before, began := computed(), time.Now(); ; before, began = computed(), time.Now() {
		if tempo.Pause(ctx, lookEvery/2+rand.N(lookEvery)) != nil {
			return
		}
		now := computed()
		again := now-last >= worthwhile*cost || time.Since(at) >= rarely*cost && heap() > much
		if now-before <= time.Since(began)/quiet && again {
			cost = shed()
			last, at = computed(), time.Now()
		}
	}
}

// heap is how much memory the heap has of the system.
func heap() uint64 {
	samples := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}, {Name: "/memory/classes/heap/unused:bytes"}, {Name: "/memory/classes/heap/free:bytes"}}
	metrics.Read(samples)
	var sum uint64
	for _, s := range samples {
		sum += s.Value.Uint64()
	}
	return sum
}

// computed is the processor time that this process has taken.
func computed() time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
