package master

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/erlmcp/erlmcp/internal/control"
	"github.com/erlmcp/erlmcp/internal/mcp"
	"github.com/erlmcp/erlmcp/internal/topology"
	"github.com/erlmcp/erlmcp/proxy"
	"github.com/erlmcp/erlmcp/proxy/internal/board"
	"github.com/erlmcp/erlmcp/proxy/internal/proxytest"
)

func TestDrainANode(t *testing.T) {
	nodes := proxytest.StartNodes(t, 2)
	b := serve(t, nodes, nil)
	c := b.dial()
	name := c.Ask("hello")
	n, err := b.Drain(t.Context(), name)
	if err != nil || n.State != proxy.NodeDraining || n.Name != name {
		t.Fatalf("drained: %+v, %v", n, err)
	}
	if got := c.Ask("still here"); got != name {
		t.Errorf("answered by %q", got)
	}
	if got := b.dial().Ask("hello"); got == name {
		t.Error("a newcomer went to the drained node")
	}
	nodes[name[1]-'0'].Stop()
	b.eventuallyState(name, proxy.NodeMaintenance)
	if n, err = b.Enable(t.Context(), name); err != nil || n.State != proxy.NodeDown {
		t.Errorf("enabled while down: %+v, %v", n, err)
	}
}

func TestEnableANode(t *testing.T) {
	b := serve(t, proxytest.StartNodes(t, 1), nil)
	for range 2 { // again changes nothing
		if n, err := b.Drain(t.Context(), "n0"); err != nil || n.State != proxy.NodeDraining || n.StateChanges != 2 {
			t.Errorf("drained: %+v, %v", n, err)
		}
	}
	b.reloaded(func(s *proxy.Spec) { s.Nodes[0].Weight = 3 })
	if n := b.stats().Node("n0"); n.State != proxy.NodeDraining {
		t.Errorf("after a reload: %+v", n)
	}
	for range 2 {
		if n, err := b.Enable(t.Context(), "n0"); err != nil || n.State != proxy.NodeUp || n.Weight != 3 || n.StateChanges != 3 {
			t.Errorf("enabled: %+v, %v", n, err)
		}
	}
}

func TestDisableANode(t *testing.T) {
	nodes := proxytest.StartNodes(t, 2)
	b := serve(t, nodes, nil)
	c := b.dial()
	name := c.Ask("hello")
	n, err := b.Disable(t.Context(), name)
	if err != nil || n.State != proxy.NodeMaintenance || !n.Check.Up || n.Connections != 1 {
		t.Fatalf("disabled: %+v, %v", n, err)
	}
	if got := c.Ask("still here"); got != name {
		t.Errorf("answered by %q", got)
	}
	if got := b.dial().Ask("hello"); got == name {
		t.Error("a newcomer went to the disabled node")
	}
	if n, err = b.Drain(t.Context(), name); err != nil || n.State != proxy.NodeDraining {
		t.Errorf("drained: %+v, %v", n, err)
	}
	if n, err = b.Disable(t.Context(), name); err != nil || n.State != proxy.NodeMaintenance {
		t.Errorf("disabled: %+v, %v", n, err)
	}
	nodes[name[1]-'0'].Stop()
	b.eventually("to be found down", func(s *proxy.Stats) bool { n := s.Node(name); return n.State == proxy.NodeMaintenance && !n.Check.Up })
	if n, err = b.Enable(t.Context(), name); err != nil || n.State != proxy.NodeDown {
		t.Errorf("enabled while down: %+v, %v", n, err)
	}
}

