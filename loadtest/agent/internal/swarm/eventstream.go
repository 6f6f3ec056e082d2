package swarm

import "bytes"

// eventStream reads events (WHATWG HTML, 9.2.6) from a stream that arrives in pieces. Between two events it holds no room.
type eventStream struct {
	room     []byte // the data of the event under way, and then the line under way
	data     int    // bytes of data
	some     bool   // there was a line of data, empty perhaps
	told     bool   // the data was returned, and is to be forgotten
	endpoint bool   // the type of the event is "endpoint"
	cr       bool   // the last line ended in CR: a LF that follows belongs to it
}

// next reads p up to the end of the first event in it that has data, which is nil if there is none, and valid until
// the next call. tooLong says that the event under way is longer than maxMessage.
func (e *eventStream) next(s *Swarm, p []byte) (n int, data []byte, endpoint, tooLong bool) {
	if e.told {
		e.told, e.some, e.endpoint, e.data, e.room = false, false, false, 0, e.room[:0]
	}
	for n < len(p) {
		if e.cr && p[n] == '\n' {
			e.cr = false
			n++
			continue
		}
		e.cr = false
		end := lineEnd(p[n:])
		line := p[n : n+end]
		if n += end; len(e.room)+len(line) > maxMessage {
			return n, nil, false, true
		}
		if n == len(p) { // the line goes on
			e.keep(s, line)
			break
		}
		e.cr = p[n] == '\r'
		n++
		if len(e.room) > e.data {
			e.keep(s, line)
			line = e.room[e.data:]
		}
		switch {
		case len(line) > 0:
			e.field(s, line)
		case e.data > 0:
			e.told = true
			return n, e.room[:e.data:e.data], e.endpoint, false
		default: // an event without data is none
			e.some, e.endpoint = false, false
		}
	}
	if len(e.room) == 0 {
		s.giveBack(e.room)
		e.room = nil
	}
	return n, nil, false, false
}

// lineEnd is where the line ends that p begins with: len(p) if it goes on.
func lineEnd(p []byte) int {
	end := bytes.IndexByte(p, '\n')
	if end < 0 {
		end = len(p)
	}
	if cr := bytes.IndexByte(p[:end], '\r'); cr >= 0 {
		end = cr
	}
	return end
}

// keep appends to the line under way.
func (e *eventStream) keep(s *Swarm, p []byte) {
	if e.room == nil {
		e.room = s.borrow()
	}
	e.room = append(e.room, p...)
}

// field takes a line, which may lie at the end of the room. A value that is moved comes to lie in front of where it was.
func (e *eventStream) field(s *Swarm, line []byte) {
	name, value, _ := bytes.Cut(line, []byte{':'})
	value = bytes.TrimPrefix(value, []byte{' '})
	switch string(name) {
	case "data":
		if e.room == nil {
			e.room = s.borrow()
		}
		e.room = e.room[:e.data] // line stays as it is, but for its first byte
		if e.some {              // another line of it
			e.room = append(e.room, '\n')
		}
		e.room = append(e.room, value...)
		e.some, e.data = true, len(e.room)
	case "event":
		e.endpoint = string(value) == "endpoint"
		e.room = e.room[:e.data]
	default:
		e.room = e.room[:e.data]
	}
}

// release gives the room back, and forgets everything.
func (e *eventStream) release(s *Swarm) {
	s.giveBack(e.room)
	*e = eventStream{}
}
