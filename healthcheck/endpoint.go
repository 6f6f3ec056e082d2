package healthcheck

import (
	"bytes"
	"context"
	"io"
	"mime"
	"net/http"
	"slices"
	"strings"

	"github.com/erlmcp/erlmcp/internal/mcp"
	"github.com/erlmcp/erlmcp/internal/topology"
)

// Paths at which servers have their MCP endpoint, and their event stream of 2024-11-05, as far as is usual.
var (
	usualPaths   = []string{topology.DefaultPath, "/", "/mcp/", "/api/mcp", "/message", "/v1/mcp"}
	usualStreams = []string{"/sse", "/mcp/sse", "/events"}
)

// Advise looks where a server has its MCP endpoint after a probe of kind mcp over HTTP has found none at the
// path of the target: it was answered with 404 or 405. The text says what was found and what to write
// instead; it is empty where the probe has found one, or was not answered.
func Advise(ctx context.Context, t Target, r Result) string {
	status := r.Detail["status"]
	if r.Kind != "mcp" || t.Transport != OverHTTP || status != "404" && status != "405" {
		return ""
	}
	if t.Path == "" {
		t.Path = topology.DefaultPath
	}
	wanted := t.Path
	if isEndpoint(ctx, t) {
		return ""
	}
	for _, path := range usualPaths {
		if t.Path = path; path != wanted && isEndpoint(ctx, t) {
			return "no MCP endpoint at " + wanted + " (" + status + "), but one at " + path + ": write path: " + path
		}
	}
	for _, path := range usualStreams {
		if t.Path = path; isEventStream(ctx, t) {
			return "no MCP endpoint at " + wanted + " (" + status + "), but an event stream of 2024-11-05 at " + path + ": write sse instead of http"
		}
	}
	return "no MCP endpoint at " + wanted + " (" + status + "), nor at " + strings.Join(usualPaths, ", ") + ": write the path of it as path"
}

// isEndpoint reports whether an MCP endpoint answers a ping at the path of t: by a reply, or by refusing whoever
// has no session, no token or another type.
func isEndpoint(ctx context.Context, t Target) bool {
	a := begin(ctx, "mcp", t)
	defer func() { a.end() }()
	answer := a.requestHTTP(t, "POST", headerOfMCP, mcp.AppendPing(nil, 1))
	if answer == nil {
		return false
	}
	if answer.StatusCode/100 == 2 {
		reply, err := readReply(answer, 1)
		return reply != nil && err == nil
	}
	if answer.StatusCode == http.StatusNotFound { // no such page, or no such session?
		body, err := io.ReadAll(answer.Body)
		return err == nil && bytes.Contains(bytes.ToLower(body), []byte("session"))
	}
	refusals := []int{http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden, http.StatusNotAcceptable}
	return slices.Contains(refusals, answer.StatusCode)
}

// isEventStream reports whether GET begins an event stream at the path of t.
func isEventStream(ctx context.Context, t Target) bool {
	a := begin(ctx, "mcp", t)
	defer func() { a.end() }()
	answer := a.requestHTTP(t, "GET", "Accept: text/event-stream\r\n", nil)
	if answer == nil {
		return false
	}
	kind, _, _ := mime.ParseMediaType(answer.Header.Get("Content-Type"))
	return answer.StatusCode == http.StatusOK && kind == "text/event-stream"
}
