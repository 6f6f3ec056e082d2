package web

import (
	"errors"
	"net/http"
	"time"

	"github.com/erlmcp/erlmcp/internal/http1"
	"github.com/erlmcp/erlmcp/internal/mcp"
	"github.com/erlmcp/erlmcp/proxy/internal/board"
	"github.com/erlmcp/erlmcp/proxy/internal/coding"
	"github.com/erlmcp/erlmcp/proxy/internal/policy"
	"github.com/erlmcp/erlmcp/proxy/worker/internal/hub"
)

// request is what a client asks for, and how far that has passed.
type request struct {
	origin
	page       []byte     // origin of the page that asks; its room is kept
	in         http1.Body // of it
	length     int64      // of its body so far
	kind       kind
	verb       verb
	method     int8 // a number of mcp.MethodNumber, methodSought or methodNone
	old        bool // HTTP/1.0
	keep       bool // the client's connection goes on
	replayable bool // may be sent twice
	listens    bool // for what may never come
	complete   bool // all of it was sent
}

// verb is an HTTP method as far as it matters here.
type verb uint8

const (
	verbOther verb = iota
	verbGet
	verbUpgrade // GET that asks for a WebSocket
	verbHead
	verbOptions
)

func verbOf(r *http1.Request) verb {
	switch string(r.Method) {
	case "GET":
		// No other protocol: h2c would carry requests past everything that looks at them here.
		if r.Body == http1.NoBody && http1.EqualFold(r.Upgrade, "websocket") {
			return verbUpgrade
		}
		return verbGet
	case "HEAD":
		return verbHead
	case "OPTIONS":
		return verbOptions
	}
	return verbOther
}

// readHead reads a request head and begins with what it asks for.
func (c *client) readHead(p []byte) (consumed int) {
	w := c.w
	if c.conn.Pending() > 0 || !worthParsing(p, c.seen) {
		return 0 // OnDrained comes back to it: who does not take answers gets no more of them
	}
	if n := http1.EmptyLines(p); n > 0 {
		return n // not a part of anything
	}
	r := &w.request
	w.parsed++
	n, err := r.Parse(p)
	if err != nil {
		w.Cell.Requests.Add(1)
		c.say(malformed(err), originOf(r), false, false)
		c.part()
		return len(p)
	}
	if n == 0 {
		if c.ended {
			c.conn.Close()
		} else if c.seen == 0 {
			c.within(w.Spec.Timeouts.Request) // the head's time begins with its first byte
		}
		c.seen = uint32(len(p))
		return 0
	}
	c.seen = 0
	return c.begin(r, n, p)
}

// malformed is what a client is told whose request cannot be forwarded.
func malformed(err error) policy.Refusal {
	r := policy.RefusalOf(board.ReasonBadRequest, 0)
	var e *http1.Error
	if errors.As(err, &e) {
		r.Status, r.Text = e.Status, e.Text
	}
	if r.Status == http.StatusRequestURITooLong || r.Status == http.StatusRequestHeaderFieldsTooLarge {
		r.Reason = board.ReasonTooLarge
	}
	return r
}

// begin forwards a request, the head of which is p[:n], or answers it. It is called again for the
// same request, which is still the first in the input, when it has waited for its rate or the node
// that was chosen first has failed.
func (c *client) begin(r *http1.Request, n int, p []byte) (consumed int) {
	w, x := c.w, c.x
	if x == nil {
		x = w.takeExchange(c)
		c.state = serving
		x.classify(r)
		x.identify(r)
		x.access = w.beginEntry(x.addr, r)
		c.served++
		w.Cell.Requests.Add(1)
	}
	switch wait, no := x.examine(r); {
	case !no.None():
		return x.decline(no, r, n, p)
	case wait > 0:
		x.pause(wait)
		return 0
	}
	if no := x.engage(r); !no.None() {
		return x.decline(no, r, n, p)
	}
	x.headSize = uint32(n)
	x.in.Reset(r.Body, r.Length)
	if !x.node.opened {
		x.phase = dialling
		x.head = w.spare.heads.Take()
		*x.head = x.appendRequest((*x.head)[:0], r)
		c.within(min(hub.AttemptTimeout, w.Spec.Timeouts.Connect))
		return 0
	}
	return x.forward(x.appendRequest(w.Scratch[:0], r), p)
}

// classify notes what has to be known of a request when its head is gone.
func (x *exchange) classify(r *http1.Request) {
	x.kind = x.client.w.kindOf(r.Path)
	x.page = append(x.page, originOf(r)...)
	x.old = r.Minor == 0
	x.keep = r.KeepAlive
	x.verb = verbOf(r)
	empty := r.Body == http1.NoBody || r.Body == http1.Sized && r.Length == 0
	x.replayable = empty && x.verb != verbOther
	x.zips, x.weak = coding.AcceptsGzip(r), coding.ShowsWeakTag(r)
	version := r.Get("mcp-protocol-version")
	x.stateless = mcp.EraOf(string(version)) == mcp.StatelessEra && !x.client.w.isTagged(r)
	x.noteMethod(r)
}

