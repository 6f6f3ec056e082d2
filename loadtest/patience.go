package loadtest

import "time"

// patience is how a client comes back: after a connection that worked within Spread, after an
// attempt that failed with exponential back-off from Base to Limit, always with full jitter.
type patience struct {
	Spread time.Duration `json:"spread"`
	Base   time.Duration `json:"base"`
	Limit  time.Duration `json:"limit"`
}

// leastPatience is that of a client alone.
var leastPatience = patience{Spread: time.Second, Base: 100 * time.Millisecond, Limit: 2 * time.Second}

// patienceFor is that of clients who share a source: when all of them come back at once, they stay
// within the rate the balancer allows the source.
func patienceFor(perSource int, l Limits) patience {
	p := leastPatience
	if l.ConnectionsPerSecond > 0 {
		span := time.Duration(float64(perSource) / float64(l.ConnectionsPerSecond) * float64(time.Second))
		p.Spread = max(p.Spread, span)
		p.Base = max(p.Base, span/2) // the first retry is within 2·Base
		p.Limit = max(p.Limit, 8*span)
	}
	return p
}

// after is how long to wait after n ≥ 1 failures in a row: uniform between zero and Base·2ⁿ, at most
// Limit. random is uniform in [0,1).
func (p patience) after(n int, random float64) time.Duration {
	span := p.Limit
	if n < 30 && p.Base<<n < p.Limit {
		span = p.Base << n
	}
	return time.Duration(random * float64(span))
}

// givesUpAfter bounds the time a client takes for its attempts, each of which may time out.
func (p patience) givesUpAfter(attempts int, timeout time.Duration) time.Duration {
	return time.Duration(attempts) * (timeout + p.Limit)
}
