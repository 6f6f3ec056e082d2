package mcp

import (
	"bytes"
	"encoding/json"

	"github.com/erlmcp/erlmcp/internal/rawjson"
)

const (
	// MaxID is the longest id, in bytes of raw JSON, that an Inspector keeps.
	MaxID = 256
	// MaxInspected is the number of messages of a batch an Inspector tells of.
	MaxInspected = 64

	maxKey = len(`\u006d\u0065\u0074\u0068\u006f\u0064`) // "method", at its longest
)

// Inspector reads one line like Scanner and also notes what an answer to it
// needs: the id of each message and whether it has a method. So a message that
// may not pass can be dropped and answered though it was never held in memory.
// The zero value is ready; an Inspector that is reused does not allocate.
type Inspector struct {
	scanner  Scanner // counts
	messages []span
	ids      []byte // ids of all messages, one after the other

	phase   inspected
	escape  bool
	batch   bool
	empty   bool // a batch without elements so far
	depth   int  // brackets open
	level   int  // depth inside a message of this line: 1, in a batch 2
	object  bool // the value open at level is an object
	isKey   bool // the next string at level is a key
	capture capture
	key     [maxKey + 2]byte // and the closing quote, and one to tell that it was longer
	keyLen  int
	current span
}

// span is a message and where its id lies in ids.
type span struct {
	from, to   int32
	id, method bool // the message has that member
	long       bool // more than MaxID
}

// inspected is how far an Inspector is in its line.
type inspected uint8

const (
	lineStart  inspected = iota // nothing but white space so far
	inMessages                  // between tokens
	inText                      // in a string
	inTail                      // the rest of the line does not matter
)

type capture uint8

const (
	nothing capture = iota
	theKey
	theID
)

// Inspected is what an Inspector found out about one message.
type Inspected struct {
	// ID is the raw JSON of the id, nil if there is none. An id that no request
	// may have, or longer than MaxID, is "null".
	ID []byte
	// Method reports whether there is one.
	Method bool
}

// Request reports whether the message asks for a reply.
func (m Inspected) Request() bool { return m.Method && m.ID != nil }

// Reset makes the Inspector ready for a new line. What it told is void.
func (in *Inspector) Reset() {
	*in = Inspector{messages: in.messages[:0], ids: in.ids[:0]}
}

// Next is Scanner.Next for one line: after a line's end, Reset.
func (in *Inspector) Next(p []byte) (n, messages int, end bool) {
	n, messages, end = in.scanner.Next(p)
	line := p[:n]
	if end {
		line = p[:n-1]
	}
	in.scan(line)
	if end {
		in.finish()
	}
	return n, messages, end
}

// Message tells of message i, 0 ≤ i < Messages. Its ID is valid until Reset.
func (in *Inspector) Message(i int) Inspected {
	m := in.messages[i]
	r := Inspected{Method: m.method}
	if m.id {
		r.ID = in.ids[m.from:m.to]
	}
	return r
}

// AppendErrors appends the line that answers every request of the inspected line
// with the same error: one reply, or an array of them for a batch (JSON-RPC 2.0
// section 6). It appends nothing if no message asked for a reply; a line that
// is not JSON-RPC, or an empty batch, asks for a single one, whose id is null.
func (in *Inspector) AppendErrors(dst []byte, code int, message string, data ...Field) []byte {
	start := len(dst)
	for i := range in.messages {
		m := in.Message(i)
		if !m.Request() && (m.Method || m.ID != nil) {
			continue // a notification or a reply
		}
		switch {
		case len(dst) > start:
			dst = append(dst, ',')
		case in.batch && !in.empty:
			dst = append(dst, '[')
		}
		dst = appendError(dst, m.ID, code, message, data)
	}
	if len(dst) == start {
		return dst
	}
	if in.batch && !in.empty {
		dst = append(dst, ']')
	}
	return append(dst, '\n')
}

