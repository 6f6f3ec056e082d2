package worker

import (
	"time"

	"github.com/erlmcp/erlmcp/internal/crowd"
	"github.com/erlmcp/erlmcp/proxy/internal/board"
	"github.com/erlmcp/erlmcp/proxy/internal/policy"
	"github.com/erlmcp/erlmcp/proxy/internal/wire"
)

// Where the balancer is full, the source that holds most gives way to a newcomer of one that holds less: of its
// connections that which rests longest is ended. Who holds most is found without counting: each worker keeps those of its
// own sources in order (crowd), and has the first of them on the board. What another worker holds is asked of
// it, by the master; the newcomer has its place meanwhile, so that for a moment there is one more than there may be, and waits
// for a node until there is not.
//
// Sources that are exempt from limits never give way.

// yielder is a client that may have to.
type yielder interface {
	crowd.Guest
	// giveWay ends the connection. It is not counted any more when it returns.
	giveWay()
}

type (
	sourceCrowd = crowd.Crowd[board.SlotID, yielder]
	sourceSeat  = crowd.Seat[board.SlotID, yielder]
)

// Losses, as crowd.Guest has them.
const (
	losesNothing = iota // it rests
	losesStream         // that may go on for ever
	losesCall           // somebody awaits an answer
)

// seat has a client give way when its turn comes.
func (w *worker) seat(source board.SlotID, s *sourceSeat, y yielder) {
	held := w.crowd.Sit(source, s, y, w.loop.Now())
	if held&(held-1) == 0 {
		w.weighIn() // often enough, and at the next heartbeat
	}
}

// hasRoom reports whether one more client of a source can be served, if only because another one gives way.
// Then it has to wait before it gets a node.
func (w *worker) hasRoom(source board.SlotID) (reason board.Reason, wait time.Duration, ok bool) {
	switch {
	case w.cell.Active.Load() >= int64(w.max):
		wait, ok = w.claim(source, true)
		return board.ReasonWorkerFull, wait, ok
	case w.limits.Full(w.board.Active()):
		wait, ok = w.claim(source, false)
		return board.ReasonFull, wait, ok
	}
	return 0, 0, true
}

const (
	// roomLook is how long a newcomer waits before it looks whether another worker has made room for it, and roomWait for
	// how long it looks again.
	roomLook = 5 * time.Millisecond
	roomWait = time.Second
)

// waitsForRoom reports whether a newcomer whose wait is over has to go on waiting: more are counted than there may be.
func (w *worker) waitsForRoom(s *sourceSeat) bool {
	return w.board.Active() > int64(w.spec.MaxConnections) && w.loop.Now()-s.Used() < int64(policy.MaxHeldTime+roomWait)
}

// weighIn puts the source on the board that holds most, of those that hold much here.
func (w *worker) weighIn() {
	heaviest := int64(0)
	if source, _, ok := w.heaviest(); ok {
		heaviest = int64(source) + 1
	}
	w.cell.Heaviest.Store(heaviest)
}

// heaviest is that source, and what it holds in all workers.
func (w *worker) heaviest() (source board.SlotID, held int, ok bool) {
	sources := w.board.Sources()
	return w.crowd.Busiest(func(s board.SlotID, _ int) int { return sources.Live(s) })
}

// claim has a connection of the source that holds most give way to one of source, unless that would then hold
// as much itself. here is that it has to be one of this worker.
func (w *worker) claim(source board.SlotID, here bool) (wait time.Duration, ok bool) {
	sources := w.board.Sources()
	most, held, _ := w.heaviest()
	from := w.index
	if !here {
		for r := range w.board.Rows() {
			other := w.board.Worker(r).Heaviest.Load() - 1
			if r == w.index || other < 0 {
				continue
			}
			if n := sources.Live(board.SlotID(other)); n > held {
				most, held, from = board.SlotID(other), n, r
			}
		}
	}
	if !policy.GivesWay(held, sources.Held(source)) {
		return 0, false
	}
	if y, ok := w.crowd.Idlest(most, w.loop.Now()); ok {
		y.giveWay()
		return 0, true
	}
	if w.limits.Overbooked(w.board.Active()) {
		return 0, false
	}
	w.report(wire.MessageYield, wire.Yield{Worker: from, Source: most})
	return roomLook, true
}

// yield has a connection of a source give way, as another worker has asked for.
func (w *worker) yield(source board.SlotID) {
	if y, ok := w.crowd.Idlest(source, w.loop.Now()); ok {
		y.giveWay()
	}
	w.weighIn()
}

// Idle is since when nothing has passed.
func (p *pair) Idle() (since int64, loss int) {
	if p.state == relaying {
		return p.lastActive, losesNothing
	}
	return p.seat.Used(), losesNothing
}

// giveWay tells the client why it is not served any more.
func (p *pair) giveWay() {
	w := p.w
	if p.state == queued {
		w.held--
	}
	w.countCut(p.access, board.ReasonGaveWay)
	p.dismiss(policy.RefusalOf(board.ReasonGaveWay, 0).AppendLine(nil))
}

// Idle is since when the client has asked nothing, or nothing has passed.
func (c *httpClient) Idle() (since int64, loss int) {
	switch x := c.x; {
	case x == nil:
		return c.restsSince(), losesNothing
	case x.phase == tunnelling, x.endless():
		return x.alive, losesStream
	}
	return c.seat.Used(), losesCall
}

// restsSince follows from when the client's patience ends, if that is bounded.
func (c *httpClient) restsSince() int64 {
	t := &c.w.spec.Timeouts
	patience := t.Keepalive
	switch {
	case c.owed:
		patience = t.Send
	case c.served == 0, c.seen > 0:
		patience = t.Request
	}
	if c.due == 0 || c.state != reading {
		return c.seat.Used()
	}
	return c.due - int64(patience)
}

// giveWay ends the connection as orderly as its state allows.
func (c *httpClient) giveWay() {
	w := c.w
	if c.state == delayed {
		w.held--
	}
	switch x := c.x; {
	case c.conn.Pending() > 0: // it may never take that
		if x != nil {
			w.countCut(x.access, board.ReasonGaveWay)
			x.end()
		}
		c.conn.Close()
	case x == nil:
		e := w.access.begin(c.addr, w.loop.Now())
		w.countCut(e, board.ReasonGaveWay)
		w.access.end(w, e, c.frontend())
		c.part()
	case x.underway():
		if x.keep = false; !x.headed() {
			w.cell.Cut[board.ReasonGaveWay].Add(1) // refused besides
		}
		x.cutOff(board.ReasonGaveWay)
	default: // it was refused, and is not done with its request
		c.conn.Close()
	}
	c.release()
}
