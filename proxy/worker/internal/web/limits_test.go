package web

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/erlmcp/erlmcp/internal/mcp"
	"github.com/erlmcp/erlmcp/proxy"
	"github.com/erlmcp/erlmcp/proxy/internal/board"
	"github.com/erlmcp/erlmcp/proxy/internal/proxyproto"
	"github.com/erlmcp/erlmcp/proxy/internal/proxytest"
	"github.com/erlmcp/erlmcp/proxy/internal/wire"
)

func TestPatience(t *testing.T) {
	stuck := func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		<-r.Context().Done()
	}
	quick := func(s *proxy.Spec) {
		s.Timeouts.Request = 80 * time.Millisecond
		s.Timeouts.Response = 120 * time.Millisecond
		s.Timeouts.Keepalive = 60 * time.Millisecond
		s.Timeouts.Idle = 100 * time.Millisecond
	}
	t.Run("head", func(t *testing.T) {
		b := startWorker(t, []string{proxytest.StartSite(t, proxytest.Hello)}, quick)
		c := b.Visit()
		c.Say("GET / HTTP/1.1\r\nHo")
		c.Denied(408)
		c.Ended()
		if n := b.Refused(board.ReasonSlow); n != 1 {
			t.Errorf("counted %d", n)
		}
	})
	t.Run("nothing", func(t *testing.T) {
		b := startWorker(t, []string{proxytest.StartSite(t, proxytest.Hello)}, quick)
		b.Visit().Ended()
	})
	t.Run("idle", func(t *testing.T) {
		b := startWorker(t, []string{proxytest.StartSite(t, proxytest.Hello)}, quick)
		c := b.Visit()
		c.Say(proxytest.GetRequest)
		c.Answer("GET")
		c.Ended()
	})
	t.Run("body", func(t *testing.T) {
		b := startWorker(t, []string{proxytest.StartSite(t, stuck)}, quick)
		c := b.Visit()
		c.Say("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nabc")
		c.Denied(408)
		c.Ended()
	})
	t.Run("response", func(t *testing.T) {
		b := startWorker(t, []string{proxytest.StartSite(t, stuck)}, func(s *proxy.Spec) {
			quick(s)
			s.Timeouts.Keepalive = time.Minute
		})
		c := b.Visit()
		for range 2 { // the connection goes on
			c.Say(proxytest.PostRequest)
			c.Denied(504)
		}
		if n := b.Refused(board.ReasonNodeTimeout); n != 2 {
			t.Errorf("counted %d", n)
		}
	})
	t.Run("stream", func(t *testing.T) {
		b := startWorker(t, []string{proxytest.StartSite(t, func(w http.ResponseWriter, r *http.Request) {
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
		})}, quick)
		c := b.Visit()
		c.Say(proxytest.GetRequest)
		resp, err := http.ReadResponse(c.Reader, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if _, err := io.ReadAll(resp.Body); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("the stream ends with %v", err)
		}
	})
}

// settle has a source owe nothing any more over the message rate.
func (b *bench) settle(source string) {
	b.On(func() {
		s := b.Board.Sources()
		s.MessageRate(s.Find(netip.MustParseAddr(source), b.Loop.Now())).Store(0)
	})
}

