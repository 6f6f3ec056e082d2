package sse

import (
	"bytes"

	"github.com/erlmcp/erlmcp/proxy/internal/affinity"
)

// maxEndpointEvent bounds what is held back of an event stream in search of its endpoint event.
const maxEndpointEvent = 8 << 10

// EndpointFilter tags the URI in the first event of a stream of 2024-11-05, to which the client will
// post (MCP 2024-11-05, Transports, HTTP with SSE):
//
//	event: endpoint
//	data: /messages?sessionId=X  ─▶  data: /messages?sessionId=X~TAG
//
// It holds an event back until it is whole, or cannot be the one any more; comments in front pass.
// Anything unexpected passes as it is.
type EndpointFilter struct {
	held []byte
	line int // where the current line of held begins
	done bool
}

// Next appends to dst what of data, the next piece of the stream, can be sent.
func (f *EndpointFilter) Next(dst, data []byte, ring *affinity.Ring, at affinity.Place) []byte {
	if f.done {
		return append(dst, data...)
	}
	f.held = append(f.held, data...)
	for !f.done {
		rest := f.held[f.line:]
		if holdsMessage(rest) {
			return f.Flush(dst)
		}
		size, next := cutLine(rest)
		if next == 0 || size > 0 && next == len(rest) && rest[next-1] == '\r' { // an LF may belong to it
			if len(f.held) > maxEndpointEvent {
				return f.Flush(dst)
			}
			return dst
		}
		if size > 0 {
			if name, value := cutField(rest[:size]); string(name) == "event" && string(value) != "endpoint" {
				return f.Flush(dst)
			}
			f.line += next
			continue
		}
		event := f.held[:f.line+next]
		dst, f.done = tagEndpoint(dst, event, ring, at)
		f.held = f.held[len(event):]
		f.line = 0
	}
	return f.Flush(dst)
}

// Holds reports whether a part of an event is held back.
func (f *EndpointFilter) Holds() bool { return f != nil && len(f.held) > 0 }

// Done reports whether everything passes from now on.
func (f *EndpointFilter) Done() bool { return f.done }

// holdsMessage reports whether the line that p begins with is the data of a JSON-RPC message, which is
// no URI.
func holdsMessage(p []byte) bool {
	value, ok := bytes.CutPrefix(p, []byte("data:"))
	value = bytes.TrimPrefix(value, []byte(" "))
	return ok && len(value) > 0 && (value[0] == '{' || value[0] == '[')
}

// cutField splits a line into the name of the field and its value.
func cutField(line []byte) (name, value []byte) {
	name, value, _ = bytes.Cut(line, []byte(":"))
	return name, bytes.TrimPrefix(value, []byte(" "))
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

// Flush appends what is held back and lets everything pass from now on.
func (f *EndpointFilter) Flush(dst []byte) []byte {
	dst = append(dst, f.held...)
	f.held, f.done = nil, true
	return dst
}

// tagEndpoint appends one event, tagged if it is the one. last is false for one that says nothing.
func tagEndpoint(dst, event []byte, ring *affinity.Ring, place affinity.Place) (out []byte, last bool) {
	var isEndpoint bool
	var uri []byte
	data, at, start := 0, 0, 0 // data fields, where uri is, where the line is
	for start < len(event) {
		size, next := cutLine(event[start:])
		text := event[start : start+size]
		name, value := cutField(text)
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
	dst = ring.AppendEndpoint(dst, hereURI(uri), place)
	return append(dst, event[at+len(uri):]...), true
}

// hereURI is uri without scheme, authority and fragment (RFC 3986 section 3): the client shall post to
// where it is, whatever the node takes for its own address, and would refuse another origin.
func hereURI(uri []byte) []byte {
	uri, _, _ = bytes.Cut(uri, []byte("#"))
	rest := uri
	if scheme := bytes.IndexByte(uri, ':'); scheme > 0 && !bytes.ContainsAny(uri[:scheme], "/?") {
		rest = uri[scheme+1:]
	}
	rest, ok := bytes.CutPrefix(rest, []byte("//"))
	if !ok {
		return uri // it names no authority
	}
	end := bytes.IndexAny(rest, "/?")
	switch {
	case end < 0:
		return []byte("/")
	case rest[end] == '?':
		return append([]byte("/"), rest[end:]...)
	case bytes.HasPrefix(rest[end:], []byte("//")): // no authority (section 4.2)
		return append([]byte("/."), rest[end:]...)
	}
	return rest[end:]
}
