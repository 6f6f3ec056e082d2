package proxy

import (
	"math"
	"sync/atomic"
	"time"

	"github.com/erlmcp/erlmcp/proxy/internal/board"
)

// rate is a limit in GCRA terms; the zero rate does not limit. What a source has used of it is its tat on the board.
type rate struct{ interval, burst int64 }

// burstWindow is how much may come at once after a rest.
const burstWindow = int64(time.Second)

func perSecond(n int) rate {
	if n <= 0 {
		return rate{}
	}
	return rate{interval: int64(time.Second) / int64(n), burst: burstWindow}
}

func (r rate) unlimited() bool { return r.interval == 0 }

// atOnce is how many conform at once after a rest.
func (r rate) atOnce() int {
	if r.unlimited() {
		return math.MaxInt
	}
	return int(r.burst / r.interval)
}

// charge charges for n if they conform within patience: after wait. If not, nothing is charged, and wait is how
// long until they would.
func (r rate) charge(tat *atomic.Int64, now int64, n int, patience time.Duration) (wait time.Duration, ok bool) {
	if r.unlimited() {
		return 0, true
	}
	ok, wait = board.ChargeAhead(tat, now, r.interval, r.burst, int64(n), patience)
	return wait, ok
}

// chargeAnyway charges for n that have come already, and after wait the source conforms again.
func (r rate) chargeAnyway(tat *atomic.Int64, now int64, n int) (wait time.Duration) {
	if r.unlimited() {
		return 0
	}
	return board.ChargeAnyway(tat, now, r.interval, r.burst, int64(n))
}

// wait is how long until one more conforms. Nothing is charged.
func (r rate) wait(tat *atomic.Int64, now int64) time.Duration {
	var used atomic.Int64
	used.Store(tat.Load())
	wait, _ := r.charge(&used, now, 1, 0)
	return wait
}
