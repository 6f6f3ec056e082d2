package loadtest

import (
	"context"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/erlmcp/erlmcp/internal/judge"
	"github.com/erlmcp/erlmcp/internal/mcp"
	"github.com/erlmcp/erlmcp/loadtest/internal/ask"
	"github.com/erlmcp/erlmcp/loadtest/internal/wire"
)

// Servers that do not tell which of them answers are tested all the same, and what cannot be judged is said.
func TestRunOfServersWithoutWhoami(t *testing.T) {
	const unknownMethod = `"error":{"code":-32601,"message":"Method not found"}`
	for name, c := range map[string]struct {
		answers  map[string]string
		question ask.Question
		why      string
	}{
		"stateless era": {map[string]string{
			mcp.MethodCallTool: `"error":{"code":-32602,"message":"Unknown tool: whoami"}`, mcp.MethodDiscover: `"result":{"supportedVersions":["2026-07-28"]}`,
		}, ask.Discover, `tools/call whoami is answered "Unknown tool: whoami (JSON-RPC error -32602)"`},
		"session era": {map[string]string{
			mcp.MethodCallTool: `"result":{"isError":true,"content":[{"type":"text","text":"Unknown tool: whoami"}]}`,
			mcp.MethodDiscover: unknownMethod, mcp.MethodPing: `"result":{}`,
		}, ask.Ping, `tools/call whoami is answered "Unknown tool: whoami"`},
		"nothing without a session": {map[string]string{
			mcp.MethodCallTool: `"error":{"code":-32600,"message":"initialize first"}`, mcp.MethodDiscover: `"error":{"code":-32600,"message":"initialize first"}`,
		}, ask.Discover, `tools/call whoami is answered "initialize first (JSON-RPC error -32600)"`},
		"nothing but errors": {map[string]string{
			mcp.MethodCallTool: unknownMethod, mcp.MethodDiscover: unknownMethod, mcp.MethodPing: unknownMethod,
		}, ask.Ping, `tools/call whoami is answered "Method not found (JSON-RPC error -32601)"`},
	} {
		t.Run(name, func(t *testing.T) {
			f := startFake(t, 2)
			f.foreign = func(m mcp.Envelope) string { return c.answers[m.Method] }
			s := testSpec(f, 100, 500*time.Millisecond)
			r := mustRun(t, s, Options{System: f})
			if failed(r) != "" || r.Connections.Verified != 100 || r.Requests.Answered == 0 || r.Latency.Count == 0 || r.Nameless != c.why {
				t.Errorf("%s %+v %+v %q", failed(r), r.Connections, r.Requests, r.Nameless)
			}
			if got, want := phases(r), "preflight, baseline, ramp, hold, close"; got != want {
				t.Error(got)
			}
			if len(r.Nodes) != 1 || r.Nodes[0].Name != "" || r.Nodes[0].Connections != 100 || r.Nodes[0].Latency.Count == 0 {
				t.Errorf("%+v", r.Nodes)
			}
			var unjudged []string
			for _, check := range r.Checks {
				if check.Why == nameless {
					unjudged = append(unjudged, check.Name)
				}
			}
			if got := strings.Join(unjudged, " "); got != "distribution sticky failover latency_variance" {
				t.Errorf("not judged: %s", got)
			}
			if !slices.ContainsFunc(r.Preflight, func(q judge.Result) bool { return q.Name == "node_names" && strings.Contains(q.Got, c.why) }) {
				t.Errorf("%+v", r.Preflight)
			}
			f.mu.Lock()
			defer f.mu.Unlock()
			for _, n := range f.nodes {
				if !n.up {
					t.Error("a node was broken")
				}
			}
		})
	}
}

// What such servers get wrong fails a run.
func TestRunSeesServersWithoutWhoamiFail(t *testing.T) {
	f := startFake(t, 1)
	f.foreign = func(m mcp.Envelope) string {
		if m.Method == mcp.MethodDiscover {
			return `"result":{}`
		}
		return `"error":{"code":-32601,"message":"no"}`
	}
	r := mustRun(t, testSpec(f, 20, 100*time.Millisecond), Options{System: f, Progress: func(p Progress) {
		if p.Phase == PhaseBaseline && p.Ended {
			f.refuse.Store(mcp.CodeUnavailable)
		}
	}})
	if r.Verdict != Fail || r.Connections.Failures["unavailable"] != 20*wire.MaxAttempts {
		t.Errorf("%s: %s %+v", r.Verdict, r.Reason, r.Connections)
	}
	f.refuse.Store(0)
	s := testSpec(f, 20, 100*time.Millisecond)
	s.Failover = FaultKill
	var e *PreflightError
	if _, err := Run(t.Context(), s, Options{System: f}); !errors.As(err, &e) || e.Unreachable || !strings.Contains(err.Error(), "failover_names") {
		t.Error(err)
	}
}

