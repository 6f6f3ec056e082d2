package swarm

import (
	"bytes"

	"github.com/erlmcp/erlmcp/internal/http1"
)

// reply reads a response over HTTP that arrives in pieces: its head, what it says, and its end. The zero value awaits one;
// it holds room only while a message is under way.
type reply struct {
	body    http1.Body
	events  eventStream // the room of which is also that of a body that is no stream of events
	status  uint16
	content content
	keep    bool // the connection can be used again
	closed  bool // nothing comes any more
	told    bool // the body was told
}

// content is what a response is made of.
type content uint8

const (
	contentHead   content = iota // still to come
	contentText                  // one message, or what explains the status
	contentEvents                // a message an event
)

// part is what was read of a response.
type part uint8

const (
	partNone     part = iota // nothing that is whole
	partHead                 // which is in Swarm.head
	partText                 // a message
	partEndpoint             // an event that is none, but the address for messages
	partDone                 // the end: the next response follows
	partBroken               // what is no response, or too long
)

// next reads p up to the end of a part. text is valid until the next call.
func (r *reply) next(s *Swarm, p []byte) (n int, is part, text []byte) {
	if r.content == contentHead {
		return r.begin(s, p)
	}
	for {
		before, body := n, r.body
		data, used, err := body.Next(p[n:])
		if err != nil {
			return n + used, partBroken, nil
		}
		if r.content == contentEvents {
			size, text, endpoint, tooLong := r.events.next(s, data)
			if size < len(data) { // an event ends in the midst of it
				body = r.body
				_, used, _ = body.Next(p[n : n+cap(p[n:])-cap(data)+size])
			}
			r.body = body
			n += used
			switch {
			case tooLong:
				return n, partBroken, nil
			case text != nil && endpoint:
				return n, partEndpoint, text
			case text != nil:
				return n, partText, text
			}
		} else {
			r.body = body
			n += used
			if text, tooLong := r.collect(s, data); tooLong {
				return n, partBroken, nil
			} else if text != nil {
				return n, partText, text
			}
		}
		if r.over() {
			return n, partDone, nil
		}
		if n == before {
			return n, partNone, nil
		}
	}
}

// over reports whether the response has ended.
func (r *reply) over() bool { return r.body.Done() || r.closed && r.body.End() == nil }

// begin reads the head.
func (r *reply) begin(s *Swarm, p []byte) (n int, is part, text []byte) {
	for {
		used, err := s.head.Parse(p[n:], false)
		switch {
		case err != nil || s.head.Status == 101 && used > 0:
			return n, partBroken, nil
		case used == 0:
			return n, partNone, nil
		}
		if n += used; s.head.Status >= 200 {
			break
		}
	}
	r.status, r.keep, r.content = uint16(s.head.Status), s.head.KeepAlive, contentText
	r.body.Reset(s.head.Body, s.head.Length)
	if kind, _, _ := bytes.Cut(s.head.Get("content-type"), []byte{';'}); http1.EqualFold(bytes.TrimSpace(kind), "text/event-stream") && r.status < 300 {
		r.content = contentEvents
	}
	return n, partHead, nil
}

// collect takes a piece of a body. It returns all of it at its end, if it is not empty.
func (r *reply) collect(s *Swarm, data []byte) (text []byte, tooLong bool) {
	e := &r.events
	switch {
	case len(e.room)+len(data) > maxMessage:
		return nil, true
	case r.told:
		return nil, false
	case !r.over():
		if len(data) > 0 {
			e.keep(s, data)
		}
		return nil, false
	case len(e.room) > 0:
		e.keep(s, data)
		data = e.room
	}
	r.told = true
	if len(data) == 0 {
		return nil, false
	}
	return data, false
}

// close has a response end with the connection, if that is how it is made.
func (r *reply) close() { r.closed = true }

// reset makes the reply ready for the next response.
func (r *reply) reset(s *Swarm) {
	r.events.release(s)
	*r = reply{}
}
