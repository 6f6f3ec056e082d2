package healthcheck

import (
	"encoding/json"
	"errors"
	"testing"
	"time"
)

func TestReportJSON(t *testing.T) {
	f := serving()
	f.time = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	f.checks[1] = refused[:1]
	f.balancer.balancer.Nodes[1].State = "down"
	got, err := json.MarshalIndent(f.report(), "", " ")
	if err != nil {
		t.Fatal(err)
	}
	const want = `{
 "schema": "erlmcp.health/v1",
 "status": "degraded",
 "reasons": [
  "erlmcp2 is down (tcp: connection refused)"
 ],
 "time": "2026-11-23T12:00:00Z",
 "load_balancer": {
  "running": true,
  "engine": "builtin",
  "pid": 7,
  "state": "running",
  "listeners": [
   {
    "name": "tcp",
    "address": "127.0.0.1:8000",
    "up": true
   }
  ],
  "clients": 100,
  "checks": [
   {
    "kind": "mcp",
    "ok": true,
    "latency_us": 0
   }
  ]
 },
 "nodes": [
  {
   "name": "erlmcp1",
   "status": "up",
   "balancer_state": "up",
   "weight": 1,
   "connections": 50,
   "ports": {
    "http": 2,
    "tcp": 48
   },
   "connections_source": "kernel",
   "balancer_connections": 50,
   "checks": [
    {
     "kind": "tcp",
     "ok": true,
     "latency_us": 0
    },
    {
     "kind": "mcp",
     "ok": true,
     "latency_us": 0
    }
   ]
  },
  {
   "name": "erlmcp2",
   "status": "down",
   "balancer_state": "down",
   "weight": 1,
   "connections": 52,
   "ports": {
    "tcp": 52
   },
   "connections_source": "kernel",
   "balancer_connections": 50,
   "checks": [
    {
     "kind": "tcp",
     "ok": false,
     "latency_us": 0,
     "cause": "refused",
     "error": "connection refused"
    }
   ]
  }
 ],
 "cluster": null,
 "connections": {
  "total": 102,
  "capacity": 2000,
  "max_deviation": 0
 }
}`
	if string(got) != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// TestUnknownIsNull has a node on another host, whose connections only the balancer knows, and then
// nobody.
func TestUnknownIsNull(t *testing.T) {
	f := serving()
	f.counts = make([]map[string]int, 2)
	f.countErr = errors.New("not permitted")
	r := f.report()
	if n := r.Nodes[0]; n.Connections == nil || *n.Connections != 50 || n.Source != "balancer" {
		t.Errorf("node %+v, want the balancer's 50", n)
	}

	f.balancer = balancerFinding{}
	r = f.report()
	if n := r.Nodes[0]; n.Connections != nil || n.Source != "" {
		t.Errorf("node %+v, want no count", n)
	}
	if c := r.Connections; c.Total != nil || c.MaxDeviation != nil || c.Error != "not permitted" || c.Capacity != 1000 {
		t.Errorf("connections %+v, want nothing but an error and the configured capacity", c)
	}
	if r.LoadBalancer.Listeners == nil {
		t.Error("listeners are null in JSON")
	}
}

func TestMaxDeviation(t *testing.T) {
	node := func(status, balancer string, weight, connections int) NodeHealth {
		return NodeHealth{Status: status, Balancer: balancer, Weight: weight, Connections: &connections}
	}
	for _, c := range []struct {
		name  string
		nodes []NodeHealth
		want  int // −1: not known
	}{
		{"none", nil, -1},
		{"none up", []NodeHealth{node("down", "", 1, 5)}, -1},
		{"even", []NodeHealth{node("up", "up", 1, 5), node("up", "up", 1, 5)}, 0},
		{"uneven", []NodeHealth{node("up", "", 1, 10), node("up", "", 1, 4), node("up", "", 1, 7)}, 3},
		{"rounded", []NodeHealth{node("up", "", 1, 1), node("up", "", 1, 2)}, 1},
		{"by weight", []NodeHealth{node("up", "", 3, 30), node("up", "", 1, 10)}, 0},
		{"the dead do not count", []NodeHealth{node("up", "up", 1, 9), node("down", "down", 1, 0), node("up", "up", 1, 9)}, 0},
		{"nor the draining", []NodeHealth{node("up", "up", 1, 9), node("up", "draining", 1, 2)}, 0},
		{"not known", []NodeHealth{node("up", "", 1, 9), {Status: "up", Weight: 1}}, -1},
	} {
		got := -1
		if d := maxDeviation(c.nodes); d != nil {
			got = *d
		}
		if got != c.want {
			t.Errorf("%s: %d, want %d", c.name, got, c.want)
		}
	}
}
