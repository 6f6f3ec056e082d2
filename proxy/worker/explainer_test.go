package worker

import (
	"fmt"
	"io"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/charmbracelet/log"
	"pgregory.net/rapid"

	"github.com/erlmcp/erlmcp/internal/mono"
	"github.com/erlmcp/erlmcp/internal/prefork"
	"github.com/erlmcp/erlmcp/internal/topology"
	"github.com/erlmcp/erlmcp/proxy"
	"github.com/erlmcp/erlmcp/proxy/internal/affinity"
	"github.com/erlmcp/erlmcp/proxy/internal/board"
	"github.com/erlmcp/erlmcp/proxy/internal/explain"
	"github.com/erlmcp/erlmcp/proxy/internal/http1"
	"github.com/erlmcp/erlmcp/proxy/internal/policy"
	"github.com/erlmcp/erlmcp/proxy/internal/proxytest"
	"github.com/erlmcp/erlmcp/proxy/internal/wire"
)

// silentMaster hears nothing of a worker.
type silentMaster struct{}

func (silentMaster) Send(string, any) error { return nil }

// situation is a balancer between two turns of its loops, with one worker that decides.
type situation struct {
	w      *worker
	spec   *wire.WorkerSpec
	addr   netip.Addr
	source board.SlotID
}

// situations are of one worker of two, whose loop does not turn.
func situations(t *testing.T) *situation {
	shared, err := board.Create(board.Layout{Workers: 2, Sources: 1 << 17})
	if err != nil {
		t.Fatal(err)
	}
	spec := wire.WorkerSpec{Spec: proxy.Default(), MaxConnections: 1000, Key: make([]byte, affinity.MinKey), NodeTrust: wire.NodeTrust{}}
	w, err := newWorker(spec, shared, nil, prefork.Open, silentMaster{}, log.New(io.Discard))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		w.loop.Stop()
		if err := w.loop.Run(); err != nil {
			t.Error(err)
		}
		shared.Close()
	})
	return &situation{w: w, spec: &spec, addr: netip.MustParseAddr("10.0.0.0")}
}

// draw draws another situation.
func (s *situation) draw(t *rapid.T) {
	b, now := s.w.board, s.w.loop.Now()
	spec := proxy.Default()
	spec.Listen = proxy.Listen{TCP: "127.0.0.1:1", HTTP: "127.0.0.1:2"}
	spec.MaxConnections = 100
	spec.Balance = rapid.SampledFrom([]proxy.Balance{proxy.BalanceLeastConn, proxy.BalanceRoundRobin, proxy.BalanceRandom2, proxy.BalanceSource}).Draw(t, "balance")
	spec.Sticky.TCP = rapid.SampledFrom([]string{proxy.StickySource, proxy.StickyNone}).Draw(t, "sticky")
	spec.Sticky.HTTP = rapid.SampledFrom([]string{proxy.StickyCookie, proxy.StickyNone}).Draw(t, "cookies")
	spec.Sticky.MCPSession = rapid.Bool().Draw(t, "sessions")
	l := &spec.Limits
	l.ConnectionsPerSecond = rapid.SampledFrom([]int{0, 5}).Draw(t, "connection rate")
	l.MessagesPerSecond = rapid.SampledFrom([]int{0, 5}).Draw(t, "message rate")
	l.Action = rapid.SampledFrom([]proxy.Action{proxy.ActionDefault, proxy.ActionThrottle, proxy.ActionReject}).Draw(t, "action")
	l.MaxPerSource = rapid.SampledFrom([]int{0, 3}).Draw(t, "per source")
	l.SharePercent = rapid.SampledFrom([]int{1, 100}).Draw(t, "share")
	l.Exempt = nil
	s.addr = s.addr.Next()
	if rapid.IntRange(0, 9).Draw(t, "exempt") == 0 {
		l.Exempt = []string{s.addr.String()}
	}
	s.spec.Spec, s.spec.Nodes = spec, nil
	for slot := range 4 {
		s.drawNode(t, slot, now)
	}
	if err := s.w.apply(*s.spec); err != nil {
		t.Fatal(err)
	}
	for slot := range 4 {
		for over := range board.Transports {
			if rapid.IntRange(0, 4).Draw(t, "refusing") == 0 && over != int(board.TCP) {
				b.Flow(0, slot).Avoided[over].Store(now + rapid.SampledFrom([]int64{-1, 1}).Draw(t, "until"))
			}
		}
	}
	turns := b.Turns()
	turns.Clock.Store(rapid.SampledFrom([]int64{0, 1 << 42}).Draw(t, "clock"))
	for i := range 4 {
		turns.Next[i].Store(turns.Clock.Load() + rapid.SampledFrom([]int64{-1 << 32, 0, 1 << 28, 1 << 32}).Draw(t, "next"))
	}
	s.drawSource(t, now)
}

