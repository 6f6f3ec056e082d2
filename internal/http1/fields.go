package http1

import "bytes"

// EqualFold reports whether s is lowerCase but for the case of its letters. Field names, tokens and media types
// are compared so (RFC 9110 sections 5.1, 8.3.1).
func EqualFold[T string | []byte](s T, lowerCase string) bool {
	if len(s) != len(lowerCase) {
		return false
	}
	for i := range len(s) {
		if lower[s[i]] != lowerCase[i] {
			return false
		}
	}
	return true
}

// IndexFold is where lowerCase, which is not empty, is in p in any case, -1 if it is not.
func IndexFold(p []byte, lowerCase string) int {
	for i := 0; i+len(lowerCase) <= len(p); i++ {
		if lower[p[i]] == lowerCase[0] && EqualFold(p[i:i+len(lowerCase)], lowerCase) {
			return i
		}
	}
	return -1
}

// HasToken reports whether a comma-separated list (RFC 9110 section 5.6.1) has a token, given in lower case.
func HasToken(list []byte, token string) bool {
	for len(list) > 0 {
		var item []byte
		item, list, _ = bytes.Cut(list, []byte(","))
		if EqualFold(bytes.TrimSpace(item), token) {
			return true
		}
	}
	return false
}

// AppendField appends a field line.
func AppendField(dst, name, value []byte) []byte {
	dst = append(dst, name...)
	dst = append(dst, ": "...)
	dst = append(dst, value...)
	return append(dst, "\r\n"...)
}
