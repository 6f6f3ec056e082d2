package proxy

import (
	"errors"
	"net/http"
	"time"

	"github.com/erlmcp/erlmcp/internal/mcp"
	"github.com/erlmcp/erlmcp/proxy/internal/board"
	"github.com/erlmcp/erlmcp/proxy/internal/coding"
	"github.com/erlmcp/erlmcp/proxy/internal/http1"
)

// readHead reads a request head and begins with what it asks for.
func (c *httpClient) readHead(p []byte) (consumed int) {
	w := c.w
	if c.conn.Pending() > 0 || !worthParsing(p, c.seen) {
		return 0 // OnDrained comes back to it: who does not take answers gets no more of them
	}
	if n := http1.EmptyLines(p); n > 0 {
		return n // not a part of anything
	}
	r := &w.http.request
	n, err := r.Parse(p)
	if err != nil {
		w.cell.Requests.Add(1)
		c.say(malformed(err), originOf(r), false, false)
		c.part()
		return len(p)
	}
	if n == 0 {
		if c.ended {
			c.conn.Close()
		} else if c.seen == 0 {
			c.within(w.spec.Timeouts.Request) // the head's time begins with its first byte
		}
		c.seen = uint32(len(p))
		return 0
	}
	c.seen = 0
	return c.begin(r, n, p)
}

// malformed is what a client is told whose request cannot be forwarded.
func malformed(err error) refusal {
	r := refusalOf(board.ReasonBadRequest, 0)
	var e *http1.Error
	if errors.As(err, &e) {
		r.status, r.text = e.Status, e.Text
	}
	if r.status == http.StatusRequestURITooLong || r.status == http.StatusRequestHeaderFieldsTooLarge {
		r.reason = board.ReasonTooLarge
	}
	return r
}

// begin forwards a request, the head of which is p[:n], or answers it. It is called again for the
// same request, which is still the first in the input, when a connection has been made or the node
// that was chosen first has failed.
func (c *httpClient) begin(r *http1.Request, n int, p []byte) (consumed int) {
	w, x := c.w, c.x
	if x == nil {
		x = w.takeExchange(c)
		x.classify(r)
		x.identify(r)
		x.access = w.access.beginHTTP(w, x.addr, r)
		c.served++
		w.cell.Requests.Add(1)
	}
	if no := x.examine(r); !no.none() {
		return x.decline(no, r, n, p)
	}
	if c.state == waiting {
		return 0
	}
	if x.node == nil {
		if no := w.engage(x, r); !no.none() {
			return x.decline(no, r, n, p)
		}
	}
	if !x.node.opened {
		c.state = waiting
		c.within(min(attemptTimeout, w.spec.Timeouts.Connect))
		return 0
	}
	return x.forward(r, n, p)
}

// classify notes what has to be known of a request when its head is gone.
func (x *exchange) classify(r *http1.Request) {
	x.kind = x.client.w.http.kindOf(r.Path)
	x.page = append(x.page, originOf(r)...)
	x.old = r.Minor == 0
	x.keep = r.KeepAlive
	x.bare = string(r.Method) == "HEAD"
	get := string(r.Method) == "GET"
	x.cacheable = get || x.bare
	empty := r.Body == http1.NoBody || r.Body == http1.Sized && r.Length == 0
	x.replayable = empty && (get || x.bare || string(r.Method) == "OPTIONS")
	// No other protocol: h2c would carry requests past everything that looks at them here.
	x.upgrade = get && r.Body == http1.NoBody && http1.EqualFold(r.Upgrade, "websocket")
	x.zips, x.weak = coding.AcceptsGzip(r), coding.ShowsWeakTag(r)
	version := r.Get("mcp-protocol-version")
	x.stateless = mcp.EraOf(string(version)) == mcp.StatelessEra && !x.client.w.isTagged(r)
	x.noteMethod(r)
}

// examine decides whether a request may be forwarded, once. Over the message rate it may have to
// wait, as far as the client's state then says. A ban is for newcomers: who was let in before goes on.
func (x *exchange) examine(r *http1.Request) refusal {
	w := x.client.w
	if x.admitted {
		return refusal{}
	}
	if string(r.Method) == "TRACE" {
		return refusalOf(board.ReasonBadRequest, 0).with(http.StatusMethodNotAllowed).because("TRACE is not allowed")
	}
	if r.Body == http1.Sized && r.Length > int64(w.maxMessage) {
		return w.tooLarge()
	}
	if no := x.uncountable(r); !no.none() {
		return no
	}
	if no := x.enter(r); !no.none() {
		return no
	}
	if !x.exempt {
		now, sources := w.loop.Now(), w.board.Sources()
		v := w.limits.request(sources.MessageRate(x.source), now)
		switch v.outcome {
		case returns:
			x.pause(v.wait)
			return refusal{}
		case refused:
			w.rejected(x.source, x.addr, "requests")
			return refusalOf(v.reason, v.wait)
		}
		if no := x.toolOver(r, now); !no.none() {
			return no
		}
		if r.Body == http1.Sized {
			x.payFor(r.Length)
		}
		if v.wait > 0 {
			x.pause(v.wait)
		}
	}
	x.admitted, x.charged = true, 1
	w.cell.Messages.Add(1)
	return refusal{}
}

