// Package sse reads event streams (WHATWG HTML, Server-sent events) as they pass, to know where something may be
// put in, and to tag the endpoint that a stream of MCP 2024-11-05 begins with.
package sse

import "github.com/erlmcp/erlmcp/internal/http1"

// Place is where an event stream stands, as far as has been sent to the client (WHATWG HTML,
// Server-sent events, Parsing an event stream). Lines end in LF, CRLF or CR. Only between two events
// something may be put in.
type Place uint8

// Where a stream can stand.
const (
	Between Place = iota // nothing was sent, or an empty line was the last
	InLine
	LineBegins // within an event
)

// After is the place behind data. It looks at the line ends at the end of data and at nothing else:
// before them is a line, whatever is in it. cr reports whether the byte before data was a CR, which
// an LF belongs to, and returns the same of the last byte.
func (p Place) After(data []byte, cr bool) (Place, bool) {
	tail := len(data)
	for tail > 0 && (data[tail-1] == '\n' || data[tail-1] == '\r') {
		tail--
	}
	if tail > 0 {
		p, cr = InLine, false
	}
	for _, c := range data[tail:] {
		switch {
		case c == '\n' && cr: // the second half of a line's end
		case p == InLine:
			p = LineBegins
		default:
			p = Between
		}
		cr = c == '\r'
	}
	return p, cr
}

// Keepalive is what clients of a silent event stream get: a line that they ignore, and an
// empty one. Should the node's CR before it get its LF behind it, that is one more empty line, which
// does nothing either.
const Keepalive = ": keep-alive\n\n"

// IsStream reports whether comments can be put into a response.
func IsStream(r *http1.Response) bool {
	const events = "text/event-stream"
	kind := r.Get("content-type")
	return r.Status/100 == 2 && (r.Body == http1.Chunked || r.Body == http1.UntilClose) &&
		len(kind) >= len(events) && http1.EqualFold(kind[:len(events)], events) && (len(kind) == len(events) || kind[len(events)] == ';' || kind[len(events)] == ' ') &&
		r.Get("content-encoding") == nil
}
