package proxy

import (
	"time"

	"github.com/erlmcp/erlmcp/proxy/internal/board"
	"github.com/erlmcp/erlmcp/proxy/internal/http1"
	"github.com/erlmcp/erlmcp/proxy/internal/sse"
)

// fromNode passes a response on. What comes in one read leaves in one write.
func (x *exchange) fromNode(p []byte) (consumed int) {
	c, w := x.client, x.client.w
	x.port.answered()
	out := w.scratch[:0]
	for !x.headed {
		if !worthParsing(p[consumed:], x.seen) {
			break
		}
		r := &w.http.response
		n, err := r.Parse(p[consumed:], x.bare)
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
			x.interim = true
			if !x.old {
				out = r.AppendInterim(out)
			}
		default:
			out = x.respond(out, r, p[consumed:])
		}
	}
	if x.headed {
		out, consumed = x.body(out, p, consumed)
		if consumed < 0 {
			return len(p)
		}
	}
	x.backend.flow.BytesOut.Add(uint64(consumed))
	x.access.sent(consumed)
	w.scratch = out[:0]
	c.conn.Send(out)
	if x.headed && x.out.Done() {
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
	case x.headed:
		x.patience()
	case x.interim && x.complete:
		x.interim = false
		x.awaitHead() // the node is at work: however many come, each is as good as a byte of an answer
	}
	return consumed
}

// respond takes over the final head of a response and appends it. rest is what has come behind it.
func (x *exchange) respond(out []byte, r *http1.Response, rest []byte) []byte {
	c, w, b := x.client, x.client.w, x.backend
	x.count(r.Status)
	b.flow.ObserveAnswer(time.Duration(w.loop.Now() - x.sent))
	x.headed, x.asks = true, false
	x.nodeKeeps = r.KeepAlive
	limit := w.spec.HTTP.KeepaliveRequests
	// A response that comes before the end of its request is the last one: what the client still
	// sends of it could not be told from the next.
	x.keep = x.keep && x.complete && !w.draining && (limit == 0 || int(c.served) < limit)
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
	if x.zipped && !x.bare {
		x.zip = w.http.zippers.Take()
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
	return x.events && x.replayable && !x.bare && r.Status == 200 && !x.session && x.client.w.spec.Sticky.MCPSession
}

func (x *exchange) count(status int) {
	class := status / 100
	x.access.answered(status, x.client.w.loop.Now())
	x.backend.flow.Responses[class].Add(1)
	x.client.w.cell.Responses[class].Add(1)
}

// body appends what p[consumed:] holds of the body. consumed is -1 when that is malformed, which ends
// the exchange.
func (x *exchange) body(out, p []byte, consumed int) ([]byte, int) {
	for consumed < len(p) && !x.out.Done() {
		data, n, err := x.out.Next(p[consumed:])
		if err != nil {
			x.client.conn.Send(out)
			x.badReply()
			return nil, -1
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
		out = x.frame(out, data)
	}
	if x.zip != nil { // what came in one read becomes one chunk: nothing is held back
		out = x.frame(out, x.client.w.http.zippers.Flush(x.zip, x.out.Done()))
	}
	if x.out.Done() {
		out = x.frame(out, x.unheld())
	}
	if x.framing == http1.Chunked && x.out.Done() {
		out = append(out, http1.LastChunk...)
	}
	return out, consumed
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
	data = x.filter.Next(nil, data, x.client.w.http.ring, x.servedAt())
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
		x.client.conn.Send(x.frame(nil, x.client.w.http.zippers.Flush(x.zip, true)))
	}
	if x.framing == http1.Chunked {
		x.client.conn.Send([]byte(http1.LastChunk))
	}
	x.nodeKeeps = false
	x.finish()
}

// badReply ends an exchange with a node that does not speak HTTP.
func (x *exchange) badReply() { x.refuse(refusalOf(board.ReasonBadReply, 0)) }

// switchProtocols makes a tunnel of an exchange, if that is what the client has asked for.
func (x *exchange) switchProtocols(out []byte, r *http1.Response, rest []byte) (consumed int) {
	c, w := x.client, x.client.w
	if !x.upgrade || !http1.EqualFold(r.Upgrade, "websocket") {
		x.badReply()
		return len(rest)
	}
	x.count(r.Status)
	x.backend.flow.ObserveAnswer(time.Duration(w.loop.Now() - x.sent))
	x.headed, x.tunnel, x.frames = true, true, new(tunnelFrames)
	x.settle()
	c.state = tunnelling
	out = x.appendResponse(out, r)
	w.scratch = out[:0]
	c.conn.Send(out)
	c.again() // what the client has said in advance
	return x.tunnelOut(rest)
}
