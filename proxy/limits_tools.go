package proxy

import (
	"bytes"
	"encoding/base64"
	"hash/fnv"
	"net/http"
	"time"

	"github.com/erlmcp/erlmcp/internal/mcp"
	"github.com/erlmcp/erlmcp/proxy/internal/board"
	"github.com/erlmcp/erlmcp/proxy/internal/http1"
)

// toolLimit is a ToolLimit, ready for use.
type toolLimit struct {
	name string
	hash uint64 // of name, for board.ToolRate; the same after a reload
	rate rate
}

func newToolLimits(list []ToolLimit) []toolLimit {
	var limits []toolLimit
	for _, t := range list {
		h := fnv.New64a()
		_, _ = h.Write([]byte(t.Name))
		limits = append(limits, toolLimit{t.Name, h.Sum64(), perSecond(t.PerSecond)})
	}
	return limits
}

// maxToolName is the longest name of a tool that can be limited, in bytes.
const maxToolName = 256

// toolOver charges a source for the call of a tool that has a limit. Only the headers of the stateless
// era are believed: its nodes are obliged to refuse those that contradict the body, so that nobody can
// name one tool and call another. A source that speaks an earlier revision is bound by the message
// rate alone.
func (x *exchange) toolOver(r *http1.Request, now int64) (wait time.Duration, over bool) {
	w := x.client.w
	limits := w.limits.tools
	if len(limits) == 0 || !x.stateless || string(r.Method) != "POST" || string(r.Get("mcp-method")) != mcp.MethodCallTool {
		return 0, false
	}
	var room [maxToolName + 3]byte
	name := headerText(room[:], r.Get("mcp-name"))
	for i := range limits {
		if l := &limits[i]; string(name) == l.name {
			ok, wait := board.Charge(w.board.ToolRate(x.addr, l.hash), now, l.rate.interval, l.rate.burst, 1)
			return wait, !ok
		}
	}
	return 0, false
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

// overToolRate rejects a call over the rate of its tool: other requests of the client need not wait
// for it.
func (x *exchange) overToolRate(wait time.Duration) denial {
	w := x.client.w
	w.cell.Rejects.Add(1)
	w.violation(x.source, x.addr, w.loop.Now(), "calls of a tool")
	return denial{reason: board.ReasonMessageRate, status: http.StatusTooManyRequests, text: "this tool is rate limited", wait: wait}
}
