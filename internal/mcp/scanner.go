package mcp

import (
	"bytes"

	"github.com/erlmcp/erlmcp/internal/rawjson"
)

// Scanner counts the messages of a stream of newline-delimited JSON-RPC, or of a single text, that arrives in
// arbitrary pieces. It keeps no text, whatever the length of a line, and gives the same counts however the
// stream is cut. The zero value is ready.
//
// A line is one message; a line that is an array, a batch (JSON-RPC 2.0 section 6), is as many as it has
// elements, and one if empty; a blank line is none. A line that is not JSON is a message too, which the server
// has to answer.
//
// The scanner does not validate, and it counts for whoever may read the line: never less than what a server makes
// of it that trims more than white space, takes several values on a line one by one, takes a carriage
// return or U+2028 for the end of a line, or reads comments, single quotes, UTF-16 or UTF-32. Where such a reader
// could find a structure that cannot be followed here, the rest counts by its length, a message for each UnreadBytes.
type Scanner struct {
	phase  phase
	escape bool // in a string, after a backslash
	batch  bool // the value under way is an array
	valued bool // a value has begun
	object bool // the first was an object
	broken bool // something that ends the lines of others came in the midst of what is under way
	begun  bool // a message that is not in count
	last   byte // the byte of a value before, white space apart; of a scalar: 1 if another value is in count for it
	depth  uint32
	count  uint32
	unread uint32 // bytes by which nothing was counted yet
}

type phase uint8

const (
	between      phase = iota // before a value or behind one
	inValue                   // between tokens of an object or array
	inString                  // in a string, inside one or not
	inScalar                  // in a number or a literal that is inside of none
	inRest                    // what does not matter, as it is no JSON
	inUnread                  // what counts by its length
	afterSlash                // between values: a comment, perhaps
	lineComment               // up to the end of whatever is a line
	blockComment              // up to */
	afterStar
)

const (
	// UnreadBytes is a little more than the shortest JSON-RPC message has, in bytes of whatever encoding.
	UnreadBytes = 16
	// maxAtOnce bounds the messages that are counted in a step.
	maxAtOnce = 64
	// StepBytes bounds what of a batch is looked at in a step, as what is behind the messages that are counted in it is
	// looked at again.
	StepBytes = maxAtOnce * UnreadBytes
)

// Next reads p up to the end of the first line that ends in it. It returns the number of bytes read; end reports
// whether they end a line, and then messages is the number of messages in it.
func (s *Scanner) Next(p []byte) (n, messages int, end bool) {
	for n < len(p) && !end {
		var k int
		k, messages, end = s.Step(p[n:])
		n += k
	}
	return n, messages, end
}

// Step is Next, but reads less of a batch: some messages at a time, and no more than StepBytes once it is known as one.
func (s *Scanner) Step(p []byte) (n, messages int, end bool) {
	if s.Batch() {
		p = p[:min(len(p), StepBytes)]
	}
	n = bytes.IndexByte(p, '\n')
	line := p
	if n >= 0 {
		line = p[:n]
		if *s == (Scanner{}) && isSingle(line) && bytes.IndexByte(line, '\r') < 0 && bytes.IndexByte(line, longSeparator) < 0 {
			return n + 1, 1, true
		}
	}
	if read := s.scanLine(line); read < len(line) || n < 0 {
		return read, 0, false
	}
	return n + 1, s.End(), true
}

// Text reads p, a piece of a text in which a newline is white space, some messages at a time. last says that nothing
// comes behind p.
func (s *Scanner) Text(p []byte, last bool) (n int) {
	if last && *s == (Scanner{}) && isSingle(p) {
		s.phase, s.begun, s.valued, s.object = inRest, true, true, true
		return len(p)
	}
	return s.scan(p)
}

// Messages is how many messages have begun in the line or text under way, without one of which what comes may show that
// it is none.
func (s *Scanner) Messages() int {
	n := s.all()
	if s.phase == inScalar {
		n -= int(s.last)
	}
	return n
}

func (s *Scanner) all() int {
	if s.begun {
		return int(s.count) + 1
	}
	return int(s.count)
}

// End ends the line, as a newline does, or the text, and returns the number of messages in it.
func (s *Scanner) End() (messages int) {
	messages = s.all()
	*s = Scanner{}
	return messages
}

