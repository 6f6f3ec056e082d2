package loadtest

import (
	"encoding/json"
	"strings"
	"unicode"

	"github.com/erlmcp/erlmcp/internal/mcp"
)

// question is the request that clients send: to verify a connection, and from then on.
type question string

const (
	// askWhoami calls the tool of a node that tells the node's name, as in the stateless era, so that a
	// connection needs no session before it can be verified.
	askWhoami question = "whoami"
	// askDiscover and askPing are what a server without that tool answers: one of the stateless era, and one
	// of the session era without a session.
	askDiscover question = mcp.MethodDiscover
	askPing     question = mcp.MethodPing
)

// names reports whether answers name a node.
func (q question) names() bool { return q == askWhoami }

func (q question) append(dst []byte, id uint64) []byte {
	switch q {
	case askDiscover:
		return mcp.AppendDiscover(dst, id)
	case askPing:
		return mcp.AppendPing(dst, id)
	}
	return mcp.AppendToolCall(dst, id, string(askWhoami), mcp.StatelessEra)
}

type replyKind uint8

const (
	replyOther   replyKind = iota // nothing of MCP
	replyNone                     // a request or notification of the server
	replyAnswer                   // what was asked for: with whoami, a node's name
	replyError                    // an answer that says no
	replyRefusal                  // one that answers none: the balancer explains itself before it closes
)

// reply is what a client wants to know of a line it got. node lies in that line.
type reply struct {
	kind replyKind
	id   uint64
	node []byte
	code int // of the JSON-RPC error, if it is one
}

// parse reads a line that came after the question. What a server says to a question that it does not
// name itself by proves that it serves, an error too, unless it is one of a balancer.
func (q question) parse(line []byte) reply {
	m, err := mcp.ParseReply(line)
	if err != nil {
		if mcp.TopMethod(line) != nil {
			return reply{kind: replyNone}
		}
		return reply{}
	}
	id, numbered := m.Number()
	if m.Err != nil {
		r := reply{kind: replyError, id: id, code: m.Err.Code}
		switch {
		case !numbered:
			r.kind = replyRefusal
		case !q.names() && causeOfCode(m.Err.Code) == causeReply:
			r.kind = replyAnswer
		}
		return r
	}
	if !numbered {
		return reply{}
	}
	r := reply{kind: replyAnswer, id: id}
	if q.names() {
		var ok bool
		if r.node, ok = mcp.WhoamiNode(line); !ok {
			r.kind = replyError
		}
	}
	return r
}

// saying is a line from a server for people: what its error says, or the text that a tool's result begins with,
// or all of it, shortened and without what could steer a terminal.
func saying(line []byte) string {
	m, err := mcp.ParseReply(line)
	if err != nil {
		return clean(string(line))
	}
	if m.Err != nil {
		return clean(m.Err.Error())
	}
	var result struct {
		Content []struct {
			Text string `json:"text"`
		} `json:"content"`
	}
	if json.Unmarshal(m.Result, &result) == nil && len(result.Content) > 0 && result.Content[0].Text != "" {
		return clean(result.Content[0].Text)
	}
	return clean(string(m.Result))
}

const maxSaying = 200

func clean(text string) string {
	var out []rune
	for _, r := range strings.TrimSpace(text) {
		if len(out) == maxSaying {
			return string(out) + "…"
		}
		if !unicode.IsPrint(r) {
			r = ' '
		}
		out = append(out, r)
	}
	return string(out)
}
