package loadtest

import "github.com/erlmcp/erlmcp/internal/mcp"

// whoami is the tool of a node that tells the node's name. It is called as in the stateless era, so
// that a connection needs no session before it can be verified.
const whoami = "whoami"

func appendWhoami(dst []byte, id uint64) []byte {
	return mcp.AppendToolCall(dst, id, whoami, mcp.StatelessEra)
}

type replyKind uint8

const (
	replyOther   replyKind = iota // anything else
	replyNode                     // an answer with a node's name
	replyError                    // a JSON-RPC error that answers a request
	replyRefusal                  // one that answers none: the balancer explains itself before it closes
)

// reply is what a client wants to know of a line it got. node lies in that line.
type reply struct {
	kind replyKind
	id   uint64
	node []byte
	code int
}

func parseReply(line []byte) reply {
	m, err := mcp.ParseReply(line)
	if err != nil {
		return reply{}
	}
	id, numbered := m.Number()
	if m.Err != nil {
		kind := replyError
		if !numbered {
			kind = replyRefusal
		}
		return reply{kind: kind, id: id, code: m.Err.Code}
	}
	node, ok := mcp.WhoamiNode(line)
	if !ok || !numbered {
		return reply{}
	}
	return reply{kind: replyNode, id: id, node: node}
}
