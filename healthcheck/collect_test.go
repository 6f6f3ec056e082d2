package healthcheck

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/erlmcp/erlmcp/internal/sockdiag"
	"github.com/erlmcp/erlmcp/internal/topology"
)

const discovered = `{"jsonrpc":"2.0","id":1,"result":{}}`

// nodeAt is a node that serves TCP at address.
func nodeAt(t *testing.T, name, address string) topology.Node {
	t.Helper()
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	number, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}
	return topology.Node{Name: name, Host: host, TCP: number}
}

func quick() Spec {
	return Spec{Interval: time.Second, Timeout: 300 * time.Millisecond, Kinds: Kinds()}
}

func TestCollect(t *testing.T) {
	alive := peer(t, answering(func(string) string { return discovered }))
	for range 3 {
		c, err := net.Dial("tcp", alive)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
	}
	door := peer(t, answering(func(string) string { return discovered }))
	clients := 3
	c := Collector{
		Spec: quick(),
		Nodes: []topology.Node{
			nodeAt(t, "alive", alive),
			nodeAt(t, "frozen", peer(t, silent)),
			nodeAt(t, "gone", closedPort(t)),
		},
		Capacity: 10,
		Balancer: func(context.Context) (*Balancer, error) {
			return &Balancer{
				Engine: "builtin", State: "running", Clients: &clients,
				Listeners: []Listener{{"tcp", door, true}},
				Nodes:     []BalancerNode{{Name: "alive", State: "up", Connections: 3}, {Name: "frozen", State: "down", Connections: 0}, {Name: "gone", State: "down", Connections: 0}},
			}, nil
		},
	}
	started := time.Now()
	r := c.Collect(context.Background())
	if r.Status != StatusDegraded || len(r.Reasons) != 2 {
		t.Errorf("status %s, reasons %q", r.Status, r.Reasons)
	}
	var states strings.Builder
	for _, n := range r.Nodes {
		fmt.Fprintf(&states, "%s %s %s\n", n.Name, n.Status, failure(n.Checks))
	}
	const want = "alive up \nfrozen down mcp: no reply within 300ms (frozen?)\ngone down mcp, tcp: connection refused\n"
	if states.String() != want {
		t.Errorf("nodes\n%swant\n%s", states.String(), want)
	}
	if !succeeded(r.LoadBalancer.Checks) {
		t.Errorf("front door: %+v", r.LoadBalancer.Checks)
	}
	if r.Connections.Error == "" && (r.Nodes[0].Connections == nil || *r.Nodes[0].Connections != 3) {
		t.Errorf("connections of alive: %+v", r.Nodes[0])
	}
	if r.Time.Before(started) {
		t.Errorf("time %v", r.Time)
	}
}

func TestCollectCanceled(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	c := Collector{Spec: quick(), Nodes: []topology.Node{nodeAt(t, "one", peer(t, silent))}}
	if r := c.Collect(ctx); r.Status != StatusUnknown {
		t.Errorf("status %s", r.Status)
	}
}

// TestRefusingBalancer answers as a balancer without nodes does: alive, but of no use to clients.
func TestRefusingBalancer(t *testing.T) {
	door := peer(t, answering(func(string) string {
		return `{"jsonrpc":"2.0","id":null,"error":{"code":-32018,"message":"no node is up"}}`
	}))
	c := Collector{Spec: quick(), Balancer: func(context.Context) (*Balancer, error) {
		return &Balancer{Listeners: []Listener{{"tcp", door, true}}}, nil
	}}
	f := c.findBalancer(context.Background())
	if len(f.door) != 1 || f.door[0].Error != "refused: no node is up (JSON-RPC error -32018)" {
		t.Errorf("front door %+v", f.door)
	}
}

func TestStrangers(t *testing.T) {
	configured := []Listener{{Name: "tcp", Address: ":8000"}, {Name: "admin", Address: "127.0.0.1:8404"}}
	for _, c := range []struct {
		name   string
		holder func(netip.AddrPort) (int, string, error)
		engine string
		note   string
		up     string
	}{
		{
			"nobody", func(netip.AddrPort) (int, string, error) { return 0, "", sockdiag.ErrNotListening },
			"", "", "false false",
		},
		{
			"haproxy", func(netip.AddrPort) (int, string, error) { return 12, "haproxy", nil },
			"haproxy", "", "true true",
		},
		{
			"another program", func(a netip.AddrPort) (int, string, error) {
				if a.Port() == 8000 {
					return 12, "python3", nil
				}
				return 0, "", sockdiag.ErrNotListening
			},
			"", ":8000 is in use by python3 (process 12)", "true false",
		},
		{
			"another user's program", func(netip.AddrPort) (int, string, error) { return 0, "", nil },
			"", "127.0.0.1:8404 is in use by a process of another user", "true true",
		},
		{
			"cannot be told", func(netip.AddrPort) (int, string, error) { return 0, "", errors.ErrUnsupported },
			"", "unsupported operation", "false false",
		},
	} {
		collector := Collector{Spec: quick(), Listen: configured, Holder: c.holder}
		b, listeners, note := collector.findStranger(context.Background())
		engine := ""
		if b != nil {
			engine = b.Engine
		}
		up := fmt.Sprint(listeners[0].Up, listeners[1].Up)
		if engine != c.engine || note != c.note || up != c.up {
			t.Errorf("%s: engine %q, note %q, up %s; want %q, %q, %s", c.name, engine, note, up, c.engine, c.note, c.up)
		}
	}
}

