package worker

import "time"

// attemptTimeout is how long one node may take to connect while another could
// be tried.
const attemptTimeout = 500 * time.Millisecond

// greetingTimeout is how long a trusted peer may take over its PROXY header.
const greetingTimeout = 3 * time.Second

// lingerTime is how long a dismissed client has to take its answer and go.
const lingerTime = time.Second

// maxLingering bounds the clients of a worker that are not served any more and
// hold a descriptor until they have heard; beyond it they are closed without
// waiting. It is a part of prefork.Reserve.
const maxLingering = 128

// sooner is the shorter of two times, of which 0 is for ever.
func sooner(a, b time.Duration) time.Duration {
	if a <= 0 || b > 0 && b < a {
		return b
	}
	return a
}
