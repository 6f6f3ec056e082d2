package loadtest

import (
	"encoding/json"
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// Latencies recorded by several agents and merged are those recorded by one.
func TestLatencyMergesExactly(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		one, merged := newLatency(), newLatency()
		for range rapid.IntRange(1, 4).Draw(t, "agents") {
			agent := newLatency()
			for range rapid.IntRange(0, 50).Draw(t, "answers") {
				at := rapid.Int64Range(0, int64(5*time.Second)).Draw(t, "at")
				took := rapid.Int64Range(-5, int64(2*time.Minute)).Draw(t, "took")
				agent.record(at, took)
				one.record(at, took)
			}
			m, err := agent.message()
			if err != nil {
				t.Fatal(err)
			}
			text, err := json.Marshal(m)
			if err != nil {
				t.Fatal(err)
			}
			var received latencyMessage
			if err := json.Unmarshal(text, &received); err != nil {
				t.Fatal(err)
			}
			l, err := received.latency()
			if err != nil {
				t.Fatal(err)
			}
			merged.merge(l)
		}
		if !one.histogram.Equals(merged.histogram) {
			t.Fatal("histograms differ")
		}
		if quantiles(one.histogram) != quantiles(merged.histogram) {
			t.Fatal("quantiles differ")
		}
		for i, c := range one.windows {
			if merged.windows[i] != c {
				t.Fatalf("window %d: %v, want %v", i, merged.windows[i], c)
			}
		}
	})
}

func TestUnreadableHistogram(t *testing.T) {
	if _, err := (latencyMessage{Histogram: "no"}).latency(); err == nil {
		t.Error("no error")
	}
}

// node returns latencies whose mean in window w is mean(w) microseconds.
func node(windows int, mean func(w int) int64) *latency {
	l := newLatency()
	for w := range windows {
		l.windows = append(l.windows, cell{Count: minPerWindow, Sum: minPerWindow * mean(w)})
	}
	return l
}

func TestBetweenNodesCV(t *testing.T) {
	drift := func(w int) int64 { return int64(1000 * (w + 1)) }
	for _, c := range []struct {
		name    string
		nodes   []*latency
		want    float64
		windows int
	}{
		{"equal nodes on a drifting machine", []*latency{node(9, drift), node(9, drift)}, 0, 9},
		{"one node is 10 % slower throughout", []*latency{
			node(9, drift), node(9, drift), node(9, drift), node(9, func(w int) int64 { return drift(w) * 11 / 10 }),
		}, 4.2247, 9},
		{"a stall of one node in a few windows", []*latency{node(9, drift), node(9, func(w int) int64 {
			if w < 4 {
				return 100_000
			}
			return drift(w)
		})}, 0, 9},
		{"windows that one node lacks do not count", []*latency{node(9, drift), node(7, drift)}, 0, 7},
		{"nothing", nil, 0, 0},
	} {
		cv, windows := betweenNodesCV(c.nodes)
		if math.Abs(cv-c.want) > 0.001 || windows != c.windows {
			t.Errorf("%s: %.4f %% over %d windows, want %.4f %% over %d", c.name, cv, windows, c.want, c.windows)
		}
	}
}

func TestWindowsWithFewAnswersDoNotCount(t *testing.T) {
	a, b := node(3, func(int) int64 { return 5 }), node(3, func(int) int64 { return 5 })
	b.windows[1].Count = minPerWindow - 1
	if _, windows := betweenNodesCV([]*latency{a, b}); windows != 2 {
		t.Errorf("%d windows, want 2", windows)
	}
}