// TestUnnamedBalancer has a balancer whose process may not be looked at: it counts when it serves.
func TestUnnamedBalancer(t *testing.T) {
	hidden := func(netip.AddrPort) (int, string, error) { return 0, "", nil }
	door := peer(t, answering(func(string) string { return discovered }))
	c := Collector{Spec: quick(), Listen: []Listener{{Name: "tcp", Address: door}}, Holder: hidden}
	if f := c.findBalancer(context.Background()); f.balancer == nil || f.balancer.Engine != "unknown" {
		t.Errorf("one that serves: %+v", f)
	}
	c.Listen[0].Address = peer(t, silent)
	if f := c.findBalancer(context.Background()); f.balancer != nil {
		t.Errorf("one that does not: %+v", f.balancer)
	}
}

// TestFrozenMaster has a balancer that does not answer, but whose workers do.
func TestFrozenMaster(t *testing.T) {
	door := peer(t, answering(func(string) string { return discovered }))
	c := Collector{
		Spec:   quick(),
		Nodes:  []topology.Node{nodeAt(t, "one", peer(t, answering(func(string) string { return discovered })))},
		Listen: []Listener{{Name: "tcp", Address: door}},
		Holder: func(netip.AddrPort) (int, string, error) { return 77, "erlmcp", nil },
		Balancer: func(ctx context.Context) (*Balancer, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		},
	}
	r := c.Collect(context.Background())
	if lb := r.LoadBalancer; r.Status != StatusDegraded || !lb.Running || lb.PID != 77 || lb.Error == "" || !succeeded(lb.Checks) {
		t.Errorf("%s %q: %+v", r.Status, r.Reasons, lb)
	}
}

func TestDialable(t *testing.T) {
	for address, want := range map[string]string{
		":8000":          "127.0.0.1:8000",
		"0.0.0.0:8000":   "127.0.0.1:8000",
		"[::]:8000":      "[::1]:8000",
		"10.0.0.1:8000":  "10.0.0.1:8000",
		"localhost:8000": "localhost:8000",
		"nonsense":       "nonsense",
	} {
		if got := dialable(address); got != want {
			t.Errorf("dialable(%q) = %q, want %q", address, got, want)
		}
	}
}

// TestRemoteNodes asks the kernel only about nodes that are on this host.
func TestRemoteNodes(t *testing.T) {
	c := Collector{
		Spec: quick(),
		Nodes: []topology.Node{
			{Name: "far", Host: "192.0.2.1", TCP: 1},
			{Name: "near", Host: "127.0.0.9", TCP: 2, SSE: 3},
			{Name: "lost", Host: "no such host", TCP: 4},
		},
		Count: func(_ context.Context, servers []netip.AddrPort) ([]int, error) {
			if got := fmt.Sprint(servers); got != "[127.0.0.9:2 127.0.0.9:3]" {
				t.Errorf("asked for %s", got)
			}
			return []int{20, 30}, nil
		},
	}
	counts, err := c.countNodes(context.Background())
	if got := fmt.Sprint(counts, err); got != "[map[] map[sse:30 tcp:20] map[]] <nil>" {
		t.Errorf("counts %s", got)
	}
	if counts[0] != nil || counts[2] != nil {
		t.Error("a node that is not here has counts")
	}
}

func TestWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := Collector{Balancer: func(context.Context) (*Balancer, error) { return &Balancer{}, nil }}
		begun := time.Now()
		var at []time.Duration
		last, err := c.Watch(t.Context(), time.Second, 3, func(Report) error {
			at = append(at, time.Since(begun))
			if len(at) == 1 {
				time.Sleep(1500 * time.Millisecond) // a round that takes longer than the interval
			}
			return nil
		})
		if got := fmt.Sprint(at); got != "[0s 1.5s 2s]" || err != nil || last.Schema != Schema {
			t.Errorf("rounds at %s, error %v, last %+v", got, err, last)
		}
	})
}

func TestWatchEnds(t *testing.T) {
	c := Collector{Balancer: func(context.Context) (*Balancer, error) { return &Balancer{}, nil }}
	if _, err := c.Watch(t.Context(), time.Hour, 0, func(Report) error { return os.ErrClosed }); !errors.Is(err, os.ErrClosed) {
		t.Errorf("error %v", err)
	}

	ctx, cancel := context.WithCancel(t.Context())
	last, err := c.Watch(ctx, time.Hour, 0, func(Report) error { cancel(); return nil })
	if err != nil || last.Schema != Schema {
		t.Errorf("stopped between rounds: %v, %+v", err, last)
	}
	last, err = c.Watch(ctx, time.Hour, 0, func(Report) error { t.Error("shown"); return nil })
	if err != nil || last.Status != StatusUnknown {
		t.Errorf("stopped in the first round: %v, %+v", err, last)
	}
}
