package system

import (
	"reflect"
	"testing"
	"time"

	"github.com/erlmcp/erlmcp/cluster"
	"github.com/erlmcp/erlmcp/loadtest/internal/target"
	"github.com/erlmcp/erlmcp/proxy"
)

// allowed is what the balancer of these tests allows a source.
var allowed = Limits{ConnectionsPerSecond: 100, MessagesPerSecond: 100}

func TestObservationOfBalancerAndCluster(t *testing.T) {
	since := time.Now()
	var stats proxy.Stats
	stats.PID, stats.Connections.Active, stats.Connections.Max = 10, 5, 100
	stats.Workers = []proxy.WorkerStats{{PID: 11, Max: 60}, {PID: 0, Max: 60}}
	stats.Nodes = []proxy.NodeStats{
		{Name: "a", Address: "127.0.0.1:9001", State: proxy.NodeUp, Since: since, MaxConnections: 35, Weight: 0.5, FullWeight: 1},
		{Name: "b", Address: "127.0.0.1:9002", State: proxy.NodeDraining},
		{Name: "c", Leaving: true, State: proxy.NodeUp},
	}
	status := cluster.Status{Nodes: []cluster.NodeStatus{
		{Name: "a", PID: 20, TCP: "127.0.0.1:9001"}, {Name: "b", PID: 21, TCP: "127.0.0.1:9002"}, {Name: "d"},
	}}
	var o Observation
	o.balancer(&stats, target.Target{Transport: target.TCP}, allowed)
	o.cluster(&status, target.TCP)
	if b := o.Balancer; len(b.PIDs) != 2 || len(b.Workers) != 2 || b.Connections != 5 || b.Max != 100 || b.Limits != allowed {
		t.Errorf("%+v", b)
	}
	if len(o.Nodes) != 2 || !reflect.DeepEqual(o.Nodes[0], NodeView{Name: "a", Address: "127.0.0.1:9001", PID: 20, Up: true, Since: since, Max: 35, Slow: true}) {
		t.Errorf("%+v", o.Nodes)
	}
	if names := o.Serving(); len(names) != 1 || names[0] != "a" || !o.CanBreak {
		t.Errorf("serving %v, can break %v", names, o.CanBreak)
	}
	status.Nodes[1].TCP = "127.0.0.1:9999"
	if o.cluster(&status, target.TCP); o.CanBreak {
		t.Error("nodes of somebody else can be broken")
	}
}

func TestObservationOfClusterAlone(t *testing.T) {
	var o Observation
	o.cluster(&cluster.Status{Nodes: []cluster.NodeStatus{
		{Name: "a", PID: 20, TCP: "127.0.0.1:9001"}, {Name: "b", PID: 21, TCP: "127.0.0.1:9002"},
	}}, target.TCP)
	if !o.CanBreak || len(o.Serving()) != 2 || o.Nodes[0].PID != 20 {
		t.Errorf("%+v", o)
	}
	o.keepTarget("127.0.0.1:8000")
	if !o.CanBreak || len(o.Nodes) != 2 {
		t.Errorf("behind a balancer of somebody else: %+v", o)
	}
	o.keepTarget("127.0.0.1:9002")
	if o.CanBreak || len(o.Nodes) != 1 || o.Nodes[0].Name != "b" {
		t.Errorf("a node as target: %+v", o)
	}
}

func TestNothingRuns(t *testing.T) {
	o, err := Live(t.TempDir(), "127.0.0.1:8000", allowed, nil).Observe(t.Context())
	if err != nil || o.Balancer != nil || o.Nodes != nil || o.CanBreak {
		t.Errorf("%+v, %v", o, err)
	}
}

// A node is where the clients of the target's transport end.
func TestObservationByTransport(t *testing.T) {
	stats := func() *proxy.Stats {
		return &proxy.Stats{
			Listeners: []proxy.ListenerStats{{Name: "tcp", Address: "127.0.0.1:8000"}, {Name: "http", Address: "0.0.0.0:8080"}, {Name: "https", Address: "[::]:8443"}},
			Nodes: []proxy.NodeStats{{Name: "a", Address: "127.0.0.1:9001", State: proxy.NodeUp, Transports: []proxy.TransportStats{
				{Name: "tcp", Address: "127.0.0.1:9001", State: proxy.NodeUp},
				{Name: "http", Address: "127.0.0.1:9101", State: proxy.NodeDown},
				{Name: "sse", Address: "127.0.0.1:9201", State: proxy.NodeUp},
			}}},
		}
	}
	status := cluster.Status{Nodes: []cluster.NodeStatus{{Name: "a", PID: 20, TCP: "127.0.0.1:9001", HTTP: "127.0.0.1:9101", SSE: "127.0.0.1:9201"}}}
	for text, want := range map[string]struct {
		serves  bool
		address string
		up      bool
	}{
		"127.0.0.1:8000":             {true, "127.0.0.1:9001", true},
		"127.0.0.1:8080":             {false, "127.0.0.1:9001", true},
		"http://127.0.0.1:8080/mcp":  {true, "127.0.0.1:9101", false},
		"http://127.0.0.1:8000/mcp":  {false, "127.0.0.1:9101", false},
		"http://127.0.0.1:8080/sse":  {true, "127.0.0.1:9201", true},
		"ws://127.0.0.1:8080/mcp":    {true, "127.0.0.1:9101", false},
		"https://127.0.0.1:8443/mcp": {true, "127.0.0.1:9101", false},
		"https://127.0.0.1:8080/mcp": {false, "127.0.0.1:9101", false},
	} {
		l := Live(t.TempDir(), text, allowed, nil).(*live)
		if got := l.serves(t.Context(), stats()); got != want.serves {
			t.Errorf("%s: serves %v", text, got)
		}
		var o Observation
		o.balancer(stats(), l.target, allowed)
		o.cluster(&status, l.target.Transport)
		if n := o.Nodes[0]; n.Address != want.address || n.Up != want.up || n.PID != 20 || !o.CanBreak {
			t.Errorf("%s: %+v", text, n)
		}
	}
}
