package proxy

import (
	"net/http"
	"strconv"
	"time"

	"github.com/erlmcp/erlmcp/internal/mcp"
	"github.com/erlmcp/erlmcp/internal/mono"
	"github.com/erlmcp/erlmcp/proxy/internal/board"
)

// denial is an answer of the balancer itself. The zero denial is none.
type denial struct {
	reason board.Reason
	status int
	text   string
	wait   time.Duration // for how long the client should stay away
}

func (r denial) none() bool { return r.status == 0 }

// denialOf is what a client is told for a reason.
func denialOf(reason board.Reason, wait time.Duration) denial {
	r := denial{reason: reason, wait: wait}
	switch reason {
	case board.ReasonBan:
		r.status, r.text = http.StatusTooManyRequests, "banned for repeated rate violations"
	case board.ReasonRate:
		r.status, r.text = http.StatusTooManyRequests, "connection rate limited"
	case board.ReasonMessageRate:
		r.status, r.text = http.StatusTooManyRequests, "rate limited"
	case board.ReasonPerSource:
		r.status, r.text = http.StatusTooManyRequests, "too many connections from this address"
	case board.ReasonNoNode:
		r.status, r.text = http.StatusServiceUnavailable, "no node is available"
	case board.ReasonSessionGone:
		r.status, r.text = http.StatusNotFound, "the node of this session is gone or was restarted: initialize a new one"
	case board.ReasonBadReply:
		r.status, r.text = http.StatusBadGateway, "the node answered with something that is not HTTP"
	case board.ReasonNodeLost:
		r.status, r.text = http.StatusBadGateway, "the node closed the connection before it answered"
	case board.ReasonNodeDown:
		r.status, r.text = http.StatusBadGateway, "the node went down before it answered"
	case board.ReasonDrain:
		r.status, r.text = http.StatusBadGateway, "the balancer stopped before the node answered"
	case board.ReasonNodeTimeout:
		r.status, r.text = http.StatusGatewayTimeout, "the node did not answer in time"
	case board.ReasonGaveWay:
		r.status, r.text = http.StatusServiceUnavailable, "the balancer is full: this address holds most, and others have none"
	default:
		r.status, r.text = http.StatusServiceUnavailable, "the balancer is full"
	}
	return r
}

// denialTo is what a client from source is told for a reason. Who is banned learns what that means, and
// whom to ask for what.
func (w *worker) denialTo(source board.SlotID, reason board.Reason, wait time.Duration) denial {
	r := denialOf(reason, wait)
	if info := w.board.Sources().Info(source); reason == board.ReasonBan && info.Source.IsValid() {
		until := mono.Time(w.loop.Now() + int64(wait))
		r.text = "banned until " + until.UTC().Format("15:04:05Z") + ": " + sourceText(info.Source) +
			" went on over the rate, or an operator has banned it; sessions and open connections are kept" +
			" (erlmcp lb ban list, erlmcp lb ban remove " + sourceText(info.Source) + ")"
	}
	return r
}

// code is the JSON-RPC error code of a refusal.
func (r denial) code() int {
	switch {
	case r.reason == board.ReasonBan:
		return mcp.CodeBanned
	case r.status == http.StatusTooManyRequests:
		return mcp.CodeRateLimited
	case r.status < 500:
		return mcp.CodeInvalidRequest
	default:
		return mcp.CodeUnavailable
	}
}

// retryAfter is when the client may come again, in whole seconds as HTTP has it; 0 says nothing.
func (r denial) retryAfter() int64 {
	if r.status == http.StatusTooManyRequests || r.status == http.StatusServiceUnavailable {
		return max(1, int64((r.wait+time.Second-1)/time.Second))
	}
	return 0
}

// maxOrigin bounds the Origin that is answered, in bytes.
const maxOrigin = 256

// originOf is the origin of the page that a request is from; nil if it is from none. Of a head that was
// not read to its end it is what has come.
func originOf(r requestHead) []byte {
	if origin := r.Get("origin"); len(origin) <= maxOrigin {
		return origin
	}
	return nil
}

// appendCORS lets a page read a refusal: without that, its script cannot tell a session that has to be
// begun anew, or a moment to wait, from a network that is down. Every page may, with its user's
// credentials or without: a refusal says nothing that the page could not find out by asking, and nothing
// of a node. What the nodes answer is theirs to open to pages, and so are preflights: they are never
// granted here.
func appendCORS(dst, origin []byte) []byte {
	if len(origin) == 0 {
		return dst
	}
	dst = append(append(dst, "\r\nAccess-Control-Allow-Origin: "...), origin...)
	return append(dst, "\r\nAccess-Control-Allow-Credentials: true\r\nAccess-Control-Expose-Headers: Retry-After\r\nVary: Origin"...)
}

// append appends the response to a request from a page of origin, or from none, with further field lines. bare leaves
// the body out, as HEAD asks.
func (r denial) append(dst, origin, fields []byte, keep, bare bool) []byte {
	var room [512]byte
	var body []byte
	if r.wait > 0 {
		body = mcp.AppendError(room[:0], nil, r.code(), r.text, retryAfter(r.wait))
	} else {
		body = mcp.AppendError(room[:0], nil, r.code(), r.text)
	}
	dst = append(dst, "HTTP/1.1 "...)
	dst = strconv.AppendInt(dst, int64(r.status), 10)
	dst = append(append(dst, ' '), http.StatusText(r.status)...)
	dst = append(dst, "\r\nContent-Type: application/json\r\nCache-Control: no-store\r\nContent-Length: "...)
	dst = strconv.AppendInt(dst, int64(len(body)), 10)
	if seconds := r.retryAfter(); seconds > 0 {
		dst = append(dst, "\r\nRetry-After: "...)
		dst = strconv.AppendInt(dst, seconds, 10)
	}
	if r.status == http.StatusUnsupportedMediaType {
		dst = append(dst, "\r\nAccept-Encoding: gzip, deflate"...) // RFC 9110 section 15.5.16
	}
	dst = appendCORS(dst, origin)
	if !keep {
		dst = append(dst, "\r\nConnection: close"...)
	}
	dst = append(append(append(dst, "\r\n"...), fields...), "\r\n"...)
	if bare {
		return dst
	}
	return append(dst, body...)
}

// say sends a denial to a page of origin, or to whom it is from none, and counts it.
func (c *httpClient) say(r denial, origin []byte, keep, bare bool) {
	w := c.w
	w.cell.Refused[r.reason].Add(1)
	w.cell.Responses[r.status/100].Add(1)
	var fields []byte
	if c.secure {
		fields = w.http.hsts
	}
	out := r.append(w.scratch[:0], origin, fields, keep, bare)
	w.scratch = out[:0]
	c.conn.Send(out)
	c.logDenial(r, len(out))
}