// Decided reports whether it is known what the line or text begins with.
func (s *Scanner) Decided() bool { return s.valued || s.phase == inRest || s.phase == inUnread }

// Batch reports whether there may be more than one message in what has come, or in the value under way.
func (s *Scanner) Batch() bool { return s.batch || s.count > 0 || s.phase == inUnread }

// Object reports whether the line or text begins with an object.
func (s *Scanner) Object() bool { return s.object }

// InLine reports whether a line has begun: something other than white space came since the last newline.
func (s *Scanner) InLine() bool { return s.begun }

// Unread has what follows of the line or text count by its length.
func (s *Scanner) Unread() { s.phase, s.begun = inUnread, true }

// isSingle reports whether p, a whole line or text, is easily seen to be a single message: an object, behind no
// closing brace of which another value begins. Most are.
func isSingle(p []byte) bool {
	for len(p) > 0 && rawjson.IsSpace(p[len(p)-1]) {
		p = p[:len(p)-1]
	}
	if len(p) == 0 || p[0] != '{' || p[len(p)-1] != '}' {
		return false
	}
	for i := 0; ; {
		i += bytes.IndexByte(p[i:], '}') + 1
		if i == len(p) {
			return true
		}
		if c := p[i]; c != '}' && c != ',' && c != ']' {
			return false
		}
	}
}

// longSeparator begins U+2028 and U+2029 in UTF-8.
const longSeparator = 0xe2

// scanLine scans a piece of a line, in which there may be what ends a line to others.
func (s *Scanner) scanLine(p []byte) (n int) {
	cr, long := -1, -1
	for n < len(p) {
		cr, long = nextByte(p, '\r', cr, n), nextByte(p, longSeparator, long, n)
		end := min(cr, long)
		k := s.scan(p[n:end])
		if n += k; n < end || n == len(p) {
			return n
		}
		s.separate(p[n])
		n++
	}
	return n
}

// nextByte is where c is in p from n on, len(p) if it is not; at is where it was found before.
func nextByte(p []byte, c byte, at, n int) int {
	if at >= n {
		return at
	}
	if i := bytes.IndexByte(p[n:], c); i >= 0 {
		return n + i
	}
	return len(p)
}

// separate takes a byte that ends a line to some readers. What it ends there is to others still under way.
func (s *Scanner) separate(c byte) {
	switch s.phase {
	case between:
		if c != '\r' {
			s.begun = true
		}
	case lineComment:
		s.phase = between
	case inUnread:
		s.countUnread(1)
	case inString:
		s.escape, s.broken = false, true
	case afterSlash:
		s.phase, s.broken = inRest, true
	case blockComment, afterStar:
		s.phase, s.broken = blockComment, true
	default:
		s.broken = true
	}
}

// rejoin looks what comes behind such a byte: where a message begins, there are two ways to read the line. It
// returns how many bytes of p have told nothing.
func (s *Scanner) rejoin(p []byte) (n int) {
	for n < len(p) && (p[n] <= ' ' || p[n] == 0x80 || p[n] == 0xa8 || p[n] == 0xa9) {
		n++
	}
	if n == len(p) {
		return n
	}
	s.broken = false
	switch opens := p[n] == '{' || p[n] == '['; {
	case !opens:
	case s.phase == inRest:
		s.phase = between
	default:
		s.Unread()
	}
	return n
}

// scan reads p, or less of it once maxAtOnce messages were counted.
func (s *Scanner) scan(p []byte) (n int) {
	most := s.count + maxAtOnce
	for n < len(p) && s.count < most {
		if s.broken {
			n += s.rejoin(p[n:])
			continue
		}
		switch s.phase {
		case inRest:
			return len(p)
		case inUnread:
			n += s.countUnread(len(p) - n)
		case inString:
			k, closed := skipString(p[n:], &s.escape)
			switch n += k; {
			case closed && s.depth > 0:
				s.phase = inValue
			case closed:
				s.phase = between
			}
		case inScalar:
			if c := p[n]; isScalar(c) {
				n++
			} else if s.phase = between; 'a' <= c|0x20 && c|0x20 <= 'z' {
				s.phase = inRest
				s.count -= uint32(s.last)
			}
		case inValue:
			n += s.tokens(p[n:])
		case between:
			for n < len(p) && rawjson.IsSpace(p[n]) {
				n++
			}
			if n < len(p) {
				s.start(p[n])
				n++
			}
		default:
			s.comment(p[n])
			n++
		}
	}
	return n
}

