// Package protocol is the MCP server of a node as a function from lines to lines: JSON-RPC 2.0, a message
// or a batch a line. It speaks both eras of MCP, request by request:
//
//   - with sessions (2024-11-05 to 2025-11-25): the connection begins with initialize;
//   - stateless (2026-07-28): every request names its version in params._meta.
//
// A request that does neither is malformed by the rules of the second; ping alone is always answered.
package protocol

import (
	"bytes"
	"encoding/json"
	"fmt"
	"unicode/utf8"

	"github.com/erlmcp/erlmcp/cluster/node/internal/tools"
	"github.com/erlmcp/erlmcp/internal/mcp"
	"github.com/erlmcp/erlmcp/internal/rawjson"
)

// maxBatch is how many messages a batch may hold.
const maxBatch = 1000

// Server answers for a node. It is immutable; connections share it.
type Server struct {
	tools *tools.Set

	// Parts of replies that are the same every time.
	serverInfo  string // an object
	toolList    string // an array
	versionList string // an array: all versions
	complete    string // what begins every result of the stateless era
}

// New returns the server of the node called name. version is that of this program.
func New(name, version string) *Server {
	set := tools.New(name)
	s := &Server{
		tools:       set,
		serverInfo:  encode(map[string]string{"name": "erlmcp", "version": version}),
		toolList:    encode(set.List()),
		versionList: encode(mcp.Versions),
	}
	s.complete = fmt.Sprintf(`"resultType":"complete","_meta":{%q:%s},`, mcp.MetaServerInfo, s.serverInfo)
	return s
}

// Answer appends the replies to a line, which may lack its newline, to dst: nothing, or one line. The
// session is the connection's own; later keeps what is not due yet. It does not allocate for a plain
// request that succeeds.
func (s *Server) Answer(dst, line []byte, ss *Session, later Later) []byte {
	line = bytes.TrimLeft(line, " \t\r\n")
	if len(line) == 0 {
		return dst
	}
	if !utf8.Valid(line) || !json.Valid(line) {
		return mcp.AppendError(dst, nil, mcp.CodeParseError, "the line is not JSON in UTF-8")
	}
	start := len(dst)
	if elements, ok := rawjson.Array(line); ok {
		dst = s.answerBatch(dst, elements, ss, later)
	} else {
		dst = s.answerMessage(dst, line, ss, later, nil)
	}
	if len(dst) > start {
		dst = append(dst, '\n')
	}
	return dst
}

func (s *Server) answerBatch(dst []byte, elements rawjson.Elements, ss *Session, later Later) []byte {
	if !ss.allowsBatches() {
		return appendError(dst, nil, failure{code: mcp.CodeInvalidRequest, text: "batches are allowed in a session of version " + batching + " only"})
	}
	if n := count(elements); n == 0 || n > maxBatch {
		return appendError(dst, nil, failure{code: mcp.CodeInvalidRequest, text: fmt.Sprintf("a batch must hold 1 to %d messages", maxBatch)})
	}
	start := len(dst)
	batch := new(Batch)
	dst = append(dst, '[')
	for value, ok := elements.Next(); ok; value, ok = elements.Next() {
		end := len(dst)
		if end > start+1 {
			dst = append(dst, ',')
		}
		before := len(dst)
		if dst = s.answerMessage(dst, value, ss, later, batch); len(dst) == before {
			dst = dst[:end]
		}
	}
	if batch.waiting > 0 {
		batch.replies = append(batch.replies, dst[start+1:]...)
		return dst[:start]
	}
	if len(dst) == start+1 {
		return dst[:start]
	}
	return append(dst, ']')
}

func count(elements rawjson.Elements) (n int) {
	for _, ok := elements.Next(); ok; _, ok = elements.Next() {
		n++
	}
	return n
}

// answerMessage appends the reply to one message, if it has any now.
func (s *Server) answerMessage(dst, value []byte, ss *Session, later Later, batch *Batch) []byte {
	m, kind, problem := parse(value)
	switch kind {
	case kindInvalid:
		return appendError(dst, m.id, failure{code: mcp.CodeInvalidRequest, text: problem})
	case kindNotification:
		notified(m, later)
		return dst
	case kindRequest:
		r := request{Server: s, message: m, session: ss, later: later, batch: batch}
		return r.answer(dst)
	default:
		return dst
	}
}

// notified obeys a notification. There is only one that this server can do something about.
func notified(m message, later Later) {
	if method, _ := rawjson.String(m.method); string(method) != "notifications/cancelled" {
		return
	}
	if p, ok := parseParams(m.params); ok && len(p.requestID) > 0 {
		later.Cancel(p.requestID)
	}
}

// encode returns v, which is known to be representable, as JSON.
func encode(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(b)
}
