package web

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"
	"golang.org/x/sys/unix"

	"github.com/erlmcp/erlmcp/internal/mcp"
	"github.com/erlmcp/erlmcp/proxy"
	"github.com/erlmcp/erlmcp/proxy/internal/affinity"
	"github.com/erlmcp/erlmcp/proxy/internal/board"
	"github.com/erlmcp/erlmcp/proxy/internal/proxytest"
)

// tellingSite answers with its name, the session and cookie it was sent, and the target. A request
// without a session gets one.
func tellingSite(t testing.TB, name string) string {
	return proxytest.StartSite(t, func(w http.ResponseWriter, r *http.Request) {
		session := r.Header.Get("Mcp-Session-Id")
		if session == "" {
			w.Header().Set("Mcp-Session-Id", "session-of-"+name)
		}
		fmt.Fprintf(w, "%s|%s|%s|%s", name, session, r.Header.Get("Cookie"), r.URL.RequestURI())
	})
}

func (b *bench) send(method, target string, fields ...string) (*proxytest.Reply, []string) {
	b.T.Helper()
	c := b.Visit()
	c.Say(method + " " + target + " HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n")
	for _, f := range fields {
		c.Say(f + "\r\n")
	}
	c.Say("\r\n")
	resp, body := c.Answer(method)
	c.Close()
	return resp, strings.Split(body, "|")
}

func TestSessionsStay(t *testing.T) {
	b := startWorker(t, []string{tellingSite(t, "n0"), tellingSite(t, "n1"), tellingSite(t, "n2")}, nil)
	seen := map[string]string{} // a session of each node
	for range 6 {
		resp, got := b.send("POST", "/mcp")
		seen[got[0]] = resp.Header.Get("Mcp-Session-Id")
	}
	if len(seen) != 3 {
		t.Fatalf("sessions spread over %v", seen)
	}
	for name, id := range seen {
		if !strings.HasPrefix(id, "session-of-"+name+string(affinity.Separator)) || len(id) != len("session-of-n0")+1+affinity.TagLen {
			t.Errorf("%s has session %q", name, id)
		}
		for _, method := range []string{"POST", "GET", "DELETE"} {
			for range 3 {
				if _, got := b.send(method, "/mcp", "mcp-session-id: "+id); got[0] != name || got[1] != "session-of-"+name {
					t.Fatalf("%s of session %s: %v", method, id, got)
				}
			}
		}
	}

	// A node that takes no newcomers keeps its sessions, a dead one does not.
	for _, state := range []board.State{board.Draining, board.Silent} {
		b.Board.SetNodeState(1, state, time.Now())
		if _, got := b.send("POST", "/mcp", "Mcp-Session-Id: "+seen["n1"]); got[0] != "n1" {
			t.Errorf("the session of a %v node came to %v", state, got)
		}
		for range 4 {
			if _, got := b.send("POST", "/mcp"); got[0] == "n1" {
				t.Errorf("a newcomer came to a %v node", state)
			}
		}
	}
	b.Board.SetNodeState(1, board.Down, time.Now())
	for _, id := range []string{seen["n1"], seen["n1"][:len(seen["n1"])-1] + "A", "x~AAAAAAAAAAAAAAAA"} {
		c := b.Visit()
		c.Say("POST /mcp HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\nMcp-Session-Id: " + id + "\r\n\r\n{}")
		if code := c.Denied(404); code != mcp.CodeInvalidRequest {
			t.Error(code)
		}
	}
	if n := b.Refused(board.ReasonSessionGone); n != 3 {
		t.Errorf("counted %d", n)
	}
	// An id without a tag is the node's business.
	if _, got := b.send("POST", "/mcp", "Mcp-Session-Id: plain"); got[1] != "plain" {
		t.Errorf("an id without a tag: %v", got)
	}
	// The stateless era knows no sessions: what no node has given out is not looked at or changed.
	for _, id := range []string{"plain", "x~AAAAAAAAAAAAAAAA"} {
		served := map[string]bool{}
		for range 4 {
			resp, got := b.send("POST", "/mcp", "Mcp-Session-Id: "+id, "MCP-Protocol-Version: 2026-07-28")
			if served[got[0]] = true; got[1] != id || resp.Header.Get("Set-Cookie") != "" {
				t.Errorf("stateless: %v, cookie %q", got, resp.Header.Get("Set-Cookie"))
			}
		}
		if len(served) != 2 {
			t.Errorf("stateless: all with %q went to %v", id, served)
		}
	}
}

