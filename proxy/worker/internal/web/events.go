package web

import (
	"time"

	"github.com/erlmcp/erlmcp/internal/http1"
	"github.com/erlmcp/erlmcp/proxy/internal/board"
	"github.com/erlmcp/erlmcp/proxy/internal/sse"
	"github.com/erlmcp/erlmcp/proxy/worker/internal/hub"
)

// streaming is a response as an event stream.
type streaming struct {
	place   sse.Place // up to which it was sent
	events  bool      // it is one
	afterCR bool
	departs bool // it is to end between two events, once the client's patience is over
}

// follow keeps account of what is sent of the stream.
func (e *streaming) follow(data []byte) {
	if e.events {
		e.place, e.afterCR = e.place.After(data, e.afterCR)
	}
}

// patience begins anew, as something of the response, or of the request behind it, has passed.
func (x *exchange) patience() {
	c := x.client
	if x.departs {
		return
	}
	x.alive = c.w.Loop.Now()
	c.w.Crowd.Use(c.source, &c.seat, x.alive)
	if c.w.Draining && x.endless() {
		x.depart()
		return
	}
	limit, _ := x.limit()
	c.within(hub.Sooner(limit, x.commentEvery()))
}

// limit is for how long nothing may pass, and what it is then; 0 is for ever.
func (x *exchange) limit() (time.Duration, board.Reason) {
	c, t := x.client, &x.client.w.Spec.Timeouts
	switch {
	case c.conn.Pending() > 0:
		return hub.Sooner(t.Send, t.Idle), board.ReasonUntaken
	case x.tunnel != nil && x.tunnel.nodeEnded: // what holds this open is the client alone
		return hub.Sooner(t.Keepalive, t.Idle), board.ReasonIdle
	case c.ended && x.framing != http1.Chunked: // it may have gone, and cannot be asked
		return hub.Sooner(t.Send, t.Idle), board.ReasonClientGone
	}
	return t.Idle, board.ReasonIdle
}

// commentEvery is how often a silent event stream gets a comment; 0 is never.
func (x *exchange) commentEvery() time.Duration {
	if x.events {
		return x.client.w.Spec.HTTP.SSEKeepalive
	}
	return 0
}

// silent goes on with a response in which nothing has passed for a while. An event stream can be kept
// alive for as long as its client takes the comments: they do not show that the node lives, but checks
// do. One in the middle of an event, or that the client does not take, cannot.
func (x *exchange) silent() {
	c, w := x.client, x.client.w
	if x.departs {
		x.departNow() // or when its event is whole
		return
	}
	now, every := w.Loop.Now(), x.commentEvery()
	if every > 0 && x.place == sse.Between && !x.filter.Holds() && c.conn.Pending() == 0 {
		x.alive = now
		out := x.frame(w.Scratch[:0], []byte(sse.Keepalive))
		w.Scratch = out[:0]
		c.conn.Send(out)
		c.within(every)
		return
	}
	limit, reason := x.limit()
	left := time.Duration(x.alive + int64(limit) - now)
	switch {
	case limit <= 0:
		c.within(every)
	case left <= 0:
		x.cutOff(reason)
	default:
		c.within(hub.Sooner(left, every))
	}
}
