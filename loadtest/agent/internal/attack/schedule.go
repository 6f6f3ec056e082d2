package attack

import (
	"context"
	"math"
	"time"

	"github.com/erlmcp/erlmcp/internal/mono"
)

// schedule is a series of instants that are fixed in advance, so many per second from start on, on the clock of
// internal/mono. It is open: nothing that happens moves it, and whoever is late catches up.
type schedule struct {
	start int64
	rate  float64
}

// at is the i-th instant.
func (s schedule) at(i uint64) int64 {
	return s.start + int64(math.Ceil(float64(i)*float64(time.Second)/s.rate))
}

// until waits for an instant. It returns false if that is over before.
func until(ctx context.Context, at int64) bool {
	wait := time.Duration(at - mono.Now())
	if wait <= 0 {
		return ctx.Err() == nil
	}
	t := time.NewTimer(wait)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

// tick is how late a timer may go off by itself.
const tick = int64(time.Millisecond)

const pulseInterval = 10 * time.Millisecond

// pulse measures how late a goroutine gets to a timer.
func (a *Attack) pulse() {
	for {
		due := mono.Now() + int64(pulseInterval)
		if !until(a.life, due) {
			return
		}
		a.mu.Lock()
		a.tally.Late(due, mono.Now())
		a.mu.Unlock()
	}
}
