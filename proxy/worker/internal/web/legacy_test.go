package web

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/erlmcp/erlmcp/proxy"
	"github.com/erlmcp/erlmcp/proxy/internal/proxytest"
	"github.com/erlmcp/erlmcp/proxy/internal/wire"
)

// startLegacy is a node that opens a stream of 2024-11-05 at each GET, with preamble and then an endpoint
// event of the given data, and answers what is posted there with its name on that stream. It takes
// nothing that names no stream of its own.
func startLegacy(t testing.TB, name, preamble, endpoint string) (address string) {
	var streams sync.Map // of chan string, by their ids
	var last atomic.Int64
	return proxytest.StartSite(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet {
			id, said := fmt.Sprintf("%s-%d", name, last.Add(1)), make(chan string, 8)
			streams.Store(id, said)
			w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
			_, _ = io.WriteString(w, preamble+"event: endpoint\ndata: "+strings.NewReplacer("ID", id, "HOST", r.Host).Replace(endpoint)+"\n\n")
			for {
				_ = http.NewResponseController(w).Flush()
				select {
				case text := <-said:
					fmt.Fprintf(w, "event: message\ndata: %s\n\n", text)
				case <-r.Context().Done():
					return
				}
			}
		}
		uri := r.URL.RequestURI()
		said, ok := streams.Load(uri[strings.LastIndexAny(uri, "=/")+1:])
		if !ok {
			http.Error(w, "no such session: "+uri, http.StatusNotFound)
			return
		}
		said.(chan string) <- fmt.Sprintf(`{"from":%q}`, name)
		w.WriteHeader(http.StatusAccepted)
	})
}

// readEvent reads one event that says something.
func readEvent(r *bufio.Reader) (kind, data string, err error) {
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return "", "", err
		}
		switch name, value, _ := strings.Cut(strings.TrimRight(line, "\r\n"), ":"); {
		case name == "event":
			kind = strings.TrimPrefix(value, " ")
		case name == "data":
			data = strings.TrimPrefix(value, " ")
		case line == "\n" && data != "":
			return kind, data, nil
		}
	}
}

// legacyCall opens a stream at path, posts to the endpoint that it names, and returns what comes back on
// the stream.
func (b *bench) legacyCall(path string) string {
	b.T.Helper()
	base, err := url.Parse("http://" + b.Web + path)
	if err != nil {
		b.T.Fatal(err)
	}
	resp, err := b.Browser().Get(base.String())
	if err != nil {
		b.T.Fatal(err)
	}
	b.T.Cleanup(func() { resp.Body.Close() })
	stream := bufio.NewReader(resp.Body)
	kind, data, err := readEvent(stream)
	if err != nil || kind != "endpoint" {
		b.T.Fatalf("the first event is %q: %q, %v", kind, data, err)
	}
	endpoint, err := base.Parse(data)
	if err != nil || endpoint.Host != base.Host { // which clients insist on
		b.T.Fatalf("the endpoint is %q, %v", data, err)
	}
	posted, err := b.Browser().Post(endpoint.String(), "application/json", strings.NewReader("{}"))
	if err != nil {
		b.T.Fatal(err)
	}
	text, _ := io.ReadAll(posted.Body)
	posted.Body.Close()
	if posted.StatusCode != http.StatusAccepted {
		b.T.Fatalf("posted to %s: %s %s", endpoint, posted.Status, text)
	}
	if _, data, err = readEvent(stream); err != nil {
		b.T.Fatal(err)
	}
	return data
}