// A node that gives out a session has one, and a request with its tag belongs to it, whatever revision
// the client claims to speak: some send the same header with every request.
func TestSessionsStayWhateverTheVersion(t *testing.T) {
	b := startWorker(t, []string{tellingSite(t, "n0"), tellingSite(t, "n1"), tellingSite(t, "n2")}, func(s *proxy.Spec) { s.Limits.MessagesPerSecond, s.Limits.ConnectionsPerSecond = 0, 0 })
	for _, version := range []string{"DRAFT-2025-v3", "DRAFT-2026-v1", "2026-07-28", "2099-01-01", "latest", ""} {
		field := "MCP-Protocol-Version: " + version
		for range 3 {
			resp, got := b.send("POST", "/mcp", field)
			node, id := got[0], resp.Header.Get("Mcp-Session-Id")
			if !strings.HasPrefix(id, "session-of-"+node+string(affinity.Separator)) {
				t.Fatalf("%q: the id of %s leaves as %q", version, node, id)
			}
			for _, method := range []string{"POST", "GET", "DELETE"} {
				for range 3 {
					resp, got := b.send(method, "/mcp", field, "Mcp-Session-Id: "+id)
					if got[0] != node || got[1] != "session-of-"+node || resp.Header.Get("Set-Cookie") != "" {
						t.Fatalf("%q: %s of session %s: %v, cookie %q", version, method, id, got, resp.Header.Get("Set-Cookie"))
					}
				}
			}
		}
	}
	var id string
	b.On(func() { id = string(b.http.ring.AppendSession(nil, []byte("x"), 1, affinity.At(time.Now()))) })
	b.Board.SetNodeState(1, board.Down, time.Now())
	c := b.Visit() // it is to begin anew
	c.Say("POST /mcp HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\nMCP-Protocol-Version: 2026-07-28\r\nMcp-Session-Id: " + id + "\r\n\r\n{}")
	c.Denied(404)
}

// The same holds for a legacy stream: its endpoint is tagged, and who posts there comes to its node.
func TestLegacyStreamsStayWhateverTheVersion(t *testing.T) {
	site := func(name string) string {
		return proxytest.StartSite(t, func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodPost {
				fmt.Fprintf(w, "%s|%s", name, r.URL.RequestURI())
				return
			}
			w.Header().Set("Content-Type", "text/event-stream")
			fmt.Fprintf(w, "event: endpoint\ndata: /mcp/sse?of=%s\n\n", name)
			_ = http.NewResponseController(w).Flush()
		})
	}
	b := startWorker(t, []string{site("n0"), site("n1")}, func(s *proxy.Spec) { s.Sticky.TCP = proxy.StickyNone })
	const field = "MCP-Protocol-Version: 2026-07-28"
	for range 4 {
		_, stream := b.send("GET", "/mcp/sse", field)
		_, sealed, _ := strings.Cut(strings.TrimSpace(stream[0]), "/mcp/sse?of=")
		name, uri := sealed[:2], "/mcp/sse?of="+sealed
		for range 3 {
			if _, got := b.send("POST", uri, field); got[0] != name || got[1] != "/mcp/sse?of="+name {
				t.Errorf("posted to %s: %v", uri, got)
			}
		}
	}
}