// examine decides, once, whether a request may be forwarded, or has to wait before, or is refused. A ban is for newcomers:
// who was let in before goes on.
func (x *exchange) examine(r *http1.Request) (wait time.Duration, no policy.Refusal) {
	w := x.client.w
	if x.admitted {
		return 0, policy.Refusal{}
	}
	if string(r.Method) == "TRACE" {
		return 0, policy.RefusalOf(board.ReasonBadRequest, 0).With(http.StatusMethodNotAllowed).Because("TRACE is not allowed")
	}
	if r.Body == http1.Sized && r.Length > int64(w.MaxMessage) {
		return 0, w.tooLarge()
	}
	if no := x.uncountable(r); !no.None() {
		return 0, no
	}
	if no := x.enter(r); !no.None() {
		return 0, no
	}
	if !x.exempt {
		now, sources := w.Loop.Now(), w.Board.Sources()
		v := w.Limits.Request(sources.MessageRate(x.source), now)
		switch v.Outcome {
		case policy.Returns:
			return v.Wait, policy.Refusal{}
		case policy.Refused:
			w.Rejected(x.source, x.addr, "requests")
			return 0, policy.RefusalOf(v.Reason, v.Wait)
		}
		wait = v.Wait
		if no := x.toolOver(r, now); !no.None() {
			return 0, no
		}
		if r.Body == http1.Sized {
			x.payFor(r.Length)
		}
	}
	x.admitted, x.charged = true, 1
	w.Cell.Messages.Add(1)
	return wait, policy.Refusal{}
}

func (w *Frontend) tooLarge() policy.Refusal {
	return policy.RefusalOf(board.ReasonTooLarge, 0).Because("the body is longer than " + w.Spec.MaxMessage.String())
}

// maxSwallowed is the longest body of a refused request that is read for the sake of the connection.
const maxSwallowed = 64 << 10

// decline answers a request that was not forwarded. Its body is read and dropped if it is short.
func (x *exchange) decline(no policy.Refusal, r *http1.Request, n int, p []byte) (consumed int) {
	c := x.client
	short := r.Body == http1.NoBody || r.Body == http1.Sized && r.Length <= maxSwallowed && !r.ExpectContinue
	keep := x.keep && !x.old && short && !c.w.Draining
	c.say(no, x.page, keep, x.verb == verbHead)
	x.in.Reset(r.Body, r.Length)
	switch {
	case !keep:
		x.done(false)
		return len(p)
	case x.in.Done():
		x.done(true)
	default:
		x.phase = dropping
		c.within(c.w.Spec.Timeouts.Request)
	}
	return n
}

// drop reads the body of a request that was declined.
func (x *exchange) drop(p []byte) (consumed int) {
	_, consumed, _ = x.in.Next(p) // it is sized
	if x.in.Done() {
		x.done(true)
	}
	return consumed
}

// forward sends the request to its node: head, and behind it as much of the body as p has behind its own head.
func (x *exchange) forward(head, p []byte) (consumed int) {
	c := x.client
	x.phase = asking
	x.sent = c.w.Loop.Now()
	x.node.before = x.node.said
	x.backend.Flow.Requests.Add(1)
	x.backend.Flow.Messages.Add(1)
	used := int(x.headSize)
	if x.replayable {
		x.pass(head, nil)
	} else {
		used += x.pass(head, p[used:])
	}
	switch {
	case c.x == nil: // it has been refused
		return used
	case x.node.conn.Broken(): // nothing was sent, nothing is lost
		if x.node.used {
			x.anew()
		} else { // why, it may have said
			x.node.unsent, x.kept = true, uint32(used)
		}
		return 0
	case x.replayable, x.complete && x.node.used && used <= maxKept:
		x.kept = uint32(used)
		return 0
	}
	return used
}

// maxKept is the longest request, in bytes, that is kept in case its node turns out not to have got it.
const maxKept = 16 << 10

// pass sends out to the node, and behind it what p holds of the body.
func (x *exchange) pass(out, p []byte) (consumed int) {
	w, chunked := x.client.w, x.in.IsChunked()
	for consumed < len(p) && !x.in.Done() {
		data, n, err := x.in.Next(p[consumed:])
		if err != nil {
			x.refuse(malformed(err))
			return len(p)
		}
		consumed += n
		x.countMethod(data)
		if len(data) > 0 || x.in.Done() {
			no := x.peek(data)
			if no.None() {
				no = x.countMessages(data)
			}
			if !no.None() {
				x.refuse(no)
				return len(p)
			}
		}
		if x.length += int64(len(data)); x.length > int64(w.MaxMessage) {
			x.refuse(w.tooLarge())
			return len(p)
		}
		x.payFor(x.length)
		if chunked {
			out = http1.AppendChunk(out, data)
		} else {
			out = append(out, data...)
		}
	}
	if x.in.Done() {
		x.complete = true
		x.countMethod(nil)
		if chunked {
			out = append(out, http1.LastChunk...)
		}
	}
	w.Scratch = out[:0]
	x.send(out)
	return consumed
}

// send sends bytes of the request to the node.
func (x *exchange) send(out []byte) {
	c, w, n := x.client, x.client.w, x.node
	x.backend.Flow.BytesIn.Add(uint64(len(out)))
	x.access.Received(len(out))
	x.port.Asked(w.Loop.Now())
	n.conn.Send(out)
	n.said += uint64(len(out))
	switch {
	case !x.complete && c.ended:
		c.conn.Close() // it will never be
		return
	case !x.complete && n.conn.Pending() > 0:
		c.conn.Pause()
	}
	switch {
	case x.headed():
		x.patience()
	case x.complete:
		x.awaitHead()
	default:
		c.within(w.Spec.Timeouts.Request)
	}
}
