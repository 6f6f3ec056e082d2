package swarm

import (
	"math"
	"time"
)

// tick is the resolution of a loop's timers. The instants of a schedule are rounded up to it.
const tick = int64(time.Millisecond)

// schedule is a series of instants that are fixed in advance: the i-th is start + i × interval. It
// is open: nothing that happens moves it, and whoever is late catches up.
type schedule struct {
	start    int64   // on the clock of internal/mono, in nanoseconds
	interval float64 // nanoseconds
	index    int     // of the next instant
}

// newSchedule returns the schedule of rate instants per second.
func newSchedule(start int64, rate float64) schedule {
	return schedule{start: start, interval: float64(time.Second) / rate}
}

// exact is the next instant, next when a loop can get to it.
func (s *schedule) exact() int64 { return s.start + int64(math.Ceil(float64(s.index)*s.interval)) }

func (s *schedule) next() int64 { return (s.exact() + tick - 1) / tick * tick }

// due takes the next instant off the schedule if it has come.
func (s *schedule) due(now int64) (at int64, ok bool) {
	if at = s.next(); at > now {
		return at, false
	}
	s.index++
	return at, true
}