func (in *Inspector) scan(p []byte) {
	if in.phase == lineStart {
		if p = rawjson.TrimLeft(p); len(p) == 0 {
			return
		}
		in.phase, in.level = inMessages, 1
		if p[0] == '[' {
			in.phase, in.level, in.batch, in.empty = inMessages, 2, true, true
		}
	}
	for len(p) > 0 && in.phase != inTail {
		if in.phase == inText {
			n, closed := skipString(p, &in.escape)
			in.keep(p[:n])
			if p = p[n:]; closed {
				in.phase = inMessages
				in.closeString()
			}
			continue
		}
		if !rawjson.IsSpace(p[0]) {
			in.token(p[0])
		} else if in.capture == theID {
			in.keepSpace()
		}
		p = p[1:]
	}
}

// token takes one byte outside strings that is not white space.
func (in *Inspector) token(c byte) {
	members := in.depth == in.level && in.object // among the members of a message
	if in.depth == 1 && c != ']' {
		in.empty = false
	}
	switch c {
	case '"':
		in.phase = inText
		if members && in.isKey {
			in.capture, in.keyLen, in.isKey = theKey, 0, false
			return
		}
	case ':':
		if members {
			in.openValue()
			return
		}
	case ',':
		if members {
			in.closeValue()
			in.isKey = true
			return
		}
		if in.batch && in.depth == 1 {
			in.closeMessage()
			return
		}
	case '{', '[':
		if in.depth++; in.depth == in.level {
			in.object, in.isKey = c == '{', true
		}
	case '}', ']':
		if in.depth == in.level {
			in.closeValue()
			in.object = false
		}
		if in.depth--; in.depth <= 0 {
			in.phase = inTail
			return
		}
	}
	if in.capture == theID {
		in.keep([]byte{c})
	}
}

// openValue begins the value of the member whose key was read.
func (in *Inspector) openValue() {
	key := in.key[:in.keyLen]
	in.keyLen = 0
	switch {
	case equalKey(key, "id"):
		in.capture = theID
		in.ids = in.ids[:in.current.from]
		in.current.id, in.current.long = true, false
	case equalKey(key, "method"):
		in.current.method = true
	}
}

// closeValue ends the value of a member.
func (in *Inspector) closeValue() { in.capture = nothing }

// closeString ends a string that may have been a key.
func (in *Inspector) closeString() {
	if in.capture != theKey {
		return
	}
	in.capture = nothing
	if in.keyLen--; in.keyLen > maxKey {
		in.keyLen = 0
	}
}

// closeMessage ends one message of the line.
func (in *Inspector) closeMessage() {
	m := in.current
	id := bytes.TrimSuffix(in.ids[m.from:], []byte{' '})
	if m.id && (m.long || !validID(id)) {
		id = null
	}
	if len(in.messages) < MaxInspected {
		in.ids = append(in.ids[:m.from], id...)
		m.to = int32(len(in.ids))
		in.messages = append(in.messages, m)
	} else {
		in.ids = in.ids[:m.from]
	}
	in.current = span{from: int32(len(in.ids))}
	in.object, in.capture, in.keyLen = false, nothing, 0
}

func (in *Inspector) finish() {
	if in.phase == lineStart {
		return
	}
	in.closeMessage()
	in.phase = inTail
}

// keep adds p to what is being captured.
func (in *Inspector) keep(p []byte) {
	switch in.capture {
	case theKey:
		in.keyLen += copy(in.key[in.keyLen:], p)
	case theID:
		room := MaxID - (len(in.ids) - int(in.current.from))
		if len(p) > room {
			in.current.long = true
			p = p[:room]
		}
		in.ids = append(in.ids, p...)
	}
}

// keepSpace keeps one space in a row of white space after the id's beginning: a
// valid id has none inside, and it must not fill the room.
func (in *Inspector) keepSpace() {
	if id := in.ids[in.current.from:]; len(id) > 0 && id[len(id)-1] != ' ' {
		in.keep([]byte{' '})
	}
}

var null = []byte("null")

// validID reports whether raw is a string, a number or null (JSON-RPC 2.0
// section 4).
func validID(raw []byte) bool {
	if len(raw) == 0 {
		return false
	}
	switch c := raw[0]; {
	case c == '"', c == '-', '0' <= c && c <= '9', c == 'n':
		return json.Valid(raw)
	}
	return false
}
