package hubtest

import (
	"fmt"
	"io"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/charmbracelet/log"
	"pgregory.net/rapid"

	"github.com/erlmcp/erlmcp/internal/prefork"
	"github.com/erlmcp/erlmcp/internal/topology"
	"github.com/erlmcp/erlmcp/proxy"
	"github.com/erlmcp/erlmcp/proxy/internal/affinity"
	"github.com/erlmcp/erlmcp/proxy/internal/board"
	"github.com/erlmcp/erlmcp/proxy/internal/explain"
	"github.com/erlmcp/erlmcp/proxy/internal/wire"
	"github.com/erlmcp/erlmcp/proxy/worker/internal/hub"
)

// DeafMaster hears nothing of a worker.
type DeafMaster struct{}

// Send is not heard.
func (DeafMaster) Send(string, any) error { return nil }

// Situation is a balancer between two turns of its loops, with one worker that decides.
type Situation struct {
	w      *hub.Worker
	Spec   *wire.WorkerSpec
	Addr   netip.Addr
	source board.SlotID
}

// Situations are of one worker of two, whose loop does not turn.
func Situations(t *testing.T, serve Service) *Situation {
	shared, err := board.Create(board.Layout{Workers: 2, Sources: 1 << 17})
	if err != nil {
		t.Fatal(err)
	}
	spec := wire.WorkerSpec{Spec: proxy.Default(), MaxConnections: 1000, Key: make([]byte, affinity.MinKey)}
	h, err := hub.New(shared, &spec, prefork.Open, DeafMaster{}, log.New(io.Discard))
	if err != nil {
		t.Fatal(err)
	}
	w, err := hub.NewWorker(h, spec, nil, serve(h)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		w.Loop.Stop()
		if err := w.Loop.Run(); err != nil {
			t.Error(err)
		}
		shared.Close()
	})
	return &Situation{w: w, Spec: &spec, Addr: netip.MustParseAddr("10.0.0.0")}
}

// Draw draws another situation.
func (s *Situation) Draw(t *rapid.T) {
	b, now := s.w.Board, s.w.Loop.Now()
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
	s.Addr = s.Addr.Next()
	if rapid.IntRange(0, 9).Draw(t, "exempt") == 0 {
		l.Exempt = []string{s.Addr.String()}
	}
	s.Spec.Spec, s.Spec.Nodes = spec, nil
	for slot := range 4 {
		s.drawNode(t, slot, now)
	}
	if err := s.w.Apply(*s.Spec); err != nil {
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

func (s *Situation) drawNode(t *rapid.T, slot int, now int64) {
	b := s.w.Board
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
	s.Spec.Nodes = append(s.Spec.Nodes, wire.NodeSlot{Slot: slot, Node: ports, Addr: netip.MustParseAddr("127.0.0.1")})
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
func (s *Situation) drawSource(t *rapid.T, now int64) {
	b, sources := s.w.Board, s.w.Board.Sources()
	other := b.Worker(1)
	other.Active.Store(rapid.SampledFrom([]int64{0, 0, 0, 99, 100, 107, 108}).Draw(t, "clients"))
	s.Addr = s.Addr.Next()
	heavy := sources.Find(s.Addr, now)
	for range rapid.IntRange(0, 6).Draw(t, "the most of others") {
		sources.Enter(1, heavy)
	}
	other.Heaviest.Store(rapid.SampledFrom([]int64{0, int64(heavy) + 1}).Draw(t, "gives way"))
	s.Addr = s.Addr.Prev()
	if rapid.IntRange(0, 4).Draw(t, "new") == 0 {
		return
	}
	s.source = sources.Find(s.Addr, now)
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
func (s *Situation) Explainer() *explain.Explainer {
	return explain.New(s.w.Board, &s.Spec.Spec, s.Spec.Nodes, s.Addr, s.w.Loop.Now())
}

// Agrees compares an explanation with what the worker decides.
func Agrees(t *rapid.T, what string, o proxy.Outcome, reason board.Reason, b *hub.Backend) {
	switch {
	case o.Accepted != (b != nil):
		t.Fatalf("%s: explained %+v, the worker says %v", what, o, reason)
	case !o.Accepted && o.Reason != reason.String():
		t.Fatalf("%s: explained %+v, the worker refuses for %v", what, o, reason)
	case b != nil && !slices.Contains(o.Nodes, b.Name):
		t.Fatalf("%s: explained %+v, the worker goes to %s", what, o, b.Name)
	}
}
