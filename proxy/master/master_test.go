package master

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/erlmcp/erlmcp/proxy"
	"github.com/erlmcp/erlmcp/proxy/internal/proxytest"
)

func TestServe(t *testing.T) {
	b := serve(t, proxytest.StartNodes(t, 2), func(s *proxy.Spec) { s.Workers = 2; s.Sticky.TCP = proxy.StickyNone })
	seen := map[string]int{}
	for range 10 {
		seen[b.dial().Ask("hello")]++
	}
	if seen["n0"] != 5 || seen["n1"] != 5 {
		t.Errorf("clients spread %v", seen)
	}
	b.eventually("counts", func(s *proxy.Stats) bool {
		return s.Connections.Active == 10 && s.Connections.Total == 10 && s.Nodes[0].Messages == 5 && s.Nodes[1].Connections == 5
	})
	s := b.stats()
	if s.Schema != proxy.StatsSchema || s.State != proxy.StateRunning || s.PID != os.Getpid() || s.Version != "test" || s.Connections.Max != 1000 {
		t.Errorf("stats are %+v", s)
	}
	if len(s.Workers) != 2 || s.Workers[0].PID == 0 || s.Workers[0].Max != 1000 || s.Workers[0].RSSBytes == 0 {
		t.Errorf("workers are %+v", s.Workers)
	}
	if len(s.Listeners) != 3 || s.Sources.Tracked != 1 || s.Sources.Capacity != 1024 {
		t.Errorf("listeners are %+v, sources %+v", s.Listeners, s.Sources)
	}
	n := s.Node("n0")
	if n.State != proxy.NodeUp || n.Weight != 1 || n.MaxConnections != 1000 || n.StateChanges != 1 || !n.Check.OK || n.Check.Kind != "tcp" || n.Check.At.IsZero() {
		t.Errorf("node is %+v", n)
	}
}

func TestAdmin(t *testing.T) {
	b := serve(t, proxytest.StartNodes(t, 2), nil)
	b.dial().Ask("hello")
	status, body := b.get("admin", "/stats.json")
	var s proxy.Stats
	if err := json.Unmarshal([]byte(body), &s); err != nil || status != 200 || s.Schema != proxy.StatsSchema || s.Connections.Active != 1 {
		t.Errorf("stats.json is %d, %v: %s", status, err, body)
	}
	status, body = b.get("admin", "/metrics")
	for _, want := range []string{
		`erlmcp_lb_info{version="test"} 1`,
		"erlmcp_lb_connections 1\n",
		"erlmcp_lb_connections_max 1000\n",
		`erlmcp_lb_refused_connections_total{reason="per_source"} 0`,
		`erlmcp_lb_node_state{address="` + b.nodes[0].Address() + `",node="n0",state="up"} 1`,
		`erlmcp_lb_node_connect_seconds_bucket{address="` + b.nodes[0].Address() + `",node="n0",le="+Inf"}`,
		`erlmcp_lb_worker_restarts_total{worker="0"} 0`,
		"erlmcp_lb_config_last_reload_successful 1\n",
	} {
		if status != 200 || !strings.Contains(body, want) {
			t.Errorf("metrics (%d) lack %s", status, want)
		}
	}
	if strings.Contains(body, "go_goroutines") {
		t.Error("metrics hold more than the balancer's")
	}
	for path, want := range map[string]int{"/": 200, "/nothing": 404} {
		if status, _ := b.get("admin", path); status != want {
			t.Errorf("%s is %d", path, status)
		}
	}
}

func TestHealth(t *testing.T) {
	nodes := proxytest.StartNodes(t, 2)
	b := serve(t, nodes, nil)
	check := func(wantStatus int, want string) {
		t.Helper()
		status, body := b.get("health", "/health")
		var reply struct {
			Status string
			Nodes  struct{ Up, Total int }
		}
		if err := json.Unmarshal([]byte(body), &reply); err != nil {
			t.Fatal(err)
		}
		got := fmt.Sprintf("%s %d/%d", reply.Status, reply.Nodes.Up, reply.Nodes.Total)
		if status != wantStatus || got != want {
			t.Errorf("health is %d, %s; want %d, %s", status, got, wantStatus, want)
		}
	}
	check(200, "up 2/2")
	nodes[0].Stop()
	b.eventuallyState("n0", proxy.NodeDown)
	check(200, "up 1/2")
	nodes[1].Stop()
	b.eventuallyState("n1", proxy.NodeDown)
	check(503, "down 0/2")
}

