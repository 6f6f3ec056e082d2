package proxy

import (
	"bytes"

	"github.com/erlmcp/erlmcp/proxy/internal/affinity"
)

// maxEndpointEvent bounds what is held back of an event stream in search of its endpoint event.
const maxEndpointEvent = 8 << 10

// endpointFilter tags the URI in the first event of a stream of 2024-11-05, to which the client will
// post (MCP 2024-11-05, Transports, HTTP with SSE):
//
//	event: endpoint
//	data: /mcp/sse?sessionid=X  ─▶  data: /mcp/sse?sessionid=X~TAG
//
// It holds an event back until it is whole; comments in front pass. Anything unexpected passes as it
// is.
type endpointFilter struct {
	held []byte
	line int // where the current line of held begins
	done bool
}

// next appends to dst what of data, the next piece of the stream, can be sent.
func (f *endpointFilter) next(dst, data []byte, ring *affinity.Ring, node int, since affinity.Time) []byte {
	if f.done {
		return append(dst, data...)
	}
	f.held = append(f.held, data...)
	for !f.done {
		rest := f.held[f.line:]
		size, next := cutLine(rest)
		if next == 0 || size > 0 && next == len(rest) && rest[next-1] == '\r' { // an LF may belong to it
			if len(f.held) > maxEndpointEvent {
				return f.flush(dst)
			}
			return dst
		}
		if size > 0 {
			f.line += next
			continue
		}
		event := f.held[:f.line+next]
		dst, f.done = tagEndpoint(dst, event, ring, node, since)
		f.held = f.held[len(event):]
		f.line = 0
	}
	return f.flush(dst)
}

// cutLine returns the length of the line that p begins with, and where the next begins, 0 if p ends
// before. Lines end in LF, CRLF or CR.
func cutLine(p []byte) (size, next int) {
	size = bytes.IndexAny(p, "\r\n")
	switch {
	case size < 0:
		return 0, 0
	case p[size] == '\r' && size+1 < len(p) && p[size+1] == '\n':
		return size, size + 2
	}
	return size, size + 1
}

// flush appends what is held back and lets everything pass from now on.
func (f *endpointFilter) flush(dst []byte) []byte {
	dst = append(dst, f.held...)
	f.held, f.done = nil, true
	return dst
}

// tagEndpoint appends one event, tagged if it is the one. last is false for one that says nothing.
func tagEndpoint(dst, event []byte, ring *affinity.Ring, node int, since affinity.Time) (out []byte, last bool) {
	var isEndpoint bool
	var uri []byte
	data, at, start := 0, 0, 0 // data fields, where uri is, where the line is
	for start < len(event) {
		size, next := cutLine(event[start:])
		text := event[start : start+size]
		name, value, _ := bytes.Cut(text, []byte(":"))
		value = bytes.TrimPrefix(value, []byte(" "))
		switch string(name) {
		case "event":
			isEndpoint = string(value) == "endpoint"
		case "data":
			data++
			uri, at = value, start+len(text)-len(value)
		}
		start += next
	}
	if !isEndpoint || data != 1 || len(uri) == 0 {
		return append(dst, event...), data > 0
	}
	dst = append(dst, event[:at]...)
	dst = ring.AppendEndpoint(dst, uri, node, since)
	return append(dst, event[at+len(uri):]...), true
}
