package cmd

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/erlmcp/erlmcp/internal/mcp"
)

// TestHTTPThroughTheBalancer has MCP clients of both eras speak to real nodes through the HTTP
// frontend.
func TestHTTPThroughTheBalancer(t *testing.T) {
	dir, err := os.MkdirTemp("", "erlmcp") // short: the path of a unix socket must fit
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	ports := freePorts(t, 14)
	front := "127.0.0.1:" + ports[13]
	var nodes []string
	names := []string{"a", "b", "c", "d"}
	for i, name := range names {
		nodes = append(nodes, fmt.Sprintf("{name: %s, host: 127.0.0.1, tcp: %s, http: %s, sse: %s}", name, ports[3*i], ports[3*i+1], ports[3*i+2]))
	}
	run := func(args ...string) {
		t.Helper()
		cmd := exec.Command("erlmcp", args...)
		cmd.Env = append(os.Environ(), "ERLMCP_STATE_DIR="+dir, "XDG_CONFIG_HOME="+dir,
			"ERLMCP_CLUSTER_NODES=["+strings.Join(nodes, ", ")+"]", "ERLMCP_LB_LISTEN_TCP=127.0.0.1:"+ports[12], "ERLMCP_LB_LISTEN_HTTP="+front,
			"ERLMCP_LB_LISTEN_ADMIN=", "ERLMCP_LB_LISTEN_HEALTH=", "ERLMCP_LB_MAX_CONNECTIONS=1000", "ERLMCP_LB_STICKY_TCP=none",
			"ERLMCP_LB_LIMITS_MESSAGES_PER_SECOND=0", "ERLMCP_LB_LIMITS_CONNECTIONS_PER_SECOND=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", args, err, out)
		}
	}
	run("up")
	t.Cleanup(func() { run("down") })
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	web := &http.Client{Transport: transport}
	streamable := &sdk.StreamableClientTransport{Endpoint: "http://" + front + "/mcp", HTTPClient: web}
	connect := func(over sdk.Transport, version string) *sdk.ClientSession {
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
	whoami := func(s *sdk.ClientSession) string {
		t.Helper()
		result, err := s.CallTool(ctx, &sdk.CallToolParams{Name: "whoami"})
		if err != nil {
			t.Fatal(err)
		}
		text := result.Content[0].(*sdk.TextContent).Text
		for _, node := range names {
			if strings.Contains(text, `"`+node+`"`) || text == node {
				return node
			}
		}
		t.Fatalf("%q names no node", text)
		return ""
	}
	for version, over := range map[string]sdk.Transport{
		mcp.Version20251125: streamable,
		mcp.Version20260728: streamable,
		mcp.Version20241105: &sdk.SSEClientTransport{Endpoint: "http://" + front + "/mcp/sse", HTTPClient: web},
	} {
		for range 3 {
			session := connect(over, version)
			home := whoami(session)
			for range 5 {
				if at := whoami(session); at != home && version != mcp.Version20260728 {
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
	ws, _, err := websocket.Dial(ctx, "ws://"+front+"/mcp/ws", &websocket.DialOptions{HTTPClient: web, Subprotocols: []string{"mcp"}}) //nolint:bodyclose // there is none
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

	curlSession(t, "http://"+front)

	// The session ends with its node; the client begins anew on another one.
	session := connect(streamable, mcp.Version20251125)
	node := whoami(session)
	run("cluster", "stop", node)
	if _, err := session.ListTools(ctx, nil); err == nil {
		t.Error("the session outlives its node")
	}
	_ = session.Close()
	session = connect(streamable, mcp.Version20251125)
	if again := whoami(session); again == node {
		t.Errorf("the new session is on %s, which is stopped", again)
	}
	if err := session.Close(); err != nil {
		t.Error(err)
	}
}

// curlSession has curl open a session and call a tool in it.
func curlSession(t *testing.T, base string) {
	t.Helper()
	curl, err := exec.LookPath("curl")
	if err != nil {
		t.Log("curl is not installed: left out")
		return
	}
	ask := func(body string, args ...string) string {
		t.Helper()
		args = append(args, "--silent", "--show-error", "--fail-with-body", "--max-time", "10", "--include", base+"/mcp",
			"--header", "Content-Type: application/json", "--header", "Accept: application/json, text/event-stream", "--data", body)
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
