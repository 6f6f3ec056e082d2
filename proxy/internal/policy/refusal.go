package policy

import (
	"net/http"
	"strconv"
	"time"

	"github.com/erlmcp/erlmcp/internal/mcp"
	"github.com/erlmcp/erlmcp/proxy/internal/board"
)

// Refusal is an answer of the balancer itself. The zero refusal is none.
type Refusal struct {
	Reason board.Reason
	Status int
	Text   string
	wait   time.Duration // for how long the client should stay away
}

// None reports whether it refuses nothing.
func (r Refusal) None() bool { return r.Status == 0 }

// RefusalOf is what a client is told for a reason.
func RefusalOf(reason board.Reason, wait time.Duration) Refusal {
	r := Refusal{Reason: reason, wait: wait}
	if r.Status, r.Text = reason.Told(); r.None() {
		r.Status, r.Text = board.ReasonFull.Told()
	}
	return r
}

// Because is r in words of its own.
func (r Refusal) Because(text string) Refusal {
	r.Text = text
	return r
}

// With is r with another status.
func (r Refusal) With(status int) Refusal {
	r.Status = status
	return r
}

// code is the JSON-RPC error code of a refusal.
func (r Refusal) code() int {
	switch {
	case r.Reason == board.ReasonBan:
		return mcp.CodeBanned
	case r.Status == http.StatusTooManyRequests:
		return mcp.CodeRateLimited
	case r.Status < 500:
		return mcp.CodeInvalidRequest
	default:
		return mcp.CodeUnavailable
	}
}

// retryAfter is when the client may come again, in whole seconds as HTTP has it; 0 says nothing.
func (r Refusal) retryAfter() int64 {
	if r.Status == http.StatusTooManyRequests || r.Status == http.StatusServiceUnavailable {
		return max(1, int64((r.wait+time.Second-1)/time.Second))
	}
	return 0
}

// RetryAfter is the member of an error that says how long to stay away.
func RetryAfter(wait time.Duration) mcp.Field {
	return mcp.Field{Name: "retryAfterMs", Value: int64((wait + time.Millisecond - 1) / time.Millisecond)}
}

// AppendLine appends what a client of newline-delimited JSON-RPC is told.
func (r Refusal) AppendLine(dst []byte) []byte {
	switch r.Reason {
	case board.ReasonBan, board.ReasonRate:
		return mcp.AppendError(dst, nil, r.code(), r.Text, RetryAfter(r.wait))
	default:
		return mcp.AppendError(dst, nil, mcp.CodeUnavailable, r.Text)
	}
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

// Append appends the response to a request from a page of origin, or from none, with further field lines. bare leaves
// the body out, as HEAD asks.
func (r Refusal) Append(dst, origin, fields []byte, keep, bare bool) []byte {
	var room [512]byte
	var body []byte
	if r.wait > 0 {
		body = mcp.AppendError(room[:0], nil, r.code(), r.Text, RetryAfter(r.wait))
	} else {
		body = mcp.AppendError(room[:0], nil, r.code(), r.Text)
	}
	dst = append(dst, "HTTP/1.1 "...)
	dst = strconv.AppendInt(dst, int64(r.Status), 10)
	dst = append(append(dst, ' '), http.StatusText(r.Status)...)
	dst = append(dst, "\r\nContent-Type: application/json\r\nCache-Control: no-store\r\nContent-Length: "...)
	dst = strconv.AppendInt(dst, int64(len(body)), 10)
	if seconds := r.retryAfter(); seconds > 0 {
		dst = append(dst, "\r\nRetry-After: "...)
		dst = strconv.AppendInt(dst, seconds, 10)
	}
	if r.Status == http.StatusUnsupportedMediaType {
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
