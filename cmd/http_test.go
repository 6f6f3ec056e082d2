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
	ports := freePorts(t, 8)
	front := "127.0.0.1:" + ports[7]
	var nodes []string
	for i, name := range []string{"a", "b"} {
		nodes = append(nodes, fmt.Sprintf("{name: %s, host: 127.0.0.1, tcp: %s, http: %s, sse: %s}", name, ports[3*i], ports[3*i+1], ports[3*i+2]))
	}
	run := func(args ...string) {
		t.Helper()
		cmd := exec.Command("erlmcp", args...)
		cmd.Env = append(os.Environ(), "ERLMCP_STATE_DIR="+dir, "XDG_CONFIG_HOME="+dir,
			"ERLMCP_CLUSTER_NODES=["+strings.Join(nodes, ", ")+"]", "ERLMCP_LB_LISTEN_TCP=127.0.0.1:"+ports[6], "ERLMCP_LB_LISTEN_HTTP="+front,
			"ERLMCP_LB_LISTEN_ADMIN=", "ERLMCP_LB_LISTEN_HEALTH=", "ERLMCP_LB_MAX_CONNECTIONS=1000", "ERLMCP_LB_STICKY_TCP=none")
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
		for _, node := range []string{"a", "b"} {
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
			for range 5 {
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

	// The session ends with its node; the client begins anew on the other one.
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
