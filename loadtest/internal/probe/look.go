package probe

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/erlmcp/erlmcp/internal/mcp"
	"github.com/erlmcp/erlmcp/loadtest/internal/target"
	"github.com/erlmcp/erlmcp/loadtest/internal/work"
)

// Paths at which servers have their MCP endpoint, their event stream of 2024-11-05, and their WebSockets, as far as is usual.
var (
	usualPaths   = []string{target.DefaultPath, "/", "/mcp/", "/api/mcp", "/message", "/v1/mcp"}
	usualStreams = []string{"/sse", "/mcp/sse", "/events"}
	usualSockets = []string{"/ws", "/mcp/ws", target.DefaultPath}
)

// refusals are how an MCP endpoint answers whoever has no session, no token or another type.
var refusals = []int{http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden, http.StatusNotAcceptable}

// way is a transport with the paths at which it is usual.
type way struct {
	transport target.Transport
	usual     []string
	is        func(target.Endpoint) bool
}

// looked finds another way to speak with the server of an endpoint, which answers with a status: by the same transport
// first, and of its paths at the same one.
func looked(ctx context.Context, e target.Endpoint, status int) (target.Target, bool) {
	sure := slices.Contains(refusals, status) // then one at another path tells nothing
	ways := []way{
		{target.HTTP, usualPaths, func(e target.Endpoint) bool { return isEndpoint(ctx, e, sure) }},
		{target.SSE, usualStreams, func(e target.Endpoint) bool { return begins(ctx, e) }},
		{target.WS, usualSockets, func(e target.Endpoint) bool { return begins(ctx, e) }},
	}
	i := slices.IndexFunc(ways, func(w way) bool { return w.transport == e.Transport })
	ways[0], ways[i] = ways[i], ways[0]
	bare, _, _ := strings.Cut(e.Path, "?")
	for _, way := range ways {
		for _, path := range unique(append([]string{bare}, way.usual...)) {
			to := e
			to.Transport, to.Path = way.transport, path
			written, err := target.Parse(to.Target.String()) // what ends with /sse is of that transport
			if err == nil && written == to.Target && to.Target != e.Target && way.is(to) {
				return to.Target, true
			}
		}
	}
	return target.Target{}, false
}

func unique(list []string) []string {
	var out []string
	for _, s := range list {
		if !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	return out
}

// lookAround is where an endpoint at a server of HTTP is; the usual one if it is not found.
func lookAround(ctx context.Context, e target.Endpoint) target.Endpoint {
	if isEndpoint(ctx, e, false) {
		return e
	}
	if t, ok := looked(ctx, e, 0); ok {
		e.Target = t
	}
	return e
}

// isEndpoint reports whether an MCP endpoint answers a ping: by a reply or, if that need not be sure, by a refusal.
func isEndpoint(ctx context.Context, e target.Endpoint, sure bool) bool {
	ctx, cancel := context.WithTimeoutCause(ctx, lookPatience, errLate)
	defer cancel()
	w := newWeb(e, netip.Addr{}, mcp.SessionEra)
	defer w.close()
	got, err := w.ask(ctx, 1, mcp.AppendPing(nil, 1), work.Request{})
	var u *unexpected
	if errors.As(err, &u) {
		return !sure && slices.Contains(refusals, u.status) && mediaType(u.header) != "text/html"
	}
	return err == nil && got.line != nil
}

// lookPatience is how long one place may take that is only looked at: some servers answer nothing where they are not asked as
// they like.
const lookPatience = time.Second

// begins reports whether an event stream of 2024-11-05, or an upgrade to WebSocket, comes about.
func begins(ctx context.Context, e target.Endpoint) bool {
	ctx, cancel := context.WithTimeoutCause(ctx, lookPatience, errLate)
	defer cancel()
	s, err := open(ctx, e, netip.Addr{}, mcp.SessionEra)
	if err != nil {
		return false
	}
	s.close()
	return true
}

// speaksTLS begins a handshake. That the certificate is not trusted is an answer too.
func speaksTLS(ctx context.Context, e target.Endpoint) bool {
	ctx, cancel := within(ctx)
	defer cancel()
	conn, err := (&tls.Dialer{Config: tlsConfig(e)}).DialContext(ctx, "tcp", e.Address.String())
	if err == nil {
		_ = conn.Close()
		return true
	}
	var untrusted *tls.CertificateVerificationError
	var alert tls.AlertError
	return errors.As(err, &untrusted) || errors.As(err, &alert) || strings.Contains(err.Error(), "remote error: tls: ")
}

// speaksHTTP asks in the way of HTTP: some servers say nothing to what is not.
func speaksHTTP(ctx context.Context, e target.Endpoint) bool {
	ctx, cancel := within(ctx)
	defer cancel()
	conn, err := dialer(netip.Addr{}).DialContext(ctx, "tcp", e.Address.String())
	if err != nil {
		return false
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })()
	_, _ = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: "+e.Authority()+"\r\nConnection: close\r\n\r\n")
	begin := make([]byte, len("HTTP/"))
	_, err = io.ReadFull(conn, begin)
	return err == nil && string(begin) == "HTTP/"
}
