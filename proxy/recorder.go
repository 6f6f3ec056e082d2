package proxy

import (
	"context"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/erlmcp/erlmcp/proxy/internal/board"
)

// What a recorder keeps: a moment every recordInterval, recordKept of them, and connect times of the
// last connectWindow moments for percentiles.
const (
	recordInterval = time.Second
	recordKept     = 300
	connectWindow  = 60
)

// nodeKey tells nodes apart, whatever is shown of them: one that moved is at two addresses for a while.
type nodeKey struct {
	name  string
	addr  netip.Addr
	ports [board.Transports]uint16
	tls   bool
}

func (m *member) identity() nodeKey {
	return nodeKey{m.node.Name, m.addr, portsOf(m.node), m.node.TLS()}
}

func (n *NodeStats) key() nodeKey { return n.identity }

// point is what a node did in one second.
type point struct {
	connections        int64
	connects, messages float64 // per second
	connectP99         float64 // µs; 0 when there was none for a while
	requests           float64 // per second, over HTTP
	answerP99          float64 // as connectP99
}

// moment is one second of all nodes.
type moment struct {
	at     time.Time
	points map[nodeKey]point
}

// track is what is derived from the sequence of a node's counters.
type track struct {
	last    NodeStats
	connect [][]uint64 // histograms, the last connectWindow+1
	answers [][]uint64 // likewise
	rates   Rates
	latency Latency
	answer  Latency
	peak    peak
}

// peak holds highest values, as far as looks once a second see them.
type peak struct {
	connections int64
	rate        float64 // new connections a second
	requests    float64 // HTTP requests a second
}

func (p *peak) see(connections int64, rate float64) {
	p.connections, p.rate = max(p.connections, connections), max(p.rate, rate)
}

// recorder looks at the counters once a second: what rates and percentiles are now, and were in the
// last minutes. Its methods may be called from any goroutine.
type recorder struct {
	mu      sync.Mutex
	last    Stats
	rates   Rates
	peak    peak
	tracks  map[nodeKey]*track
	moments []moment // the oldest first
	ticked  chan struct{}
}

func newRecorder() *recorder {
	return &recorder{tracks: map[nodeKey]*track{}, ticked: make(chan struct{})}
}

// run records counts until ctx ends.
func (r *recorder) run(ctx context.Context, counts func() Stats) {
	tick := time.NewTicker(recordInterval)
	defer tick.Stop()
	for {
		r.record(counts())
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// next is closed when there is something newer than now.
func (r *recorder) next() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.ticked
}

// record takes a look at the counters in.
func (r *recorder) record(s Stats) {
	r.mu.Lock()
	defer r.mu.Unlock()
	elapsed := s.Time.Sub(r.last.Time)
	first := r.last.Time.IsZero()
	now := moment{at: s.Time, points: make(map[nodeKey]point, len(s.Nodes))}
	tracks := make(map[nodeKey]*track, len(s.Nodes))
	r.rates = Rates{}
	for i := range s.Nodes {
		n := &s.Nodes[i]
		t := r.tracks[n.key()]
		if t == nil {
			t = &track{last: *n}
		}
		t.follow(n, elapsed)
		r.rates.add(t.rates)
		tracks[n.key()] = t
		now.points[n.key()] = point{
			n.Connections, t.rates.Connections, t.rates.Messages, t.latency.P99, t.rates.Requests, t.answer.P99,
		}
	}
	r.tracks = tracks
	if !first {
		r.rates.Connections = growth(r.last.Connections.Total, s.Connections.Total, elapsed)
		r.rates.Requests = growth(r.last.HTTP.Requests, s.HTTP.Requests, elapsed)
		r.rates.ClientErrors = growth(r.last.HTTP.Responses.ClientError, s.HTTP.Responses.ClientError, elapsed)
		r.rates.ServerErrors = growth(r.last.HTTP.Responses.ServerError, s.HTTP.Responses.ServerError, elapsed)
		r.rates.Refused = growth(r.last.Refused.Total(), s.Refused.Total(), elapsed)
	}
	r.peak.see(s.Connections.Active, r.rates.Connections)
	r.peak.requests = max(r.peak.requests, r.rates.Requests)
	r.last = s
	r.moments = append(r.moments, now)
	if len(r.moments) > recordKept {
		r.moments = slices.Delete(r.moments, 0, 1)
	}
	close(r.ticked)
	r.ticked = make(chan struct{})
}

// follow takes in the next look at the node's counters.
func (t *track) follow(n *NodeStats, elapsed time.Duration) {
	t.rates = ratesBetween(&t.last, n, elapsed)
	t.peak.see(n.Connections, t.rates.Connections)
	t.last = *n
	t.connect = keep(t.connect, n.connectTimes)
	t.latency = latencySince(t.connect[0], n.connectTimes)
	t.answers = keep(t.answers, n.answerTimes)
	t.answer = latencySince(t.answers[0], n.answerTimes)
}

// keep appends a histogram to those of the last connectWindow moments and the one before.
func keep(list [][]uint64, h []uint64) [][]uint64 {
	if list = append(list, h); len(list) > connectWindow+1 {
		list = slices.Delete(list, 0, 1)
	}
	return list
}

// add adds what a node does to the whole. New connections are counted where clients arrive.
func (r *Rates) add(node Rates) {
	r.Messages += node.Messages
	r.BytesIn += node.BytesIn
	r.BytesOut += node.BytesOut
	r.Errors += node.Errors
}

// fill adds to s what follows from earlier looks.
func (r *recorder) fill(s *Stats) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s.Rates = r.rates
	for i := range s.Nodes {
		if t := r.tracks[s.Nodes[i].key()]; t != nil {
			s.Nodes[i].Rates, s.Nodes[i].Connect = t.rates, t.latency
			s.Nodes[i].Latency = t.answer
		}
	}
}

// peaks returns the highest values of the balancer, and of one node.
func (r *recorder) peaks(n *NodeStats) (all, node peak) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if n != nil && r.tracks[n.key()] != nil {
		node = r.tracks[n.key()].peak
	}
	return r.peak, node
}
