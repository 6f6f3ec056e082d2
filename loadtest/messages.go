package loadtest

import (
	"maps"
	"net/netip"
	"time"

	"github.com/erlmcp/erlmcp/loadtest/internal/ask"
	"github.com/erlmcp/erlmcp/loadtest/internal/latency"
	"github.com/erlmcp/erlmcp/loadtest/internal/sources"
)

// Subjects of a run. Joining and the clock are asked for before an agent knows the run.
const (
	subjectJoin  = "erlmcp.loadtest.join"
	subjectClock = "erlmcp.loadtest.clock"
	subjectRuns  = "erlmcp.loadtest.run."
)

func ordersSubject(run, agent string) string { return subjectRuns + run + ".orders." + agent }
func reportSubject(run, agent string) string { return subjectRuns + run + ".reports." + agent }

// hello is how an agent introduces itself; the answer is a welcome.
type hello struct {
	Agent       string        `json:"agent,omitempty"` // the name of a local one
	PID         int           `json:"pid"`
	Host        string        `json:"host"`
	Version     string        `json:"version"`     // of the protocol
	Connections int           `json:"connections"` // it can hold
	Sources     sources.Range `json:"sources"`     // it can use; none: what the coordinator gives it
}

// protocolVersion changes with the messages of this file.
const protocolVersion = "2"

type welcome struct {
	Run   string `json:"run"`
	Agent string `json:"agent"`
	Error string `json:"error,omitempty"` // not welcome
}

// orderKind is what agents are told to do.
type orderKind string

const (
	orderOpen    orderKind = "open"    // begin to open connections, one of every source
	orderRest    orderKind = "rest"    // open the others
	orderPing    orderKind = "ping"    // send requests, for a time or until orderQuiet
	orderQuiet   orderKind = "quiet"   // send no more requests
	orderSticky  orderKind = "sticky"  // have a sample of clients leave and come back
	orderArm     orderKind = "arm"     // a node is about to fail; from now on its clients are displaced
	orderDisarm  orderKind = "disarm"  // the fault is over
	orderCollect orderKind = "collect" // answer with what was measured
	orderClose   orderKind = "close"   // close everything
	orderStop    orderKind = "stop"    // leave
)

// order is one message from the coordinator. The agent's answer is an ack, sent when the order has
// been begun; how it goes on is seen in the reports. Instants are on the coordinator's clock.
type order struct {
	Kind   orderKind    `json:"kind"`
	At     int64        `json:"at,omitempty"`   // open, rest, ping: when to begin
	Rate   float64      `json:"rate,omitempty"` // open, ping, sticky, close: per second, of this agent
	Open   *openOrder   `json:"open,omitempty"`
	Ping   *pingOrder   `json:"ping,omitempty"`
	Sticky *stickyOrder `json:"sticky,omitempty"`
	Node   string       `json:"node,omitempty"` // arm
}

type openOrder struct {
	Target      netip.AddrPort `json:"target"`
	Question    ask.Question   `json:"question"`
	Connections int            `json:"connections"`
	Sources     sources.Range  `json:"sources"`
	Timeout     time.Duration  `json:"timeout"`
	Patience    patience       `json:"patience"`
}

type pingOrder struct {
	For    time.Duration `json:"for,omitempty"`
	Record bool          `json:"record,omitempty"` // the latencies count
}

type stickyOrder struct {
	Sample int `json:"sample"`
}

type ack struct {
	Error    string    `json:"error,omitempty"`
	OnNode   int       `json:"on_node,omitempty"`  // arm: clients on the node
	Measured *measured `json:"measured,omitempty"` // collect
}

// measured is an agent's part of the latencies.
type measured struct {
	Nodes map[string]latency.Message `json:"nodes"`
	// How much later than due the agent did things: all of them so far, and those of the hold.
	Lag     latency.Message `json:"lag"`
	HoldLag latency.Message `json:"hold_lag"`
}

// counts is the state of an agent's clients, or of all agents'. Totals only grow; a report that is
// lost costs nothing.
type counts struct {
	At     int64 `json:"at"`     // when this was so
	Orders int   `json:"orders"` // carried out before

	Verified int            `json:"verified"` // clients that hold a verified connection now
	Failed   int            `json:"failed"`   // clients that gave up
	Open     int            `json:"open"`     // connections that are open or being opened, verified or not
	Nodes    map[string]int `json:"nodes"`    // verified, by node

	Attempts     int64            `json:"attempts"`
	Failures     map[string]int64 `json:"failures,omitempty"` // of attempts, by cause
	LastVerified int64            `json:"last_verified"`

	Dropped       int              `json:"dropped"`          // lost although no fault explains it
	Losses        map[string]int64 `json:"losses,omitempty"` // the dropped, by cause
	Displaced     int              `json:"displaced"`        // lost with the armed node
	Recovered     int              `json:"recovered"`        // displaced, and verified again
	FirstLost     int64            `json:"first_lost"`       // of the displaced
	LastRecovered int64            `json:"last_recovered"`   // of the displaced
	Moved         int64            `json:"moved"`            // answers by another node than the connection's
	Requests      requestCounts    `json:"requests"`         // of verified connections
	Sticky        stickyCounts     `json:"sticky"`           // of the last sticky order
}

// requestCounts are about the requests on verified connections. A request ends answered, failed
// or lost.
type requestCounts struct {
	Sent     int64 `json:"sent"`
	Answered int64 `json:"answered"`
	Failed   int64 `json:"failed"` // answered by an error, or without the node's name
	Lost     int64 `json:"lost"`   // connection lost, or no answer in time
}

type stickyCounts struct {
	Sampled    int `json:"sampled"`
	Consistent int `json:"consistent"` // met the same node
	Moved      int `json:"moved"`      // met another one
}

func (s stickyCounts) settled() bool { return s.Consistent+s.Moved == s.Sampled }

// add adds another agent's counts.
func (c *counts) add(o counts) {
	c.Verified += o.Verified
	c.Failed += o.Failed
	c.Open += o.Open
	c.Nodes = addTo(c.Nodes, o.Nodes)
	c.Attempts += o.Attempts
	c.Failures = addTo(c.Failures, o.Failures)
	c.LastVerified = max(c.LastVerified, o.LastVerified)
	c.Dropped += o.Dropped
	c.Losses = addTo(c.Losses, o.Losses)
	c.Displaced += o.Displaced
	c.Recovered += o.Recovered
	if o.FirstLost != 0 && (c.FirstLost == 0 || o.FirstLost < c.FirstLost) {
		c.FirstLost = o.FirstLost
	}
	c.LastRecovered = max(c.LastRecovered, o.LastRecovered)
	c.Moved += o.Moved
	c.Requests = c.Requests.plus(o.Requests)
	c.Sticky.Sampled += o.Sticky.Sampled
	c.Sticky.Consistent += o.Sticky.Consistent
	c.Sticky.Moved += o.Sticky.Moved
}

// underWay is how many have not ended yet.
func (r requestCounts) underWay() int64 { return r.Sent - r.Answered - r.Failed - r.Lost }

func (r requestCounts) plus(o requestCounts) requestCounts {
	return requestCounts{r.Sent + o.Sent, r.Answered + o.Answered, r.Failed + o.Failed, r.Lost + o.Lost}
}

func (r requestCounts) minus(o requestCounts) requestCounts {
	return requestCounts{r.Sent - o.Sent, r.Answered - o.Answered, r.Failed - o.Failed, r.Lost - o.Lost}
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
