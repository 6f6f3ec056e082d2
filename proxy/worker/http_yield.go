package worker

import "github.com/erlmcp/erlmcp/proxy/internal/board"

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
		w.access.end(e, c.frontend(), w.loop.Now())
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
