package web

import (
	"math"
	"time"

	"github.com/erlmcp/erlmcp/internal/wsframe"
	"github.com/erlmcp/erlmcp/proxy/internal/board"
)

// tunnel is what an exchange becomes with the upgrade to a WebSocket.
type tunnel struct {
	asked, said wsframe.Scanner // of either direction
	resumeAt    int64           // when the client may be read again, 0 = it may
	nodeEnded   bool            // nothing comes from the node any more
}

// closing reports whether the tunnel comes to its end by itself.
func (t *tunnel) closing() bool { return t.nodeEnded || t.asked.Closing() || t.said.Closing() }

// tunnelIn passes on what the client says after the upgrade. Its messages are counted and held to the
// source's rate: over it the client is not read until the source conforms, whatever lb.limits.action
// says, for a frame can neither be dropped nor answered without the node's knowledge.
func (x *exchange) tunnelIn(p []byte) (consumed int) {
	c, n, w, t := x.client, x.node, x.client.w, x.tunnel
	now := w.Loop.Now()
	messages := 0
	var wait time.Duration
	for consumed < len(p) && wait == 0 {
		k, more, tooLong := t.asked.Next(p[consumed:], uint64(w.MaxMessage), &w.Scratch)
		consumed += k
		if tooLong {
			x.cutOff(board.ReasonTooLarge)
			return len(p)
		}
		messages += more
		if due := more + t.asked.TakeDues() + w.Limits.Extra(t.asked.Growth()); due > 0 && !x.exempt {
			wait = w.Limits.Message.ChargeAnyway(w.Board.Sources().MessageRate(x.source), now, due)
		}
	}
	w.Cell.Messages.Add(uint64(messages))
	x.backend.Flow.Messages.Add(uint64(messages))
	x.backend.Flow.BytesIn.Add(uint64(consumed))
	x.access.Received(consumed)
	x.port.Asked(now)
	n.conn.Send(p[:consumed])
	if wait > 0 {
		w.Throttled(wait)
		t.resumeAt = now + int64(wait)
	}
	if wait > 0 || n.conn.Pending() > 0 {
		c.conn.Pause()
	}
	x.tunnelPatience()
	return consumed
}

// tunnelOut passes on what the node says after the upgrade.
func (x *exchange) tunnelOut(p []byte) (consumed int) {
	c := x.client
	x.port.Answered()
	x.backend.Flow.BytesOut.Add(uint64(len(p)))
	x.access.Sent(len(p))
	for scanned := 0; scanned < len(p); {
		n, _, _ := x.tunnel.said.Next(p[scanned:], math.MaxUint64, nil)
		scanned += n
	}
	c.conn.Send(p)
	if c.conn.Pending() > 0 {
		x.node.conn.Pause()
	}
	x.tunnelPatience()
	return len(p)
}

// tunnelPatience begins anew, as something has passed through the tunnel. While the client is
// throttled it is not idle.
func (x *exchange) tunnelPatience() {
	c, w := x.client, x.client.w
	if at := x.tunnel.resumeAt; at != 0 {
		c.until(at)
		return
	}
	x.alive = w.Loop.Now()
	w.Crowd.Use(c.source, &c.seat, x.alive)
	limit, _ := x.limit()
	c.within(limit)
}

// tunnelEnded passes the end of the node's stream on: both connections are closed once the client has
// ended its own too.
func (x *exchange) tunnelEnded() {
	c := x.client
	if !c.ended && !x.tunnel.closing() {
		c.w.CountCut(x.access, board.ReasonNodeLost)
	}
	x.tunnel.nodeEnded = true
	c.conn.CloseWrite()
	x.tunnelPatience()
}

// readTunnel reads the client on, unless it has to wait for its rate or its node.
func (x *exchange) readTunnel() {
	if x.tunnel.resumeAt == 0 && x.node.conn.Pending() == 0 {
		x.client.conn.Resume()
	}
}

// tunnelExpired ends a tunnel in which nothing happens, or a throttle.
func (x *exchange) tunnelExpired() {
	if x.tunnel.resumeAt == 0 {
		x.silent()
		return
	}
	x.tunnel.resumeAt = 0
	x.readTunnel()
	x.tunnelPatience()
}