// A node in maintenance gets no more requests, not even of sessions and cookies that name it, and ends
// those it has. A stream is not waited for.
func TestMaintenanceLetsRequestsEnd(t *testing.T) {
	release := make(chan bool)
	began := make(chan string)
	site := func(name string) string {
		return proxytest.StartSite(t, func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodGet || r.Header.Get("Mcp-Method") == mcp.MethodListen {
				w.Header().Set("Content-Type", "text/event-stream")
				_, _ = io.WriteString(w, "data: 1\n\n")
				_ = http.NewResponseController(w).Flush()
				<-r.Context().Done()
				return
			}
			if r.Header.Get("Slow") != "" {
				began <- name
				<-release
			}
			fmt.Fprint(w, name)
		})
	}
	b := startWorker(t, []string{site("n0"), site("n1")}, func(s *proxy.Spec) { s.Sticky.HTTP = proxy.StickyCookie })
	var session, cookie string
	b.On(func() {
		session = string(b.http.ring.AppendSession(nil, []byte("x"), 0, affinity.At(time.Now())))
		cookie = string(b.http.ring.AppendCookie(nil, 0))
	})
	open := func(request string) *proxytest.Client {
		c := b.Visit()
		c.Say(request + " HTTP/1.1\r\nHost: h\r\nMcp-Session-Id: " + session + "\r\n")
		return c
	}
	stream := open("GET /mcp")
	stream.Say("\r\n")
	subscription := open("POST /mcp")
	subscription.Say("Content-Length: 0\r\nMcp-Method: subscriptions/listen\r\nMCP-Protocol-Version: 2026-07-28\r\n\r\n")
	for _, c := range []*proxytest.Client{stream, subscription} {
		for c.Hear() != "data: 1" {
		}
	}
	slow := open("POST /mcp")
	slow.Say("Slow: yes\r\nContent-Length: 0\r\n\r\n")
	if name := <-began; name != "n0" {
		t.Fatalf("the session is on %s", name)
	}
	pending := func() int64 { return b.Board.NodeTotals(0).Pending + b.Board.NodeTotals(1).Pending }
	b.Eventually("one request pending", func() bool { return pending() == 1 })

	b.Board.SetNodeState(0, board.Maintenance, time.Now())
	late := open("POST /mcp")
	late.Say("Content-Length: 0\r\n\r\n")
	late.Denied(404)
	if _, got := b.send("POST", "/mcp", "Cookie: SERVERID="+cookie); got[0] != "n1" {
		t.Errorf("a cookie of the node in maintenance led to %v", got)
	}
	b.Eventually("the slow request alone to be pending", func() bool { return pending() == 1 })
	close(release)
	if _, body := slow.Answer("POST"); body != "n0" {
		t.Errorf("the request under way was answered %q", body)
	}
	b.Eventually("no request pending", func() bool { return pending() == 0 })
	if n := b.Board.NodeTotals(0).Active; n == 0 {
		t.Error("the streams did not stay")
	}
}

// A node that refuses connections has lost its sessions, whatever the checks say by now.
func TestSessionOfADeadNode(t *testing.T) {
	dead := proxytest.StartNode(t, "", nil)
	b := startWorker(t, []string{dead.Address(), tellingSite(t, "n1")}, nil)
	dead.Stop()
	id := ""
	b.On(func() { id = string(b.http.ring.AppendSession(nil, []byte("x"), 0, affinity.At(time.Now()))) })
	c := b.Visit()
	c.Say("GET /mcp HTTP/1.1\r\nHost: h\r\nMcp-Session-Id: " + id + "\r\n\r\n")
	c.Denied(404)
}

// A session is only over with its node: not when the node has lost one request, nor when this machine
// cannot connect to it. Its client would throw it away.
func TestSessionOutlivesALostRequest(t *testing.T) {
	asking := func(b *bench) *proxytest.Client {
		var id string
		b.On(func() { id = string(b.http.ring.AppendSession(nil, []byte("x"), 0, affinity.At(time.Now()))) })
		c := b.Visit()
		c.Say("GET /mcp HTTP/1.1\r\nHost: h\r\nMcp-Session-Id: " + id + "\r\n\r\n")
		return c
	}
	n := proxytest.StartScript(t, "")
	b := startWorker(t, []string{n.Address(), tellingSite(t, "n1")}, nil)
	asking(b).Denied(502)
	if n := b.Refused(board.ReasonNodeLost); n != 1 {
		t.Errorf("counted %d", n)
	}
	b = startWorker(t, []string{n.Address(), tellingSite(t, "n1")}, func(s *proxy.Spec) { s.Source = "192.0.2.1" }) // not ours
	asking(b).Denied(503)
	b = startWorker(t, []string{crowded(t), tellingSite(t, "n1")}, func(s *proxy.Spec) { s.Timeouts.Connect = 50 * time.Millisecond })
	asking(b).Denied(504)
}

