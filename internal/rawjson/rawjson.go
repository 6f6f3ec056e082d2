// Package rawjson walks JSON text without decoding it and without allocating.
//
// It is for valid UTF-8 that encoding/json has found valid too (json.Valid): of anything else the answers
// are meaningless, though nothing panics. Values are slices of the text they were found in.
package rawjson

import (
	"bytes"
	"encoding/json"
)

// Members walks the members of an object.
type Members struct{ rest []byte }

// Object returns the members of value. ok is false when value is not an object.
func Object(value []byte) (m Members, ok bool) {
	rest, ok := open(value, '{')
	return Members{rest}, ok
}

// Next returns the next member: its key as a string value, with the quotes, and its value. ok is false
// at the end.
func (m *Members) Next() (key, value []byte, ok bool) {
	key, rest := cut(m.rest)
	if len(key) == 0 {
		return nil, nil, false
	}
	value, m.rest = cut(rest)
	return key, value, true
}

// Wanted is a member that Take looks for, and where it puts its value.
type Wanted struct {
	Name string
	Into *[]byte
}

// Take takes members out of an object; of several of one name, the last. ok is false when value is not an object.
func Take(value []byte, wanted ...Wanted) (ok bool) {
	members, ok := Object(value)
	for key, v, more := members.Next(); more; key, v, more = members.Next() {
		name, _ := String(key)
		for i := range wanted {
			if string(name) == wanted[i].Name {
				*wanted[i].Into = v
			}
		}
	}
	return ok
}

// Elements walks the elements of an array.
type Elements struct{ rest []byte }

// Array returns the elements of value. ok is false when value is not an array.
func Array(value []byte) (e Elements, ok bool) {
	rest, ok := open(value, '[')
	return Elements{rest}, ok
}

// Next returns the next element. ok is false at the end.
func (e *Elements) Next() (value []byte, ok bool) {
	value, e.rest = cut(e.rest)
	return value, len(value) > 0
}

// Kind tells what value is: '{', '[', '"', 't', 'f', 'n' by its first byte, '0' for a number, and 0 for
// no value.
func Kind(value []byte) byte {
	switch {
	case len(value) == 0:
		return 0
	case value[0] == '-', '0' <= value[0] && value[0] <= '9':
		return '0'
	default:
		return value[0]
	}
}

// String returns the text of a string value. ok is false when value is not a string. It allocates only
// when there are escapes to resolve.
func String(value []byte) (text []byte, ok bool) {
	if Kind(value) != '"' || len(value) < 2 {
		return nil, false
	}
	if bytes.IndexByte(value, '\\') < 0 {
		return value[1 : len(value)-1], true
	}
	var s string
	if err := json.Unmarshal(value, &s); err != nil {
		return nil, false
	}
	return []byte(s), true
}

// open returns what follows the opening bracket of value.
func open(value []byte, bracket byte) (rest []byte, ok bool) {
	value = TrimLeft(value)
	if len(value) == 0 || value[0] != bracket {
		return nil, false
	}
	return value[1:], true
}

// cut splits the first value off b, and drops what surrounds and separates values. value is empty at the
// closing bracket and at the end of the text.
func cut(b []byte) (value, rest []byte) {
	b = TrimLeft(b)
	n := length(b)
	value, rest = b[:n], TrimLeft(b[n:])
	if len(rest) > 0 && (rest[0] == ',' || rest[0] == ':') {
		rest = rest[1:]
	}
	return value, rest
}

// TrimLeft drops the white space that b begins with.
func TrimLeft(b []byte) []byte {
	for len(b) > 0 && IsSpace(b[0]) {
		b = b[1:]
	}
	return b
}

// IsSpace reports whether c is white space between values.
func IsSpace(c byte) bool { return c == ' ' || c == '\t' || c == '\n' || c == '\r' }

// length returns the length of the value b begins with.
func length(b []byte) int {
	switch Kind(b) {
	case '"':
		return stringLength(b)
	case '{', '[':
		return compositeLength(b)
	}
	for i, c := range b {
		if c == ',' || c == ':' || c == '}' || c == ']' || IsSpace(c) {
			return i
		}
	}
	return len(b)
}

func compositeLength(b []byte) int {
	depth := 0
	for i := 0; i < len(b); i++ {
		switch b[i] {
		case '"':
			i += stringLength(b[i:]) - 1
		case '{', '[':
			depth++
		case '}', ']':
			if depth--; depth == 0 {
				return i + 1
			}
		}
	}
	return len(b)
}

func stringLength(b []byte) int {
	for i := 1; ; {
		quote := bytes.IndexByte(b[i:], '"')
		if quote < 0 {
			return len(b)
		}
		end := i + quote
		escapes := 0
		for b[end-1-escapes] == '\\' {
			escapes++
		}
		if i = end + 1; escapes%2 == 0 {
			return i
		}
	}
}
