package web

import (
	"github.com/erlmcp/erlmcp/proxy/internal/board"
	"github.com/erlmcp/erlmcp/proxy/worker/internal/hub"
)

// Idle is since when the client has asked nothing, or nothing has passed.
func (c *client) Idle() (since int64, loss int) {
	switch x := c.x; {
	case x == nil:
		return c.restsSince(), hub.LosesNothing
	case x.phase == tunnelling, x.endless():
		return x.alive, hub.LosesStream
	}
	return c.seat.Used(), hub.LosesCall
}

// restsSince follows from when the client's patience ends, if that is bounded.
func (c *client) restsSince() int64 {
	t := &c.w.Spec.Timeouts
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

// GiveWay ends the connection as orderly as its state allows.
func (c *client) GiveWay() {
	w := c.w
	if c.state == delayed {
		w.Held--
	}
	switch x := c.x; {
	case c.conn.Pending() > 0: // it may never take that
		if x != nil {
			w.CountCut(x.access, board.ReasonGaveWay)
			x.end()
		}
		c.conn.Close()
	case x == nil:
		e := w.Access.Begin(c.addr, w.Loop.Now())
		w.CountCut(e, board.ReasonGaveWay)
		w.Access.End(e, c.frontend(), w.Loop.Now())
		c.part()
	case x.underway():
		if x.keep = false; !x.headed() {
			w.Cell.Cut[board.ReasonGaveWay].Add(1) // refused besides
		}
		x.cutOff(board.ReasonGaveWay)
	default: // it was refused, and is not done with its request
		c.conn.Close()
	}
	c.release()
}
