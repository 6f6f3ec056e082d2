package mcp

import (
	"bytes"

	"github.com/erlmcp/erlmcp/internal/rawjson"
)

// A few steps over JSON text beside internal/rawjson. They trust it to be JSON: on
// other text they return something, never panic, and take linear time.

// skipString returns how many bytes of p belong to a string whose opening quote
// came before it, closing quote included, and whether that quote is among them.
// esc carries a backslash over from one piece of the string to the next.
func skipString(p []byte, esc *bool) (n int, closed bool) {
	if len(p) == 0 {
		return 0, false
	}
	if *esc {
		*esc, n = false, 1
	}
	quote := -1 // position of the first quote from n on
	for {
		if quote < n {
			if quote = bytes.IndexByte(p[n:], '"'); quote < 0 {
				quote = len(p)
			} else {
				quote += n
			}
		}
		b := bytes.IndexByte(p[n:quote], '\\')
		if b < 0 {
			break
		}
		if n += b + 2; n > len(p) {
			*esc = true
			return len(p), false
		}
	}
	if quote == len(p) {
		return quote, false
	}
	return quote + 1, true
}

// field returns the value of an object's member; of several the last, as most
// decoders do.
func field(object []byte, name string) (value []byte) {
	members, _ := rawjson.Object(object)
	for {
		k, v, ok := members.Next()
		if !ok {
			return value
		}
		if isKey(k, name) {
			value = v
		}
	}
}

// isKey reports whether key, quotes included, spells name.
func isKey(key []byte, name string) bool {
	return len(key) >= 2 && key[0] == '"' && equalKey(key[1:len(key)-1], name)
}

// equalKey reports whether raw, the inside of a JSON string, spells name, which
// is plain ASCII without quotes or backslashes.
func equalKey(raw []byte, name string) bool {
	if bytes.IndexByte(raw, '\\') < 0 {
		return string(raw) == name
	}
	for i := range len(name) {
		switch {
		case len(raw) > 0 && raw[0] != '\\':
			if raw[0] != name[i] {
				return false
			}
			raw = raw[1:]
		case len(raw) >= 2 && raw[1] == '/' && name[i] == '/':
			raw = raw[2:]
		case len(raw) >= 6 && raw[1] == 'u' && string(raw[2:4]) == "00" &&
			unhex(raw[4])<<4|unhex(raw[5]) == int(name[i]):
			raw = raw[6:]
		default:
			return false
		}
	}
	return len(raw) == 0
}

func unhex(c byte) int {
	switch {
	case '0' <= c && c <= '9':
		return int(c - '0')
	case 'a' <= c|0x20 && c|0x20 <= 'f':
		return int(c|0x20-'a') + 10
	}
	return -1
}
