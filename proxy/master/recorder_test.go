package master

import (
	"context"
	"encoding/json"
	"testing"
	"testing/synctest"
	"time"

	"github.com/erlmcp/erlmcp/proxy"
	"github.com/erlmcp/erlmcp/proxy/internal/admin"
	"github.com/erlmcp/erlmcp/proxy/internal/board"
)

// script is counters that grow by the second.
type script struct {
	begin time.Time
	nodes func(second int) []nodeCounts
}

func (s *script) counts() counts {
	second := int(time.Since(s.begin) / time.Second)
	c := counts{Stats: proxy.Stats{Time: time.Now()}, nodes: s.nodes(second)}
	for i := range c.nodes {
		c.Connections.Active += c.nodes[i].Connections
		c.Connections.Total += c.nodes[i].Total
	}
	c.Connections.Total += uint64(second) // refused
	c.Refused.Rate = uint64(second)
	return c
}

// growing is a node that gets 10 connections, 100 messages and one connect error a second.
func growing(name string, second int) nodeCounts {
	connects := make([]uint64, board.ConnectBuckets)
	connects[8] = uint64(10 * second)
	return nodeCounts{NodeStats: proxy.NodeStats{
		Name: name, Address: "127.0.0.1:1", Connections: int64(5 * second), Total: uint64(10 * second),
		Messages: uint64(100 * second), BytesIn: uint64(1000 * second), BytesOut: uint64(2000 * second),
		ConnectErrors: uint64(second),
	}, key: nodeKey{name: name}, connects: connects}
}

// recorded runs a recorder for that many seconds of fake time.
func recorded(t *testing.T, seconds int, nodes func(second int) []nodeCounts) (r *recorder, last admin.View) {
	t.Helper()
	var now counts
	r = newRecorder()
	synctest.Test(t, func(t *testing.T) {
		s := &script{time.Now(), nodes}
		ctx, cancel := context.WithCancel(t.Context())
		go r.run(ctx, s.counts)
		time.Sleep(time.Duration(seconds) * time.Second)
		synctest.Wait()
		now = s.counts()
		cancel()
	})
	last = r.view(now)
	return r, last
}

// Who waits for something newer has it a second after the last time.
func TestNextIsASecondLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, s := newRecorder(), &script{time.Now(), func(second int) []nodeCounts { return []nodeCounts{growing("a", second)} }}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go r.run(ctx, s.counts)
		synctest.Wait()
		for seconds := range 20 {
			if h := r.history(); len(h.Times) != seconds+1 || time.Since(s.begin) != time.Duration(seconds)*time.Second {
				t.Errorf("after %v there are %d points", time.Since(s.begin), len(h.Times))
			}
			<-r.next()
		}
	})
}

func TestRates(t *testing.T) {
	_, s := recorded(t, 5, func(second int) []nodeCounts { return []nodeCounts{growing("a", second), growing("b", second)} })
	want := proxy.Rates{Connections: 10, Messages: 100, BytesIn: 1000, BytesOut: 2000, Errors: 1}
	if got := s.Nodes[1].Rates; got != want {
		t.Errorf("of a node: %+v", got)
	}
	if got := s.Rates; got != (proxy.Rates{Connections: 21, Messages: 200, BytesIn: 2000, BytesOut: 4000, Errors: 2, Refused: 1}) {
		t.Errorf("of all: %+v", got)
	}
	if l := s.Nodes[0].Connect; l.Count != 50 || l.P50 != 192 {
		t.Errorf("connect times are %+v", l)
	}
	if all, node := s.Peak, s.Details[0].Peak; all != (admin.Peak{Connections: 50, Rate: 21}) || node != (admin.Peak{Connections: 25, Rate: 10}) {
		t.Errorf("peaks are %+v, %+v", all, node)
	}
}

func TestConnectTimesAreOfTheLastMinute(t *testing.T) {
	_, s := recorded(t, 100, func(second int) []nodeCounts { return []nodeCounts{growing("a", second)} })
	if got := s.Nodes[0].Connect.Count; got != 10*connectWindow {
		t.Errorf("%d connects within a minute", got)
	}
}

func TestCountersThatBeginAnew(t *testing.T) {
	_, s := recorded(t, 5, func(second int) []nodeCounts {
		n := growing("a", second)
		if second >= 5 {
			n = growing("a", 0)
		}
		return []nodeCounts{n}
	})
	if got := s.Nodes[0].Rates; got != (proxy.Rates{}) {
		t.Errorf("rates are %+v", got)
	}
}