func TestRequestLimits(t *testing.T) {
	t.Run("messages", func(t *testing.T) {
		b := startWorker(t, []string{proxytest.StartSite(t, proxytest.Hello)}, func(s *proxy.Spec) {
			s.Limits.MessagesPerSecond = 5
			s.Limits.Ban.Violations = 3
			s.Limits.Action = proxy.ActionReject
		})
		early, c := b.Visit(), b.Visit()
		for range 5 {
			c.Say(proxytest.PostRequest)
			c.Answer("POST")
		}
		for i := range 3 {
			c.Say(proxytest.PostRequest)
			resp, body := c.Answer("POST")
			if resp.StatusCode != http.StatusTooManyRequests || resp.Header.Get("Retry-After") != "1" || !strings.Contains(body, fmt.Sprint(mcp.CodeRateLimited)) || !strings.Contains(body, "retryAfterMs") {
				t.Fatalf("request %d: %s, %q", i, resp.Status, body)
			}
		}
		if b.Cell.Rejects.Load() != 3 || b.Refused(board.ReasonMessageRate) != 3 {
			t.Errorf("counted %d, %d", b.Cell.Rejects.Load(), b.Refused(board.ReasonMessageRate))
		}
		if b.Banned("127.0.0.1") {
			t.Error("banned for a burst")
		}
		b.Exhaust("127.0.0.1")
		b.Eventually("the ban", func() bool {
			c.Say(proxytest.PostRequest)
			if code := c.Denied(429); code != mcp.CodeRateLimited {
				t.Fatal(code)
			}
			return b.Banned("127.0.0.1")
		})
		late := b.Visit()
		late.Say(proxytest.GetRequest)
		resp, body := late.Answer("GET")
		if resp.StatusCode != http.StatusTooManyRequests || resp.Header.Get("Retry-After") != "60" || !strings.Contains(body, fmt.Sprint(mcp.CodeBanned)) ||
			!strings.Contains(body, "sessions and open connections are kept") || !strings.Contains(body, "erlmcp lb ban remove 127.0.0.1") {
			t.Errorf("%s, %q", resp.Status, body)
		}
		late.Ended()
		if n := b.Refused(board.ReasonBan); n != 1 {
			t.Errorf("%d bans counted", n)
		}
		b.settle("127.0.0.1")
		for _, c := range []*proxytest.Client{early, c} { // let in before
			c.Say(proxytest.PostRequest)
			if resp, _ := c.Answer("POST"); resp.StatusCode != http.StatusOK {
				t.Errorf("a client that was let in before the ban: %s", resp.Status)
			}
		}
	})
	t.Run("batch", func(t *testing.T) {
		b := startWorker(t, []string{proxytest.StartSite(t, proxytest.Hello)}, func(s *proxy.Spec) { s.Limits.MessagesPerSecond, s.Limits.Action = 5, proxy.ActionReject })
		batch := "[\n  {\"id\":1},\n  {\"id\":\"a,\\\"]\"},\n  {\"id\":3,\"params\":[1,2]},{},{},\n{}\n]\n"
		post := func(fields string) (status int) {
			c := b.Visit()
			c.Say(postWith(fields, batch))
			resp, _ := c.Answer("POST")
			return resp.StatusCode
		}
		// What the revision is said to be does not bind the node.
		for _, version := range []string{"2024-11-05", "2025-06-18", "2026-07-28", "z"} {
			before := b.Cell.Messages.Load()
			if post("Mcp-Protocol-Version: " + version + "\r\n"); b.Cell.Messages.Load() != before+6 {
				t.Errorf("%d messages in %s", b.Cell.Messages.Load()-before, version)
			}
			b.settle("127.0.0.1")
		}
		b.Cell.Messages.Store(0)
		if status := post(""); status != http.StatusOK || b.Cell.Messages.Load() != 6 {
			t.Errorf("%d, %d messages", status, b.Cell.Messages.Load())
		}
		if status := post(""); status != http.StatusTooManyRequests {
			t.Errorf("%d after a batch of more than the rate", status)
		}
	})
	t.Run("default", func(t *testing.T) { // held for a while, then rejected
		b := startWorker(t, []string{proxytest.StartSite(t, proxytest.Hello)}, func(s *proxy.Spec) { s.Limits.MessagesPerSecond = 5 })
		c := b.Visit()
		for range 7 {
			c.Say(proxytest.PostRequest)
			if resp, _ := c.Answer("POST"); resp.StatusCode != http.StatusOK {
				t.Fatal(resp.Status)
			}
		}
		if b.Cell.Throttles.Load() == 0 || b.Cell.Rejects.Load() != 0 {
			t.Errorf("%d held, %d rejected", b.Cell.Throttles.Load(), b.Cell.Rejects.Load())
		}
		b.Exhaust("127.0.0.1")
		c.Say(proxytest.PostRequest)
		if code := c.Denied(429); code != mcp.CodeRateLimited {
			t.Error(code)
		}
	})
	t.Run("throttle", func(t *testing.T) {
		b := startWorker(t, []string{proxytest.StartSite(t, proxytest.Hello)}, func(s *proxy.Spec) {
			s.Limits.MessagesPerSecond = 20
			s.Limits.Action = proxy.ActionThrottle
		})
		c := b.Visit()
		start := time.Now()
		for range 25 {
			c.Say(proxytest.PostRequest)
			if resp, _ := c.Answer("POST"); resp.StatusCode != http.StatusOK {
				t.Fatal(resp.Status)
			}
		}
		if took := time.Since(start); took < 200*time.Millisecond {
			t.Errorf("took %v", took)
		}
		if b.Cell.Throttles.Load() == 0 {
			t.Error("nothing was throttled")
		}
	})
	t.Run("connections", func(t *testing.T) {
		b := startWorker(t, []string{proxytest.StartSite(t, proxytest.Hello)}, func(s *proxy.Spec) { s.Limits.ConnectionsPerSecond = 1 })
		for i, status := range []int{200, 200, 429} {
			if i == 2 {
				if b.Cell.Throttles.Load() == 0 {
					t.Error("the second connection was not held")
				}
				b.Exhaust("127.0.0.1")
			}
			c := b.Visit()
			c.Say(proxytest.GetRequest)
			if resp, _ := c.Answer("GET"); resp.StatusCode != status {
				t.Errorf("connection %d: %s", i, resp.Status)
			}
		}
	})
	t.Run("full", func(t *testing.T) {
		b := startWorker(t, []string{proxytest.StartSite(t, proxytest.Hello)}, func(s *proxy.Spec) { s.MaxConnections = 1 })
		first := b.Visit()
		first.Say(proxytest.GetRequest)
		first.Answer("GET")
		c := b.Visit()
		c.Say(proxytest.GetRequest)
		c.Denied(503)
		c.Ended()
	})
	t.Run("body", func(t *testing.T) {
		b := startWorker(t, []string{proxytest.StartSite(t, func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) })},
			func(s *proxy.Spec) { s.MaxMessage = 1000 })
		for _, sent := range []string{
			"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000\r\n\r\n",
			"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3e9\r\n" + strings.Repeat("x", 1001),
		} {
			c := b.Visit()
			c.Say(sent)
			c.Denied(413)
			c.Ended()
		}
		c := b.Visit() // a short one is read for the sake of the connection
		c.Say("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1001\r\n\r\n" + strings.Repeat("x", 1001) + proxytest.GetRequest)
		c.Denied(413)
		if resp, _ := c.Answer("GET"); resp.StatusCode != http.StatusOK {
			t.Error(resp.Status)
		}
	})
	t.Run("requests of a connection", func(t *testing.T) {
		b := startWorker(t, []string{proxytest.StartSite(t, proxytest.Hello)}, func(s *proxy.Spec) { s.HTTP.KeepaliveRequests = 2 })
		c := b.Visit()
		c.Say(proxytest.GetRequest + proxytest.GetRequest + proxytest.GetRequest)
		c.Answer("GET")
		if resp, _ := c.Answer("GET"); !resp.Close {
			t.Error("the last request is not said to be the last")
		}
		c.Ended()
	})
}

