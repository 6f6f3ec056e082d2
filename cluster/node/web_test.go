package node

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/charmbracelet/log"
	"github.com/coder/websocket"
	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/erlmcp/erlmcp/internal/mcp"
	"github.com/erlmcp/erlmcp/internal/units"
)

// site is the HTTP side of a node within the test.
type site struct {
	*web
	http, sse string // URLs
}

func startWeb(t *testing.T) *site {
	t.Helper()
	shared, file, err := createTally(1)
	must(t, err)
	must(t, file.Close())
	spec := Default()
	spec.Version, spec.MaxMessage = "test", 256*units.KiB
	s := &site{web: newWeb(spec, shared, 100, log.New(io.Discard))}
	listen := func(h http.Handler) string {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		must(t, err)
		f, err := l.(*net.TCPListener).File()
		must(t, err)
		must(t, l.Close())
		must(t, s.serve(f, h))
		return "http://" + l.Addr().String()
	}
	s.http, s.sse = listen(s.routes()), listen(s.legacyRoutes())
	t.Cleanup(func() {
		http.DefaultClient.CloseIdleConnections()
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		s.stop(ctx)
		must(t, shared.close())
	})
	return s
}

func dialSocket(t *testing.T, s *site) *websocket.Conn {
	t.Helper()
	ws, _, err := websocket.Dial(t.Context(), s.http+"/mcp/ws", &websocket.DialOptions{Subprotocols: []string{"mcp"}}) //nolint:bodyclose // it is the socket's
	must(t, err)
	return ws
}

// TestClients lets the SDK's client use the tools over every transport, in both eras.
func TestClients(t *testing.T) {
	worker, site := startWorker(t, nil), startWeb(t)
	overTCP := func(t *testing.T) sdk.Transport {
		c, err := net.Dial("tcp", worker.addr)
		must(t, err)
		return &sdk.IOTransport{Reader: c, Writer: c}
	}
	overSocket := func(t *testing.T) sdk.Transport {
		ws := dialSocket(t, site)
		if got := ws.Subprotocol(); got != "mcp" {
			t.Errorf("subprotocol %q", got)
		}
		return newSocketTransport(t.Context(), ws, newBodies(budget))
	}
	streamable := func(*testing.T) sdk.Transport { return &sdk.StreamableClientTransport{Endpoint: site.http + "/mcp"} }
	legacy := func(*testing.T) sdk.Transport { return &sdk.SSEClientTransport{Endpoint: site.sse + "/mcp/sse"} }

	for _, test := range []struct {
		name, version string
		transport     func(*testing.T) sdk.Transport
	}{
		{"tcp", mcp.Version20251125, overTCP},
		{"tcp stateless", mcp.Version20260728, overTCP},
		{"streamable", mcp.Version20251125, streamable},
		{"streamable stateless", mcp.Version20260728, streamable},
		{"websocket", mcp.Version20250618, overSocket},
		{"websocket stateless", mcp.Version20260728, overSocket},
		{"sse", mcp.Version20241105, legacy},
	} {
		t.Run(test.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			client := sdk.NewClient(&sdk.Implementation{Name: "test", Version: "1"}, nil)
			session, err := client.Connect(ctx, test.transport(t), &sdk.ClientSessionOptions{ProtocolVersion: test.version})
			must(t, err)
			defer func() { _ = session.Close() }()
			if got := session.InitializeResult().ProtocolVersion; got != test.version {
				t.Errorf("speaks %s, not %s", got, test.version)
			}
			useTools(ctx, t, session)
		})
	}
}