func TestNodeDownDisplacesItsClients(t *testing.T) {
	nodes := proxytest.StartNodes(t, 2)
	b := serve(t, nodes, nil)
	c := b.dial()
	node := nodes[c.Ask("hello")[1]-'0']
	node.Stop()
	if _, err := c.Reader.ReadByte(); err == nil {
		t.Error("the client is still served")
	}
	next := b.dial().Ask("hello")
	if nodes[next[1]-'0'] == node {
		t.Error("the client went back to a dead node")
	}
}

func TestWorkerIsReplaced(t *testing.T) {
	b := serve(t, proxytest.StartNodes(t, 1), func(s *proxy.Spec) { s.Workers = 1 })
	c := b.dial()
	c.Ask("hello")
	pid := b.stats().Workers[0].PID
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Reader.ReadByte(); err == nil {
		t.Error("the client is still served")
	}
	if got := b.dial().Ask("hello"); got != "n0" {
		t.Errorf("after the replacement: %q", got)
	}
	b.eventually("the replacement", func(s *proxy.Stats) bool {
		w := s.Workers[0]
		return w.PID != 0 && w.PID != pid && w.Restarts == 1 && w.Active == 1 && s.Connections.Active == 1 && s.Connections.Total == 2
	})
}

// occupied is an address that somebody else listens on.
func occupied(t testing.TB) string {
	t.Helper()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { taken.Close() })
	return taken.Addr().String()
}

func TestNothingIsLeftBehind(t *testing.T) {
	nodes := proxytest.StartNodes(t, 1)
	taken := occupied(t)
	for name, test := range map[string]struct {
		change func(*proxy.Spec)
		want   string
		hint   bool
	}{
		"tcp":     {func(s *proxy.Spec) { s.Listen.TCP = taken }, "lb.listen.tcp: " + taken + " is in use by", true},
		"admin":   {func(s *proxy.Spec) { s.Listen.Admin = taken }, "lb.listen.admin: " + taken + " is in use by", true},
		"health":  {func(s *proxy.Spec) { s.Listen.Health = taken }, "lb.listen.health: " + taken + " is in use by", true},
		"workers": {func(s *proxy.Spec) { s.MaxConnections, s.Workers = 10_000_000, 1 }, "lb.", true},
		"invalid": {func(s *proxy.Spec) { s.Balance = "best" }, "lb.balance: ", false},
	} {
		t.Run(name, func(t *testing.T) {
			s := testSpec(nodes...)
			test.change(&s)
			if _, _, _, err := Plan(s); name == "workers" && err == nil {
				t.Skip("this machine has no limit of open files to speak of")
			}
			b := newBalancer(t, s)
			err := Serve(t.Context(), s, b.options(func() { t.Error("it serves") }))
			if err == nil || !strings.HasPrefix(err.Error(), test.want) {
				t.Fatalf("got %v, want %s…", err, test.want)
			}
			var hinted interface{ Hint() string }
			if errors.As(err, &hinted) != test.hint {
				t.Errorf("hint: %v", !test.hint)
			}
			if _, err := b.Stats(t.Context()); err == nil {
				t.Error("the control socket answers")
			}
		})
	}
}

func TestWorkersThatDoNotStart(t *testing.T) {
	s := testSpec(proxytest.StartNodes(t, 1)...)
	b := newBalancer(t, s)
	o := b.options(func() { t.Error("it serves") })
	o.Worker = []string{"-test.list=^$"} // ends at once
	err := Serve(t.Context(), s, o)
	if err == nil || !strings.Contains(err.Error(), "ended before it was ready: ") {
		t.Errorf("got %v", err)
	}
}

func TestSecondBalancer(t *testing.T) {
	b := serve(t, proxytest.StartNodes(t, 1), nil)
	s := testSpec(b.nodes...)
	err := Serve(t.Context(), s, b.options(func() { t.Error("it serves") }))
	if want := fmt.Sprintf("lb is already running (pid %d)", os.Getpid()); err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	b.dial().Ask("hello")
}

func TestCancelWhileStarting(t *testing.T) {
	s := testSpec(proxytest.StartNodes(t, 1)...)
	b := newBalancer(t, s)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := Serve(ctx, s, b.options(func() { t.Error("it serves") })); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}
