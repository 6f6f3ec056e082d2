package line

import (
	"fmt"
	"io"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/erlmcp/erlmcp/proxy"
	"github.com/erlmcp/erlmcp/proxy/internal/board"
	"github.com/erlmcp/erlmcp/proxy/internal/proxytest"
	"github.com/erlmcp/erlmcp/proxy/internal/wire"
)

func TestSourcesStickAndSpread(t *testing.T) {
	nodes := []string{proxytest.StartNode(t, "a", nil).Address(), proxytest.StartNode(t, "b", nil).Address()}
	b := startWorker(t, nodes, nil)
	seen := map[string]int{}
	for i := range 10 {
		from := fmt.Sprintf("127.0.7.%d", i+1)
		var first string
		for range 4 {
			c := b.Dial(from)
			c.Say("x\n")
			name, _, _ := strings.Cut(c.Hear(), ":")
			if first == "" {
				first = name
				seen[name]++
			}
			if name != first {
				t.Fatalf("%s went to %s, then to %s", from, first, name)
			}
		}
	}
	if seen["a"] != 5 || seen["b"] != 5 {
		t.Fatalf("sources spread %v, want 5 and 5", seen)
	}
	if a0, a1 := b.Board.NodeActive(0), b.Board.NodeActive(1); a0 != 20 || a1 != 20 {
		t.Fatalf("connections %d and %d, want 20 and 20", a0, a1)
	}
}

// The sources of a lost node are spread by what they are going to bring, not by
// the one connection each has brought so far.
func TestSourcesOfALostNodeSpreadEvenly(t *testing.T) {
	var nodes []string
	for _, name := range []string{"a", "b", "c"} {
		nodes = append(nodes, proxytest.StartNode(t, name, nil).Address())
	}
	b := startWorker(t, nodes, nil)
	const sources, each = 24, 8
	connect := func(i int) {
		c := b.Dial(fmt.Sprintf("127.0.6.%d", i+1))
		c.Say("x\n")
		c.Hear()
	}
	for range each {
		for i := range sources {
			connect(i)
		}
	}
	if n := b.Board.NodeActive(0); n != sources*each/3 {
		t.Fatalf("%d connections on the first node", n)
	}
	// One node is a little emptier than the other when the first one dies.
	var lost []int
	for i := range sources {
		id, _ := b.Board.Sources().Lookup(netip.MustParseAddr(fmt.Sprintf("127.0.6.%d", i+1)))
		if node, _ := b.Board.Sources().Sticky(id); node == 0 {
			lost = append(lost, i)
		}
	}
	b.On(func() { b.tcp.nodes[1].pairs.close() })
	b.Board.SetNodeState(0, board.Down, time.Now())
	b.On(b.SyncNodes)
	b.Eventually("the clients to be gone", func() bool { return b.Board.NodeActive(0) == 0 })
	for range each {
		for _, i := range lost {
			connect(i)
		}
	}
	got := []int64{b.Board.NodeActive(1), b.Board.NodeActive(2)}
	if diff := got[0] - got[1]; diff < -each-1 || diff > each+1 {
		t.Fatalf("%d and %d connections on the nodes that are left", got[0], got[1])
	}
}

func TestDeadNodeIsSkippedAndReported(t *testing.T) {
	dead := proxytest.StartNode(t, "dead", nil)
	dead.Stop()
	alive := proxytest.StartNode(t, "alive", nil)
	b := startWorker(t, []string{dead.Address(), alive.Address()}, func(s *proxy.Spec) { s.Sticky.TCP = proxy.StickyNone; s.Balance = proxy.BalanceRoundRobin })
	for range 6 {
		c := b.Dial("")
		c.Say("x\n")
		if got := c.Hear(); got != "alive:x" {
			t.Fatal(got)
		}
	}
	totals := b.Board.NodeTotals(0)
	if totals.ConnectErrors != 3 || totals.Retries != 3 || totals.Total != 0 {
		t.Fatalf("counted %+v", totals)
	}
	for r := range b.Reports {
		if r.Slot != 0 || r.Reason != wire.SuspectRefused {
			t.Fatalf("reported %+v", r)
		}
		if r.Errors == wire.ErrorsInARow {
			return
		}
	}
}

// A connection may fail in the very turn in which its node is found to be down.
// Its error is that node's alone, and the client is served elsewhere.
func TestFailureAndDisplacementInOneTurn(t *testing.T) {
	dead := proxytest.StartNode(t, "dead", nil)
	dead.Stop()
	alive := proxytest.StartNode(t, "alive", nil)
	b := startWorker(t, []string{dead.Address(), alive.Address()}, nil)
	b.Board.Node(1).MaxConns.Store(1)
	b.Board.Flow(0, 1).Active.Add(1) // full: everybody tries the dead one first
	var look func()
	look = func() {
		node := b.tcp.nodes[0]
		if node.pairs == nil || node.pairs.node.Open() {
			b.Loop.Post(look) // in every turn, after its events
			return
		}
		// The connect was refused; OnClose comes at the end of this turn.
		b.Board.Flow(0, 1).Active.Add(-1)
		b.Board.Node(1).MaxConns.Store(0)
		b.Board.SetNodeState(0, board.Down, time.Now())
		b.SyncNodes()
	}
	b.Loop.Post(look)
	c := b.Dial("")
	c.Say("x\n")
	if got := c.Hear(); got != "alive:x" {
		t.Fatal(got)
	}
	if errs := b.Board.NodeTotals(1).ConnectErrors; errs != 0 {
		t.Fatalf("%d connect errors are blamed on the living node", errs)
	}
}

