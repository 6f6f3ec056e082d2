package policy

import (
	"bytes"
	"encoding/base64"

	"github.com/erlmcp/erlmcp/internal/mcp"
	"github.com/erlmcp/erlmcp/proxy"
)

// ToolLimit is a proxy.ToolLimit, ready for use.
type ToolLimit struct {
	name string
	Hash uint64 // of name, for board.ToolRate; the same after a reload
	Rate Rate
}

func newToolLimits(list []proxy.ToolLimit) []ToolLimit {
	var limits []ToolLimit
	for _, t := range list {
		limits = append(limits, ToolLimit{t.Name, hashName(t.Name), PerSecond(t.PerSecond)})
	}
	return limits
}

// Tool is the limit of the tool that an MCP header names, or nil.
func (l *Limits) Tool(header []byte) *ToolLimit {
	var room [proxy.MaxToolName + 3]byte
	name := headerText(room[:], header)
	for i := range l.Tools {
		if t := &l.Tools[i]; string(name) == t.name {
			return t
		}
	}
	return nil
}

// headerText decodes the value of an MCP header in room, if it is encoded (2026-07-28, Transports). It
// is nil if that is malformed, or does not fit.
func headerText(room, value []byte) []byte {
	text, ok := bytes.CutPrefix(value, []byte(mcp.HeaderBase64Prefix))
	if !ok {
		return value
	}
	if text, ok = bytes.CutSuffix(text, []byte(mcp.HeaderBase64Suffix)); !ok {
		return value
	}
	if base64.StdEncoding.DecodedLen(len(text)) > len(room) {
		return nil
	}
	n, err := base64.StdEncoding.Decode(room, text)
	if err != nil {
		return nil
	}
	return room[:n]
}
