package cmd

import (
	"context"
	"net/http"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/erlmcp/erlmcp/internal/mcp"
	"github.com/erlmcp/erlmcp/proxy"
)

// TestHTTPThroughTheBalancer has MCP clients of both eras speak to real nodes through the HTTP frontend, with
// and without TLS.
func TestHTTPThroughTheBalancer(t *testing.T) {
	c := startCluster(t, 4)
	c.overEach(t, func(t *testing.T, via entrance) {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
		defer cancel()
		web := via.browser(t)
		t.Run("sessions", func(t *testing.T) { goSessions(ctx, t, via.base, web) })
		t.Run("WebSocket", func(t *testing.T) { webSocketPing(ctx, t, via.base, web) })
		t.Run("curl", func(t *testing.T) { curlSession(t, via) })
		t.Run("gone", func(t *testing.T) { goneSession(ctx, t, c, via.base, web) })
		t.Run("revived", func(t *testing.T) { revivedSessions(ctx, t, c, via.base, web) })
	})
}

// connectGo connects a client of the Go SDK that speaks version.
func connectGo(ctx context.Context, t *testing.T, over sdk.Transport, version string) *sdk.ClientSession {
	t.Helper()
	client := sdk.NewClient(&sdk.Implementation{Name: "test", Version: "1"}, nil)
	session, err := client.Connect(ctx, over, &sdk.ClientSessionOptions{ProtocolVersion: version})
	if err != nil {
		t.Fatalf("%s: %v", version, err)
	}
	if got := session.InitializeResult().ProtocolVersion; got != version {
		t.Errorf("speaks %s, want %s", got, version)
	}
	return session
}

// whoami asks for the node. It is made anew for each call: the SDK notes the era in it.
func whoami() *sdk.CallToolParams { return &sdk.CallToolParams{Name: "whoami"} }

// nodeOf is the node that has answered whoami.
func nodeOf(result *sdk.CallToolResult) string { return result.Content[0].(*sdk.TextContent).Text }

func askNode(ctx context.Context, t *testing.T, s *sdk.ClientSession) string {
	t.Helper()
	result, err := s.CallTool(ctx, whoami())
	if err != nil {
		t.Fatal(err)
	}
	return nodeOf(result)
}

// goSessions has the Go SDK hold sessions over every transport and in both eras: each stays on a node.
func goSessions(ctx context.Context, t *testing.T, base string, web *http.Client) {
	streamable := &sdk.StreamableClientTransport{Endpoint: base + "/mcp", HTTPClient: web}
	for version, over := range map[string]sdk.Transport{
		mcp.Version20251125: streamable,
		mcp.Version20260728: streamable,
		mcp.Version20241105: &sdk.SSEClientTransport{Endpoint: base + "/mcp/sse", HTTPClient: web},
	} {
		for range 3 {
			session := connectGo(ctx, t, over, version)
			home := askNode(ctx, t, session)
			for range 5 {
				if at := askNode(ctx, t, session); at != home && version != mcp.Version20260728 {
					t.Errorf("%s: a session of %s came to %s", version, home, at)
				}
				tools, err := session.ListTools(ctx, nil)
				if err != nil || len(tools.Tools) == 0 {
					t.Fatalf("%s: %v, %v", version, tools, err)
				}
			}
			if err := session.Close(); err != nil {
				t.Error(err)
			}
		}
	}
}

func webSocketPing(ctx context.Context, t *testing.T, base string, web *http.Client) {
	ws, _, err := websocket.Dial(ctx, base+"/mcp/ws", &websocket.DialOptions{HTTPClient: web, Subprotocols: []string{"mcp"}}) //nolint:bodyclose // there is none
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ws.CloseNow() }()
	if err := ws.Write(ctx, websocket.MessageText, []byte(`{"jsonrpc":"2.0","id":1,"method":"ping"}`)); err != nil {
		t.Fatal(err)
	}
	if _, reply, err := ws.Read(ctx); err != nil || !strings.Contains(string(reply), `"id":1`) {
		t.Errorf("%s, %v", reply, err)
	}
}

// goneSession kills the node of a session: the client is told so, and a new session is on another one.
func goneSession(ctx context.Context, t *testing.T, c *clusterFixture, base string, web *http.Client) {
	streamable := &sdk.StreamableClientTransport{Endpoint: base + "/mcp", HTTPClient: web}
	session := connectGo(ctx, t, streamable, mcp.Version20251125)
	node := askNode(ctx, t, session)
	c.run("cluster", "kill", "--hold", node)
	defer c.restart(node)
	c.await(node, proxy.NodeDown)
	if _, err := session.ListTools(ctx, nil); !isGone(err) {
		t.Errorf("the session whose node is dead: %v, want %v", err, sdk.ErrSessionMissing)
	}
	_ = session.Close()
	session = connectGo(ctx, t, streamable, mcp.Version20251125)
	if again := askNode(ctx, t, session); again == node {
		t.Errorf("the new session is on %s, which is dead", again)
	}
	if err := session.Close(); err != nil {
		t.Error(err)
	}
}

// curlSession has curl open a session and call a tool in it.
func curlSession(t *testing.T, via entrance) {
	curl, err := exec.LookPath("curl")
	if err != nil {
		t.Skip("curl is not installed")
	}
	var trust []string
	if via.ca != "" {
		trust = []string{"--cacert", via.ca}
		if err := exec.CommandContext(t.Context(), curl, "--silent", via.base+"/mcp").Run(); err == nil {
			t.Error("curl trusts a certificate that it was not told to trust")
		}
	}
	ask := func(body string, args ...string) string {
		t.Helper()
		args = slices.Concat(trust, args, []string{"--silent", "--show-error", "--fail-with-body", "--max-time", "10", "--include", via.base + "/mcp",
			"--header", "Content-Type: application/json", "--header", "Accept: application/json, text/event-stream", "--data", body})
		out, err := exec.CommandContext(t.Context(), curl, args...).CombinedOutput()
		if err != nil {
			t.Fatalf("curl: %v\n%s", err, out)
		}
		return string(out)
	}
	reply := ask(`{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"curl","version":"1"}}}`)
	var session string
	for line := range strings.Lines(reply) {
		if name, value, _ := strings.Cut(line, ":"); strings.EqualFold(name, "Mcp-Session-Id") {
			session = "Mcp-Session-Id: " + strings.TrimSpace(value)
		}
	}
	if session == "" {
		t.Fatalf("curl got no session:\n%s", reply)
	}
	ask(`{"jsonrpc":"2.0","method":"notifications/initialized"}`, "--header", session)
	for range 4 {
		// Another node would not know the session.
		if reply := ask(`{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"whoami","arguments":{}}}`, "--header", session); !strings.Contains(reply, `"id":2`) || !strings.Contains(reply, `"result"`) {
			t.Errorf("curl got\n%s", reply)
		}
	}
}
