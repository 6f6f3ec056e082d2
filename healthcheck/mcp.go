package healthcheck

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/erlmcp/erlmcp/internal/mcp"
)

// probeMCP asks over the transport of the target.
func probeMCP(ctx context.Context, t Target) Result {
	if t.Transport == OverHTTP || t.Transport == OverSSE {
		return probeMCPByHTTP(ctx, t)
	}
	return probeMCPByLine(ctx, t)
}

// probeMCPByLine asks for server/discover, which every server of the stateless era has, and where that
// method does not exist for a ping, which servers of the session era answer without a session. It
// never sends initialize, which would leave a session behind.
//
// Any well-formed JSON-RPC reply proves life, an error too. A reply without id is an error from a
// server that could not or would not read the request: it lives, and Detail["refusal"] says what
// it said. Detail["method"] is the request that was answered and Detail["era"] the era this tells.
func probeMCPByLine(ctx context.Context, t Target) Result {
	a := begin(ctx, "mcp", t)
	defer func() { a.end() }()
	conn := a.dial(t.Address)
	if conn == nil {
		return a.result
	}
	e := newExchange(conn)
	r := a.ask(e, 1, "server/discover", mcp.AppendDiscover(nil, 1))
	if r != nil && r.Err != nil && r.Err.Code == mcp.CodeMethodNotFound {
		a.ask(e, 2, "ping", mcp.AppendPing(nil, 2))
	}
	return a.result
}

// ask makes one request, notes what came of it in the attempt's result, and returns the reply, if any.
func (a *attempt) ask(e *exchange, id uint64, method string, request []byte) *mcp.Reply {
	sent := time.Now()
	reply, err := e.roundTrip(id, request)
	if err == nil {
		a.succeed(time.Since(sent))
		a.result.Detail = describe(method, reply)
		return reply
	}
	var garbage *garbageError
	switch {
	case errors.As(err, &garbage):
		a.fail(CauseProtocol, "%v", garbage)
	case e.foreign() != "":
		a.fail(CauseProtocol, "%s", notLines(e.foreign()))
	case !errors.Is(err, os.ErrDeadlineExceeded):
		a.failed(err)
	case e.partial > 0:
		a.expired(CauseTimeout, fmt.Sprintf("no complete reply within %%v (%d bytes came)", e.partial))
	default:
		a.expired(CauseTimeout, "no reply within %v (frozen?)")
	}
	return nil
}

// describe is the detail of a reply.
func describe(method string, r *mcp.Reply) map[string]string {
	if string(r.ID) == "null" {
		return map[string]string{"refusal": r.Err.Error()}
	}
	era := mcp.SessionEra
	if method == "server/discover" && (r.Err == nil || r.Err.Code != mcp.CodeMethodNotFound) {
		era = mcp.StatelessEra
	}
	detail := map[string]string{"method": method, "era": era.String()}
	if r.Err != nil {
		detail["error"] = r.Err.Error()
	}
	return detail
}
