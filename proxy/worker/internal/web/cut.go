package web

import (
	"time"

	"github.com/erlmcp/erlmcp/internal/http1"
	"github.com/erlmcp/erlmcp/internal/wsframe"
	"github.com/erlmcp/erlmcp/proxy/internal/board"
	"github.com/erlmcp/erlmcp/proxy/internal/policy"
	"github.com/erlmcp/erlmcp/proxy/internal/sse"
)

// What is under way and ends before its end is cut: a response, a stream, a tunnel, a relay. Each cut
// has a reason, which is counted and gets into the access log. Where the protocol has an orderly end
// and the reason is none of the node's failures, that end is used: the last chunk of an event stream
// between two events, the Close frame of a WebSocket between two frames.

// cutOff ends an exchange: one without a response is refused.
func (x *exchange) cutOff(reason board.Reason) {
	c := x.client
	switch {
	case x.phase == tunnelling:
		x.breakTunnel(reason)
	case x.phase != replying:
		x.refuse(policy.RefusalOf(reason, 0))
	case x.endsHere() && (reason == board.ReasonDrain || reason == board.ReasonIdle || reason == board.ReasonGaveWay):
		c.w.CountCut(x.access, reason)
		x.endHere()
	default:
		c.w.CountCut(x.access, reason)
		x.breakOff()
	}
}

// endsHere reports whether the response may end where it is: an event stream between two events.
func (x *exchange) endsHere() bool { return x.events && x.place == sse.Between }

// endHere ends a response in an orderly way. What is held back of it is not sent.
func (x *exchange) endHere() {
	if x.framing == http1.Chunked {
		x.client.conn.Send([]byte(http1.LastChunk))
	}
	x.nodeKeeps = false
	x.finish()
}

// endless reports whether the response is a stream that nobody waits for the end of.
func (x *exchange) endless() bool { return x.events && !x.pending }

// left notes that the client has gone before the end.
func (x *exchange) left() {
	w := x.client.w
	switch {
	case x.phase == dropping: // it was refused, and did not send the rest
	case x.phase == tunnelling && x.tunnel.closing():
	case w.Ending:
		w.CountCut(x.access, board.ReasonDrain)
	default:
		w.CountCut(x.access, board.ReasonClientGone)
	}
}

// breakTunnel ends both connections of a tunnel, the client's once it has taken what there is for it.
// It is told why where a frame can be put in.
func (x *exchange) breakTunnel(reason board.Reason) {
	c := x.client
	c.w.CountCut(x.access, reason)
	if status := closeStatus(reason); status != 0 && x.tunnel.said.Between() && !x.tunnel.said.Closing() {
		c.conn.Send(wsframe.AppendClose(nil, status))
	}
	x.end()
	if reason == board.ReasonUntaken {
		c.flushOut()
	} else {
		c.part()
	}
}

// closeStatus is what a WebSocket is closed with (RFC 6455 section 7.4.1); 0 is not at all, as by a
// node that is gone.
func closeStatus(reason board.Reason) uint16 {
	switch reason {
	case board.ReasonDrain, board.ReasonIdle, board.ReasonNodeDown:
		return 1001 // going away
	case board.ReasonGaveWay:
		return 1013 // try again later
	case board.ReasonTooLarge:
		return 1009 // message too big
	}
	return 0
}

// departTime is what a draining worker spreads the ends of endless streams over, one a millisecond:
// not all of their clients shall come elsewhere at once.
const departTime = time.Second

// depart has an endless stream end once its turn has come and it is between two events.
func (x *exchange) depart() {
	c, w := x.client, x.client.w
	x.departs = true
	w.departed++
	spread := min(departTime, w.Spec.Timeouts.Drain/2)
	c.within(max(time.Duration(w.departed)*time.Millisecond%max(spread, time.Millisecond), time.Millisecond))
}

// departNow ends a stream whose turn to depart has come, as soon as it is between two events.
func (x *exchange) departNow() bool {
	if !x.departs || x.client.due != 0 || !x.endsHere() {
		return false
	}
	x.cutOff(board.ReasonDrain)
	return true
}

// departAll has all endless streams depart.
func (w *Frontend) departAll() {
	for c := w.clients; c != nil; c = c.next {
		if c.x != nil && c.x.endless() {
			c.x.depart()
		}
	}
}
