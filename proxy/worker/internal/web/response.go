package web

import (
	"time"

	"github.com/erlmcp/erlmcp/internal/http1"
	"github.com/erlmcp/erlmcp/proxy/internal/board"
	"github.com/erlmcp/erlmcp/proxy/internal/coding"
	"github.com/erlmcp/erlmcp/proxy/internal/policy"
	"github.com/erlmcp/erlmcp/proxy/internal/sse"
)

// response is what a client gets.
type response struct {
	out       http1.Body          // of the node
	filter    *sse.EndpointFilter // of the beginning of a legacy event stream; else nil
	zip       *coding.Zipper      // of the body; else nil
	due       int64               // when its head has to be there, while ask stands before it; 0 = never
	alive     int64               // when something of it passed last, or the client took a comment
	framing   http1.Framing       // towards the client
	pending   bool                // its end is awaited, see board.Flow
	nodeKeeps bool                // the node's connection goes on
	asks      bool                // the timer is that of ask
	streaming
	compression
}

// fromNode passes a response on. What comes in one read leaves in one write.
func (x *exchange) fromNode(p []byte) (consumed int) {
	c, w := x.client, x.client.w
	x.port.Answered()
	out, interim := w.Scratch[:0], false
	for x.phase == asking {
		if !worthParsing(p[consumed:], x.seen) {
			break
		}
		r := &w.response
		n, err := r.Parse(p[consumed:], x.verb == verbHead)
		if err != nil {
			x.badReply()
			return len(p)
		}
		if n == 0 {
			x.seen = uint32(len(p) - consumed)
			break
		}
		x.seen = 0
		consumed += n
		x.answered()
		switch {
		case r.Status == 101:
			return x.switchProtocols(out, r, p[consumed:]) + consumed
		case r.Status < 200:
			interim = true
			if !x.old {
				out = r.AppendInterim(out)
			}
		default:
			out = x.respond(out, r, p[consumed:])
		}
	}
	if x.phase == replying {
		body, n, err := x.appendBody(out, p[consumed:])
		if err != nil {
			c.conn.Send(body)
			x.badReply()
			return len(p)
		}
		out, consumed = body, consumed+n
	}
	x.backend.Flow.BytesOut.Add(uint64(consumed))
	x.access.Sent(consumed)
	w.Scratch = out[:0]
	c.conn.Send(out)
	if x.phase == replying && x.out.Done() {
		if consumed < len(p) {
			x.nodeKeeps = false // it says more than it was asked for
		}
		x.finish()
		return len(p)
	}
	if c.conn.Pending() > 0 {
		x.node.conn.Pause()
	}
	if x.departNow() {
		return len(p)
	}
	switch {
	case x.phase == replying:
		x.patience()
	case interim && x.complete:
		x.awaitHead() // the node is at work: however many come, each is as good as a byte of an answer
	}
	return consumed
}

// respond takes over the final head of a response and appends it. rest is what has come behind it.
func (x *exchange) respond(out []byte, r *http1.Response, rest []byte) []byte {
	c, w := x.client, x.client.w
	x.count(r.Status)
	x.phase, x.asks = replying, false
	x.nodeKeeps = r.KeepAlive
	limit := w.Spec.HTTP.KeepaliveRequests
	// A response that comes before the end of its request is the last one: what the client still
	// sends of it could not be told from the next.
	x.keep = x.keep && x.complete && !w.Draining && (limit == 0 || int(c.served) < limit)
	x.framing = r.Body
	if x.framing == http1.UntilClose && !x.old {
		x.framing = http1.Chunked
	}
	if x.framing == http1.Chunked && x.old {
		x.framing = http1.UntilClose
	}
	if x.framing == http1.UntilClose {
		x.keep = false
	}
	x.out.Reset(r.Body, r.Length)
	x.events = sse.IsStream(r)
	if x.events && (x.replayable || x.listens) {
		x.settle()
	}
	if x.opensLegacyStream(r) {
		x.filter = new(sse.EndpointFilter)
		x.date()
	}
	x.varies = x.variesByCoding(r)
	x.zipped = x.varies && x.getsZipped(r, rest)
	if x.zipped && x.verb != verbHead {
		x.zip = w.zippers.Take()
		x.zipped = x.zip != nil
	}
	if x.zip != nil {
		x.framing = http1.Chunked
	}
	return x.appendResponse(out, r)
}

