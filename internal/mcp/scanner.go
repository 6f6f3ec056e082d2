package mcp

import "bytes"

// Scanner counts the messages of a stream of newline-delimited JSON-RPC that
// arrives in arbitrary pieces. It keeps no text, whatever the length of a line,
// and gives the same counts however the stream is cut. The zero value is ready.
//
// A line is one message; a line that is an array, a batch (JSON-RPC 2.0 section
// 6), is as many as it has elements, and one if empty; a blank line is none. The
// scanner does not validate: a line that is not JSON is a message too, which the
// server has to answer.
type Scanner struct {
	phase  phase
	escape bool // in a batch's string, after a backslash
	depth  uint32
	commas uint32 // between the elements of a batch
}

type phase uint8

const (
	lineStart phase = iota // nothing but white space so far
	inMessage              // the rest of the line does not matter
	inBatch                // between tokens
	inString               // in a string inside a batch
)

// Next reads p up to the end of the first line that ends in it. It returns the
// number of bytes read; end reports whether they end a line, and then messages
// is the number of messages in it.
func (s *Scanner) Next(p []byte) (n, messages int, end bool) {
	n = bytes.IndexByte(p, '\n')
	if n < 0 {
		s.scan(p)
		return len(p), 0, false
	}
	if s.phase == lineStart && p[0] == '{' {
		return n + 1, 1, true
	}
	s.scan(p[:n])
	return n + 1, s.End(), true
}

// Count reads all of p and returns the number of messages in the lines that end
// in it.
func (s *Scanner) Count(p []byte) int {
	total := 0
	for len(p) > 0 {
		n, messages, _ := s.Next(p)
		total += messages
		p = p[n:]
	}
	return total
}

// End ends the line, as a newline does, and returns the number of messages in
// it: for a stream that ended without one.
func (s *Scanner) End() (messages int) {
	if s.phase != lineStart {
		messages = 1 + int(s.commas)
	}
	*s = Scanner{}
	return messages
}

// InLine reports whether a line has begun: something other than white space came
// since the last newline.
func (s *Scanner) InLine() bool { return s.phase != lineStart }

func (s *Scanner) scan(p []byte) {
	if s.phase == lineStart {
		if p = trimLeft(p); len(p) == 0 {
			return
		}
		if s.phase = inMessage; p[0] == '[' {
			s.phase = inBatch
		}
	}
	for len(p) > 0 && s.phase != inMessage {
		if s.phase == inString {
			n, closed := skipString(p, &s.escape)
			if p = p[n:]; closed {
				s.phase = inBatch
			}
			continue
		}
		s.token(p[0])
		p = p[1:]
	}
}

// token takes one byte of a batch outside strings.
func (s *Scanner) token(c byte) {
	switch c {
	case '"':
		s.phase = inString
	case '[', '{':
		s.depth++
	case ']', '}':
		if s.depth--; s.depth == 0 {
			s.phase = inMessage
		}
	case ',':
		if s.depth == 1 {
			s.commas++
		}
	}
}
