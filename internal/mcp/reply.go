package mcp

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/erlmcp/erlmcp/internal/rawjson"
)

// ErrNotReply is returned by ParseReply for a line that is no JSON-RPC 2.0
// reply: not JSON, a request, or a reply without exactly one of result and error.
var ErrNotReply = errors.New("not a JSON-RPC reply")

// Reply is a reply whose parts lie in the line it was parsed from.
type Reply struct {
	ID     []byte // raw JSON; "null" where the server could not tell
	Result []byte // raw JSON, nil with Err
	Err    *Error
}

// ParseReply reads one reply, in whatever order its members are. It allocates
// only for an error reply.
func ParseReply(line []byte) (Reply, error) {
	if !json.Valid(line) {
		return Reply{}, fmt.Errorf("not JSON: %w", ErrNotReply)
	}
	m, ok := rawjson.Object(line)
	if !ok {
		return Reply{}, fmt.Errorf("not an object: %w", ErrNotReply)
	}
	var (
		r                Reply
		failure, version []byte
		method           bool
	)
	for {
		key, value, ok := m.Next()
		if !ok {
			break
		}
		switch {
		case isKey(key, "id"):
			r.ID = value
		case isKey(key, "result"):
			r.Result = value
		case isKey(key, "error"):
			failure = value
		case isKey(key, "jsonrpc"):
			version = value
		case isKey(key, "method"):
			method = true
		}
	}
	switch {
	case string(version) != `"2.0"`:
		return Reply{}, fmt.Errorf(`no "jsonrpc":"2.0": %w`, ErrNotReply)
	case method:
		return Reply{}, fmt.Errorf("a request: %w", ErrNotReply)
	case !validID(r.ID):
		return Reply{}, fmt.Errorf("no id: %w", ErrNotReply)
	case (r.Result == nil) == (failure == nil):
		return Reply{}, fmt.Errorf("not one of result and error: %w", ErrNotReply)
	}
	if failure != nil {
		r.Err = new(Error)
		if err := json.Unmarshal(failure, r.Err); err != nil || failure[0] != '{' {
			return Reply{}, fmt.Errorf("malformed error: %w", ErrNotReply)
		}
	}
	return r, nil
}

// Number returns the id if it is one that the Append functions write.
func (r Reply) Number() (id uint64, ok bool) {
	if len(r.ID) == 0 || len(r.ID) > 19 { // 19 digits always fit
		return 0, false
	}
	for _, c := range r.ID {
		if c < '0' || c > '9' {
			return 0, false
		}
		id = id*10 + uint64(c-'0')
	}
	return id, true
}

// WhoamiNode returns the name of the node that answered a call of the tool
// whoami, the structured content's "node" or else the first content's text, as
// in
//
//	{"result":{"content":[{"type":"text","text":"erlmcp1"}],"structuredContent":{"node":"erlmcp1"}},…}
//
// name lies in line. ok is false for any other reply. It does not allocate, and
// does not check more of the line than it needs.
func WhoamiNode(line []byte) (name []byte, ok bool) {
	result := field(line, "result")
	if string(field(result, "isError")) == "true" {
		return nil, false
	}
	if name, ok := nodeName(field(field(result, "structuredContent"), "node")); ok {
		return name, true
	}
	content, _ := rawjson.Array(field(result, "content"))
	first, _ := content.Next()
	return nodeName(field(first, "text"))
}

// nodeName takes the quotes off what can be a node's name: 1…64 bytes of visible
// ASCII that need no escape.
func nodeName(raw []byte) (name []byte, ok bool) {
	if len(raw) < 3 || len(raw) > 66 || raw[0] != '"' || raw[len(raw)-1] != '"' {
		return nil, false
	}
	name = raw[1 : len(raw)-1]
	for _, c := range name {
		if c <= ' ' || c > '~' || c == '"' || c == '\\' {
			return nil, false
		}
	}
	return name, true
}
