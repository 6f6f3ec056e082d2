package web

import (
	"time"

	"github.com/erlmcp/erlmcp/internal/http1"
	"github.com/erlmcp/erlmcp/proxy/worker/internal/hub"
)

// A client that ends its stream behind a request may have nothing more to ask and wait for the answer, or
// it may have gone: both look alike. A node that is told takes it for the latter, as most servers do. So
// the node is told nothing, and the client is written to: the kernel of one that has gone refuses what
// comes, and that ends the exchange and the node's connection with it.
//
//	no head yet       100 (Continue), which HTTP/1.1 clients discard when they have not asked for it (RFC
//	                  9110 section 15.2.1); not before askAfter, when most answers are there
//	body in chunks    a leading zero of the next chunk's size (RFC 9112 section 7.1), at once
//	all else          what comes of the response next, for as long as Timeouts.Send

// askAfter is how long the request of a client that has ended its stream is under way before the client is
// asked whether it is still there. It spares the clients of quick nodes the question.
const askAfter = time.Second

// The probes.
const (
	probe      = "HTTP/1.1 100 Continue\r\n\r\n"
	chunkProbe = "0"
)

// awaitHead waits for the head of the response, from now on.
func (x *exchange) awaitHead() {
	c := x.client
	x.asks = false
	c.within(c.w.Spec.Timeouts.Response)
	if c.ended {
		x.halfClosed()
	}
}

// halfClosed goes on after the end of the client's stream.
func (x *exchange) halfClosed() {
	c := x.client
	switch {
	case x.headed() && x.framing == http1.Chunked && c.conn.Pending() == 0:
		c.conn.Send([]byte(chunkProbe))
	case x.headed():
		x.patience()
	case x.old:
		t := &c.w.Spec.Timeouts
		c.within(hub.Sooner(t.Response, t.Send))
	case x.asks:
	default:
		at := x.sent + int64(askAfter)
		if c.due != 0 && at >= c.due {
			return
		}
		x.asks, x.due = true, c.due
		c.until(at)
	}
}

// ask writes to a client that has ended its stream. Should it have gone, its connection breaks.
func (x *exchange) ask() {
	c := x.client
	x.asks = false
	c.conn.Send([]byte(probe))
	if x.due == 0 {
		c.within(0)
	} else {
		c.until(x.due)
	}
}
