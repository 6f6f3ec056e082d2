// Package ask is what a load test asks servers, and what it makes of replies and of their lack.
package ask

import (
	"encoding/json"
	"strings"
	"unicode"

	"github.com/erlmcp/erlmcp/internal/mcp"
)

// Question is the request that clients send: to verify a connection, and from then on.
type Question string

// The questions.
const (
	// Whoami calls the tool of a node that tells the node's name, as in the stateless era, so that a
	// connection needs no session before it can be verified.
	Whoami Question = "whoami"
	// Discover and Ping are what a server without that tool answers: one of the stateless era, and one
	// of the session era without a session.
	Discover Question = mcp.MethodDiscover
	Ping     Question = mcp.MethodPing
)

// Names reports whether answers name a node.
func (q Question) Names() bool { return q == Whoami }

// Era is that of servers which answer it over TCP.
func (q Question) Era() mcp.Era {
	if q == Ping {
		return mcp.SessionEra
	}
	return mcp.StatelessEra
}

// Append appends the request as a line.
func (q Question) Append(dst []byte, id uint64) []byte {
	switch q {
	case Discover:
		return mcp.AppendDiscover(dst, id)
	case Ping:
		return mcp.AppendPing(dst, id)
	}
	return mcp.AppendToolCall(dst, id, string(Whoami), mcp.StatelessEra)
}

// ReplyKind is what a line from a server is.
type ReplyKind uint8

// The kinds.
const (
	ReplyOther     ReplyKind = iota // nothing of MCP
	ReplyNone                       // a request or notification of the server
	ReplyAnswer                     // what was asked for: with whoami, a node's name
	ReplyError                      // an answer that says no
	ReplyRefusal                    // one that answers none: the balancer explains itself before it closes
	ReplyToolError                  // an answer in which a tool says no
)

// Reply is what a client wants to know of a line it got. Node lies in that line.
type Reply struct {
	Kind ReplyKind
	ID   uint64
	Node []byte
	Code int // of the JSON-RPC error, if it is one
}

// MaxReply is the longest line taken for an answer.
const MaxReply = 64 << 10

// Cause is why a request failed that was answered by this; none if it did not.
func (r Reply) Cause() Cause {
	switch r.Kind {
	case ReplyAnswer, ReplyNone:
		return CauseNone
	case ReplyToolError:
		return CauseTool
	}
	if c := CauseOfCode(r.Code); c != CauseReply || r.Kind != ReplyError || r.Code == 0 {
		return c
	}
	return CauseTool // the server's own no
}

// Parse reads a line from a server, whatever was asked. result is that of an answer; it lies in the line.
func Parse(line []byte) (r Reply, result []byte) {
	m, err := mcp.ParseReply(line)
	if err != nil {
		if mcp.TopMethod(line) != nil {
			return Reply{Kind: ReplyNone}, nil
		}
		return Reply{}, nil
	}
	id, numbered := m.Number()
	switch {
	case m.Err == nil && numbered:
		return Reply{Kind: ReplyAnswer, ID: id}, m.Result
	case m.Err == nil:
		return Reply{}, nil
	case !numbered:
		return Reply{Kind: ReplyRefusal, Code: m.Err.Code}, nil
	}
	return Reply{Kind: ReplyError, ID: id, Code: m.Err.Code}, nil
}

// Parse reads a line that came after the question.
func (q Question) Parse(line []byte) Reply {
	r, _ := Parse(line)
	return q.Judge(r, line)
}

// Judge takes what Parse says of a line for an answer to the question. What a server says to one that it does not name itself
// by proves that it serves, an error too, unless it is one of a balancer.
func (q Question) Judge(r Reply, line []byte) Reply {
	switch {
	case r.Kind == ReplyAnswer && q.Names():
		var ok bool
		if r.Node, ok = mcp.WhoamiNode(line); !ok {
			r.Kind = ReplyError
		}
	case r.Kind == ReplyError && !q.Names() && CauseOfCode(r.Code) == CauseReply:
		r.Kind = ReplyAnswer
	}
	return r
}

// Saying is a line from a server for people: what its error says, or the text that a tool's result begins with,
// or all of it, shortened and without what could steer a terminal.
func Saying(line []byte) string {
	m, err := mcp.ParseReply(line)
	if err != nil {
		return Clean(string(line))
	}
	if m.Err != nil {
		return Clean(m.Err.Error())
	}
	var result struct {
		Content []struct {
			Text string `json:"text"`
		} `json:"content"`
	}
	if json.Unmarshal(m.Result, &result) == nil && len(result.Content) > 0 && result.Content[0].Text != "" {
		return Clean(result.Content[0].Text)
	}
	return Clean(string(m.Result))
}

const maxSaying = 200

// Clean shortens a text for people and takes out what could steer a terminal.
func Clean(text string) string {
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
