package board

import (
	"time"

	"github.com/erlmcp/erlmcp/internal/mono"
)

// SetState moves one transport of node slot i to state s as of at, a result of time.Now, and tells the
// workers by Global.Epoch. A move to Down or Absent also moves the port's Generation, after the state: a
// worker that sees the new generation never picks the port as Up. The node's own Generation moves when
// nothing of it is left. For the master; saying what already holds changes nothing.
func (b *Board) SetState(i int, t Transport, s State, at time.Time) {
	n := b.Node(i)
	p := &n.Ports[t]
	if State(p.State.Load()) == s {
		return
	}
	lived := n.alive()
	p.State.Store(uint32(s))
	if s == Down || s == Absent {
		p.Generation.Add(1)
		if lived && !n.alive() {
			n.Generation.Add(1)
		}
	}
	p.SinceNs.Store(mono.At(at))
	p.StateChanges.Add(1)
	b.global.Epoch.Add(1)
}

// alive reports whether any port of the node is neither Down nor Absent.
func (n *Node) alive() bool {
	for t := range n.Ports {
		if s := State(n.Ports[t].State.Load()); s != Down && s != Absent {
			return true
		}
	}
	return false
}

// SetNodeState moves all transports of node slot i, as SetState does each.
func (b *Board) SetNodeState(i int, s State, at time.Time) {
	for t := range Transport(Transports) {
		b.SetState(i, t, s, at)
	}
}

// TakeNode gives out a free node slot; ok is false when there is none. For the master.
func (b *Board) TakeNode() (slot int, ok bool) {
	for i := range b.nodes {
		if b.nodes[i].Taken.CompareAndSwap(0, 1) {
			return i, true
		}
	}
	return 0, false
}

// FreeNode takes node slot i back. For the master.
func (b *Board) FreeNode(i int, at time.Time) {
	b.SetNodeState(i, Absent, at)
	b.nodes[i].Generation.Add(1)
	b.nodes[i].Taken.Store(0)
}

// ClearWorker forgets what worker w held: its gauges and the live connections
// of its sources, which count as seen until now. Counters stay. For the master,
// after the worker died and before its replacement starts.
func (b *Board) ClearWorker(w int) {
	b.sources.clear(w, mono.Now())
	for i := range MaxNodes {
		f := b.Flow(w, i)
		f.Active.Store(0)
		f.Pending.Store(0)
		f.Pledged.Store(0)
		for t := range f.Avoided {
			f.Avoided[t].Store(0)
			f.Idle[t].Store(0)
		}
	}
	c := b.Worker(w)
	c.Active.Store(0)
	c.LoopLagNs.Store(0)
	c.HeartbeatNs.Store(0)
	c.Heaviest.Store(0)
	c.PID.Store(0)
}

// Use says that row w is going to be used by a worker. Once it was called, rows behind all that were used are not
// looked at any more: the memory that the kernel would have to find for them stays free. For the master, before it
// starts the worker.
func (b *Board) Use(w int) {
	if rows := uint32(w + 1); rows > b.global.Rows.Load() {
		b.global.Rows.Store(rows)
	}
}

// Rows is how many rows of workers there is something in.
func (b *Board) Rows() int {
	if n := int(b.global.Rows.Load()); n > 0 && n < b.layout.Workers {
		return n
	}
	return b.layout.Workers
}

// Active is the number of client connections held by all workers.
func (b *Board) Active() int64 {
	var n int64
	for w := range b.Rows() {
		n += b.workers[w].Active.Load()
	}
	return n
}

// Heaviest is which of the sources holds most that workers have put here as their heaviest, and the row of the worker; held
// is 0 if there is none. The row without is left out; -1 leaves out none.
func (b *Board) Heaviest(without int) (row int, source SlotID, held int) {
	for w := range b.Rows() {
		id := b.Worker(w).Heaviest.Load() - 1
		if w == without || id < 0 {
			continue
		}
		if n := b.sources.Live(SlotID(id)); n > held {
			row, source, held = w, SlotID(id), n
		}
	}
	return row, source, held
}

// NodeActive is the number of connections all workers hold to node slot i.
func (b *Board) NodeActive(i int) int64 {
	var n int64
	for w := range b.Rows() {
		n += b.Flow(w, i).Active.Load()
	}
	return n
}

// NodeLoad is the number of connections all workers hold to node slot i, and of
// those they expect besides from the sources they have bound to it lately. One
// worker's share of pledged may be negative: a connection may come to another
// worker than the one that bound its source. The sum is what counts.
func (b *Board) NodeLoad(i int) (active, pledged int64) {
	for w := range b.Rows() {
		f := b.Flow(w, i)
		active += f.Active.Load()
		pledged += f.Pledged.Load()
	}
	return active, max(pledged, 0)
}

// FlowTotals is the sum of a node's flows over all workers, the living and the
// dead. Fields are those of Flow.
type FlowTotals struct {
	Active, Pending             int64
	Idle                        [Transports]int64
	Total                       uint64
	BytesIn, BytesOut, Messages uint64
	ConnectErrors, Resets       uint64
	Retries, Displaced          uint64
	LifeSigns                   [Transports]uint64
	Connect                     [ConnectBuckets]uint64
	Requests                    uint64
	Responses                   [StatusClasses]uint64
	Answer                      [ConnectBuckets]uint64
}

// NodeTotals adds up what all workers relayed for node slot i.
func (b *Board) NodeTotals(i int) FlowTotals {
	var t FlowTotals
	for w := range b.Rows() {
		f := b.Flow(w, i)
		t.Active += f.Active.Load()
		t.Pending += f.Pending.Load()
		t.Total += f.Total.Load()
		t.BytesIn += f.BytesIn.Load()
		t.BytesOut += f.BytesOut.Load()
		t.Messages += f.Messages.Load()
		t.ConnectErrors += f.ConnectErrors.Load()
		t.Resets += f.Resets.Load()
		t.Retries += f.Retries.Load()
		t.Displaced += f.Displaced.Load()
		for k := range f.Idle {
			t.Idle[k] += f.Idle[k].Load()
		}
		for k := range f.LifeSigns {
			t.LifeSigns[k] += f.LifeSigns[k].Load()
		}
		for k := range f.Connect {
			t.Connect[k] += f.Connect[k].Load()
			t.Answer[k] += f.Answer[k].Load()
		}
		t.Requests += f.Requests.Load()
		for k := range f.Responses {
			t.Responses[k] += f.Responses[k].Load()
		}
	}
	return t
}
