package mcp

import (
	"encoding/json"
	"fmt"
	"strconv"
	"unicode/utf8"
)

// Error codes. The first five are JSON-RPC 2.0's (section 5.1), the next three
// MCP's (2026-07-28), which keeps −32020 to −32099 to itself. The rest are this
// project's own, from the range left to implementations (−32000 to −32019).
const (
	CodeParseError     = -32700
	CodeInvalidRequest = -32600
	CodeMethodNotFound = -32601
	CodeInvalidParams  = -32602
	CodeInternalError  = -32603

	CodeHeaderMismatch     = -32020
	CodeMissingCapability  = -32021
	CodeUnsupportedVersion = -32022 // data.supported lists versions

	CodeRateLimited = -32019 // data.retryAfterMs
	CodeUnavailable = -32018 // at capacity, or no node is up
	CodeBanned      = -32017 // data.retryAfterMs
)

// Error is the error of a reply.
type Error struct {
	Code    int             `json:"code"`
	Message string          `json:"message"`
	Data    json.RawMessage `json:"data,omitempty"`
}

func (e *Error) Error() string { return fmt.Sprintf("%s (JSON-RPC error %d)", e.Message, e.Code) }

// Field is one number of an error's data.
type Field struct {
	Name  string
	Value int64
}

// AppendError appends an error reply as one line, newline included. id is the
// raw JSON of the request's id and must be valid; none is written as null. It
// allocates only to grow dst.
func AppendError(dst, id []byte, code int, message string, data ...Field) []byte {
	return append(appendError(dst, id, code, message, data), '\n')
}

func appendError(dst, id []byte, code int, message string, data []Field) []byte {
	dst = AppendErrorStart(dst, id, code, message)
	for i, f := range data {
		if i == 0 {
			dst = append(dst, `,"data":{`...)
		} else {
			dst = append(dst, ',')
		}
		dst = AppendString(dst, f.Name)
		dst = append(dst, ':')
		dst = strconv.AppendInt(dst, f.Value, 10)
	}
	if len(data) > 0 {
		dst = append(dst, '}')
	}
	return append(dst, "}}"...)
}

// AppendErrorStart appends an error reply but for its data, if any, and the two brackets at its end.
func AppendErrorStart(dst, id []byte, code int, message string) []byte {
	dst = append(dst, `{"jsonrpc":"2.0","id":`...)
	if len(id) == 0 {
		dst = append(dst, "null"...)
	} else {
		dst = append(dst, id...)
	}
	dst = append(dst, `,"error":{"code":`...)
	dst = strconv.AppendInt(dst, int64(code), 10)
	dst = append(dst, `,"message":`...)
	return AppendString(dst, message)
}

// AppendString appends s as a JSON string (RFC 8259 section 7). Bytes that are
// not UTF-8 become U+FFFD. It allocates only to grow dst.
func AppendString(dst []byte, s string) []byte {
	const hex = "0123456789abcdef"
	dst = append(dst, '"')
	from := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c >= utf8.RuneSelf {
			r, n := utf8.DecodeRuneInString(s[i:])
			if r == utf8.RuneError && n == 1 {
				dst = append(append(dst, s[from:i]...), `\ufffd`...)
				from = i + 1
			}
			i += n
			continue
		}
		if c < ' ' || c == '"' || c == '\\' {
			dst = append(dst, s[from:i]...)
			if c < ' ' {
				dst = append(dst, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
			} else {
				dst = append(dst, '\\', c)
			}
			from = i + 1
		}
		i++
	}
	return append(append(dst, s[from:]...), '"')
}
