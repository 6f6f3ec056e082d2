package healthcheck

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"mime"
	"strconv"
	"time"

	"github.com/erlmcp/erlmcp/internal/mcp"
	"github.com/erlmcp/erlmcp/internal/topology"
)

// headerOfMCP is what a POST to an MCP endpoint says (2026-07-28, Transports, Streamable HTTP).
const headerOfMCP = "Content-Type: application/json\r\nAccept: application/json, text/event-stream\r\n"

// headerOfDiscover tells a server of the stateless era what is asked.
const headerOfDiscover = headerOfMCP + mcp.HeaderProtocolVersion + ": " + mcp.Version20260728 + "\r\n" +
	mcp.HeaderMethod + ": " + mcp.MethodDiscover + "\r\n"

// probeMCPByHTTP posts a ping without a session to the MCP endpoint, and server/discover where that does not
// prove life, or the answer is that there is no such method. In this order, since one request mostly does: what
// has sessions refuses a ping without one at once, while a gateway to a server on stdio starts a process to be
// discovered. It never sends initialize, which would leave a session behind.
//
// Any JSON-RPC reply proves life, and so does a status of 300 to 499: servers of the session era refuse
// whoever has no session with 400 or 404, an endpoint of HTTP+SSE has another path (404, 405), and one that
// asks for a token says 401 or 403. Detail["status"] is the status, Detail["method"] the request that was
// answered, Detail["era"] the era this tells.
func probeMCPByHTTP(ctx context.Context, t Target) Result {
	a := begin(ctx, "mcp", t)
	defer func() { a.end() }()
	if t.Path == "" {
		t.Path = topology.DefaultPath
	}
	reply := a.post(t, mcp.MethodPing, headerOfMCP, 1, mcp.AppendPing(nil, 1))
	switch {
	case reply != nil && reply.Err != nil && reply.Err.Code == mcp.CodeMethodNotFound:
	case a.result.OK:
		return a.result
	case a.result.Cause != CauseUnhealthy && a.result.Cause != CauseProtocol:
		return a.result // it was not reached, or did not answer
	}
	pinged := a.result
	a.post(t, mcp.MethodDiscover, headerOfDiscover, 2, mcp.AppendDiscover(nil, 2))
	if pinged.OK && !a.result.OK {
		a.result = pinged // the first answer has proved it already
	}
	return a.result
}

// post makes one request, notes what came of it in the attempt's result, and returns the reply, if any.
func (a *attempt) post(t Target, method, header string, id uint64, body []byte) *mcp.Reply {
	sent := time.Now()
	answer := a.requestHTTP(t, "POST", header, body)
	if answer == nil {
		return nil
	}
	status := answer.StatusCode
	detail := map[string]string{"status": strconv.Itoa(status)}
	switch {
	case status >= 500:
		a.fail(CauseUnhealthy, "POST %s: %s", t.Path, statusText(status))
	case status >= 300:
		a.succeed(time.Since(sent))
	default:
		reply, err := readReply(answer, id)
		if reply == nil {
			a.replyFailed(t, answer, err)
			break
		}
		a.succeed(time.Since(sent))
		for key, value := range describe(method, reply) {
			detail[key] = value
		}
		a.result.Detail = detail
		return reply
	}
	a.result.Detail = detail
	return nil
}

// replyFailed fails the attempt because the answer holds no reply.
func (a *attempt) replyFailed(t Target, answer *httpAnswer, err error) {
	var garbage *garbageError
	switch {
	case err == nil, errors.As(err, &garbage):
		kind, _, _ := mime.ParseMediaType(answer.Header.Get("Content-Type"))
		if kind == "" {
			kind = "no content type"
		}
		a.fail(CauseProtocol, "POST %s: %s with %s, not an MCP reply", t.Path, statusText(answer.StatusCode), kind)
	default:
		a.answerFailed(answer, err)
	}
}

// readReply finds the reply in a body, of JSON or of events. It is nil without an error where there is none.
func readReply(answer *httpAnswer, id uint64) (*mcp.Reply, error) {
	if kind, _, _ := mime.ParseMediaType(answer.Header.Get("Content-Type")); kind == "text/event-stream" {
		return readEvents(answer.Body, id)
	}
	body, err := io.ReadAll(answer.Body)
	switch {
	case err != nil:
		return nil, err
	case answer.tooLong():
		return nil, io.ErrUnexpectedEOF
	}
	reply, _, err := parseReply(body, id)
	return reply, err
}

// readEvents reads an event stream up to the reply (WHATWG HTML, Server-sent events): each of its events
// holds one message in one data field.
func readEvents(body io.Reader, id uint64) (*mcp.Reply, error) {
	lines := bufio.NewReader(body)
	for {
		line, err := lines.ReadBytes('\n')
		if data, ok := bytes.CutPrefix(line, []byte("data:")); ok {
			if reply, mine, err := parseReply(data, id); mine || err != nil {
				return reply, err
			}
		}
		switch {
		case errors.Is(err, io.EOF):
			return nil, nil
		case err != nil:
			return nil, err
		}
	}
}
