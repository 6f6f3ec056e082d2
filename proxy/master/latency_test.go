package master

import (
	"math"
	"testing"

	"github.com/erlmcp/erlmcp/proxy"
	"github.com/erlmcp/erlmcp/proxy/internal/board"
)

func TestLatency(t *testing.T) {
	counts := func(at map[int]uint64) []uint64 {
		list := make([]uint64, board.ConnectBuckets)
		for i, n := range at {
			list[i] = n
		}
		return list
	}
	for name, test := range map[string]struct {
		before, now []uint64
		want        proxy.Latency
	}{
		"nothing":      {nil, counts(nil), proxy.Latency{}},
		"nothing new":  {counts(map[int]uint64{5: 9}), counts(map[int]uint64{5: 9}), proxy.Latency{}},
		"one bucket":   {nil, counts(map[int]uint64{8: 100}), proxy.Latency{Count: 100, Mean: 192, P50: 192, P90: 243.2, P99: 254.72}},
		"since before": {counts(map[int]uint64{2: 7}), counts(map[int]uint64{2: 7, 8: 100}), proxy.Latency{Count: 100, Mean: 192, P50: 192, P90: 243.2, P99: 254.72}},
		"a slow tenth": {nil, counts(map[int]uint64{0: 89, 11: 11}), proxy.Latency{Count: 100, Mean: 169.405, P50: 50.0 / 89, P90: 1024 + 1024.0/11, P99: 1024 + 10*1024.0/11}},
		"went back":    {counts(map[int]uint64{3: 9}), counts(map[int]uint64{3: 4}), proxy.Latency{}},
	} {
		got := latencySince(test.before, test.now)
		near := func(a, b float64) bool { return math.Abs(a-b) < 1e-6 }
		if got.Count != test.want.Count || !near(got.Mean, test.want.Mean) || !near(got.P50, test.want.P50) || !near(got.P90, test.want.P90) || !near(got.P99, test.want.P99) {
			t.Errorf("%s: got %+v, want %+v", name, got, test.want)
		}
	}
	longest := counts(map[int]uint64{board.ConnectBuckets - 1: 1})
	if got := latencySince(nil, longest); got.P99 < 1<<30 || got.P99 > 1<<31 {
		t.Errorf("the last bucket is %v µs", got.P99)
	}
}