func TestHistory(t *testing.T) {
	r, _ := recorded(t, 10, func(second int) []nodeCounts {
		nodes := []nodeCounts{growing("stays", second)}
		if second < 8 {
			nodes = append(nodes, growing("leaves", second))
		}
		if second >= 6 {
			nodes = append(nodes, nodeCounts{
				NodeStats: proxy.NodeStats{Name: "comes", Address: "127.0.0.1:2"}, key: nodeKey{name: "comes"}, connects: make([]uint64, board.ConnectBuckets),
			})
		}
		return nodes
	})
	h := r.history()
	if len(h.Times) != 11 || h.Times[10]-h.Times[0] != 10_000 {
		t.Fatalf("times are %v", h.Times)
	}
	if len(h.Nodes) != 2 || h.Nodes[0].Name != "stays" || h.Nodes[1].Name != "comes" {
		t.Fatalf("nodes are %+v", h.Nodes)
	}
	stays, comes := h.Nodes[0], h.Nodes[1]
	if *stays.Connections[10] != 50 || *stays.Connects[10] != 10 || *stays.Messages[10] != 100 || *stays.ConnectP99[10] == 0 {
		t.Errorf("last point of %+v", stays)
	}
	if comes.Connections[5] != nil || comes.Connections[6] == nil || comes.ConnectP99[10] != nil {
		t.Errorf("points of a node that came: %+v", comes)
	}
	text, err := json.Marshal(comes)
	if want := `{"name":"comes","address":"127.0.0.1:2","connections":[null,null,null,null,null,null,0,0,0,0,0],` +
		`"connections_per_s":[null,null,null,null,null,null,0,0,0,0,0],"messages_per_s":[null,null,null,null,null,null,0,0,0,0,0],` +
		`"connect_p99_us":[null,null,null,null,null,null,null,null,null,null,null],"requests_per_s":[null,null,null,null,null,null,0,0,0,0,0],` +
		`"answer_p99_us":[null,null,null,null,null,null,null,null,null,null,null]}`; err != nil || string(text) != want {
		t.Errorf("as JSON: %s, %v", text, err)
	}
}

func TestHistoryIsBounded(t *testing.T) {
	r, _ := recorded(t, 2*recordKept, func(second int) []nodeCounts { return []nodeCounts{growing("a", second)} })
	if h := r.history(); len(h.Times) != recordKept || len(h.Nodes[0].Messages) != recordKept || *h.Nodes[0].Connections[recordKept-1] != 10*recordKept {
		t.Errorf("%d seconds are kept", len(h.Times))
	}
	for _, track := range r.tracks {
		if len(track.connects) != connectWindow+1 {
			t.Errorf("%d histograms are kept", len(track.connects))
		}
	}
}

// webCounts is what is counted of a node that has answered n requests, a tenth of them with 500.
func webCounts(at time.Time, n uint64) counts {
	responses := proxy.Responses{Successful: n - n/10, ServerError: n / 10}
	node := nodeCounts{NodeStats: proxy.NodeStats{Requests: n, Responses: responses}, connects: make([]uint64, board.ConnectBuckets), answers: make([]uint64, board.ConnectBuckets)}
	node.answers[11] = n // 1 to 2 ms
	return counts{Stats: proxy.Stats{Time: at, HTTP: proxy.HTTPStats{Requests: n, Responses: responses}}, nodes: []nodeCounts{node}}
}

func TestRecorderOfHTTP(t *testing.T) {
	r, at := newRecorder(), time.Unix(1000, 0)
	for i := range uint64(5) {
		r.record(webCounts(at.Add(time.Duration(i)*time.Second), 100*i))
	}
	s := r.view(webCounts(at, 400))
	n := &s.Nodes[0]
	for name, rates := range map[string]proxy.Rates{"all": s.Rates, "node": n.Rates} {
		if rates.Requests != 100 || rates.ServerErrors != 10 || rates.ClientErrors != 0 {
			t.Errorf("%s: %+v", name, rates)
		}
	}
	if n.Latency.Count != 400 || n.Latency.P50 < 1024 || n.Latency.P99 > 2048 {
		t.Errorf("answer times %+v", n.Latency)
	}
	h := r.history().Nodes[0]
	if *h.Requests[4] != 100 || h.AnswerP99[0] != nil || *h.AnswerP99[4] != n.Latency.P99 {
		t.Errorf("history of requests %v, answers %v", h.Requests, h.AnswerP99)
	}
}