// countUnread counts by length, of n bytes as many as it returns.
func (s *Scanner) countUnread(n int) int {
	n = min(n, StepBytes)
	s.unread += uint32(n)
	s.count += s.unread / UnreadBytes
	s.unread %= UnreadBytes
	return n
}

// start takes a byte outside of values that is no space.
func (s *Scanner) start(c byte) {
	switch {
	case c == '{' || c == '[':
		s.value(c, inValue, 1)
		s.batch, s.last = c == '[', c
	case c == '"':
		s.value(c, inString, 0)
	case c == 't' || c == 'f' || c == 'n' || c == '-' || '0' <= c && c <= '9':
		before := s.count
		s.value(c, inScalar, 0)
		s.last = byte(s.count - before)
	case isTrimmed(c):
		s.begun = true
	case c == '/':
		s.phase, s.begun = afterSlash, true
	case c == '#':
		s.phase, s.begun = lineComment, true
	case !s.valued && isPrefix(c):
		s.begun = true
	default:
		s.phase, s.begun = inRest, true
	}
}

// value begins a value with c.
func (s *Scanner) value(c byte, of phase, depth uint32) {
	if s.valued {
		s.count++
	} else {
		s.object = c == '{'
	}
	s.phase, s.depth, s.begun, s.valued = of, depth, true, true
}

// isScalar reports whether c may be in a number, or in true, false or null.
func isScalar(c byte) bool {
	switch c {
	case '+', '-', '.', 'e', 'E', 't', 'r', 'u', 'f', 'a', 'l', 's', 'n':
		return true
	}
	return '0' <= c && c <= '9'
}

// isTrimmed reports whether somebody may skip c at the beginning of a text: controls, and the bytes of byte order
// marks and of white space in Unicode.
func isTrimmed(c byte) bool {
	switch c {
	case 0xef, 0xbb, 0xbf, 0xfe, 0xff, 0xc2, 0xa0, 0x85, 0xe1, 0x9a, 0xe2, 0x81, 0x9f, 0xa8, 0xa9, 0xaf, 0xe3, 0x7f:
		return true
	}
	return c <= ' ' || c >= 0x80 && c <= 0x8a
}

// isPrefix reports whether c is of )]}', which keeps scripts from being included and which some readers skip.
func isPrefix(c byte) bool { return c == ')' || c == ']' || c == '}' || c == '\'' }

// comment takes a byte of a comment between values.
func (s *Scanner) comment(c byte) {
	switch {
	case s.phase == afterSlash && c == '*', s.phase == afterStar && c != '*' && c != '/':
		s.phase = blockComment
	case s.phase == afterSlash && c == '/':
		s.phase = lineComment
	case s.phase == afterSlash:
		s.phase = inRest
	case s.phase == blockComment && c == '*':
		s.phase = afterStar
	case s.phase == afterStar && c == '/', s.phase == lineComment && (c == '\n' || c == '\r'):
		s.phase = between
	}
}

// tokens reads bytes of a value outside of strings, up to a string, the end of the value or of an element of a
// batch.
func (s *Scanner) tokens(p []byte) (n int) {
	for n < len(p) {
		c := p[n]
		n++
		switch c {
		case ' ', '\t', '\r', '\n':
			continue
		case '"':
			if before := s.last; before != '{' && before != '[' && before != ',' && before != ':' {
				s.unclear()
				return n
			}
			s.last, s.phase = c, inString
			return n
		case '{', '[':
			if s.depth++; s.batch && s.depth == 2 && s.last != '[' && s.last != ',' {
				s.count++ // some do without commas
			}
		case '}', ']':
			if s.depth--; s.depth == 0 {
				if s.phase = between; s.batch != (c == ']') {
					s.phase = inRest
				}
				return n
			}
		case ',':
			if s.batch && s.depth == 1 {
				s.last = c
				s.count++
				return n
			}
		case '\'', '`', '/', '#', 0:
			s.unclear()
			return n
		}
		s.last = c
	}
	return n
}

// unclear goes on in a value that is no JSON, although a lenient reader may take it for something.
func (s *Scanner) unclear() {
	if s.phase = inRest; s.batch {
		s.Unread()
	}
}
