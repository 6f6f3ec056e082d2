package policy

import (
	"math"
	"sync/atomic"
	"time"

	"github.com/erlmcp/erlmcp/proxy/internal/board"
)

// Rate is a limit in GCRA terms; the zero rate does not limit. What a source has used of it is its tat on the board.
type Rate struct{ Interval, Burst int64 }

// burstWindow is how much may come at once after a rest.
const burstWindow = int64(time.Second)

// PerSecond is a limit of n a second; 0 does not limit.
func PerSecond(n int) Rate {
	if n <= 0 {
		return Rate{}
	}
	return Rate{Interval: int64(time.Second) / int64(n), Burst: burstWindow}
}

// Unlimited reports whether it does not limit.
func (r Rate) Unlimited() bool { return r.Interval == 0 }

// AtOnce is how many conform at once after a rest.
func (r Rate) AtOnce() int {
	if r.Unlimited() {
		return math.MaxInt
	}
	return int(r.Burst / r.Interval)
}

// Charge charges for n if they conform within patience: after wait. If not, nothing is charged, and wait is how
// long until they would.
func (r Rate) Charge(tat *atomic.Int64, now int64, n int, patience time.Duration) (wait time.Duration, ok bool) {
	if r.Unlimited() {
		return 0, true
	}
	ok, wait = board.ChargeAhead(tat, now, r.Interval, r.Burst, int64(n), patience)
	return wait, ok
}

// ChargeAnyway charges for n that have come already, and after wait the source conforms again.
func (r Rate) ChargeAnyway(tat *atomic.Int64, now int64, n int) (wait time.Duration) {
	if r.Unlimited() {
		return 0
	}
	return board.ChargeAnyway(tat, now, r.Interval, r.Burst, int64(n))
}

// Wait is how long until one more conforms. Nothing is charged.
func (r Rate) Wait(tat *atomic.Int64, now int64) time.Duration {
	var used atomic.Int64
	used.Store(tat.Load())
	wait, _ := r.Charge(&used, now, 1, 0)
	return wait
}
