package accesslog

import "unicode/utf8"

const hex = "0123456789abcdef"

// AppendString appends s as a JSON string of at most limit bytes without its quotes; what is longer
// is cut behind a whole character. What is not UTF-8 becomes U+FFFD, as encoding/json has it.
func AppendString(dst, s []byte, limit int) []byte {
	dst = append(dst, '"')
	end := len(dst) + limit
	for i := 0; i < len(s); {
		var room [6]byte
		one, size := room[:0], 1
		switch c := s[i]; {
		case c == '"' || c == '\\':
			one = append(one, '\\', c)
		case c < ' ' || c == 0x7f:
			one = append(one, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		case c < utf8.RuneSelf:
			one = append(one, c)
		default:
			var r rune
			r, size = utf8.DecodeRune(s[i:])
			one = utf8.AppendRune(one, r)
		}
		if len(dst)+len(one) > end {
			break
		}
		dst = append(dst, one...)
		i += size
	}
	return append(dst, '"')
}
