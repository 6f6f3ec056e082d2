package latency

import (
	"math"
	"testing"
)

// node returns latencies whose mean in window w is mean(w) microseconds.
func node(windows int, mean func(w int) int64) *Recording {
	l := New()
	for w := range windows {
		l.Windows = append(l.Windows, Cell{Count: MinPerWindow, Sum: MinPerWindow * mean(w)})
	}
	return l
}

func TestBetweenNodesCV(t *testing.T) {
	drift := func(w int) int64 { return int64(1000 * (w + 1)) }
	for _, c := range []struct {
		name    string
		nodes   []*Recording
		want    float64
		windows int
	}{
		{"equal nodes on a drifting machine", []*Recording{node(9, drift), node(9, drift)}, 0, 9},
		{"one node is 10 % slower throughout", []*Recording{
			node(9, drift), node(9, drift), node(9, drift), node(9, func(w int) int64 { return drift(w) * 11 / 10 }),
		}, 4.2247, 9},
		{"a stall of one node in a few windows", []*Recording{node(9, drift), node(9, func(w int) int64 {
			if w < 4 {
				return 100_000
			}
			return drift(w)
		})}, 0, 9},
		{"windows that one node lacks do not count", []*Recording{node(9, drift), node(7, drift)}, 0, 7},
		{"nothing", nil, 0, 0},
	} {
		cv, windows := BetweenNodesCV(c.nodes)
		if math.Abs(cv-c.want) > 0.001 || windows != c.windows {
			t.Errorf("%s: %.4f %% over %d windows, want %.4f %% over %d", c.name, cv, windows, c.want, c.windows)
		}
	}
}

func TestWindowsWithFewAnswersDoNotCount(t *testing.T) {
	a, b := node(3, func(int) int64 { return 5 }), node(3, func(int) int64 { return 5 })
	b.Windows[1].Count = MinPerWindow - 1
	if _, windows := BetweenNodesCV([]*Recording{a, b}); windows != 2 {
		t.Errorf("%d windows, want 2", windows)
	}
}
