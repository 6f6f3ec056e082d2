package wire

import (
	"maps"

	"github.com/erlmcp/erlmcp/loadtest/internal/latency"
)

// Counts is the state of an agent's clients, or of all agents'. Totals only grow; a report that is
// lost costs nothing.
type Counts struct {
	At     int64 `json:"at"`     // when this was so
	Orders int   `json:"orders"` // carried out before

	Verified int            `json:"verified"` // clients that hold a verified connection now
	Failed   int            `json:"failed"`   // clients that gave up
	Open     int            `json:"open"`     // connections that are open or being opened, verified or not
	Nodes    map[string]int `json:"nodes"`    // verified, by node

	Attempts     int64            `json:"attempts"`
	Failures     map[string]int64 `json:"failures,omitempty"` // of attempts, by cause
	LastVerified int64            `json:"last_verified"`

	Dropped       int              `json:"dropped"`               // lost although no fault explains it
	Losses        map[string]int64 `json:"losses,omitempty"`      // the dropped, by cause
	IdleCloses    int64            `json:"idle_closes,omitempty"` // by the server, between two requests: lost by nobody
	Displaced     int              `json:"displaced"`             // lost with the armed node
	Recovered     int              `json:"recovered"`             // displaced, and verified again
	FirstLost     int64            `json:"first_lost"`            // of the displaced
	LastRecovered int64            `json:"last_recovered"`        // of the displaced
	LongestOut    int64            `json:"longest_out,omitempty"` // nanoseconds that a displaced client was not verified, at most
	Moved         int64            `json:"moved"`                 // answers by another node than the connection's
	Requests      RequestCounts    `json:"requests"`              // of verified connections
	Refused       map[string]int64 `json:"refused,omitempty"`     // requests that failed, by cause
	Answers       latency.Buckets  `json:"answers,omitempty"`     // how long those on verified connections took
	Sessions      SessionCounts    `json:"sessions,omitzero"`     // of transports that have them
	Sticky        StickyCounts     `json:"sticky"`                // of the last sticky order
}

// RequestCounts are about the requests on verified connections. A request ends answered, failed
// or lost.
type RequestCounts struct {
	Sent     int64 `json:"sent"`
	Answered int64 `json:"answered"`
	Failed   int64 `json:"failed"` // answered by an error, or without the node's name
	Lost     int64 `json:"lost"`   // connection lost, or no answer in time
}

// SessionCounts are about the sessions of clients.
type SessionCounts struct {
	Begun int64 `json:"begun"` // initialize was answered
	Ended int64 `json:"ended"` // by the client, as its script says
	Lost  int64 `json:"lost"`  // the server does not know it any more
}

// StickyCounts are about the clients of a sticky order.
type StickyCounts struct {
	Sampled    int `json:"sampled"`
	Consistent int `json:"consistent"` // met the same node
	Moved      int `json:"moved"`      // met another one
}

// Settled reports whether every client of the sample is back.
func (s StickyCounts) Settled() bool { return s.Consistent+s.Moved == s.Sampled }

// Add adds another agent's counts.
func (c *Counts) Add(o Counts) {
	c.Verified += o.Verified
	c.Failed += o.Failed
	c.Open += o.Open
	c.Nodes = addTo(c.Nodes, o.Nodes)
	c.Attempts += o.Attempts
	c.Failures = addTo(c.Failures, o.Failures)
	c.LastVerified = max(c.LastVerified, o.LastVerified)
	c.Dropped += o.Dropped
	c.Losses = addTo(c.Losses, o.Losses)
	c.IdleCloses += o.IdleCloses
	c.Displaced += o.Displaced
	c.Recovered += o.Recovered
	if o.FirstLost != 0 && (c.FirstLost == 0 || o.FirstLost < c.FirstLost) {
		c.FirstLost = o.FirstLost
	}
	c.LastRecovered = max(c.LastRecovered, o.LastRecovered)
	c.LongestOut = max(c.LongestOut, o.LongestOut)
	c.Moved += o.Moved
	c.Requests = c.Requests.plus(o.Requests)
	c.Refused = addTo(c.Refused, o.Refused)
	c.Answers = c.Answers.Plus(o.Answers)
	c.Sessions.Begun += o.Sessions.Begun
	c.Sessions.Ended += o.Sessions.Ended
	c.Sessions.Lost += o.Sessions.Lost
	c.Sticky.Sampled += o.Sticky.Sampled
	c.Sticky.Consistent += o.Sticky.Consistent
	c.Sticky.Moved += o.Sticky.Moved
}

// UnderWay is how many have not ended yet.
func (r RequestCounts) UnderWay() int64 { return r.Sent - r.Answered - r.Failed - r.Lost }

func (r RequestCounts) plus(o RequestCounts) RequestCounts {
	return RequestCounts{r.Sent + o.Sent, r.Answered + o.Answered, r.Failed + o.Failed, r.Lost + o.Lost}
}

// Minus is what has come since o.
func (r RequestCounts) Minus(o RequestCounts) RequestCounts {
	return RequestCounts{r.Sent - o.Sent, r.Answered - o.Answered, r.Failed - o.Failed, r.Lost - o.Lost}
}

// addTo adds the values of from to those of a copy of to: a map once shown is not changed.
func addTo[N int | int64](to, from map[string]N) map[string]N {
	if len(from) == 0 {
		return to
	}
	sum := maps.Clone(to)
	if sum == nil {
		sum = make(map[string]N, len(from))
	}
	for k, v := range from {
		sum[k] += v
	}
	return sum
}