// crowded is a listener whose queue is full: the kernel answers no newcomer.
func crowded(t *testing.T) (address string) {
	if runtime.GOOS != "linux" {
		t.Skip("other kernels refuse newcomers")
	}
	fd, address := proxytest.ListenFD(t)
	if err := unix.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(fd) })
	for {
		c, err := net.DialTimeout("tcp4", address, 200*time.Millisecond)
		if err != nil {
			return address
		}
		t.Cleanup(func() { c.Close() })
	}
}

// A silent node gets newcomers only where no node is up. One that drains does not, whatever the others are.
func TestLastResort(t *testing.T) {
	b := startWorker(t, []string{tellingSite(t, "n0"), tellingSite(t, "n1"), tellingSite(t, "n2")}, nil)
	b.Board.SetNodeState(0, board.Silent, time.Now())
	b.Board.SetNodeState(1, board.Draining, time.Now())
	for state, want := range map[board.State]string{board.Up: "n2", board.Down: "n0", board.Draining: "n0"} {
		b.Board.SetNodeState(2, state, time.Now())
		b.On(b.SyncNodes)
		for range 3 {
			if _, got := b.send("POST", "/mcp"); got[0] != want {
				t.Errorf("n2 is %v: a newcomer came to %v, want %s", state, got, want)
			}
		}
	}
}

// A server that says the id of a session in each response is heard: it stays the same for the client.
func TestSessionIDStaysTheSame(t *testing.T) {
	b := startWorker(t, []string{proxytest.StartSite(t, func(w http.ResponseWriter, r *http.Request) { w.Header().Set("Mcp-Session-Id", "x") })}, nil)
	resp, _ := b.send("POST", "/mcp")
	id, then := resp.Header.Get("Mcp-Session-Id"), affinity.At(time.Now())
	b.Eventually("a later time", func() bool { return then.Before(affinity.At(time.Now())) })
	resp, _ = b.send("POST", "/mcp", "Mcp-Session-Id: "+id)
	if again := resp.Header.Get("Mcp-Session-Id"); again != id {
		t.Errorf("%s became %s", id, again)
	}
}

// Of a process that is known to have ended nothing is left, in sessions and legacy streams alike; what begins
// now is of the present one, even if the clock has been set back since.
func TestTagsOfAnEarlierProcess(t *testing.T) {
	b := startWorker(t, []string{tellingSite(t, "n0")}, nil)
	ended := affinity.At(time.Now().Add(time.Hour))
	tags := func(at affinity.Time) (session, endpoint string) {
		b.On(func() {
			session = string(b.http.ring.AppendSession(nil, []byte("x"), 0, at))
			endpoint = string(b.http.ring.AppendEndpoint(nil, []byte("/mcp/sse?id=1"), affinity.Place{Node: 0, Since: at}))
		})
		return session, endpoint
	}
	wants := func(session, endpoint string, want int) {
		t.Helper()
		if resp, _ := b.send("POST", "/mcp", "Mcp-Session-Id: "+session); resp.StatusCode != want {
			t.Errorf("a session: %s, want %d", resp.Status, want)
		}
		if resp, _ := b.send("POST", endpoint); resp.StatusCode != want {
			t.Errorf("an endpoint: %s, want %d", resp.Status, want)
		}
	}
	session, endpoint := tags(ended - 1)
	wants(session, endpoint, http.StatusOK) // nothing is known
	for over := range board.Transports {
		b.Board.Node(0).Ports[over].Life.Store(uint32(ended))
	}
	wants(session, endpoint, http.StatusNotFound)
	session, endpoint = tags(ended)
	wants(session, endpoint, http.StatusOK)
	resp, _ := b.send("POST", "/mcp")
	wants(resp.Header.Get("Mcp-Session-Id"), endpoint, http.StatusOK)
}

