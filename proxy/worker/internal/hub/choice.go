package hub

import (
	"github.com/erlmcp/erlmcp/proxy/internal/board"
	"github.com/erlmcp/erlmcp/proxy/internal/policy"
)

// Bring has a source stay with what was chosen for it, if it is to: from now on, if it did not. It returns the node.
func (h *Hub) Bring(c policy.Choice, source board.SlotID) *Backend {
	switch {
	case c.Node == board.NoNode:
		return nil
	case c.By == policy.BySource:
		h.fulfil(c.Node, c.Pledged)
	case c.By == policy.ByBalance && h.Wish.Sticky:
		now := h.Board.Sources().SetSticky(source, h.Wish.Bound, c.Node)
		if now == c.Node {
			h.pledge(now)
		} else if other := policy.Find(c.Among, now); other != nil { // another worker has chosen for the same source meanwhile
			c.Node = now
			h.fulfil(now, other.Pledged)
		}
	}
	return h.Backends[c.Node]
}

// A source that is bound to a node brings all its connections there, so the
// node has more to expect than the first one. It is pledged as many as sources
// have on average; each connection that comes fulfils one, and what does not
// come fades. Otherwise the clients of a dead node would all be bound to
// whichever node has a few connections less than the others.

// pledge notes what the source just bound to slot is expected to bring besides
// its first connection.
func (h *Hub) pledge(slot int) {
	if sources := int64(h.Board.Sources().Tracked()); sources > 0 {
		h.Backends[slot].Flow.Pledged.Add(max(0, h.Board.Active()/sources-1))
	}
}

// fulfil takes a connection of a bound source off what its node was pledged.
func (h *Hub) fulfil(slot int, pledged int64) {
	if pledged > 0 {
		h.Backends[slot].Flow.Pledged.Add(-1)
	}
}

// fade forgets a part of the pledges, every heartbeat: half of them in four
// seconds.
func (h *Hub) fade() {
	for _, b := range h.Backends {
		if b != nil {
			pledged := b.Flow.Pledged.Load()
			b.Flow.Pledged.Store(pledged - pledged*11/256 - sign(pledged))
		}
	}
}

func sign(n int64) int64 {
	switch {
	case n > 0:
		return 1
	case n < 0:
		return -1
	}
	return 0
}
