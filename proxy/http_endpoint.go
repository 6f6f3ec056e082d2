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
func (f *endpointFilter) next(dst, data []byte, ring *affinity.Ring, node int) []byte {
	if f.done {
		return append(dst, data...)
	}
	f.held = append(f.held, data...)
	for !f.done {
		end := bytes.IndexByte(f.held[f.line:], '\n')
		if end < 0 {
			if len(f.held) > maxEndpointEvent {
				return f.flush(dst)
			}
			return dst
		}
		if blank := len(bytes.TrimRight(f.held[f.line:f.line+end], "\r")) == 0; !blank {
			f.line += end + 1
			continue
		}
		event := f.held[:f.line+end+1]
		dst, f.done = tagEndpoint(dst, event, ring, node)
		f.held = f.held[len(event):]
		f.line = 0
	}
	return f.flush(dst)
}

// flush appends what is held back and lets everything pass from now on.
func (f *endpointFilter) flush(dst []byte) []byte {
	dst = append(dst, f.held...)
	f.held, f.done = nil, true
	return dst
}

// tagEndpoint appends one event, tagged if it is the one. last is false for one that says nothing.
func tagEndpoint(dst, event []byte, ring *affinity.Ring, node int) (out []byte, last bool) {
	var isEndpoint bool
	var uri []byte
	data, at, start := 0, 0, 0 // data fields, where uri is, where the line is
	for line := range bytes.Lines(event) {
		text := bytes.TrimRight(line, "\r\n")
		name, value, _ := bytes.Cut(text, []byte(":"))
		value = bytes.TrimPrefix(value, []byte(" "))
		switch string(name) {
		case "event":
			isEndpoint = string(value) == "endpoint"
		case "data":
			data++
			uri, at = value, start+len(text)-len(value)
		}
		start += len(line)
	}
	if !isEndpoint || data != 1 || len(uri) == 0 {
		return append(dst, event...), data > 0
	}
	dst = append(dst, event[:at]...)
	dst = ring.AppendEndpoint(dst, uri, node)
	return append(dst, event[at+len(uri):]...), true
}
