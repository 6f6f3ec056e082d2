package hub

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
	// GiveWay ends the connection. It is not counted any more when it returns.
	GiveWay()
}

type sourceCrowd = crowd.Crowd[board.SlotID, yielder]

// SourceSeat is the place of a client among those of its source.
type SourceSeat = crowd.Seat[board.SlotID, yielder]

// Losses, as crowd.Guest has them.
const (
	LosesNothing = iota // it rests
	LosesStream         // that may go on for ever
	LosesCall           // somebody awaits an answer
)

// Seat counts a client as active, and has it give way when its turn comes, unless it is exempt.
func (h *Hub) Seat(source board.SlotID, s *SourceSeat, y yielder, exempt bool) {
	h.Cell.Active.Add(1)
	h.Board.Sources().Enter(h.Index, source)
	if exempt {
		return
	}
	held := h.Crowd.Sit(source, s, y, h.Loop.Now())
	if held&(held-1) == 0 {
		h.weighIn() // often enough, and at the next heartbeat
	}
}

// Unseat undoes Seat.
func (h *Hub) Unseat(source board.SlotID, s *SourceSeat) {
	h.Crowd.Leave(source, s)
	h.Cell.Active.Add(-1)
	h.Board.Sources().Leave(h.Index, source, h.Loop.Now())
}

// HasRoom reports whether one more client of a source can be served, if only because another one gives way.
// Then it has to wait before it gets a node.
func (h *Hub) HasRoom(source board.SlotID) (reason board.Reason, wait time.Duration, ok bool) {
	switch {
	case h.Cell.Active.Load() >= int64(h.Max):
		wait, ok = h.claim(source, true)
		return board.ReasonWorkerFull, wait, ok
	case h.Limits.Full(h.Board.Active()):
		wait, ok = h.claim(source, false)
		return board.ReasonFull, wait, ok
	}
	return 0, 0, true
}

const (
	// RoomLook is how long a newcomer waits before it looks whether another worker has made room for it, and roomWait for
	// how long it looks again.
	RoomLook = 5 * time.Millisecond
	roomWait = time.Second
)

// WaitsForRoom reports whether a newcomer whose wait is over has to go on waiting: more are counted than there may be.
func (h *Hub) WaitsForRoom(s *SourceSeat) bool {
	return h.Board.Active() > int64(h.Spec.MaxConnections) && h.Loop.Now()-s.Used() < int64(policy.MaxHeldTime+roomWait)
}

// weighIn puts the source on the board that holds most, of those that hold much here.
func (h *Hub) weighIn() {
	heaviest := int64(0)
	if source, _, ok := h.heaviest(); ok {
		heaviest = int64(source) + 1
	}
	h.Cell.Heaviest.Store(heaviest)
}

// heaviest is that source, and what it holds in all workers.
func (h *Hub) heaviest() (source board.SlotID, held int, ok bool) {
	sources := h.Board.Sources()
	return h.Crowd.Busiest(func(s board.SlotID, _ int) int { return sources.Live(s) })
}

// claim has a connection of the source that holds most give way to one of source, unless that would then hold
// as much itself. here is that it has to be one of this worker.
func (h *Hub) claim(source board.SlotID, here bool) (wait time.Duration, ok bool) {
	most, held, _ := h.heaviest()
	from := h.Index
	if !here {
		if row, other, n := h.Board.Heaviest(h.Index); n > held {
			most, held, from = other, n, row
		}
	}
	if !policy.GivesWay(held, h.Board.Sources().Held(source)) {
		return 0, false
	}
	if y, ok := h.Crowd.Idlest(most, h.Loop.Now()); ok {
		y.GiveWay()
		return 0, true
	}
	if h.Limits.Overbooked(h.Board.Active()) {
		return 0, false
	}
	h.Report(wire.MessageYield, wire.Yield{Worker: from, Source: most})
	return RoomLook, true
}

// Yield has a connection of a source give way, as another worker has asked for.
func (h *Hub) Yield(source board.SlotID) {
	if y, ok := h.Crowd.Idlest(source, h.Loop.Now()); ok {
		y.GiveWay()
	}
	h.weighIn()
}
