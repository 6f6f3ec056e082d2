package mcp

import "bytes"

// A few steps over JSON text that is complete. They trust it to be JSON: on
// other text they return something, never panic, and take linear time.

func isSpace(c byte) bool { return c == ' ' || c == '\t' || c == '\r' || c == '\n' }

func trimLeft(p []byte) []byte {
	for len(p) > 0 && isSpace(p[0]) {
		p = p[1:]
	}
	return p
}

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

// skipValue returns the length of the value p starts with.
func skipValue(p []byte) int {
	depth := 0
	for i := 0; i < len(p); {
		switch p[i] {
		case '"':
			esc := false
			n, _ := skipString(p[i+1:], &esc)
			i += n
		case '{', '[':
			depth++
		case '}', ']':
			if depth == 0 {
				return i
			}
			depth--
		case ',', ' ', '\t', '\r', '\n':
			if depth == 0 {
				return i
			}
			i++
			continue
		default:
			for i++; i < len(p) && !isDelimiter(p[i]); i++ {
			}
			if depth == 0 {
				return i
			}
			continue
		}
		if i++; depth == 0 {
			return min(i, len(p))
		}
	}
	return len(p)
}

func isDelimiter(c byte) bool {
	switch c {
	case '"', '{', '[', '}', ']', ',', ':', ' ', '\t', '\r', '\n':
		return true
	}
	return false
}

// members walks over the members of an object, or the elements of an array.
type members struct{ rest []byte }

// open starts on the value p holds, if it begins with bracket.
func open(p []byte, bracket byte) (members, bool) {
	p = trimLeft(p)
	if len(p) == 0 || p[0] != bracket {
		return members{}, false
	}
	return members{p[1:]}, true
}

// element returns the raw text of an array's next element.
func (m *members) element() (value []byte, ok bool) {
	p := trimLeft(m.rest)
	if len(p) > 0 && p[0] == ',' {
		p = trimLeft(p[1:])
	}
	n := skipValue(p)
	m.rest = p[n:]
	return p[:n], n > 0
}

// next returns an object's next member: the key as it stands between the quotes,
// escapes and all, and the raw text of the value.
func (m *members) next() (key, value []byte, ok bool) {
	key, ok = m.element()
	if !ok || key[0] != '"' || len(key) < 2 {
		return nil, nil, false
	}
	p := trimLeft(m.rest)
	if len(p) == 0 || p[0] != ':' {
		return nil, nil, false
	}
	p = trimLeft(p[1:])
	n := skipValue(p)
	m.rest = p[n:]
	return key[1 : len(key)-1], p[:n], n > 0
}

// field returns the value of an object's member; of several the last, as most
// decoders do.
func field(object []byte, name string) (value []byte) {
	m, _ := open(object, '{')
	for {
		k, v, ok := m.next()
		if !ok {
			return value
		}
		if equalKey(k, name) {
			value = v
		}
	}
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