// opensLegacyStream reports whether the response may begin with an endpoint, which has to be tagged
// then. Any path may lead to such a stream.
func (x *exchange) opensLegacyStream(r *http1.Response) bool {
	return x.events && x.replayable && x.verb != verbHead && r.Status == 200 && !x.session && x.client.w.Spec.Sticky.MCPSession
}

// count counts the answer of the node, whose head has come.
func (x *exchange) count(status int) {
	w, flow, class := x.client.w, x.backend.Flow, status/100
	now := w.Loop.Now()
	x.access.Answered(status, now)
	flow.ObserveAnswer(time.Duration(now - x.sent))
	flow.Responses[class].Add(1)
	w.Cell.Responses[class].Add(1)
}

// appendBody appends what p holds of the body, as far as it is well-formed.
func (x *exchange) appendBody(dst, p []byte) (out []byte, consumed int, err error) {
	for consumed < len(p) && !x.out.Done() {
		data, n, err := x.out.Next(p[consumed:])
		if err != nil {
			return dst, consumed, err
		}
		consumed += n
		if x.filter != nil {
			data = x.filtered(data)
		}
		if x.zip != nil {
			x.zip.Write(data)
			continue
		}
		x.follow(data)
		dst = x.frame(dst, data)
	}
	if x.zip != nil { // what came in one read becomes one chunk: nothing is held back
		dst = x.frame(dst, x.client.w.zippers.Flush(x.zip, x.out.Done()))
	}
	if x.out.Done() {
		dst = x.frame(dst, x.unheld())
	}
	if x.framing == http1.Chunked && x.out.Done() {
		dst = append(dst, http1.LastChunk...)
	}
	return dst, consumed, nil
}

// frame appends data in the client's framing.
func (x *exchange) frame(out, data []byte) []byte {
	if x.framing == http1.Chunked {
		return http1.AppendChunk(out, data)
	}
	return append(out, data...)
}

// filtered is what can be sent of an event stream's beginning.
func (x *exchange) filtered(data []byte) []byte {
	data = x.filter.Next(nil, data, x.client.w.ring, x.servedAt())
	if x.filter.Done() {
		x.filter = nil
	}
	return data
}

// unheld is what was held back of a stream that ends.
func (x *exchange) unheld() []byte {
	if x.filter == nil {
		return nil
	}
	return x.filter.Flush(nil)
}

// ended is the end of a response that goes on until its connection closes.
func (x *exchange) ended() {
	x.client.conn.Send(x.frame(nil, x.unheld()))
	if x.zip != nil {
		x.client.conn.Send(x.frame(nil, x.client.w.zippers.Flush(x.zip, true)))
	}
	if x.framing == http1.Chunked {
		x.client.conn.Send([]byte(http1.LastChunk))
	}
	x.nodeKeeps = false
	x.finish()
}

// badReply ends an exchange with a node that does not speak HTTP.
func (x *exchange) badReply() { x.refuse(policy.RefusalOf(board.ReasonBadReply, 0)) }

// switchProtocols makes a tunnel of an exchange, if that is what the client has asked for.
func (x *exchange) switchProtocols(out []byte, r *http1.Response, rest []byte) (consumed int) {
	c, w := x.client, x.client.w
	if x.verb != verbUpgrade || !http1.EqualFold(r.Upgrade, "websocket") {
		x.badReply()
		return len(rest)
	}
	x.count(r.Status)
	x.phase, x.tunnel = tunnelling, new(tunnel)
	x.settle()
	out = x.appendResponse(out, r)
	w.Scratch = out[:0]
	c.conn.Send(out)
	c.conn.Reoffer() // what the client has said in advance
	return x.tunnelOut(rest)
}