// pause has a request wait.
func (x *exchange) pause(wait time.Duration) {
	c := x.client
	c.w.throttled(wait)
	c.state = waiting
	c.within(wait)
}

func (w *worker) tooLarge() refusal {
	return refusalOf(board.ReasonTooLarge, 0).because("the body is longer than " + w.spec.MaxMessage.String())
}

// maxSwallowed is the longest body of a refused request that is read for the sake of the connection.
const maxSwallowed = 64 << 10

// decline answers a request that was not forwarded. Its body is read and dropped if it is short.
func (x *exchange) decline(no refusal, r *http1.Request, n int, p []byte) (consumed int) {
	c, bare := x.client, x.bare
	short := r.Body == http1.NoBody || r.Body == http1.Sized && r.Length <= maxSwallowed && !r.ExpectContinue
	keep := x.keep && !x.old && short && !c.w.draining
	c.say(no, x.page, keep, bare)
	if !keep {
		x.end()
		c.part()
		return len(p)
	}
	x.in.Reset(r.Body, r.Length)
	if x.in.Done() {
		x.end()
		c.rest()
		return n
	}
	c.state = exchanging
	c.within(c.w.spec.Timeouts.Request)
	return n
}

// forward sends the request to its node, with as much of its body as has come.
func (x *exchange) forward(r *http1.Request, n int, p []byte) (consumed int) {
	c, w := x.client, x.client.w
	x.in.Reset(r.Body, r.Length)
	x.resized = r.Body == http1.Chunked
	x.size, x.foreign, x.batch, x.peeked = 0, 0, mcp.Scanner{}, x.peeked[:0]
	x.sent = w.loop.Now()
	x.node.before = x.node.said
	c.state = exchanging
	x.backend.flow.Requests.Add(1)
	x.backend.flow.Messages.Add(1)
	out := x.appendRequest(w.scratch[:0], r)
	used := n
	if x.replayable {
		x.pass(out, nil)
	} else {
		used += x.pass(out, p[n:])
	}
	switch {
	case x.node == nil: // it has been refused
		return used
	case x.node.conn.Broken(): // nothing was sent, nothing is lost
		if x.node.used {
			x.fresh = true
			x.retry()
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

// fromClient reads the body of the request.
func (x *exchange) fromClient(p []byte) (consumed int) {
	if x.complete {
		return 0 // the next request waits for its turn
	}
	return x.pass(x.client.w.scratch[:0], p)
}

// pass sends out to the node, and behind it what p holds of the body. Without a node the body is
// dropped: its request has been refused.
func (x *exchange) pass(out, p []byte) (consumed int) {
	c, w := x.client, x.client.w
	for consumed < len(p) && !x.in.Done() {
		data, n, err := x.in.Next(p[consumed:])
		if err != nil {
			x.refuse(malformed(err))
			return len(p)
		}
		consumed += n
		x.countMethod(data)
		if x.node != nil && (len(data) > 0 || x.in.Done()) {
			no := x.peek(data)
			if no.none() {
				no = x.countMessages(data)
			}
			if !no.none() {
				x.refuse(no)
				return len(p)
			}
		}
		if x.size += int64(len(data)); x.node != nil {
			if x.size > int64(w.maxMessage) {
				x.refuse(w.tooLarge())
				return len(p)
			}
			x.payFor(x.size)
		}
		if x.resized {
			out = http1.AppendChunk(out, data)
		} else {
			out = append(out, data...)
		}
	}
	if x.in.Done() {
		x.complete = true
		x.countMethod(nil)
		if x.resized {
			out = append(out, http1.LastChunk...)
		}
	}
	w.scratch = out[:0]
	if x.node == nil {
		if x.complete {
			x.end()
			c.rest()
		}
		return consumed
	}
	x.send(out)
	return consumed
}

// send sends bytes of the request to the node.
func (x *exchange) send(out []byte) {
	c, w, n := x.client, x.client.w, x.node
	x.backend.flow.BytesIn.Add(uint64(len(out)))
	x.access.received(len(out))
	x.port.asked(w.loop.Now())
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
	case x.headed:
		x.patience()
	case x.complete:
		x.awaitHead()
	default:
		c.within(w.spec.Timeouts.Request)
	}
}
