package loadtest

import (
	"testing"
	"time"

	"github.com/erlmcp/erlmcp/cluster"
	"github.com/erlmcp/erlmcp/proxy"
)

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
	o.balancer(&stats, houseLimits)
	o.cluster(&status)
	if b := o.Balancer; len(b.PIDs) != 2 || len(b.Workers) != 2 || b.Connections != 5 || b.Max != 100 || b.Limits != houseLimits {
		t.Errorf("%+v", b)
	}
	if len(o.Nodes) != 2 || o.Nodes[0] != (NodeView{Name: "a", Address: "127.0.0.1:9001", PID: 20, Up: true, Since: since, Max: 35, Slow: true}) {
		t.Errorf("%+v", o.Nodes)
	}
	if names := o.serving(); len(names) != 1 || names[0] != "a" || !o.CanBreak {
		t.Errorf("serving %v, can break %v", names, o.CanBreak)
	}
	status.Nodes[1].TCP = "127.0.0.1:9999"
	if o.cluster(&status); o.CanBreak {
		t.Error("nodes of somebody else can be broken")
	}
}

func TestObservationOfClusterAlone(t *testing.T) {
	var o Observation
	o.cluster(&cluster.Status{Nodes: []cluster.NodeStatus{
		{Name: "a", PID: 20, TCP: "127.0.0.1:9001"}, {Name: "b", PID: 21, TCP: "127.0.0.1:9002"},
	}})
	if !o.CanBreak || len(o.serving()) != 2 || o.Nodes[0].PID != 20 {
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
	o, err := Live(t.TempDir(), "127.0.0.1:8000", houseLimits, nil).Observe(t.Context())
	if err != nil || o.Balancer != nil || o.Nodes != nil || o.CanBreak {
		t.Errorf("%+v, %v", o, err)
	}
}
