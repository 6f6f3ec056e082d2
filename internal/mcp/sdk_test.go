package mcp

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// sdkServer runs the SDK's server with the tool whoami on one end of a
// connection and returns the other.
func sdkServer(t *testing.T) *bufio.ReadWriter {
	t.Helper()
	server := mcp.NewServer(&mcp.Implementation{Name: "test", Version: "1"}, nil)
	type output struct {
		Node string `json:"node"`
	}
	mcp.AddTool(server, &mcp.Tool{Name: "whoami"}, func(context.Context, *mcp.CallToolRequest, struct{}) (*mcp.CallToolResult, output, error) {
		return nil, output{"erlmcp2"}, nil
	})
	mcp.AddTool(server, &mcp.Tool{Name: "whoami_text"}, func(context.Context, *mcp.CallToolRequest, struct{}) (*mcp.CallToolResult, any, error) {
		return &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: "erlmcp3"}}}, nil, nil
	})
	ours, theirs := net.Pipe()
	setDeadline(t, ours)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := server.Run(ctx, &mcp.IOTransport{Reader: theirs, Writer: theirs}); err != nil && ctx.Err() == nil {
			t.Errorf("the server: %v", err)
		}
	}()
	t.Cleanup(func() { cancel(); ours.Close(); <-done })
	return bufio.NewReadWriter(bufio.NewReader(ours), bufio.NewWriter(ours))
}

func setDeadline(t *testing.T, c net.Conn) {
	t.Helper()
	if err := c.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
}

func send(t *testing.T, c *bufio.ReadWriter, line []byte) {
	t.Helper()
	_, err := c.Write(line)
	if err = errors.Join(err, c.Flush()); err != nil {
		t.Fatal(err)
	}
}

// exchange sends one request line and reads the reply to id.
func exchange(t *testing.T, c *bufio.ReadWriter, request []byte, id uint64) ([]byte, Reply) {
	t.Helper()
	send(t, c, request)
	line, err := c.ReadBytes('\n')
	if err != nil {
		t.Fatal(err)
	}
	r, err := ParseReply(line)
	if err != nil {
		t.Fatalf("%s: %v", line, err)
	}
	if got, ok := r.Number(); !ok || got != id {
		t.Fatalf("%s answers %d, not %d", line, got, id)
	}
	var s Scanner
	if n := s.Count(line); n != 1 {
		t.Fatalf("%s counts as %d messages", line, n)
	}
	return line, r
}

func TestTheSDKUnderstandsTheStatelessEra(t *testing.T) {
	c := sdkServer(t)
	_, r := exchange(t, c, AppendDiscover(nil, 1), 1)
	var result struct {
		SupportedVersions []string `json:"supportedVersions"`
	}
	if r.Err != nil || json.Unmarshal(r.Result, &result) != nil || len(result.SupportedVersions) != len(Versions) {
		t.Fatalf("server/discover: %v %s", r.Err, r.Result)
	}
	for i, v := range result.SupportedVersions {
		if Versions[i] != v {
			t.Errorf("the SDK supports %v, Versions are %v", result.SupportedVersions, Versions)
		}
	}
	for tool, want := range map[string]string{"whoami": "erlmcp2", "whoami_text": "erlmcp3"} {
		line, _ := exchange(t, c, AppendToolCall(nil, 2, tool, StatelessEra), 2)
		if node, ok := WhoamiNode(line); !ok || string(node) != want {
			t.Errorf("%s: node %q in %s", tool, node, line)
		}
	}
	line, r := exchange(t, c, AppendToolCall(nil, 3, "unknown", StatelessEra), 3)
	if node, ok := WhoamiNode(line); ok || r.Err == nil || r.Err.Code != CodeInvalidParams {
		t.Errorf("node %q, error %v in %s", node, r.Err, line)
	}
}

func TestTheSDKUnderstandsTheSessionEra(t *testing.T) {
	c := sdkServer(t)
	if _, r := exchange(t, c, AppendPing(nil, 1), 1); r.Err != nil || string(r.Result) != "{}" {
		t.Fatalf("a ping before initialize: %v %s", r.Err, r.Result)
	}
	if _, r := exchange(t, c, AppendToolCall(nil, 2, "whoami", SessionEra), 2); r.Err == nil {
		t.Fatal("a tool call without a session succeeded")
	}
	_, r := exchange(t, c, appendInitialize(nil, 3, LatestSessionVersion), 3)
	if r.Err != nil || string(field(r.Result, "protocolVersion")) != `"`+LatestSessionVersion+`"` {
		t.Fatalf("initialize: %v %s", r.Err, r.Result)
	}
	send(t, c, appendInitialized(nil))
	line, _ := exchange(t, c, AppendToolCall(nil, 4, "whoami", SessionEra), 4)
	if node, ok := WhoamiNode(line); !ok || string(node) != "erlmcp2" {
		t.Errorf("node %q in %s", node, line)
	}
	if _, r := exchange(t, c, []byte(`{"jsonrpc":"2.0","id":5,"method":"server/discover"}`+"\n"), 5); r.Err == nil || r.Err.Code != CodeMethodNotFound {
		t.Errorf("server/discover in the session era: %v", r.Err)
	}
}

// The SDK's names for the same facts.
func TestNamesAreTheSDKs(t *testing.T) {
	for ours, theirs := range map[string]string{
		MetaProtocolVersion:    mcp.MetaKeyProtocolVersion,
		MetaClientInfo:         mcp.MetaKeyClientInfo,
		MetaClientCapabilities: mcp.MetaKeyClientCapabilities,
		MetaServerInfo:         mcp.MetaKeyServerInfo,
	} {
		if ours != theirs {
			t.Errorf("%s, the SDK says %s", ours, theirs)
		}
	}
	for ours, theirs := range map[int]int{
		CodeHeaderMismatch:     mcp.CodeHeaderMismatch,
		CodeMissingCapability:  mcp.CodeMissingRequiredClientCapabilities,
		CodeUnsupportedVersion: mcp.CodeUnsupportedProtocolVersion,
	} {
		if ours != theirs {
			t.Errorf("%d, the SDK says %d", ours, theirs)
		}
	}
}

// A client of the SDK takes our error lines for what they are.
func TestTheSDKUnderstandsAppendError(t *testing.T) {
	ours, theirs := net.Pipe()
	setDeadline(t, ours)
	go func() {
		defer ours.Close()
		r := bufio.NewReader(ours)
		for {
			line, err := r.ReadBytes('\n')
			if err != nil {
				return
			}
			var in Inspector
			in.Next(line)
			if _, err := ours.Write(in.AppendErrors(nil, CodeUnavailable, "no node is up", Field{"retryAfterMs", 1000})); err != nil {
				return
			}
		}
	}()
	client := mcp.NewClient(&mcp.Implementation{Name: "test", Version: "1"}, nil)
	_, err := client.Connect(t.Context(), &mcp.IOTransport{Reader: theirs, Writer: theirs}, nil)
	if err == nil || !bytes.Contains([]byte(err.Error()), []byte("no node is up")) {
		t.Fatalf("the client says: %v", err)
	}
}