func useTools(ctx context.Context, t *testing.T, session *sdk.ClientSession) {
	list, err := session.ListTools(ctx, nil)
	must(t, err)
	var names []string
	for _, tool := range list.Tools {
		names = append(names, tool.Name)
	}
	if got := strings.Join(names, " "); got != "add echo sleep whoami" {
		t.Errorf("tools: %s", got)
	}
	for _, call := range []struct {
		tool, arguments, text, structured string
		failed                            bool
	}{
		{tool: "whoami", arguments: `{}`, text: "erlmcp1", structured: `{"node":"erlmcp1"}`},
		{tool: "echo", arguments: `{"message":"a\n\"b\" é"}`, text: "a\n\"b\" é", structured: `null`},
		{tool: "echo", arguments: `{}`, text: `the argument "message" must be a string`, structured: `null`, failed: true},
		{tool: "add", arguments: `{"a":0.5,"b":2}`, text: "2.5", structured: `{"sum":2.5}`},
		{tool: "sleep", arguments: `{"milliseconds":1}`, text: "slept 1 ms", structured: `null`},
	} {
		result, err := session.CallTool(ctx, &sdk.CallToolParams{Name: call.tool, Arguments: json.RawMessage(call.arguments)})
		must(t, err)
		structured, err := json.Marshal(result.StructuredContent)
		must(t, err)
		text := result.Content[0].(*sdk.TextContent).Text
		if text != call.text || string(structured) != call.structured || result.IsError != call.failed {
			t.Errorf("%s %s: %q, %s, failed: %v", call.tool, call.arguments, text, structured, result.IsError)
		}
	}
	var refused *jsonrpc.Error
	_, err = session.CallTool(ctx, &sdk.CallToolParams{Name: "none"})
	if !errors.As(err, &refused) || refused.Code != mcp.CodeInvalidParams {
		t.Errorf("a tool that is not there: %v", err)
	}
}

// ask sends one request and returns the status and the body of the answer. headers are names and values
// in turn.
func ask(t *testing.T, method, url, body string, headers ...string) (int, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	must(t, err)
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Accept", "application/json, text/event-stream")
	for i := 0; i < len(headers); i += 2 {
		if headers[i] == "Host" {
			r.Host = headers[i+1]
		}
		r.Header.Set(headers[i], headers[i+1])
	}
	answer, err := http.DefaultClient.Do(r)
	must(t, err)
	defer func() { _ = answer.Body.Close() }()
	text, err := io.ReadAll(answer.Body)
	must(t, err)
	return answer.StatusCode, strings.TrimSpace(string(text))
}

func TestErasOverHTTP(t *testing.T) {
	url := startWeb(t).http + "/mcp"
	const version = mcp.HeaderProtocolVersion
	discover := `{"jsonrpc":"2.0","id":1,"method":"server/discover","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"%s","io.modelcontextprotocol/clientCapabilities":{}}}}`
	for _, test := range []struct {
		name, method, body string
		headers            []string
		status             int
		want               string // part of the body
	}{
		{"stateless", "POST", fmt.Sprintf(discover, "2026-07-28"), []string{version, "2026-07-28", "Mcp-Method", "server/discover"}, 200, `"supportedVersions":["2026-07-28","2025-11-25","2025-06-18","2025-03-26","2024-11-05"]`},
		{"stateless GET", "GET", "", []string{version, "2026-07-28"}, 405, ""},
		{"stateless DELETE", "DELETE", "", []string{version, "2026-07-28", "Mcp-Session-Id", "x"}, 405, ""},
		{"no version header", "POST", fmt.Sprintf(discover, "2026-07-28"), nil, 400, `"code":-32020`},
		{"header of another era", "POST", fmt.Sprintf(discover, "2026-07-28"), []string{version, "2025-11-25"}, 400, `"code":-32020`},
		{"no method header", "POST", fmt.Sprintf(discover, "2026-07-28"), []string{version, "2026-07-28"}, 400, `"code":-32020`},
		{"version to come", "POST", fmt.Sprintf(discover, "2099-01-01"), []string{version, "2099-01-01", "Mcp-Method", "server/discover"}, 400, `"code":-32022`},
		{"ping is gone", "POST", strings.Replace(fmt.Sprintf(discover, "2026-07-28"), "server/discover", "ping", 1), []string{version, "2026-07-28", "Mcp-Method", "ping"}, 404, `"code":-32601`},
		{"what is not offered", "POST", strings.Replace(fmt.Sprintf(discover, "2026-07-28"), "server/discover", "prompts/list", 1), []string{version, "2026-07-28", "Mcp-Method", "prompts/list"}, 404, `"code":-32601`},
		{"ping without session", "POST", `{"jsonrpc":"2.0","id":1,"method":"ping"}`, nil, 200, `"result":{}`},
		{"session that is not there", "POST", `{"jsonrpc":"2.0","id":1,"method":"ping"}`, []string{"Mcp-Session-Id", "gone"}, 404, ""},
		{"stream without session", "GET", "", nil, 400, ""},
		{"too long", "POST", strings.Repeat("x", int(256*units.KiB)+1), nil, 413, `"code":-32600,"message":"the message is too long"`},
		{"page from elsewhere", "POST", `{}`, []string{"Origin", "https://evil.example"}, 403, `"code":-32600`},
		{"rebound name", "POST", `{}`, []string{"Origin", "http://evil.example", "Host", "evil.example"}, 403, `"code":-32600`},
		{"opaque origin", "POST", `{}`, []string{"Origin", "null"}, 403, `"code":-32600`},
		{"page from here", "POST", `{"jsonrpc":"2.0","id":1,"method":"ping"}`, []string{"Origin", "http://localhost:3000"}, 200, `"result":{}`},
		{"public name of a balancer", "POST", `{"jsonrpc":"2.0","id":1,"method":"ping"}`, []string{"Host", "mcp.example.com"}, 200, `"result":{}`},
	} {
		t.Run(test.name, func(t *testing.T) {
			status, body := ask(t, test.method, url, test.body, test.headers...)
			if status != test.status || !strings.Contains(body, test.want) {
				t.Errorf("%d %s", status, body)
			}
		})
	}
}