// Streams of 2024-11-05 are found at whatever path, by what they say first, and their messages find
// their node again.
func TestLegacyStreamsAtAnyPath(t *testing.T) {
	for _, server := range []struct{ name, path, preamble, endpoint string }{
		{"server-everything", "/sse", "", "/message?sessionId=ID"},
		{"supergateway", "/sse", "", "/message?sessionId=ID"},
		{"mcp-proxy", "/sse", "", "/messages/?session_id=ID"},
		{"go-sdk", "/anything", "", "/anything?sessionid=ID"},
		{"in the path", "/v1/events", "retry: 1000\n\n: welcome\n\n", "/v1/messages/ID"},
		{"relative", "/app/sse", "", "messages?sessionId=ID"},
		{"query alone", "/app/sse", "", "?sessionId=ID"},
		{"absolute", "/sse", "", "http://HOST/message?sessionId=ID"},
		{"absolute, as the node sees itself", "/sse", "", "http://localhost:3001/message?sessionId=ID"},
		{"without a path", "/", "", "https://node.internal?sessionId=ID"},
		{"without a scheme", "/events", "", "//localhost:3001/message?sessionId=ID"},
		{"the old route", "/mcp/sse", "", "/mcp/sse?sessionid=ID"},
	} {
		t.Run(server.name, func(t *testing.T) {
			var nodes []string
			for i := range 3 {
				nodes = append(nodes, startLegacy(t, fmt.Sprintf("n%d", i), server.preamble, server.endpoint))
			}
			b := startWorker(t, nodes, func(s *proxy.Spec) {
				s.Sticky.TCP, s.Balance = proxy.StickyNone, proxy.BalanceRoundRobin // nothing but the tag leads to the node
				proxytest.WithoutLimits(s)
			})
			seen := map[string]bool{}
			for range 6 {
				seen[b.legacyCall(server.path)] = true
			}
			if len(seen) != 3 {
				t.Errorf("only %v were asked", seen)
			}
		})
	}
}

// Of a node with two ports, messages come to the one that has opened their stream.
func TestLegacyStreamsAtBothPorts(t *testing.T) {
	plain, own := startLegacy(t, "plain", "", "/message?sessionId=ID"), startLegacy(t, "own", "", "/message?sessionId=ID")
	b := startWorker(t, []string{plain}, proxytest.WithoutLimits)
	portOf := func(address string) int {
		_, port, _ := net.SplitHostPort(address)
		n, _ := strconv.Atoi(port)
		return n
	}
	n, addr := b.Spec.Nodes[0], b.Backends[0].Addr
	n.HTTP, n.SSE = portOf(plain), portOf(own)
	b.Respec(b.Spec, wire.NodeSlot{Node: n, Addr: addr})
	for path, want := range map[string]string{
		"/sse": `{"from":"own"}`, "/mcp/sse": `{"from":"own"}`, "/events": `{"from":"plain"}`, "/mcp": `{"from":"plain"}`,
	} {
		if got := b.legacyCall(path); got != want {
			t.Errorf("%s: %s, want %s", path, got, want)
		}
	}
}

// A server of the SDK at the usual path.
func TestLegacyServerOfTheSDK(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	var nodes []string
	for range 2 {
		server := sdk.NewServer(&sdk.Implementation{Name: "test", Version: "1"}, nil)
		sdk.AddTool(server, &sdk.Tool{Name: "ok"}, func(context.Context, *sdk.CallToolRequest, struct{}) (*sdk.CallToolResult, any, error) {
			return &sdk.CallToolResult{}, nil, nil
		})
		events := sdk.NewSSEHandler(func(*http.Request) *sdk.Server { return server }, &sdk.SSEOptions{DisableLocalhostProtection: true})
		mux := http.NewServeMux()
		mux.Handle("/sse", events)
		nodes = append(nodes, proxytest.StartSite(t, mux.ServeHTTP))
	}
	b := startWorker(t, nodes, func(s *proxy.Spec) {
		proxytest.WithoutLimits(s)
		s.Sticky.TCP, s.Balance = proxy.StickyNone, proxy.BalanceRoundRobin
	})
	for range 4 {
		client := sdk.NewClient(&sdk.Implementation{Name: "test", Version: "1"}, nil)
		session, err := client.Connect(ctx, &sdk.SSEClientTransport{Endpoint: "http://" + b.Web + "/sse", HTTPClient: b.Browser()}, nil)
		if err != nil {
			t.Fatal(err)
		}
		for range 3 {
			if _, err := session.CallTool(ctx, &sdk.CallToolParams{Name: "ok"}); err != nil {
				t.Error(err)
			}
		}
		_ = session.Close()
	}
}