func TestMalformedRequests(t *testing.T) {
	b := startWorker(t, []string{proxytest.StartSite(t, proxytest.Hello)}, func(s *proxy.Spec) { s.Limits.ConnectionsPerSecond = 0 })
	for _, test := range []struct {
		sent   string
		status int
	}{
		{"GET / HTTP/1.1\r\n\r\n", 400},
		{"GET / HTTP/1.1\nHost: h\r\n\r\n", 400},
		{"GET / HTTP/1.1\r\nHost: h\r\nA : b\r\n\r\n", 400},
		{"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400},
		{"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 501},
		{"GET / HTTP/2.0\r\nHost: h\r\n\r\n", 505},
		{"GET /" + strings.Repeat("x", 9000) + " HTTP/1.1\r\n", 414},
		{"GET / HTTP/1.1\r\nHost: h\r\nX: " + strings.Repeat("x", 40<<10), 431},
		{"CONNECT h:80 HTTP/1.1\r\nHost: h\r\n\r\n", 501},
		{"TRACE / HTTP/1.1\r\nHost: h\r\n\r\n", 405},
		{"\x16\x03\x01\x02\x00", 400},
		{"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400},
	} {
		c := b.Visit()
		_, _ = io.WriteString(c, test.sent) // a part of what is too long is not taken
		if resp, _ := c.Answer("GET"); resp.StatusCode != test.status {
			t.Errorf("%.60q: %s, want %d", test.sent, resp.Status, test.status)
		}
		if test.status != 405 {
			c.Ended()
		}
	}
}

func TestPoolIsBoundedAndAges(t *testing.T) {
	b := startWorker(t, []string{proxytest.StartSite(t, proxytest.Hello)}, nil)
	c := b.Visit()
	c.Say(proxytest.GetRequest)
	c.Answer("GET")
	size := func() (n int) { b.On(func() { n = b.http.idle }); return n }
	if n := size(); n != 1 {
		t.Fatalf("%d connections are kept", n)
	}
	b.On(func() {
		b.http.nodes[0].ports[board.HTTP].pool.newest.since -= int64(maxPooledFor) + 1
		b.http.expireNodes()
	})
	if n := size(); n != 0 {
		t.Errorf("%d connections are kept for ever", n)
	}
	c.Say(proxytest.GetRequest)
	c.Answer("GET")
	b.On(func() { // as if every descriptor were taken by clients
		max := b.Max
		b.Max = int(b.Cell.Active.Load())
		b.http.makeRoom()
		b.Max = max
	})
	if n := size(); n != 0 {
		t.Errorf("%d connections are kept although there is no room", n)
	}
}

func TestRoutes(t *testing.T) {
	f := Frontend{routes: newRoutes([]proxy.Route{{Prefix: "/mcp/ws", To: proxy.RouteWebSocket}, {Prefix: "/mcp/sse/", To: proxy.RouteSSE}, {Prefix: "/mcp/sse/plain", To: proxy.RouteHTTP}})}
	for path, want := range map[string]kind{
		"/": plainHTTP, "/mcp": plainHTTP, "/mcp/ws": webSocket, "/mcp/ws/x": webSocket, "/mcp/wss": plainHTTP, "*": plainHTTP,
		"/mcp/sse": legacySSE, "/mcp/sse/": legacySSE, "/mcp/sse/message": legacySSE, "/mcp/sse/plain": plainHTTP, "/MCP/WS": plainHTTP,
	} {
		if got := f.kindOf([]byte(path)); got != want {
			t.Errorf("%s leads to %d, want %d", path, got, want)
		}
	}
	all := Frontend{routes: newRoutes([]proxy.Route{{Prefix: "/", To: proxy.RouteSSE}})}
	if all.kindOf([]byte("/x")) != legacySSE {
		t.Error("the root is not under /")
	}
}

// The node's ports: SSE requests go to the port for them, or else to the HTTP port.
func TestPorts(t *testing.T) {
	b := startWorker(t, []string{proxytest.StartSite(t, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "http") })}, nil)
	sse := proxytest.StartSite(t, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "sse") })
	ask := func(path string) string {
		c := b.Visit()
		c.Say("GET " + path + " HTTP/1.1\r\nHost: h\r\n\r\n")
		_, got := c.Answer("GET")
		return got
	}
	if got := ask("/mcp/sse"); got != "http" {
		t.Errorf("without a port: %q", got)
	}
	n, addr := b.Spec.Nodes[0], b.Backends[0].Addr
	serve := func() { b.Respec(b.Spec, wire.NodeSlot{Node: n, Addr: addr}) }
	n.SSE = int(netip.MustParseAddrPort(sse).Port())
	serve()
	for path, want := range map[string]string{"/mcp/sse": "sse", "/mcp": "http"} {
		if got := ask(path); got != want {
			t.Errorf("%s: %q", path, got)
		}
	}
	n.HTTP = 0 // one port of HTTP serves all of it
	serve()
	for _, path := range []string{"/mcp/sse", "/mcp", "/"} {
		if got := ask(path); got != "sse" {
			t.Errorf("%s of a node with an SSE port alone: %q", path, got)
		}
	}
	n.SSE = 0
	serve()
	c := b.Visit()
	c.Say(proxytest.GetRequest)
	c.Denied(503)
}

