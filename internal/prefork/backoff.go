package prefork

import "time"

// Backoff is how long a copy that ended waits for its replacement: Min at first, twice as long each
// time up to Max, and Min again after a copy lived for Reset. Zero fields mean 200 ms, 10 s, 30 s.
type Backoff struct{ Min, Max, Reset time.Duration }

func (b Backoff) withDefaults() Backoff {
	if b.Min <= 0 {
		b.Min = 200 * time.Millisecond
	}
	if b.Max <= 0 {
		b.Max = 10 * time.Second
	}
	if b.Reset <= 0 {
		b.Reset = 30 * time.Second
	}
	b.Max = max(b.Max, b.Min)
	return b
}

// next returns the wait after a copy that lived for lived, given the previous wait (0 = none).
func (b Backoff) next(previous, lived time.Duration) time.Duration {
	if previous == 0 || lived >= b.Reset {
		return b.Min
	}
	return min(2*previous, b.Max)
}
