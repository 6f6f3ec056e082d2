package web

import (
	"github.com/erlmcp/erlmcp/internal/http1"
	"github.com/erlmcp/erlmcp/internal/mcp"
)

// POST requests are counted by MCP method when they are forwarded. A client of the stateless era says
// it in a header, which the node is obliged to verify; of others, the first piece of the body is looked
// at.

// methodSought is the method of a request that is yet to be counted by its body.
const methodSought = -1

// methodNone is that of a request that is not counted, or has been.
const methodNone = -2

// noteMethod begins with the method of a request.
func (x *exchange) noteMethod(r *http1.Request) {
	x.method = methodNone
	if string(r.Method) != "POST" {
		return
	}
	x.method = methodSought
	if m := r.Get("mcp-method"); m != nil {
		x.listens = string(m) == mcp.MethodListen
		if x.stateless {
			x.method = int8(mcp.MethodNumber(m))
		}
	}
}

// countMethod counts a request that is being forwarded. data is a piece of its body, or nil at its end.
func (x *exchange) countMethod(data []byte) {
	if x.method == methodNone || x.node == nil {
		return
	}
	n := int(x.method)
	if n == methodSought {
		if len(data) == 0 && !x.in.Done() {
			return
		}
		n = mcp.MethodNumber(mcp.TopMethod(data))
	}
	x.method = methodNone
	w := x.client.w
	w.Board.Methods(w.Index)[n].Add(1) // every number has a counter, that of others included
}
