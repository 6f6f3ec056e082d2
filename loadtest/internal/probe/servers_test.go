package probe

import (
	"bufio"
	"context"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/coder/websocket"
	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/erlmcp/erlmcp/internal/mcp"
	"github.com/erlmcp/erlmcp/loadtest/internal/target"
)

// newSDK is a server of the public SDK with a tool that needs an argument, and with whoami if it has a name.
func newSDK(node string) *sdk.Server {
	s := sdk.NewServer(&sdk.Implementation{Name: "test-server", Version: "1.2"}, nil)
	type input struct {
		Text string `json:"text"`
	}
	sdk.AddTool(s, &sdk.Tool{Name: "greet"}, func(_ context.Context, _ *sdk.CallToolRequest, in input) (*sdk.CallToolResult, any, error) {
		if in.Text == "fail" {
			return nil, nil, fmt.Errorf("no greeting for %s", in.Text)
		}
		return &sdk.CallToolResult{Content: []sdk.Content{&sdk.TextContent{Text: "hello " + in.Text}}}, nil, nil
	})
	if node != "" {
		sdk.AddTool(s, &sdk.Tool{Name: "whoami"}, func(context.Context, *sdk.CallToolRequest, struct{}) (*sdk.CallToolResult, any, error) {
			return &sdk.CallToolResult{Content: []sdk.Content{&sdk.TextContent{Text: node}}}, nil, nil
		})
	}
	s.AddResource(&sdk.Resource{URI: "file:///there", Name: "there"}, func(context.Context, *sdk.ReadResourceRequest) (*sdk.ReadResourceResult, error) {
		return &sdk.ReadResourceResult{Contents: []*sdk.ResourceContents{{URI: "file:///there", Text: "x"}}}, nil
	})
	return s
}

// streamable serves at /mcp. sessions counts those that are not ended.
func streamable(s *sdk.Server, stateless bool, sessions *atomic.Int64) http.Handler {
	h := sdk.NewStreamableHTTPHandler(func(*http.Request) *sdk.Server { return s }, &sdk.StreamableHTTPOptions{Stateless: stateless})
	mux := http.NewServeMux()
	mux.HandleFunc("/mcp", func(w http.ResponseWriter, r *http.Request) {
		h.ServeHTTP(w, r)
		if sessions == nil {
			return
		}
		if r.Method == http.MethodDelete {
			sessions.Add(-1)
		} else if r.Header.Get(mcp.HeaderSessionID) == "" && w.Header().Get(mcp.HeaderSessionID) != "" {
			sessions.Add(1)
		}
	})
	return mux
}

// legacy serves HTTP with SSE at /sse.
func legacy(s *sdk.Server) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/sse", sdk.NewSSEHandler(func(*http.Request) *sdk.Server { return s }, nil))
	return mux
}

// sockets answers over WebSockets at /ws as a server of the era does.
func sockets(node string, era mcp.Era) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/ws", func(w http.ResponseWriter, r *http.Request) {
		c, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{"mcp"}})
		if err != nil {
			return
		}
		defer func() { _ = c.CloseNow() }()
		for {
			_, line, err := c.Read(r.Context())
			if err != nil {
				return
			}
			if reply := scripted(line, node, era); reply != "" {
				_ = c.Write(r.Context(), websocket.MessageText, []byte(`{"jsonrpc":"2.0","method":"notifications/message"}`))
				_ = c.Write(r.Context(), websocket.MessageText, []byte(reply))
			}
		}
	})
	return mux
}

// posts answers POST at /mcp as a server of the era does that keeps no session, with a stream that it does not end.
func posts(node string, era mcp.Era) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /mcp", func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		reply := scripted(body, node, era)
		if reply == "" {
			w.WriteHeader(http.StatusAccepted)
			return
		}
		w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
		fmt.Fprintf(w, ": hello\n\ndata: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/message\"}\n\nevent: message\ndata: %s\n\n", reply)
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	})
	return mux
}