// serveRaw is a server of one function a connection.
func serveRaw(t *testing.T, serve func(net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			serve(conn)
			conn.Close()
		}
	}()
	t.Cleanup(func() { l.Close(); <-ended })
	return l.Addr().String()
}

// What is no target says what it is, and what can be done.
func TestTargetsThatAreNone(t *testing.T) {
	web := httptest.NewServer(http.NotFoundHandler())
	defer web.Close()
	secure := httptest.NewUnstartedServer(http.NotFoundHandler())
	secure.Config.ErrorLog = log.New(io.Discard, "", 0)
	secure.StartTLS()
	defer secure.Close()
	for _, c := range []struct {
		name, target string
		kind         targetKind
		said         string
	}{
		{"HTTP", web.Listener.Addr().String(), targetHTTP, " speaks HTTP"},
		{"TLS", secure.Listener.Addr().String(), targetTLS, " speaks TLS"},
		{"HTTP that is silent about what it does not know", serveRaw(t, func(c net.Conn) {
			begin := make([]byte, 4)
			if _, err := io.ReadFull(c, begin); err == nil && string(begin) == "GET " {
				_, _ = c.Write([]byte("HTTP/1.1 204 No Content\r\n\r\n"))
			}
		}), targetHTTP, " speaks HTTP"},
		{"a closed door", serveRaw(t, func(net.Conn) {}), targetSilent, "no MCP server answers at the target: "},
		{"another protocol", serveRaw(t, func(c net.Conn) { _, _ = c.Write([]byte("220 mail.example \x1b[1mESMTP\r\n")) }),
			targetForeign, ` does not speak MCP: "220 mail.example  [1mESMTP"`},
		{"a server that refuses", serveRaw(t, func(c net.Conn) {
			_, _ = c.Write(mcp.AppendError(nil, nil, mcp.CodeBanned, "come back later"))
			_, _ = io.Copy(io.Discard, c)
		}), targetRefuses, "the target refuses (ban): come back later (JSON-RPC error -32017)"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := Default()
			s.Target = c.target
			f, err := gather(t.Context(), &s, unknownSystem{})
			if err != nil || f.targetError == nil || f.targetError.kind != c.kind || !strings.Contains(f.targetError.Error(), c.said) {
				t.Fatalf("%+v, %v", f.targetError, err)
			}
		})
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	s := Default()
	s.Target = web.Listener.Addr().String()
	if _, err := gather(ctx, &s, unknownSystem{}); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestTargetFixes(t *testing.T) {
	for _, c := range []struct {
		kind targetKind
		seen Observation
		want string
	}{
		{targetSilent, Observation{}, "start the system (erlmcp up)"},
		{targetHTTP, Observation{}, "speaks newline-delimited JSON-RPC over TCP only: name a TCP listener"},
		{targetHTTP, Observation{Elsewhere: []string{"tcp 127.0.0.1:8000", "http 127.0.0.1:8080"}}, "--target 127.0.0.1:8000"},
		{targetSilent, Observation{Elsewhere: []string{"tcp 127.0.0.1:8000"}}, "--target 127.0.0.1:8000"},
		{targetSilent, Observation{Elsewhere: []string{"http 127.0.0.1:8080"}}, "has no TCP listener (it has http 127.0.0.1:8080); give the balancer a TCP listener (lb.listen.tcp)"},
		{targetRefuses, Observation{Balancer: &BalancerView{}}, "erlmcp lb status"},
		{targetSilent, Observation{Balancer: &BalancerView{}}, "erlmcp health"},
	} {
		if got := (&targetError{kind: c.kind}).fix(&c.seen); !strings.Contains(got, c.want) {
			t.Errorf("%d, %+v: %s", c.kind, c.seen, got)
		}
	}
}
