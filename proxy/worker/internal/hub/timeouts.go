package hub

import "time"

// AttemptTimeout is how long one node may take to connect while another could
// be tried.
const AttemptTimeout = 500 * time.Millisecond

// GreetingTimeout is how long a trusted peer may take over its PROXY header.
const GreetingTimeout = 3 * time.Second

// LingerTime is how long a dismissed client has to take its answer and go.
const LingerTime = time.Second

// MaxLingering bounds the clients of a worker that are not served any more and
// hold a descriptor until they have heard; beyond it they are closed without
// waiting. It is a part of prefork.Reserve.
const MaxLingering = 128

// Sooner is the shorter of two times, of which 0 is for ever.
func Sooner(a, b time.Duration) time.Duration {
	if a <= 0 || b > 0 && b < a {
		return b
	}
	return a
}
