package web

import (
	"net/netip"
	"strconv"

	"github.com/erlmcp/erlmcp/internal/http1"
	"github.com/erlmcp/erlmcp/proxy/internal/accesslog"
	"github.com/erlmcp/erlmcp/proxy/internal/policy"
	"github.com/erlmcp/erlmcp/proxy/worker/internal/access"
)

// Longest texts of a line, in bytes as JSON has them. All of them fit into accesslog.MaxLine.
const (
	longestWord  = 64 // method, protocol version
	longestName  = 128
	longestAgent = 256
	longestPath  = 1024
)

// beginEntry returns the entry of a request. No query, no session id and no cookie gets into the log:
// who has them is the client.
func (w *Frontend) beginEntry(client netip.Addr, r *http1.Request) *access.Entry {
	e := w.Access.Begin(client, w.Loop.Now())
	if e == nil {
		return nil
	}
	b := e.Request
	b = accesslog.AppendString(append(b, `,"method":`...), r.Method, longestWord)
	b = accesslog.AppendString(append(b, `,"path":`...), w.loggedPath(r), longestPath)
	b = strconv.AppendBool(append(b, `,"session":`...), r.Get("mcp-session-id") != nil)
	b = appendMember(b, `,"version":`, r.Get("mcp-protocol-version"), longestWord)
	b = appendMember(b, `,"mcp_method":`, r.Get("mcp-method"), longestName)
	b = appendMember(b, `,"mcp_name":`, r.Get("mcp-name"), longestName)
	b = appendMember(b, `,"user_agent":`, r.Get("user-agent"), longestAgent)
	e.Request = b
	return e
}

// loggedPath is what of a path may be known: of an endpoint of a legacy event stream, which may have its
// session id anywhere, only the prefix of its route. Where a node named an endpoint outside of the
// routes of such streams, its tag tells.
func (w *Frontend) loggedPath(r *http1.Request) []byte {
	route := w.routeOf(r.Path)
	if route == nil || route.kind != legacySSE {
		if _, _, tagged := w.ring.Endpoint(*endOfTarget(r)); !tagged {
			return r.Path
		}
	}
	shown := 1 // the slash
	if route != nil {
		shown = max(shown, len(route.prefix))
	}
	return r.Path[:min(shown, len(r.Path))]
}

// appendMember appends a member, unless there is no value.
func appendMember(dst []byte, name string, value []byte, limit int) []byte {
	if value == nil {
		return dst
	}
	return accesslog.AppendString(append(dst, name...), value, limit)
}

// frontend is by which the client came.
func (c *client) frontend() string {
	if c.secure {
		return access.FrontendHTTPS
	}
	return access.FrontendHTTP
}

// logRefusal notes an answer of the balancer itself. One without a request that could be read is a
// line of its own.
func (c *client) logRefusal(r policy.Refusal, length int) {
	w := c.w
	var e *access.Entry
	if c.x != nil {
		e = c.x.access
	} else {
		e = w.Access.Begin(c.addr, w.Loop.Now())
	}
	e.Refused(r.Reason)
	e.Answered(r.Status, w.Loop.Now())
	e.Sent(length)
	if c.x == nil {
		w.Access.End(e, c.frontend(), w.Loop.Now())
	}
}