func (s *situation) drawNode(t *rapid.T, slot int, now int64) {
	b := s.w.board
	b.SetNodeState(slot, board.Absent, time.Now())
	for row := range 2 {
		b.Flow(row, slot).Active.Store(rapid.Int64Range(0, 6).Draw(t, "connections"))
		b.Flow(row, slot).Pledged.Store(rapid.Int64Range(-2, 4).Draw(t, "pledged"))
		for over := range board.Transports {
			b.Flow(row, slot).Avoided[over].Store(0)
		}
	}
	ports := rapid.SampledFrom([]topology.Node{{}, {TCP: 1}, {HTTP: 2}, {SSE: 3}, {TCP: 1, HTTP: 2}, {TCP: 1, HTTP: 2, SSE: 3}, {TCP: 1, SSE: 1}}).Draw(t, "ports")
	if ports == (topology.Node{}) {
		return
	}
	ports.Name, ports.Host = fmt.Sprintf("n%d", slot), "127.0.0.1"
	if rapid.IntRange(0, 9).Draw(t, "named alike") == 0 {
		ports.Name = "n0"
	}
	s.spec.Nodes = append(s.spec.Nodes, wire.NodeSlot{Slot: slot, Node: ports, Addr: netip.MustParseAddr("127.0.0.1")})
	cell := b.Node(slot)
	cell.MaxConns.Store(rapid.SampledFrom([]int64{0, 3, 9}).Draw(t, "cap"))
	states := []board.State{board.Up, board.Up, board.Up, board.Silent, board.Down, board.Draining, board.Maintenance, board.Absent}
	for over := range board.Transports {
		b.SetState(slot, board.Transport(over), rapid.SampledFrom(states).Draw(t, "state"), time.Now())
		cell.Ports[over].Weight.Store(rapid.Uint32Range(1, 512).Draw(t, "weight")) // slow start included
		cell.Ports[over].Life.Store(rapid.SampledFrom([]uint32{0, uint32(affinity.At(time.Now()))}).Draw(t, "restarted"))
	}
}

// drawSource draws who else is there, and what is known of the client.
func (s *situation) drawSource(t *rapid.T, now int64) {
	b, sources := s.w.board, s.w.board.Sources()
	other := b.Worker(1)
	other.Active.Store(rapid.SampledFrom([]int64{0, 0, 0, 99, 100, 107, 108}).Draw(t, "clients"))
	s.addr = s.addr.Next()
	heavy := sources.Find(s.addr, now)
	for range rapid.IntRange(0, 6).Draw(t, "the most of others") {
		sources.Enter(1, heavy)
	}
	other.Heaviest.Store(rapid.SampledFrom([]int64{0, int64(heavy) + 1}).Draw(t, "gives way"))
	s.addr = s.addr.Prev()
	if rapid.IntRange(0, 4).Draw(t, "new") == 0 {
		return
	}
	s.source = sources.Find(s.addr, now)
	for range rapid.IntRange(0, 4).Draw(t, "held") {
		sources.Enter(1, s.source)
	}
	second := int64(time.Second)
	used := rapid.SampledFrom([]int64{0, 0, 0, second, 3 * second, 5 * second, 6 * second, 7 * second, 70 * second})
	sources.ConnectionRate(s.source).Store(now + used.Draw(t, "connection rate used"))
	sources.MessageRate(s.source).Store(now + used.Draw(t, "message rate used"))
	sources.SetSticky(s.source, board.NoNode, rapid.IntRange(0, 3).Draw(t, "bound"))
	if rapid.IntRange(0, 4).Draw(t, "banned") == 0 {
		sources.Ban(s.source, now+rapid.SampledFrom([]int64{-second, second}).Draw(t, "ban"))
	}
}

// Explainer asks about the client.
func (s *situation) explainer() *explain.Explainer {
	return explain.New(s.w.board, &s.spec.Spec, s.spec.Nodes, s.addr, s.w.loop.Now())
}

// asks has the client ask for something.
func (s *situation) asks(t *rapid.T, head string) (*exchange, *http1.Request) {
	r := &s.w.http.request
	if _, err := r.Parse([]byte(head)); err != nil {
		t.Fatal(err)
	}
	x := s.w.takeExchange(&httpClient{w: s.w})
	x.origin = origin{addr: s.addr, source: s.w.board.Sources().Find(s.addr, s.w.loop.Now()), exempt: policy.Contains(s.w.limits.Exempt, s.addr)}
	return x, r
}

// agrees compares an explanation with what the worker decides.
func agrees(t *rapid.T, what string, o proxy.Outcome, reason board.Reason, b *backend) {
	switch {
	case o.Accepted != (b != nil):
		t.Fatalf("%s: explained %+v, the worker says %v", what, o, reason)
	case !o.Accepted && o.Reason != reason.String():
		t.Fatalf("%s: explained %+v, the worker refuses for %v", what, o, reason)
	case b != nil && !slices.Contains(o.Nodes, b.name):
		t.Fatalf("%s: explained %+v, the worker goes to %s", what, o, b.name)
	}
}

