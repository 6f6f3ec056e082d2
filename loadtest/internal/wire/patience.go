package wire

import "time"

// Patience is how a client comes back: after a connection that worked within Spread, after an
// attempt that failed with exponential back-off from Base to Limit, always with full jitter.
type Patience struct {
	Spread time.Duration `json:"spread"`
	Base   time.Duration `json:"base"`
	Limit  time.Duration `json:"limit"`
}

// MaxAttempts is how often a client tries for its first connection.
const MaxAttempts = 8

// LeastPatience is that of a client alone.
var LeastPatience = Patience{Spread: time.Second, Base: 100 * time.Millisecond, Limit: 2 * time.Second}

// After is how long to wait after n ≥ 1 failures in a row: uniform between zero and Base·2ⁿ, at most
// Limit. random is uniform in [0,1).
func (p Patience) After(n int, random float64) time.Duration {
	span := p.Limit
	if n < 30 && p.Base<<n < p.Limit {
		span = p.Base << n
	}
	return time.Duration(random * float64(span))
}

// GivesUpAfter bounds the time a client takes for its attempts, each of which may time out.
func (p Patience) GivesUpAfter(timeout time.Duration) time.Duration {
	return MaxAttempts * (timeout + p.Limit)
}