func TestUnknownNode(t *testing.T) {
	b := serve(t, proxytest.StartNodes(t, 1), nil)
	want := (&topology.UnknownError{Name: "n/1", Nodes: []string{"n0"}}).Error()
	_, err := b.Drain(t.Context(), "n/1")
	var refused *control.Error
	if !errors.As(err, &refused) || err.Error() != want || refused.ExitCode() != 2 {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestBans(t *testing.T) {
	b := serve(t, proxytest.StartNodes(t, 1), nil)
	c := b.dial()
	c.Ask("hello")
	before := time.Now()
	ban, err := b.Ban(t.Context(), "127.0.0.1", 10*time.Second)
	if err != nil || ban.Source != "127.0.0.1" || ban.Connections != 1 || ban.Until.Before(before.Add(9*time.Second)) || ban.Until.After(time.Now().Add(11*time.Second)) {
		t.Fatalf("banned: %+v, %v", ban, err)
	}
	if longer, err := b.Ban(t.Context(), "127.0.0.1", time.Second); err != nil || longer.Until.Before(before.Add(9*time.Second)) {
		t.Errorf("a shorter ban leaves %+v, %v", longer, err)
	}
	if v6, err := b.Ban(t.Context(), "2001:db8::1", 0); err != nil || v6.Source != "2001:db8::/64" || v6.Until.Before(before.Add(59*time.Second)) {
		t.Errorf("banned: %+v, %v", v6, err)
	}
	c.Ask("still here")
	if code, _ := b.dial().Refusal(); code != mcp.CodeBanned {
		t.Errorf("a banned client is told %d", code)
	}
	list, err := b.Bans(t.Context())
	if err != nil || len(list) != 2 || list[0].Source != "127.0.0.1" || list[1].Source != "2001:db8::/64" {
		t.Errorf("list is %+v, %v", list, err)
	}
	if s := b.stats(); s.Sources.Banned != 2 || s.Refused.Ban != 1 {
		t.Errorf("stats are %+v", s)
	}
	for _, source := range []string{"127.0.0.1", "2001:db8::/64"} {
		if err := b.Unban(t.Context(), source); err != nil {
			t.Error(err)
		}
	}
	b.dial().Ask("hello")
	if list, err := b.Bans(t.Context()); err != nil || len(list) != 0 {
		t.Errorf("list is %+v, %v", list, err)
	}
}

func TestBanRefusals(t *testing.T) {
	b := serve(t, proxytest.StartNodes(t, 1), func(s *proxy.Spec) { s.Limits.Exempt = []string{"10.0.0.0/8"} })
	ban := func(client string, long time.Duration) error { _, err := b.Ban(t.Context(), client, long); return err }
	for _, test := range []struct {
		err  error
		want string
		exit int
	}{
		{ban("localhost", 0), `"localhost" is not an IP address`, 2},
		{ban("192.168.0.0/16", 0), "192.168.0.0/16 is more than one client: name an IPv4 address or an IPv6 /64", 2},
		{ban("10.1.2.3", 0), "10.1.2.3 is exempt from bans (lb.limits.exempt)", 1},
		{ban("192.0.2.1", -time.Second), "a ban must last from 0 to 24h0m0s, not -1s", 1},
		{b.Unban(t.Context(), "192.0.2.1"), "192.0.2.1 is not banned", 1},
	} {
		var refused *control.Error
		if !errors.As(test.err, &refused) || test.err.Error() != test.want || refused.ExitCode() != test.exit {
			t.Errorf("got %v, want %s", test.err, test.want)
		}
	}
}

func TestExplain(t *testing.T) {
	b := serve(t, proxytest.StartNodes(t, 2), func(s *proxy.Spec) {
		s.Limits.MaxPerSource = 2
		s.Limits.ConnectionsPerSecond = 50
		s.Limits.Exempt = []string{"127.7.0.0/16"}
	})
	explain := func(client string) proxy.Explanation {
		t.Helper()
		e, err := b.Explain(t.Context(), client)
		if err != nil {
			t.Fatal(err)
		}
		return e
	}
	told := func(client, want string) {
		t.Helper()
		e := explain(client)
		got := fmt.Sprintf("%v %s %v: %s", e.Accepted, e.Reason, e.Nodes, e.Why)
		if got != want {
			t.Errorf("%s\ngot  %s\nwant %s", client, got, want)
		}
	}
	told("127.0.0.1", "true  [n0]: fewest connections for its weight, equals in turn (lb.balance: leastconn)")
	if s := b.stats(); s.Sources.Tracked != 0 {
		t.Error("explaining leaves a trace")
	}
	c := b.dial()
	name := c.Ask("hello")
	other := map[string]string{"n0": "n1", "n1": "n0"}[name]
	told("127.0.0.1", "true  ["+name+"]: its connections stay with that node (lb.sticky.tcp: source)")
	told("127.0.0.9", "true  ["+other+"]: fewest connections for its weight, equals in turn (lb.balance: leastconn)")
	if e := explain("127.0.0.1"); e.Sticky != name || e.Connections != 1 || e.Connection.PerSecond != 50 || e.Connection.WaitMs != 0 || len(e.Choices) != 2 {
		t.Errorf("got %+v", e)
	}
	b.dial().Ask("hello")
	told("127.0.0.1", "false per_source []: it has 2 connections (lb.limits.max_per_source)")
	told("127.7.0.1", "true  ["+other+"]: fewest connections for its weight, equals in turn (lb.balance: leastconn)")

	if _, err := b.Ban(t.Context(), "127.0.0.1", time.Minute); err != nil {
		t.Fatal(err)
	}
	if e := explain("127.0.0.1"); e.Accepted || e.Reason != "ban" || !strings.HasPrefix(e.Why, "it is banned until ") || e.BannedUntil.IsZero() {
		t.Errorf("got %+v", e)
	}
	if _, err := b.Drain(t.Context(), other); err != nil {
		t.Fatal(err)
	}
	told("127.0.0.9", "true  ["+name+"]: fewest connections for its weight, equals in turn (lb.balance: leastconn)")
	if i := slices.IndexFunc(explain("127.0.0.9").Choices, func(c proxy.NodeChoice) bool { return c.Excluded == proxy.NodeDraining }); i < 0 {
		t.Error("the drained node is not told apart")
	}
	if _, err := b.Drain(t.Context(), name); err != nil {
		t.Fatal(err)
	}
	told("127.0.0.9", "false no_node []: no node is up over tcp")
}

func TestExplainBalance(t *testing.T) {
	nodes := proxytest.StartNodes(t, 2)
	for balance, want := range map[proxy.Balance]string{
		proxy.BalanceLeastConn:  "fewest connections for its weight, equals in turn (lb.balance: leastconn)",
		proxy.BalanceRoundRobin: "it is that node's turn, by weight (lb.balance: roundrobin)",
		proxy.BalanceRandom2:    "[n0 n1]: the less busy of two drawn at random (lb.balance: random2)",
		proxy.BalanceSource:     "by the hash of its address (lb.balance: source)",
	} {
		t.Run(string(balance), func(t *testing.T) {
			b := serve(t, nodes, func(s *proxy.Spec) { s.Balance = balance; s.Sticky.TCP = proxy.StickyNone })
			for range 5 {
				e, err := b.Explain(t.Context(), "127.0.0.1")
				if err != nil {
					t.Fatal(err)
				}
				if got := fmt.Sprintf("%v: %s", e.Nodes, e.Why); !strings.HasSuffix(got, want) {
					t.Errorf("got %s, want %s", got, want)
				}
				if got := b.dial().Ask("hello"); balance != proxy.BalanceRandom2 && (len(e.Nodes) != 1 || got != e.Nodes[0]) {
					t.Errorf("went to %s, explained %v", got, e.Nodes)
				}
			}
		})
	}
}

func TestExplainFull(t *testing.T) {
	b := serve(t, proxytest.StartNodes(t, 1), func(s *proxy.Spec) { s.MaxConnections = 2; s.NodeMaxConnections = 1 })
	b.dial().Ask("hello")
	e, err := b.Explain(t.Context(), "127.0.0.1")
	if err != nil || e.Reason != board.ReasonFull.String() || e.Why != "every node is at its cap (lb.node_max_connections)" || e.Choices[0].Excluded != "at its cap" {
		t.Errorf("got %+v, %v", e, err)
	}
	b.reloaded(func(s *proxy.Spec) { s.MaxConnections = 1 })
	if e, err = b.Explain(t.Context(), "127.0.0.1"); err != nil || e.Why != "all 1 places are taken (lb.max_connections)" {
		t.Errorf("got %+v, %v", e, err)
	}
}