func TestOrigins(t *testing.T) {
	for origin, want := range map[string]bool{
		"http://localhost": true, "https://LOCALHOST:3000": true, "http://127.0.0.9:1": true, "http://[::1]": true, "https://node7:9101": true,
		"": false, "null": false, "http://": false, "file:///x": false, "http://evil.example": false, "http://localhost.evil.example": false,
		"http://127.0.0.1.evil.example": false, "http://localhost@evil.example": false, "http://10.0.0.1": false, "http://\x00": false,
	} {
		if got := allowedOrigin(origin, "Node7"); got != want {
			t.Errorf("allowedOrigin(%q) = %v", origin, got)
		}
	}
	if allowedOrigin("http://", "") {
		t.Error("no name is taken for the node's")
	}
}

func TestSocketAnswersWhatIsNoMessage(t *testing.T) {
	s := startWeb(t)
	if status, _ := ask(t, "GET", s.http+"/mcp/ws", "", "Origin", "https://evil.example"); status != http.StatusForbidden {
		t.Errorf("a page from elsewhere: %d", status)
	}
	if status, _ := ask(t, "GET", s.http+"/mcp/ws", ""); status != http.StatusUpgradeRequired {
		t.Errorf("no upgrade: %d", status)
	}
	ws := dialSocket(t, s)
	for _, exchange := range [][2]string{
		{`{`, `{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"the text is not JSON"}}`},
		{`[{"jsonrpc":"2.0","id":1,"method":"ping"}]`, `{"jsonrpc":"2.0","id":null,"error":{"code":-32600,"message":"the text is not one JSON-RPC message"}}`},
		{`{"jsonrpc":"2.0","id":1,"method":"ping"}`, `{"jsonrpc":"2.0","id":1,"result":{}}`},
	} {
		must(t, ws.Write(t.Context(), websocket.MessageText, []byte(exchange[0])))
		_, got, err := ws.Read(t.Context())
		must(t, err)
		if string(got) != exchange[1] {
			t.Errorf("%s: %s", exchange[0], got)
		}
	}
	must(t, ws.Write(t.Context(), websocket.MessageBinary, []byte("{}")))
	if _, _, err := ws.Read(t.Context()); websocket.CloseStatus(err) != websocket.StatusUnsupportedData {
		t.Errorf("a binary message: %v", err)
	}
}

