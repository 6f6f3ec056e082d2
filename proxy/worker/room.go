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
func (h *hub) seat(source board.SlotID, s *sourceSeat, y yielder) {
	held := h.crowd.Sit(source, s, y, h.loop.Now())
	if held&(held-1) == 0 {
		h.weighIn() // often enough, and at the next heartbeat
	}
}

// hasRoom reports whether one more client of a source can be served, if only because another one gives way.
// Then it has to wait before it gets a node.
func (h *hub) hasRoom(source board.SlotID) (reason board.Reason, wait time.Duration, ok bool) {
	switch {
	case h.cell.Active.Load() >= int64(h.max):
		wait, ok = h.claim(source, true)
		return board.ReasonWorkerFull, wait, ok
	case h.limits.Full(h.board.Active()):
		wait, ok = h.claim(source, false)
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
func (h *hub) waitsForRoom(s *sourceSeat) bool {
	return h.board.Active() > int64(h.spec.MaxConnections) && h.loop.Now()-s.Used() < int64(policy.MaxHeldTime+roomWait)
}

// weighIn puts the source on the board that holds most, of those that hold much here.
func (h *hub) weighIn() {
	heaviest := int64(0)
	if source, _, ok := h.heaviest(); ok {
		heaviest = int64(source) + 1
	}
	h.cell.Heaviest.Store(heaviest)
}

// heaviest is that source, and what it holds in all workers.
func (h *hub) heaviest() (source board.SlotID, held int, ok bool) {
	sources := h.board.Sources()
	return h.crowd.Busiest(func(s board.SlotID, _ int) int { return sources.Live(s) })
}

// claim has a connection of the source that holds most give way to one of source, unless that would then hold
// as much itself. here is that it has to be one of this worker.
func (h *hub) claim(source board.SlotID, here bool) (wait time.Duration, ok bool) {
	sources := h.board.Sources()
	most, held, _ := h.heaviest()
	from := h.index
	if !here {
		for r := range h.board.Rows() {
			other := h.board.Worker(r).Heaviest.Load() - 1
			if r == h.index || other < 0 {
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
	if y, ok := h.crowd.Idlest(most, h.loop.Now()); ok {
		y.giveWay()
		return 0, true
	}
	if h.limits.Overbooked(h.board.Active()) {
		return 0, false
	}
	h.report(wire.MessageYield, wire.Yield{Worker: from, Source: most})
	return roomLook, true
}

// yield has a connection of a source give way, as another worker has asked for.
func (h *hub) yield(source board.SlotID) {
	if y, ok := h.crowd.Idlest(source, h.loop.Now()); ok {
		y.giveWay()
	}
	h.weighIn()
}
