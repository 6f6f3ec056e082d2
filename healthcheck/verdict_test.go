package healthcheck

import (
	"errors"
	"slices"
	"testing"

	"github.com/erlmcp/erlmcp/internal/topology"
)

var (
	good    = []Result{{Kind: "tcp", OK: true}, {Kind: "mcp", OK: true}}
	refused = []Result{
		{Kind: "tcp", Cause: CauseRefused, Error: "connection refused"},
		{Kind: "mcp", Cause: CauseRefused, Error: "connection refused"},
	}
	frozen = []Result{{Kind: "tcp", OK: true}, {Kind: "mcp", Cause: CauseTimeout, Error: "no reply within 1s (frozen?)"}}
	local  = []Result{{Kind: "tcp", Cause: CauseLocal, Error: "cannot ask: too many open files"}}
)

// serving is a round in which nothing is wrong.
func serving() *findings {
	clients := 100
	states := []BalancerNode{{Name: "erlmcp1", State: "up", Connections: 50}, {Name: "erlmcp2", State: "up", Connections: 50}}
	return &findings{
		nodes:    topology.Default(2),
		capacity: 1000,
		checks:   [][]Result{good, good},
		counts:   []map[string]int{{"tcp": 48, "http": 2}, {"tcp": 52}},
		balancer: balancerFinding{
			balancer: &Balancer{
				Engine: "builtin", PID: 7, State: "running",
				Clients: &clients, Capacity: 2000, Nodes: states,
			},
			listeners: []Listener{{"tcp", "127.0.0.1:8000", true}},
			door:      good[1:],
		},
	}
}

func TestVerdict(t *testing.T) {
	for _, c := range []struct {
		name    string
		change  func(*findings)
		status  Status
		reasons []string
	}{
		{"all well", func(*findings) {}, StatusHealthy, nil},
		{"canceled", func(f *findings) { f.canceled = true }, StatusUnknown, []string{"the round was not finished"}},
		{"no nodes", func(f *findings) { f.nodes = nil }, StatusUnknown, []string{"no nodes are configured"}},
		{
			"a node refuses", func(f *findings) {
				f.checks[1] = refused
				f.balancer.balancer.Nodes[1].State = "down"
			},
			StatusDegraded, []string{"erlmcp2 is down (tcp, mcp: connection refused)"},
		},
		{
			"a node is frozen", func(f *findings) {
				f.checks[0] = frozen
				f.balancer.door = frozen[1:]
			},
			StatusDegraded, []string{
				"a client got no answer from the load balancer: mcp: no reply within 1s (frozen?)",
				"erlmcp1 is down, which the load balancer has not noticed yet (mcp: no reply within 1s (frozen?))",
			},
		},
		{
			"all nodes are down", func(f *findings) {
				f.checks = [][]Result{refused, frozen}
				f.balancer.balancer.Nodes = nil
			},
			StatusDown, []string{
				"no node is up",
				"erlmcp1 is down (tcp, mcp: connection refused)",
				"erlmcp2 is down (mcp: no reply within 1s (frozen?))",
			},
		},
		{
			"a check cannot be made", func(f *findings) { f.checks[1] = local },
			StatusDegraded, []string{"erlmcp2 is unknown (tcp: cannot ask: too many open files)"},
		},
		{
			"no check can be made", func(f *findings) { f.checks = [][]Result{local, local} },
			StatusUnknown, []string{
				"no node could be checked",
				"erlmcp1 is unknown (tcp: cannot ask: too many open files)",
				"erlmcp2 is unknown (tcp: cannot ask: too many open files)",
			},
		},
		{
			"no balancer", func(f *findings) { f.balancer = balancerFinding{} },
			StatusDegraded, []string{"no load balancer is running"},
		},
		{
			"balancer cannot be asked and nobody is there", func(f *findings) {
				f.balancer = balancerFinding{err: errors.New("not permitted")}
			},
			StatusDegraded, []string{"no load balancer can be asked: not permitted"},
		},
		{
			"somebody else in its place", func(f *findings) { f.balancer = balancerFinding{note: ":8000 is in use by python3 (process 9)"} },
			StatusDegraded, []string{"no load balancer is running: :8000 is in use by python3 (process 9)"},
		},
		{
			"balancer's master is frozen", func(f *findings) { f.balancer.err = errors.New("no answer within 2s") },
			StatusDegraded, []string{"the load balancer does not tell its state: no answer within 2s"},
		},
		{
			"balancer is frozen", func(f *findings) {
				f.balancer.err = errors.New("no answer within 2s")
				f.balancer.door = frozen[1:]
			},
			StatusDown, []string{
				"a client got no answer from the load balancer: mcp: no reply within 1s (frozen?)",
				"the load balancer does not tell its state: no answer within 2s",
			},
		},
		{
			"draining", func(f *findings) {
				f.balancer.balancer.State = "draining"
				f.balancer.listeners[0].Up = false
				f.balancer.door = nil
			},
			StatusDown, []string{
				"the load balancer takes no clients",
				"the load balancer is draining",
				"the load balancer's listener tcp, 127.0.0.1:8000, is down",
			},
		},
		{
			"full", func(f *findings) {
				f.balancer.balancer.Capacity = 100
				f.balancer.door = []Result{{Kind: "mcp", Cause: CauseRefused, Error: "refused: the balancer is full"}}
			},
			StatusDegraded, []string{"the load balancer is full: it serves 100 clients and turns others away"},
		},
		{
			"refuses with room left", func(f *findings) {
				f.balancer.door = []Result{{Kind: "mcp", Cause: CauseRefused, Error: "refused: banned"}}
			},
			StatusDown, []string{"a client got no answer from the load balancer: mcp: refused: banned"},
		},
		{
			"admin listener down", func(f *findings) {
				f.balancer.listeners = append(f.balancer.listeners, Listener{"admin", "127.0.0.1:8404", false})
			},
			StatusDegraded, []string{"the load balancer's listener admin, 127.0.0.1:8404, is down"},
		},
		{
			"an old listener drains", func(f *findings) {
				f.balancer.listeners = append(f.balancer.listeners, Listener{"tcp", "127.0.0.1:8001", false})
			},
			StatusHealthy, nil,
		},
		{
			"balancer disagrees", func(f *findings) { f.balancer.balancer.Nodes[0].State = "down" },
			StatusDegraded, []string{"erlmcp1 is up, but the load balancer holds it for down"},
		},
		{
			"maintenance", func(f *findings) { f.balancer.balancer.Nodes[0].State = "maintenance" },
			StatusDegraded, []string{"erlmcp1 is in state maintenance"},
		},
	} {
		f := serving()
		c.change(f)
		r := f.report()
		if r.Status != c.status || !slices.Equal(r.Reasons, c.reasons) {
			t.Errorf("%s: %s %q\nwant %s %q", c.name, r.Status, r.Reasons, c.status, c.reasons)
		}
	}
}

func TestExitCodes(t *testing.T) {
	for status, want := range map[Status]int{
		StatusHealthy: 0, StatusDegraded: 1, StatusDown: 2, StatusUnknown: 3, "": 3,
	} {
		if got := status.ExitCode(); got != want {
			t.Errorf("%q: exit code %d, want %d", status, got, want)
		}
	}
}