// A trusted balancer in front tells whose requests it passes on.
func TestPROXYProtocolOverHTTP(t *testing.T) {
	b := startWorker(t, []string{proxytest.StartSite(t, func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, r.Header.Values("X-Forwarded-For"))
	})}, func(s *proxy.Spec) { s.ProxyProtocol.AcceptFrom = []string{"127.0.0.1"} })
	header := string(proxyproto.Append(nil, netip.MustParseAddrPort("192.0.2.7:1234"), netip.MustParseAddrPort("192.0.2.1:80")))
	for _, pieces := range [][]string{{header + proxytest.GetRequest}, {header[:5], header[5:] + proxytest.GetRequest[:7], proxytest.GetRequest[7:]}} {
		c := b.Visit()
		for _, p := range pieces {
			c.Say(p)
		}
		if _, got := c.Answer("GET"); got != "[192.0.2.7]" {
			t.Errorf("the node was told %s", got)
		}
	}
	c := b.Visit()
	c.Say(proxytest.GetRequest)
	c.Ended()
}

// Where nodes have their MCP endpoint at different paths, each path is the endpoint of whichever node gets the
// request, and all other paths are passed on as they are.
func TestEndpointsAtDifferentPaths(t *testing.T) {
	told := func(name string) string {
		return proxytest.StartSite(t, func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, name+r.URL.RequestURI()) })
	}
	b := startWorker(t, []string{told("a"), told("b")}, func(s *proxy.Spec) { s.Balance, s.Sticky.HTTP = proxy.BalanceRoundRobin, proxy.StickyNone })
	a, second := b.Spec.Nodes[0], b.Spec.Nodes[1]
	ask := func(path string) string {
		c := b.Visit()
		c.Say("GET " + path + " HTTP/1.1\r\nHost: h\r\n\r\n")
		_, got := c.Answer("GET")
		return got
	}
	both := func(path string) map[string]bool { return map[string]bool{ask(path): true, ask(path): true} }
	second.Path = "/api/mcp"
	b.Respec(b.Spec, wire.NodeSlot{Slot: 0, Node: a, Addr: b.Backends[0].Addr}, wire.NodeSlot{Slot: 1, Node: second, Addr: b.Backends[1].Addr})
	for path, want := range map[string]map[string]bool{
		"/mcp":          {"a/mcp": true, "b/api/mcp": true},
		"/api/mcp?x=1":  {"a/mcp?x=1": true, "b/api/mcp?x=1": true},
		"/mcp/other":    {"a/mcp/other": true, "b/mcp/other": true},
		"/health":       {"a/health": true, "b/health": true},
		"/api/mcp/more": {"a/api/mcp/more": true, "b/api/mcp/more": true},
	} {
		if got := both(path); !maps.Equal(got, want) {
			t.Errorf("%s: %v, want %v", path, got, want)
		}
	}
	a.Path = "/api/mcp"
	b.Respec(b.Spec, wire.NodeSlot{Slot: 0, Node: a, Addr: b.Backends[0].Addr}, wire.NodeSlot{Slot: 1, Node: second, Addr: b.Backends[1].Addr})
	if got, want := both("/mcp"), (map[string]bool{"a/mcp": true, "b/mcp": true}); !maps.Equal(got, want) {
		t.Errorf("of one path alike: %v", got)
	}
}
