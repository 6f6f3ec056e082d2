package board

import (
	"testing"
	"time"

	"github.com/erlmcp/erlmcp/internal/mono"
)

func TestSetState(t *testing.T) {
	b := newBoard(t, Layout{Workers: 1, Sources: 64})
	p := &b.Node(5).Ports[HTTP]
	at := time.Now()
	for i, step := range []struct {
		to         State
		generation uint32
		changes    uint32
	}{
		{Absent, 0, 0}, {Down, 1, 1}, {Up, 1, 2}, {Up, 1, 2}, {Draining, 1, 3},
		{Maintenance, 1, 4}, {Down, 2, 5}, {Down, 2, 5}, {Up, 2, 6}, {Absent, 3, 7},
	} {
		b.SetState(5, HTTP, step.to, at.Add(time.Duration(i)))
		if State(p.State.Load()) != step.to || p.Generation.Load() != step.generation || p.StateChanges.Load() != uint64(step.changes) {
			t.Fatalf("step %d to %v: state %v, generation %d, changes %d", i, step.to,
				State(p.State.Load()), p.Generation.Load(), p.StateChanges.Load())
		}
		if b.Global().Epoch.Load() != step.changes {
			t.Fatalf("step %d: epoch %d, want %d", i, b.Global().Epoch.Load(), step.changes)
		}
	}
	if got, want := p.SinceNs.Load(), mono.At(at)+9; got != want {
		t.Fatalf("since %d, want %d", got, want)
	}
	if s := State(b.Node(5).Ports[TCP].State.Load()); s != Absent {
		t.Errorf("the other port is %v", s)
	}
}

// The sources of a node stay bound to it for as long as any of its ports lives.
func TestGenerationOfNode(t *testing.T) {
	b := newBoard(t, Layout{Workers: 1, Sources: 64})
	n, now := b.Node(0), time.Now()
	for i, step := range []struct {
		port       Transport
		to         State
		generation uint32
	}{
		{TCP, Down, 0}, {HTTP, Down, 0}, {TCP, Up, 0}, {HTTP, Up, 0}, {HTTP, Down, 0}, {TCP, Draining, 0},
		{TCP, Down, 1}, {HTTP, Up, 1}, {HTTP, Absent, 2},
	} {
		b.SetState(0, step.port, step.to, now)
		if got := n.Generation.Load(); got != step.generation {
			t.Fatalf("step %d: generation %d, want %d", i, got, step.generation)
		}
	}
}

func TestNodeSlots(t *testing.T) {
	b := newBoard(t, Layout{Workers: 1, Sources: 64})
	for want := range MaxNodes {
		if slot, ok := b.TakeNode(); !ok || slot != want {
			t.Fatalf("slot %d, %t, want %d", slot, ok, want)
		}
	}
	if slot, ok := b.TakeNode(); ok {
		t.Fatalf("slot %d of a full board", slot)
	}
	b.SetNodeState(7, Up, time.Now())
	before := b.Node(7).Generation.Load()
	b.FreeNode(7, time.Now())
	if s := State(b.Node(7).Ports[SSE].State.Load()); s != Absent || b.Node(7).Generation.Load() == before {
		t.Errorf("a port of a free slot is %v, generation %d", s, b.Node(7).Generation.Load())
	}
	if slot, ok := b.TakeNode(); !ok || slot != 7 {
		t.Errorf("slot %d, %t after one was freed", slot, ok)
	}
}

func TestNames(t *testing.T) {
	for want, got := range map[string]string{
		"absent": Absent.String(), "down": Down.String(), "up": Up.String(), "draining": Draining.String(),
		"maintenance": Maintenance.String(), "ban": ReasonBan.String(), "rate": ReasonRate.String(),
		"full": ReasonFull.String(), "no_node": ReasonNoNode.String(), "worker_full": ReasonWorkerFull.String(),
		"per_source": ReasonPerSource.String(), "unknown": State(77).String(),
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	if Reasons.String() != "unknown" {
		t.Error("Reasons has a name")
	}
}

func TestObserveConnect(t *testing.T) {
	var f Flow
	for d, bucket := range map[time.Duration]int{
		-time.Second: 0, 0: 0, 999 * time.Nanosecond: 0, time.Microsecond: 1, 2 * time.Microsecond: 2,
		3 * time.Microsecond: 2, 4 * time.Microsecond: 3, 500 * time.Millisecond: 19, 24 * time.Hour: 31,
		1<<63 - 1: 31,
	} {
		before := f.Connect[bucket].Load()
		f.ObserveConnect(d)
		if f.Connect[bucket].Load() != before+1 {
			t.Errorf("%v is not in bucket %d", d, bucket)
		}
	}
}

func TestClearWorkerForgetsGaugesAndKeepsCounters(t *testing.T) {
	b := newNodes(t, Layout{Workers: 3, Sources: 64}, 2)
	s := b.Sources()
	id := s.Find(ip("192.0.2.1"), 1)
	for w := range 3 {
		c := b.Worker(w)
		c.PID.Store(int64(100 + w))
		c.Active.Add(5)
		c.HeartbeatNs.Store(9)
		c.LoopLagNs.Store(9)
		c.Accepted.Add(50)
		c.Refused[ReasonBan].Add(2)
		f := b.Flow(w, 1)
		f.Active.Add(4)
		f.Total.Add(40)
		f.BytesIn.Add(1000)
		f.BytesOut.Add(2000)
		f.Messages.Add(20)
		f.ConnectErrors.Add(3)
		f.Resets.Add(4)
		f.Retries.Add(5)
		f.Displaced.Add(6)
		f.ObserveConnect(time.Microsecond)
		s.Enter(w, id)
	}
	want := FlowTotals{
		Active: 12, Total: 120, BytesIn: 3000, BytesOut: 6000, Messages: 60,
		ConnectErrors: 9, Resets: 12, Retries: 15, Displaced: 18,
	}
	want.Connect[1] = 3
	if got := b.NodeTotals(1); got != want {
		t.Fatalf("totals %+v\nwant   %+v", got, want)
	}

	b.ClearWorker(1)

	want.Active = 8
	if got := b.NodeTotals(1); got != want {
		t.Errorf("totals %+v\nwant   %+v", got, want)
	}
	if b.Active() != 10 || b.NodeActive(1) != 8 || b.NodeActive(0) != 0 || s.Live(id) != 2 {
		t.Errorf("active %d, node %d %d, live %d", b.Active(), b.NodeActive(1), b.NodeActive(0), s.Live(id))
	}
	c := b.Worker(1)
	if c.PID.Load() != 0 || c.HeartbeatNs.Load() != 0 || c.LoopLagNs.Load() != 0 {
		t.Error("a gauge of the dead worker is left")
	}
	if c.Accepted.Load() != 50 || c.Refused[ReasonBan].Load() != 2 {
		t.Error("a counter of the dead worker is gone")
	}
	if s.Info(id).LastSeen == 1 {
		t.Error("a source the dead worker held does not count as seen until now")
	}
}
