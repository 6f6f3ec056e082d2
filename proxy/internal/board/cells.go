package board

import (
	"math/bits"
	"sync/atomic"
	"time"
)

// Global is the cell of the whole balancer.
type Global struct {
	// Written by the master.
	Epoch       atomic.Uint32 // moves with every change of a node cell: workers compare it once per turn
	Draining    atomic.Uint32 // 1 from the moment the balancer stops accepting
	Seed        uint64        // of every hash a client could aim at; set by Create, never changed
	SourceTTLNs atomic.Int64  // a source idle for longer is forgotten; at least the violation window; 0 = DefaultSourceTTL
	BanWindowNs atomic.Int64  // for how long violations are held against a source; 0 = DefaultBanWindow
	Rows        atomic.Uint32 // rows of workers that were ever in use; 0 = all: see Board.Use
	_           [cacheLine - 36]byte

	// Added to by workers.
	Overflows atomic.Uint64 // finds that got no slot of their own
	Evictions atomic.Uint64 // sources forgotten before their time, for the sake of others
	_         [cacheLine - 16]byte
}

// Defaults of Global.SourceTTLNs and Global.BanWindowNs.
const (
	DefaultSourceTTL = 30 * time.Minute
	DefaultBanWindow = time.Minute
)

// State is what the master says of one transport of a node.
type State uint32

// States of a port. Up takes new clients, and Silent only where nothing is Up. Silent and Draining keep the
// connections and sessions they have; Maintenance only lets come to an end what is under way.
const (
	Absent State = iota // not served
	Down
	Silent // gives checks no answer, or answers no
	Up
	Draining
	Maintenance
)

func (s State) String() string {
	return [...]string{"absent", "down", "silent", "up", "draining", "maintenance", "unknown"}[min(s, Maintenance+1)]
}

// Transport is one way a node serves clients.
type Transport int

// The transports. A node may serve any of them.
const (
	TCP  Transport = iota // newline-delimited JSON-RPC
	HTTP                  // Streamable HTTP and WebSocket
	SSE                   // HTTP+SSE of 2024-11-05

	Transports = iota // how many there are
)

func (t Transport) String() string { return [...]string{"tcp", "http", "sse"}[t] }

// Node is the cell of one node. Written by the master alone.
type Node struct {
	Generation atomic.Uint32 // moves whenever the last of its ports goes Down or Absent: voids its sticky sources
	Taken      atomic.Uint32 // 1: the slot stands for a node
	MaxConns   atomic.Int64  // connections it may hold; 0 = no limit
	Ports      [Transports]Port
	_          [3*cacheLine - 136]byte
}

// Port is one transport of a node, a part of the node's cell. Written by the master alone. It is Absent
// where the node does not serve it, or nobody needs it.
type Port struct {
	State          atomic.Uint32 // a State; see Board.SetState
	Generation     atomic.Uint32 // moves whenever the port goes Down or Absent: ends what is connected to it
	Weight         atomic.Uint32 // effective, slow start included, in 1/256 of a unit: 256 = weight 1
	Life           atomic.Uint32 // an affinity.Time: what is older belongs to an earlier process; 0 = nothing is known
	CheckLatencyNs atomic.Int64  // of the last active check that succeeded
	StateChanges   atomic.Uint64
	SinceNs        atomic.Int64 // when State last changed, monotonic
}

// Turns is how nodes take turns, over all workers. Every worker writes it, Next by compare-and-swap.
// Times are those of an ideal balancer that serves all nodes at once, each by its weight.
type Turns struct {
	Clock atomic.Int64 // about now; a worker that lags may set it back a little
	_     [cacheLine - 8]byte
	Next  [MaxNodes]atomic.Int64 // when the node is due next
}

// Copy is t of this moment, and nobody else's.
func (t *Turns) Copy() *Turns {
	c := new(Turns)
	c.Clock.Store(t.Clock.Load())
	for i := range t.Next {
		c.Next[i].Store(t.Next[i].Load())
	}
	return c
}

// Worker is the cell of one worker process. Written by that worker; its gauges
// are zeroed by the master after it died. Counters belong to the worker's number,
// not to the process: a replacement adds to what it finds, so totals never go
// back.
type Worker struct {
	// Gauges.
	PID         atomic.Int64
	Active      atomic.Int64 // client connections held
	LoopLagNs   atomic.Int64 // how late the loop woke last
	HeartbeatNs atomic.Int64 // last turn of the loop
	Heaviest    atomic.Int64 // 1 + the slot of the source that holds most, of those that hold much there; 0 = none

	// Counters.
	Accepted    atomic.Uint64
	Refused     [Reasons]atomic.Uint64
	Throttles   atomic.Uint64 // times a source was paused
	ThrottledNs atomic.Uint64 // for how long in all
	Rejects     atomic.Uint64 // messages answered with "rate limited"
	Messages    atomic.Uint64 // from clients
	Requests    atomic.Uint64 // over HTTP
	Responses   [StatusClasses]atomic.Uint64
	// Lines of the access log that were lost; also added to by the goroutine that writes them.
	AccessLogDropped atomic.Uint64
	// Answers, streams and connections that ended before their end.
	Cut [Reasons]atomic.Uint64
	_   [cacheLine - 32]byte
}

// StatusClasses is the number of classes of HTTP statuses: class 2 counts those
// of 200 to 299. Class 0 stays empty.
const StatusClasses = 6

// Flow is the cell of what one worker relays to and from one node. Written by
// that worker; its gauges are zeroed by the master after it died. Counters are
// only ever added to, as in Worker.
type Flow struct {
	// Gauges.
	Active  atomic.Int64 // connections held
	Pending atomic.Int64 // HTTP requests that await the end of their answer
	Pledged atomic.Int64 // connections expected of sources bound lately: see Board.NodeLoad
	// Avoided is until when a port, which refuses connections, is not the worker's first choice.
	Avoided [Transports]atomic.Int64
	Idle    [Transports]atomic.Int64 // connections to a port besides, kept for requests to come

	Total         atomic.Uint64 // connections that reached the node
	BytesIn       atomic.Uint64 // client to node
	BytesOut      atomic.Uint64 // node to client
	Messages      atomic.Uint64 // client to node
	ConnectErrors atomic.Uint64
	Resets        atomic.Uint64             // established, then cut by the node
	Retries       atomic.Uint64             // clients that went elsewhere because this node did not answer
	Displaced     atomic.Uint64             // clients cut off because the node went down
	LifeSigns     [Transports]atomic.Uint64 // times the node said something, or ended a stream after its client
	Connect       [ConnectBuckets]atomic.Uint64
	Requests      atomic.Uint64                 // sent to the node over HTTP
	Responses     [StatusClasses]atomic.Uint64  // of the node
	Answer        [ConnectBuckets]atomic.Uint64 // times from a request to the head of its response
	_             [cacheLine - 8*Transports]byte
}

// ConnectBuckets is the number of buckets of the histograms of times: bucket i counts those of at least 2^(i-1) and less than 2^i µs; bucket 0 those
// under 1 µs, the last one everything longer.
const ConnectBuckets = 32

// ObserveConnect counts one successful connect to the node that took d.
func (f *Flow) ObserveConnect(d time.Duration) { f.Connect[bucket(d)].Add(1) }

// ObserveAnswer counts one response of the node, the head of which took d.
func (f *Flow) ObserveAnswer(d time.Duration) { f.Answer[bucket(d)].Add(1) }

func bucket(d time.Duration) int {
	return min(bits.Len64(uint64(max(0, d.Microseconds()))), ConnectBuckets-1)
}