func TestHeartbeat(t *testing.T) {
	release := make(chan struct{})
	server := httptest.NewServer(withHeartbeat(5*time.Millisecond, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/stream" {
			w.Header().Set("Content-Type", "text/event-stream")
		}
		_, _ = io.WriteString(w, "data: 1\n\n")
		must(t, http.NewResponseController(w).Flush())
		<-release
		_, _ = io.WriteString(w, "data: 2\n\n")
	})))
	defer server.Close()
	answer, err := http.Get(server.URL + "/stream")
	must(t, err)
	defer func() { _ = answer.Body.Close() }()
	in := bufio.NewReader(answer.Body)
	for _, want := range []string{"data: 1\n", "\n", ": still here\n", "\n", ": still here\n", "\n"} {
		if got, err := in.ReadString('\n'); got != want || err != nil {
			t.Fatalf("got %q, %v, want %q", got, err, want)
		}
	}
	if got := answer.Header.Get("X-Accel-Buffering"); got != "no" {
		t.Errorf("X-Accel-Buffering: %q", got)
	}
	close(release)
	rest, err := io.ReadAll(in)
	must(t, err)
	if !bytes.HasSuffix(rest, []byte("data: 2\n\n")) {
		t.Errorf("ends with %q", rest)
	}

	plain, err := http.Get(server.URL)
	must(t, err)
	defer func() { _ = plain.Body.Close() }()
	if body, err := io.ReadAll(plain.Body); string(body) != "data: 1\n\ndata: 2\n\n" || err != nil {
		t.Errorf("what is no event stream: %q, %v", body, err)
	}
}

func TestBoundedListener(t *testing.T) {
	s := startWeb(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	bounded := &boundedListener{Listener: l, open: &s.open, most: 1}
	server := &http.Server{Handler: s.routes()}
	go func() { _ = server.Serve(bounded) }()
	defer func() { _ = server.Close() }()

	first, err := net.Dial("tcp", l.Addr().String())
	must(t, err)
	waitFor(t, func() bool { return s.open.Load() == 1 })
	second := dial(t, l.Addr().String())
	if got := second.line(); got != "HTTP/1.1 503 Service Unavailable\r" {
		t.Errorf("the second got %q", got)
	}
	must(t, first.Close())
	waitFor(t, func() bool { return s.open.Load() == 0 })
	if status, _ := ask(t, "GET", "http://"+l.Addr().String()+"/health", ""); status != http.StatusOK {
		t.Errorf("after the first has gone: %d", status)
	}
}

func TestStopFinishesWhatWasAsked(t *testing.T) {
	s := startWeb(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	health := func() (int, Health) {
		var h Health
		status, body := ask(t, "GET", s.http+"/health", "")
		must(t, json.Unmarshal([]byte(body), &h))
		return status, h
	}

	var sessions []*sdk.ClientSession
	for _, transport := range []sdk.Transport{
		&sdk.StreamableClientTransport{Endpoint: s.http + "/mcp"}, // holds a stream open
		&sdk.SSEClientTransport{Endpoint: s.sse + "/mcp/sse"},
		newSocketTransport(ctx, dialSocket(t, s), newBodies(budget)),
	} {
		client := sdk.NewClient(&sdk.Implementation{Name: "test", Version: "1"}, nil)
		session, err := client.Connect(ctx, transport, &sdk.ClientSessionOptions{ProtocolVersion: mcp.Version20251125})
		must(t, err)
		t.Cleanup(func() { _ = session.Close() })
		sessions = append(sessions, session)
	}
	if status, h := health(); status != 200 || h.Status != "ok" || h.Node != "erlmcp1" || h.Sessions != 3 {
		t.Errorf("before: %d %+v", status, h)
	}
	outcomes := make(chan error)
	for _, session := range sessions {
		go func() {
			_, err := session.CallTool(ctx, &sdk.CallToolParams{Name: "sleep", Arguments: map[string]any{"milliseconds": 700}})
			outcomes <- err
		}()
	}
	waitFor(t, func() bool { // for three calls, and the request that carries the one over Streamable HTTP
		s.calls.mu.Lock()
		defer s.calls.mu.Unlock()
		return s.calls.n == 4
	})
	s.announceStop()
	if status, h := health(); status != 503 || h.Status != "stopping" {
		t.Errorf("while stopping: %d %+v", status, h)
	}
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		s.stop(ctx)
	}()
	for range sessions {
		if err := <-outcomes; err != nil {
			t.Errorf("a call that was under way: %v", err)
		}
	}
	select {
	case <-stopped:
	case <-time.After(time.Minute):
		t.Error("still not stopped")
	}
}
