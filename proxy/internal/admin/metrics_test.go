package admin

import (
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/erlmcp/erlmcp/proxy"
)

func noRestarts() map[string]int { return nil }

func TestMetricNames(t *testing.T) {
	c := &collector{view: func() View {
		counts := make([]uint64, 32)
		counts[3], counts[31] = 2, 1
		return View{Stats: proxy.Stats{
			Time:    time.Unix(1000, 0),
			HTTP:    proxy.HTTPStats{Methods: map[string]uint64{"tools/call": 1, "other": 2}},
			Workers: []proxy.WorkerStats{{Index: 0}, {Index: 1}},
			Nodes:   []proxy.NodeStats{{Name: "a", Address: "127.0.0.1:1"}, {Name: "a", Address: "127.0.0.1:2"}},
		}, Details: []NodeView{{Connects: counts}, {Connects: counts}}}
	}, restarts: noRestarts}
	problems, err := testutil.CollectAndLint(c)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(c)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != "erlmcp_lb_node_connect_seconds" {
			continue
		}
		h := f.GetMetric()[0].GetHistogram()
		if h.GetSampleCount() != 3 {
			t.Errorf("%d samples", h.GetSampleCount())
		}
		for _, b := range h.GetBucket() {
			want := uint64(0)
			if b.GetUpperBound() >= 8e-6 {
				want = 2
			}
			if b.GetCumulativeCount() != want {
				t.Errorf("bucket up to %v s holds %d, want %d", b.GetUpperBound(), b.GetCumulativeCount(), want)
			}
		}
		return
	}
	t.Error("no histogram of connect times")
}

// How often nodes were started again is asked of whoever runs them.
func TestMetricOfRestarts(t *testing.T) {
	c := &collector{view: func() View { return View{} }, restarts: func() map[string]int { return map[string]int{"a": 3} }}
	const want = `# HELP erlmcp_cluster_node_restarts_total How often the supervisor of this state directory has started the node again, by itself.
# TYPE erlmcp_cluster_node_restarts_total counter
erlmcp_cluster_node_restarts_total{node="a"} 3
`
	if err := testutil.CollectAndCompare(c, strings.NewReader(want), "erlmcp_cluster_node_restarts_total"); err != nil {
		t.Error(err)
	}
}