func TestSessionsAreNotTouched(t *testing.T) {
	b := startWorker(t, []string{tellingSite(t, "n0")}, func(s *proxy.Spec) { s.Sticky.MCPSession = false })
	if resp, _ := b.send("POST", "/mcp"); resp.Header.Get("Mcp-Session-Id") != "session-of-n0" {
		t.Errorf("the session is %q", resp.Header.Get("Mcp-Session-Id"))
	}
	if _, got := b.send("POST", "/mcp", "Mcp-Session-Id: x~AAAAAAAAAAAAAAAA"); got[1] != "x~AAAAAAAAAAAAAAAA" {
		t.Errorf("the node got %v", got)
	}
}

// Streams stay with their source.
func TestStreamsStayBySource(t *testing.T) {
	b := startWorker(t, []string{tellingSite(t, "n0"), tellingSite(t, "n1")}, nil)
	for _, path := range []string{"/mcp/ws", "/mcp/sse"} {
		_, first := b.send("GET", path)
		for range 5 {
			if _, got := b.send("GET", path); got[0] != first[0] {
				t.Errorf("%s came to %s, then to %s", path, first[0], got[0])
			}
		}
	}
}

// sdkSite is a real MCP server with all its transports; its tool says which node it is.
func sdkSite(t testing.TB, name string) string {
	t.Helper()
	server := func() *sdk.Server {
		s := sdk.NewServer(&sdk.Implementation{Name: name, Version: "1"}, nil)
		sdk.AddTool(s, &sdk.Tool{Name: "who"}, func(context.Context, *sdk.CallToolRequest, struct{}) (*sdk.CallToolResult, any, error) {
			return &sdk.CallToolResult{Content: []sdk.Content{&sdk.TextContent{Text: name}}}, nil, nil
		})
		return s
	}()
	get := func(*http.Request) *sdk.Server { return server }
	sessions := sdk.NewStreamableHTTPHandler(get, &sdk.StreamableHTTPOptions{DisableLocalhostProtection: true})
	stateless := sdk.NewStreamableHTTPHandler(get, &sdk.StreamableHTTPOptions{DisableLocalhostProtection: true, Stateless: true})
	events := sdk.NewSSEHandler(get, &sdk.SSEOptions{DisableLocalhostProtection: true})
	return proxytest.StartSite(t, func(w http.ResponseWriter, r *http.Request) {
		switch {
		case strings.HasPrefix(r.URL.Path, "/mcp/sse"):
			events.ServeHTTP(w, r)
		case mcp.EraOf(r.Header.Get("Mcp-Protocol-Version")) == mcp.StatelessEra:
			stateless.ServeHTTP(w, r)
		default:
			sessions.ServeHTTP(w, r)
		}
	})
}

func TestSDKClients(t *testing.T) {
	nodes := []string{sdkSite(t, "n0"), sdkSite(t, "n1"), sdkSite(t, "n2")}
	b := startWorker(t, nodes, func(s *proxy.Spec) {
		s.Limits.ConnectionsPerSecond, s.Limits.MessagesPerSecond = 0, 0
		s.Sticky.TCP = proxy.StickyNone // so that nothing but the tag leads to the node
		s.Balance = proxy.BalanceRoundRobin
	})
	for name, connect := range map[string]func(*http.Client) sdk.Transport{
		"streamable": func(web *http.Client) sdk.Transport {
			return &sdk.StreamableClientTransport{Endpoint: "http://" + b.Web + "/mcp", HTTPClient: web}
		},
		"sse": func(web *http.Client) sdk.Transport {
			return &sdk.SSEClientTransport{Endpoint: "http://" + b.Web + "/mcp/sse", HTTPClient: web}
		},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			for range 6 {
				transport := &http.Transport{}
				defer transport.CloseIdleConnections()
				client := sdk.NewClient(&sdk.Implementation{Name: "test", Version: "1"}, nil)
				session, err := client.Connect(ctx, connect(&http.Client{Transport: transport}), nil)
				if err != nil {
					t.Fatal(err)
				}
				for range 5 {
					result, err := session.CallTool(ctx, &sdk.CallToolParams{Name: "who"})
					if err != nil {
						t.Fatal(err)
					}
					if got := result.Content[0].(*sdk.TextContent).Text; got == "" {
						t.Errorf("%q answers", got)
					}
				}
				if err := session.Close(); err != nil {
					t.Error(err)
				}
			}
		})
	}
}
