package master

import (
	"context"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/erlmcp/erlmcp/internal/mono"
	"github.com/erlmcp/erlmcp/internal/tempo"
	"github.com/erlmcp/erlmcp/proxy"
	"github.com/erlmcp/erlmcp/proxy/internal/admin"
	"github.com/erlmcp/erlmcp/proxy/internal/board"
	"github.com/erlmcp/erlmcp/proxy/internal/wire"
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
	return nodeKey{m.node.Name, m.addr, wire.PortsOf(m.node), m.node.TLS()}
}

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
	last        proxy.NodeStats
	connects    [][]uint64 // histograms, the last connectWindow+1
	answers     [][]uint64 // likewise
	rates       proxy.Rates
	connectTime proxy.Latency
	answerTime  proxy.Latency
	peak        admin.Peak
}

// higher is p after another look.
func higher(p admin.Peak, connections int64, r *proxy.Rates) admin.Peak {
	return admin.Peak{Connections: max(p.Connections, connections), Rate: max(p.Rate, r.Connections), Requests: max(p.Requests, r.Requests)}
}

// recorder looks at the counters once a second: what rates and percentiles are now, and were in the
// last minutes. Its methods may be called from any goroutine.
type recorder struct {
	mu      sync.Mutex
	last    counts
	rates   proxy.Rates
	peak    admin.Peak
	tracks  map[nodeKey]*track
	moments []moment // the oldest first
	ticked  chan struct{}
}

func newRecorder() *recorder {
	return &recorder{tracks: map[nodeKey]*track{}, ticked: make(chan struct{})}
}

// run records counts until ctx ends.
func (r *recorder) run(ctx context.Context, look func() counts) {
	for range tempo.AtOnce(ctx, recordInterval) {
		r.record(look())
	}
}

// next is closed when there is something newer than now.
func (r *recorder) next() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.ticked
}

// record takes a look at the counters in.
func (r *recorder) record(s counts) {
	r.mu.Lock()
	defer r.mu.Unlock()
	elapsed := s.Time.Sub(r.last.Time)
	first := r.last.Time.IsZero()
	now := moment{at: s.Time, points: make(map[nodeKey]point, len(s.nodes))}
	tracks := make(map[nodeKey]*track, len(s.nodes))
	r.rates = proxy.Rates{}
	for i := range s.nodes {
		n := &s.nodes[i]
		t := r.tracks[n.key]
		if t == nil {
			t = &track{last: n.NodeStats}
		}
		t.follow(n, elapsed)
		// New connections are counted where clients arrive, and so are requests.
		r.rates.Messages += t.rates.Messages
		r.rates.BytesIn += t.rates.BytesIn
		r.rates.BytesOut += t.rates.BytesOut
		r.rates.Errors += t.rates.Errors
		tracks[n.key] = t
		now.points[n.key] = point{
			n.Connections, t.rates.Connections, t.rates.Messages, t.connectTime.P99, t.rates.Requests, t.answerTime.P99,
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
	r.peak = higher(r.peak, s.Connections.Active, &r.rates)
	r.last = s
	r.moments = append(r.moments, now)
	if len(r.moments) > recordKept {
		r.moments = slices.Delete(r.moments, 0, 1)
	}
	close(r.ticked)
	r.ticked = make(chan struct{})
}

// follow takes in the next look at the node's counters.
func (t *track) follow(n *nodeCounts, elapsed time.Duration) {
	t.rates = ratesBetween(&t.last, &n.NodeStats, elapsed)
	t.peak = higher(t.peak, n.Connections, &t.rates)
	t.last = n.NodeStats
	t.connects = keep(t.connects, n.connects)
	t.connectTime = latencySince(t.connects[0], n.connects)
	t.answers = keep(t.answers, n.answers)
	t.answerTime = latencySince(t.answers[0], n.answers)
}

// ratesBetween divides what a node has done since an earlier look by the time between.
func ratesBetween(before, now *proxy.NodeStats, elapsed time.Duration) proxy.Rates {
	return proxy.Rates{
		Connections:  growth(before.Total, now.Total, elapsed),
		Messages:     growth(before.Messages, now.Messages, elapsed),
		BytesIn:      growth(before.BytesIn, now.BytesIn, elapsed),
		BytesOut:     growth(before.BytesOut, now.BytesOut, elapsed),
		Errors:       growth(before.ConnectErrors+before.Resets, now.ConnectErrors+now.Resets, elapsed),
		Requests:     growth(before.Requests, now.Requests, elapsed),
		ClientErrors: growth(before.Responses.ClientError, now.Responses.ClientError, elapsed),
		ServerErrors: growth(before.Responses.ServerError, now.Responses.ServerError, elapsed),
	}
}

// growth is the increase a second of a counter. One that went back began anew.
func growth(before, now uint64, elapsed time.Duration) float64 {
	if elapsed <= 0 || now < before {
		return 0
	}
	return float64(now-before) / elapsed.Seconds()
}

// keep appends a histogram to those of the last connectWindow moments and the one before.
func keep(list [][]uint64, h []uint64) [][]uint64 {
	if list = append(list, h); len(list) > connectWindow+1 {
		list = slices.Delete(list, 0, 1)
	}
	return list
}

// view is what s counts, with what follows from earlier looks.
func (r *recorder) view(s counts) admin.View {
	r.mu.Lock()
	defer r.mu.Unlock()
	v := admin.View{Stats: s.Stats, Peak: r.peak, Details: make([]admin.NodeView, len(s.nodes))}
	v.Rates, v.Nodes = r.rates, statsOf(s.nodes)
	for i := range s.nodes {
		v.Details[i] = admin.NodeView{Connects: s.nodes[i].connects, Answers: s.nodes[i].answers}
		if t := r.tracks[s.nodes[i].key]; t != nil {
			n := &v.Nodes[i]
			n.Rates, n.Connect, n.Latency = t.rates, t.connectTime, t.answerTime
			v.Details[i].Peak = t.peak
		}
	}
	return v
}

// history returns what is kept of the nodes that there are now.
func (r *recorder) history() admin.History {
	r.mu.Lock()
	defer r.mu.Unlock()
	h := admin.History{Times: make([]int64, len(r.moments)), Nodes: []admin.NodeHistory{}}
	for i, m := range r.moments {
		h.Times[i] = mono.Retell(m.at).UnixMilli()
	}
	for i := range r.last.nodes {
		n := &r.last.nodes[i]
		column := admin.NodeHistory{Name: n.Name, Address: n.Address}
		for _, m := range r.moments {
			p, there := m.points[n.key]
			appendPoint(&column, p, there)
		}
		h.Nodes = append(h.Nodes, column)
	}
	return h
}

// appendPoint adds one second; there is false when the node was not.
func appendPoint(h *admin.NodeHistory, p point, there bool) {
	h.Connections = append(h.Connections, known(&p.connections, there))
	h.Connects = append(h.Connects, known(&p.connects, there))
	h.Messages = append(h.Messages, known(&p.messages, there))
	h.ConnectP99 = append(h.ConnectP99, known(&p.connectP99, p.connectP99 > 0))
	h.Requests = append(h.Requests, known(&p.requests, there))
	h.AnswerP99 = append(h.AnswerP99, known(&p.answerP99, p.answerP99 > 0))
}

func known[T any](v *T, is bool) *T {
	if !is {
		return nil
	}
	return v
}