// taciturn says nothing to requests of the stateless era.
func taciturn(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get(mcp.HeaderProtocolVersion) != mcp.Version20260728 {
			h.ServeHTTP(w, r)
			return
		}
		_, _ = io.Copy(io.Discard, r.Body) // so that the end of the connection is seen
		<-r.Context().Done()
	})
}

// scripted is what a small server answers, "" to notifications.
func scripted(line []byte, node string, era mcp.Era) string {
	var m mcp.Envelope
	if json.Unmarshal(line, &m) != nil || len(m.ID) == 0 {
		return ""
	}
	body := `"error":{"code":-32601,"message":"no such method"}`
	switch {
	case m.Method == mcp.MethodInitialize && era == mcp.SessionEra:
		body = `"result":{"protocolVersion":"2025-11-25","capabilities":{},"serverInfo":{"name":"small","version":"1"}}`
	case m.Method == mcp.MethodDiscover && era == mcp.StatelessEra:
		body = `"result":{"supportedVersions":["2026-07-28"],"capabilities":{},"_meta":{"` + mcp.MetaServerInfo + `":{"name":"small","version":"1"}}}`
	case m.Method == mcp.MethodPing && era == mcp.SessionEra:
		body = `"result":{}`
	case m.Method == mcp.MethodCallTool && node != "":
		body = `"result":{"content":[{"type":"text","text":"` + node + `"}]}`
	}
	return fmt.Sprintf(`{"jsonrpc":"2.0","id":%s,%s}`, m.ID, body)
}

// servedBy names the node in each response, as the balancer does.
func servedBy(node string, h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Served-By", node)
		h.ServeHTTP(w, r)
	})
}

// serve starts a server of HTTP and returns the endpoint at its path.
func serve(t *testing.T, path string, h http.Handler) target.Endpoint {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(func() { s.CloseClientConnections(); s.Close() })
	return endpointAt(t, s.URL+path)
}

// serveTLS is serve within TLS; change may alter its configuration.
func serveTLS(t *testing.T, path string, h http.Handler, change func(*httptest.Server)) (target.Endpoint, *httptest.Server) {
	t.Helper()
	s := httptest.NewUnstartedServer(h)
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	if change != nil {
		change(s)
	}
	s.StartTLS()
	t.Cleanup(func() { s.CloseClientConnections(); s.Close() })
	return endpointAt(t, s.URL+path), s
}

func trusting(e target.Endpoint, s *httptest.Server) target.Endpoint {
	e.TLS.CA = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}))
	return e
}

func endpointAt(t *testing.T, url string) target.Endpoint {
	t.Helper()
	to, err := target.Parse(url)
	if err != nil {
		t.Fatal(err)
	}
	return target.Endpoint{Target: to, Address: netip.AddrPortFrom(netip.MustParseAddr(to.Host), to.Port)}
}

func as(e target.Endpoint, transport target.Transport) target.Endpoint {
	e.Transport = transport
	if transport == target.TCP {
		e.Path, e.Secure = "", false
	}
	return e
}

// serveLines starts a server of a function a connection.
func serveLines(t *testing.T, serve func(net.Conn)) target.Endpoint {
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
			_ = conn.Close()
		}
	}()
	t.Cleanup(func() { _ = l.Close(); <-ended })
	return endpointAt(t, l.Addr().String())
}

// speakLines answers lines as a small server does, and what is none with an error, as our nodes do.
func speakLines(node string, era mcp.Era) func(net.Conn) {
	return func(c net.Conn) {
		for in := bufio.NewScanner(c); in.Scan(); {
			reply := scripted(in.Bytes(), node, era)
			if reply == "" {
				reply = strings.TrimSpace(string(mcp.AppendError(nil, nil, mcp.CodeParseError, "not JSON")))
			}
			if _, err := io.WriteString(c, reply+"\n"); err != nil || !json.Valid(in.Bytes()) {
				return
			}
		}
	}
}
