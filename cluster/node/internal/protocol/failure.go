package protocol

import (
	"strconv"
	"strings"

	"github.com/erlmcp/erlmcp/internal/mcp"
)

// failure is the error of a reply.
type failure struct {
	code int
	text string
	data string // JSON; "" when there is none
}

func invalidParams(text string) failure { return failure{code: mcp.CodeInvalidParams, text: text} }

func unknownMethod(method []byte) failure {
	return failure{code: mcp.CodeMethodNotFound, text: "unknown method " + excerpt(method)}
}

func unknownTool(name []byte) failure { return invalidParams("unknown tool " + excerpt(name)) }

// unsupportedVersion refuses a version, given as JSON, as the stateless era wants it.
func unsupportedVersion(supported string, requested []byte) failure {
	return failure{
		code: mcp.CodeUnsupportedVersion,
		text: "unsupported protocol version",
		data: `{"supported":` + supported + `,"requested":` + string(requested) + `}`,
	}
}

// excerpt quotes what a client sent, within reason.
func excerpt(text []byte) string {
	const limit = 64
	if len(text) > limit {
		return strconv.Quote(strings.ToValidUTF8(string(text[:limit]), "")) + "…"
	}
	return strconv.Quote(string(text))
}

// appendError appends a reply with an error. An empty id, unknown to the sender of the reply, is null.
func appendError(dst, id []byte, f failure) []byte {
	dst = mcp.AppendErrorStart(dst, id, f.code, f.text)
	if f.data != "" {
		dst = append(dst, `,"data":`...)
		dst = append(dst, f.data...)
	}
	return append(dst, "}}"...)
}
