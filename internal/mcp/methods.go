package mcp

import "github.com/erlmcp/erlmcp/internal/rawjson"

// ClientMethods are the methods that clients send in any revision, in an order that is appended to
// and not changed. Read only.
var ClientMethods = []string{
	MethodInitialize, MethodPing, MethodDiscover, MethodListTools, MethodCallTool,
	"resources/list", "resources/templates/list", "resources/read", "resources/subscribe", "resources/unsubscribe",
	"prompts/list", "prompts/get", "completion/complete", "logging/setLevel", MethodListen,
	"tasks/get", "tasks/result", "tasks/list", "tasks/cancel", "tasks/update",
	MethodInitialized, "notifications/cancelled", "notifications/progress", "notifications/roots/list_changed", "notifications/tasks/status",
}

var methodNumbers = func() map[string]int {
	numbers := make(map[string]int, len(ClientMethods))
	for i, m := range ClientMethods {
		numbers[m] = i
	}
	return numbers
}()

// MethodNumber is the place of method in ClientMethods, or len(ClientMethods) of any other.
func MethodNumber(method []byte) int {
	if i, ok := methodNumbers[string(method)]; ok {
		return i
	}
	return len(ClientMethods)
}

// maxSought bounds how far TopMethod looks.
const maxSought = 4 << 10

// TopMethod returns the inside of the string that is the member "method" of the JSON object that p
// begins with, which p need not hold all of; of several the first. It returns nil if p is not that, or
// has none within the first 4 KiB: as clients write the method in front of params, that is rare. A
// method with escapes is returned as it is.
func TopMethod(p []byte) []byte {
	p = rawjson.TrimLeft(p[:min(len(p), maxSought)])
	if len(p) == 0 || p[0] != '{' {
		return nil
	}
	p = p[1:]
	for {
		key, rest := cutString(rawjson.TrimLeft(p))
		if key == nil {
			return nil
		}
		if p = rawjson.TrimLeft(rest); len(p) == 0 || p[0] != ':' {
			return nil
		}
		p = rawjson.TrimLeft(p[1:])
		if equalKey(key, "method") {
			method, _ := cutString(p)
			return method
		}
		if p = skipValue(p); len(p) == 0 || p[0] != ',' {
			return nil
		}
		p = p[1:]
	}
}

// cutString returns the inside of the string that p begins with; nil if it does not begin with a
// whole one.
func cutString(p []byte) (text, rest []byte) {
	if len(p) == 0 || p[0] != '"' {
		return nil, p
	}
	esc := false
	n, closed := skipString(p[1:], &esc)
	if !closed {
		return nil, p
	}
	return p[1:n:n], p[1+n:]
}

// skipValue returns what is behind the value that p begins with, beginning with the comma or bracket
// that ends it; nothing if p ends before.
func skipValue(p []byte) []byte {
	depth := 0
	for len(p) > 0 {
		switch p[0] {
		case '"':
			_, rest := cutString(p)
			if len(rest) == len(p) {
				return nil
			}
			p = rest
			continue
		case '{', '[':
			depth++
		case '}', ']':
			if depth--; depth < 0 {
				return p
			}
		case ',':
			if depth == 0 {
				return p
			}
		}
		p = p[1:]
	}
	return nil
}