// Whatever the state, a client gets what it was told.
func TestExplanationAgreesWithTheWorker(t *testing.T) {
	s := situations(t)
	rapid.Check(t, func(t *rapid.T) {
		for range 10 {
			s.draw(t)
			s.compare(t, rapid.Bool().Draw(t, "over TCP"))
		}
	})
}

func (s *situation) compare(t *rapid.T, overTCP bool) {
	w, now, before := s.w, s.w.loop.Now(), s.w.cell.Throttles.Load()
	e := s.explainer().Explain(netip.PrefixFrom(s.addr, 32), nil)
	source, exempt := w.board.Sources().Find(s.addr, now), policy.Contains(w.limits.Exempt, s.addr)
	reason, wait, ok := w.mayEnter(source, s.addr, exempt, now)
	var b *backend
	if overTCP {
		if ok {
			b, reason = w.choose(&pair{w: w, source: source}, policy.HashAddr(s.addr))
		}
		agrees(t, "tcp", e.Outcome, reason, b)
		if told := e.Connection.WaitMs; ok && !exempt && (told > 0) != (w.cell.Throttles.Load() > before) {
			t.Fatalf("told to wait %v ms, waits %v", told, wait)
		}
		return
	}
	if !ok {
		agrees(t, "http", e.HTTP.Outcome, reason, nil)
		return
	}
	x, r := s.asks(t, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	is := x.examine(r)
	if !is.no.None() {
		reason = is.no.Reason
	} else {
		b, reason = x.choose(r)
	}
	agrees(t, "http", e.HTTP.Outcome, reason, b)
	if waits := is.wait > 0; b != nil && waits != (!exempt && e.Message.WaitMs > 0) {
		t.Fatalf("told that %+v, it waits: %v", e.Message, waits)
	}
}

// Whatever the state, a session or a cookie leads where it was told.
func TestTagExplanationAgreesWithTheWorker(t *testing.T) {
	s := situations(t)
	w := s.w
	rapid.Check(t, func(t *rapid.T) {
		s.draw(t)
		kind := rapid.SampledFrom([]string{proxy.TagSession, proxy.TagCookie}).Draw(t, "kind")
		slot := rapid.IntRange(affinity.Unknown, 3).Draw(t, "node")
		var value, head string
		if kind == proxy.TagSession {
			began := affinity.At(time.Now().Add(rapid.SampledFrom([]time.Duration{-time.Minute, time.Minute}).Draw(t, "began")))
			value = string(w.http.ring.AppendSession(nil, []byte("id"), slot, began))
			head = "Mcp-Session-Id: " + value
		} else {
			value = string(w.http.ring.AppendCookie(nil, slot))
			head = "Cookie: a=b; " + s.spec.Spec.Sticky.Cookie + "=" + value
		}
		e := s.explainer().Tag(proxy.TagRequest{Kind: kind, Value: value}, w.http.ring, nil)
		x, r := s.asks(t, "GET / HTTP/1.1\r\nHost: a\r\n"+head+"\r\n\r\n")
		b, reason := x.choose(r)
		switch kept := b != nil && (x.session || x.cookie == int8(b.slot)); {
		case kept != e.Kept, kept && b.name != e.Node:
			t.Fatalf("explained %+v, the worker goes to %v (%v)", e, b, reason)
		case x.session && !kept && policy.RefusalOf(reason, 0).Status != e.Status, !x.session && e.Status != 0:
			t.Fatalf("explained %+v, the worker refuses for %v", e, reason)
		}
	})
}

// Workers of which one is refused by a node differ, and both are told of.
func TestExplanationOfWorkersThatDiffer(t *testing.T) {
	s := situations(t)
	b := s.w.board
	spec := proxy.Default()
	spec.Balance = proxy.BalanceRoundRobin
	var slots []wire.NodeSlot
	for i := range 2 {
		slots = append(slots, wire.NodeSlot{Slot: i, Node: topology.Node{Name: fmt.Sprint("n", i), HTTP: 1}})
		proxytest.MarkUp(b, i)
	}
	ask := func() string {
		q := explain.New(b, &spec, slots, netip.MustParseAddr("10.0.0.1"), mono.Now())
		e := q.Explain(netip.MustParsePrefix("10.0.0.1/32"), []explain.PresentNode{{NodeStats: proxy.NodeStats{State: proxy.NodeUp}}})
		return fmt.Sprint(e.HTTP.Nodes, e.Choices[0].Excluded)
	}
	b.Worker(1).PID.Store(1)
	if got := ask(); got != "[n0]no port for tcp" {
		t.Errorf("explained %s", got)
	}
	spec.Listen = proxy.Listen{HTTP: "127.0.0.1:1"}
	if got := ask(); got != "[n0]" {
		t.Errorf("explained %s", got)
	}
	b.Flow(0, 0).Avoided[board.HTTP].Store(mono.Now() + int64(time.Hour))
	if got := ask(); got != "[n1 n0]refuses connections" {
		t.Errorf("explained %s", got)
	}
}