func TestNodeMarkedDownLosesItsClientsAtOnce(t *testing.T) {
	a, z := proxytest.StartNode(t, "a", nil), proxytest.StartNode(t, "z", nil)
	b := startWorker(t, []string{a.Address(), z.Address()}, nil)
	first, second := b.Dial("127.0.8.1"), b.Dial("127.0.8.2")
	first.Say("x\n")
	second.Say("x\n")
	names := first.Hear() + " " + second.Hear()
	if names != "a:x z:x" && names != "z:x a:x" {
		t.Fatal(names)
	}
	doomed, other := first, second
	if names == "z:x a:x" {
		doomed, other = second, first
	}
	b.Board.SetNodeState(0, board.Down, time.Now())
	b.On(b.SyncNodes)
	if _, err := doomed.Reader.ReadByte(); err != io.EOF {
		t.Fatalf("the dead node's client: %v", err)
	}
	other.Say("y\n")
	if got := other.Hear(); got != "z:y" {
		t.Fatal(got)
	}
	for _, from := range []string{"127.0.8.1", "127.0.8.2"} {
		c := b.Dial(from)
		c.Say("again\n")
		if got := c.Hear(); got != "z:again" {
			t.Fatalf("%s: %s", from, got)
		}
	}
	if d := b.Board.NodeTotals(0).Displaced; d != 1 {
		t.Fatalf("%d displaced", d)
	}
}

func TestRefusals(t *testing.T) {
	n := proxytest.StartNode(t, "a", nil)
	served := func(c *proxytest.Client) {
		c.T.Helper()
		c.Say("x\n")
		if got := c.Hear(); got != "a:x" {
			c.T.Fatal(got)
		}
	}
	t.Run("full", func(t *testing.T) {
		b := startWorker(t, []string{n.Address()}, func(s *proxy.Spec) { s.MaxConnections = 1 })
		first := b.Dial("")
		served(first)
		if code, _ := b.Dial("").Refusal(); code != -32018 {
			t.Fatal(code)
		}
		first.Close()
		b.Eventually("room", func() bool { return b.Board.Active() == 0 })
		served(b.Dial(""))
		if got := b.Refused(board.ReasonFull); got != 1 {
			t.Fatalf("%d refused", got)
		}
	})
	t.Run("node full", func(t *testing.T) {
		b := startWorker(t, []string{n.Address()}, nil)
		b.Board.Node(0).MaxConns.Store(1)
		served(b.Dial(""))
		if code, _ := b.Dial("").Refusal(); code != -32018 {
			t.Fatal(code)
		}
	})
	t.Run("no node", func(t *testing.T) {
		b := startWorker(t, []string{n.Address()}, nil)
		b.Board.SetNodeState(0, board.Down, time.Now())
		c := b.Dial("")
		c.Say("a request that is never read\n")
		if code, _ := c.Refusal(); code != -32018 {
			t.Fatal(code)
		}
	})
	t.Run("rate, then ban", func(t *testing.T) {
		b := startWorker(t, []string{n.Address()}, func(s *proxy.Spec) {
			s.Limits.ConnectionsPerSecond = 1
			s.Limits.Ban.Violations = 2
		})
		early := b.Dial("")
		served(early)
		b.Exhaust("127.0.0.1")
		b.Eventually("the ban", func() bool {
			if b.Banned("127.0.0.1") {
				return true
			}
			if code, retry := b.Dial("").Refusal(); code != -32019 || retry <= 0 || retry > 61_000 {
				t.Fatal(code, retry)
			}
			return false
		})
		if code, retry := b.Dial("").Refusal(); code != -32017 || retry < 50_000 {
			t.Fatal(code, retry)
		}
		served(early)               // let in before
		served(b.Dial("127.0.8.9")) // somebody else
	})
	t.Run("exempt", func(t *testing.T) {
		b := startWorker(t, []string{n.Address()}, func(s *proxy.Spec) {
			s.Limits.ConnectionsPerSecond = 1
			s.Limits.Exempt = []string{"127.0.0.0/8"}
		})
		for range 5 {
			served(b.Dial(""))
		}
	})
	t.Run("per source", func(t *testing.T) {
		b := startWorker(t, []string{n.Address()}, func(s *proxy.Spec) { s.Limits.MaxPerSource = 1 })
		served(b.Dial(""))
		if code, _ := b.Dial("").Refusal(); code != -32018 {
			t.Fatal(code)
		}
	})
}
