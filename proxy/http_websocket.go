package proxy

import (
	"time"

	"github.com/erlmcp/erlmcp/proxy/internal/board"
	"github.com/erlmcp/erlmcp/proxy/internal/wsframe"
)

// tunnelFrames are those of both directions of a tunnel.
type tunnelFrames struct{ asked, said wsframe.Scanner }

// tunnelIn passes on what the client says after the upgrade. Its messages are counted and held to the
// source's rate: over it the client is not read until the source conforms, whatever lb.limits.action
// says, for a frame can neither be dropped nor answered without the node's knowledge.
func (x *exchange) tunnelIn(p []byte) (consumed int) {
	c, n, w := x.client, x.node, x.client.w
	if n == nil {
		return len(p)
	}
	now := w.loop.Now()
	messages := 0
	var wait time.Duration
	for consumed < len(p) && wait == 0 {
		k, more, tooLong := x.frames.asked.Next(p[consumed:], uint64(w.maxMessage), &w.scratch)
		consumed += k
		if tooLong {
			x.cutOff(board.ReasonTooLarge)
			return len(p)
		}
		messages += more
		if due := more + x.frames.asked.TakeDues() + w.limits.extra(x.frames.asked.Growth()); due > 0 && !x.exempt {
			wait = w.limits.message.chargeAnyway(w.board.Sources().MessageRate(x.source), now, due)
		}
	}
	w.cell.Messages.Add(uint64(messages))
	x.backend.flow.Messages.Add(uint64(messages))
	x.backend.flow.BytesIn.Add(uint64(consumed))
	x.access.received(consumed)
	x.port.asked(now)
	n.conn.Send(p[:consumed])
	if wait > 0 {
		w.throttled(wait)
		x.resumeAt = now + int64(wait)
	}
	if wait > 0 || n.conn.Pending() > 0 {
		c.conn.Pause()
	}
	x.tunnelPatience()
	return consumed
}

// tunnelPatience begins anew, as something has passed through the tunnel. While the client is
// throttled it is not idle.
func (x *exchange) tunnelPatience() {
	c, w := x.client, x.client.w
	if x.resumeAt != 0 {
		c.within(max(time.Duration(x.resumeAt-w.loop.Now()), time.Nanosecond))
		return
	}
	x.alive = w.loop.Now()
	w.crowd.Use(c.source, &c.seat, x.alive)
	limit, _ := x.limit()
	c.within(limit)
}

// closing reports whether the tunnel comes to its end by itself.
func (x *exchange) closing() bool {
	return x.nodeEnded || x.frames.asked.Closing() || x.frames.said.Closing()
}

// tunnelEnded passes the end of the node's stream on: both connections are closed once the client has
// ended its own too.
func (x *exchange) tunnelEnded() {
	c := x.client
	if !c.ended && !x.closing() {
		c.w.countCut(x.access, board.ReasonNodeLost)
	}
	x.nodeEnded = true
	c.conn.CloseWrite()
	x.tunnelPatience()
}

// readTunnel reads the client on, unless it has to wait for its rate or its node.
func (x *exchange) readTunnel() {
	if x.resumeAt == 0 && x.node.conn.Pending() == 0 {
		x.client.conn.Resume()
	}
}

// tunnelExpired ends a tunnel in which nothing happens, or a throttle.
func (x *exchange) tunnelExpired() {
	if x.resumeAt == 0 {
		x.silent()
		return
	}
	x.resumeAt = 0
	x.readTunnel()
	x.tunnelPatience()
}
