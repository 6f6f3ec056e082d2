// Package http1 reads the heads and bodies of HTTP/1.1 messages (RFC 9112), and writes
// parts of them, for a gateway: pure functions over bytes, without sockets and without allocation.
//
// It is strict. A message that two readers could understand in two ways is
// refused, whatever usually works: what passes has one meaning, and is handed on
// in the usual form. A refused message leaves its connection in an unknown state;
// answer with the status of the [Error] and close.
//
// Of what senders should not do, this has one meaning and passes: empty lines
// before a request, more than one space between the parts of its first line, heads
// all of whose lines end in a bare LF, later versions of HTTP/1, lengths and ports
// with leading zeros, quotation marks and angle brackets in a target, white space
// behind the size of a chunk, and what is no token in Connection and Trailer.
package http1

import "bytes"

// The bounds of a head. What is longer is refused.
const (
	MaxHead        = 32 << 10 // bytes, with the empty line at its end
	MaxRequestLine = 8 << 10  // bytes, without its CRLF
	MaxFields      = 100
)

// Error says why a message is refused and with which status: of a request the
// one to answer with, of a response always 502.
type Error struct {
	Status int
	Text   string
}

func (e *Error) Error() string { return e.Text }

// Field is one field line. Both are parts of the parsed input, and valid as long
// as it is; Value is without the white space around it.
type Field struct{ Name, Value []byte }

// Framing says how long a body is.
type Framing uint8

// The framings of RFC 9112 section 6.3.
const (
	NoBody     Framing = iota
	Sized              // Content-Length bytes, possibly none
	Chunked            // in chunks
	UntilClose         // until the connection closes; responses only
)

func (f Framing) String() string {
	switch f {
	case Sized:
		return "sized"
	case Chunked:
		return "chunked"
	case UntilClose:
		return "until close"
	default:
		return "no body"
	}
}

// Character classes. Bytes above 0x7E are in none but inValue.
const (
	inToken  = 1 << iota // tchar, RFC 9110 section 5.6.2
	inValue              // a field value: HTAB, SP, VCHAR, obs-text
	inPath               // of a target, without the percent sign
	inQuery              // of a target
	inHost               // a name or IPv4 address, without port
	inNumber             // a decimal digit
)

var class = func() (t [256]uint8) {
	for c := range 256 {
		switch {
		case c >= '0' && c <= '9':
			t[c] = inToken | inHost | inNumber
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z':
			t[c] = inToken | inHost
		}
		if c == '\t' || c >= 0x20 && c != 0x7f {
			t[c] |= inValue
		}
		if c > 0x20 && c < 0x7f {
			t[c] |= inPath | inQuery
		}
	}
	for _, c := range "!#$%&'*+-.^_`|~" {
		t[c] |= inToken
	}
	for _, c := range "-._~!$&'()*+;=" { // no comma: X-Forwarded-Host would be a list
		t[c] |= inHost
	}
	t['#'] &^= inPath | inQuery
	// Browsers send the last of these in queries. In a path, the backslash is a
	// slash to some servers.
	for _, c := range `%?\` {
		t[c] &^= inPath
	}
	return t
}()

// lower maps A to Z to their small letters and leaves the rest.
var lower = func() (t [256]byte) {
	for c := range 256 {
		t[c] = byte(c)
		if c >= 'A' && c <= 'Z' {
			t[c] += 'a' - 'A'
		}
	}
	return t
}()

// span is the length of the longest prefix of p that consists of the class.
func span(p []byte, mask uint8) int {
	for i, c := range p {
		if class[c]&mask == 0 {
			return i
		}
	}
	return len(p)
}

// foldBytes reports whether a and b differ in case at most.
func foldBytes(a, b []byte) bool {
	if len(a) != len(b) {
		return false
	}
	for i, c := range a {
		if lower[c] != lower[b[i]] {
			return false
		}
	}
	return true
}

// trim cuts optional white space (RFC 9110 section 5.6.3) off both ends.
func trim(p []byte) []byte {
	for len(p) > 0 && (p[0] == ' ' || p[0] == '\t') {
		p = p[1:]
	}
	for len(p) > 0 && (p[len(p)-1] == ' ' || p[len(p)-1] == '\t') {
		p = p[:len(p)-1]
	}
	return p
}

// element cuts the first element off a comma-separated list (RFC 9110 section
// 5.6.1). It may be empty.
func element(list []byte) (first, rest []byte) {
	if i := bytes.IndexByte(list, ','); i >= 0 {
		return trim(list[:i]), list[i+1:]
	}
	return trim(list), nil
}
