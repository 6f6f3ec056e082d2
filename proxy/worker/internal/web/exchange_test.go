package web

import (
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/erlmcp/erlmcp/proxy"
	"github.com/erlmcp/erlmcp/proxy/internal/board"
	"github.com/erlmcp/erlmcp/proxy/internal/proxytest"
)

const notRefused board.Reason = -1

// parsed is how many heads of requests were parsed.
func (b *bench) parsed() (n int) {
	b.On(func() { n = b.http.parsed })
	return n
}

// phase is that of the latest client's exchange, if it has one.
func (b *bench) phase() (p phase, ok bool) {
	b.On(func() {
		if c := b.http.clients; c != nil && c.x != nil {
			p, ok = c.x.phase, true
		}
	})
	return p, ok
}

// The head of a request is parsed once, whether its node is connected to or has to be, and once more for each
// node that fails it.
func TestHeadIsParsedOnce(t *testing.T) {
	dead := proxytest.StartNode(t, "", nil)
	dead.Stop()
	plain := func(t *testing.T) string { return proxytest.StartSite(t, proxytest.Hello) }
	for _, test := range []struct {
		name    string
		dead    int
		node    func(t *testing.T) string
		request string
	}{
		{"GET", 0, plain, proxytest.GetRequest},
		{"POST", 0, plain, proxytest.PostRequest},
		{"in chunks", 0, plain, "POST /mcp HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"},
		{"over TLS", 0, func(t *testing.T) string {
			return proxytest.StartSecureSite(t, proxytest.ServerConfig(t, proxytest.NewAuthority(t).Issue("localhost", time.Hour)), proxytest.Hello)
		}, proxytest.PostRequest},
		{"dead nodes", 2, plain, proxytest.PostRequest},
	} {
		t.Run(test.name, func(t *testing.T) {
			nodes := []string{test.node(t)}
			for range test.dead {
				nodes = append([]string{dead.Address()}, nodes...)
			}
			b := startWorker(t, nodes, func(s *proxy.Spec) { s.Balance, s.NodeTLS.Insecure = proxy.BalanceRoundRobin, true })
			b.trustNodes()
			c := b.Visit()
			for i := range 3 { // the first one on a fresh connection
				before := b.parsed()
				retries := b.Board.NodeTotals(0).Retries + b.Board.NodeTotals(1).Retries
				c.Say(test.request)
				if resp, got := c.Answer("POST"); got != "hello" {
					t.Fatalf("%s, %q", resp.Status, got)
				}
				failed := int(b.Board.NodeTotals(0).Retries + b.Board.NodeTotals(1).Retries - retries)
				if n := b.parsed() - before; n != 1+failed {
					t.Errorf("request %d was parsed %d times, with %d retries", i, n, failed)
				}
			}
		})
	}
}

// What the client has said behind its head while the node was dialled reaches the node once, and whole.
func TestBodyBehindADial(t *testing.T) {
	got, accept := make(chan string, 1), make(chan struct{})
	node := proxytest.StartNode(t, "", func(c *net.TCPConn) {
		all, _ := io.ReadAll(c)
		got <- string(all)
	})
	b := startWorker(t, []string{node.Address()}, nil)
	body := strings.Repeat("0123456789abcdef", 64<<10/16)
	c := b.Visit()
	b.On(func() {
		go func() { // into the kernel while the loop stands still: the head and a part of the body come at once
			_, _ = io.WriteString(c, "POST /a?b HTTP/1.1\r\nHost: h\r\nContent-Length: 65536\r\n\r\n"+body[:10])
			close(accept)
		}()
		<-accept
	})
	c.Say(body[10:])
	b.Eventually("the request to have passed", func() (complete bool) {
		b.On(func() {
			if cl := b.http.clients; cl != nil && cl.x != nil {
				complete = cl.x.complete
			}
		})
		return complete
	})
	c.Close()
	request := <-got
	if !strings.HasPrefix(request, "POST /a?b HTTP/1.1\r\n") || strings.Count(request, "POST ") != 1 || !strings.HasSuffix(request, "\r\n\r\n"+body) {
		t.Errorf("the node got %d bytes: %.200q", len(request), request)
	}
}

// Each phase of an exchange is the one that is drawn, and ends in an orderly way when the worker has no more time.
func TestPhases(t *testing.T) {
	mute := func(t *testing.T) string {
		return proxytest.StartNode(t, "", func(c *net.TCPConn) { _, _ = io.Copy(io.Discard, c) }).Address()
	}
	script := func(answer string) func(t *testing.T) string {
		return func(t *testing.T) string {
			return proxytest.StartNode(t, "", func(c *net.TCPConn) {
				if _, err := c.Read(make([]byte, 4096)); err == nil {
					_, _ = io.WriteString(c, answer)
					_, _ = io.Copy(io.Discard, c)
				}
			}).Address()
		}
	}
	for _, test := range []struct {
		phase    phase
		name     string
		node     func(t *testing.T) string
		exhaust  bool
		request  string
		heard    string // of what the client gets, at the end
		refused  board.Reason
		underway bool
	}{
		{paced, "paced", mute, true, proxytest.GetRequest, "502 Bad Gateway", board.ReasonDrain, true},
		{dialling, "dialling", func(t *testing.T) string { return "https://" + mute(t) }, false, proxytest.GetRequest, "502 Bad Gateway", board.ReasonDrain, true},
		{asking, "asking", mute, false, proxytest.GetRequest, "502 Bad Gateway", board.ReasonDrain, true},
		{replying, "replying", script("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf "), false, proxytest.GetRequest, "half ", notRefused, true},
		{
			tunnelling, "tunnelling", script("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"),
			false, "GET /ws HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n", "\x88\x02\x03\xe9", notRefused, true,
		},
		{
			dropping, "dropping", func(t *testing.T) string { n := proxytest.StartNode(t, "", nil); n.Stop(); return n.Address() },
			false, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\n{", "no node is available", board.ReasonNoNode, false,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			b := startWorker(t, []string{test.node(t)}, func(s *proxy.Spec) { s.Limits.Action = proxy.ActionThrottle })
			c := b.Visit()
			b.Eventually("the client to be let in", func() bool { return b.Board.Active() == 1 })
			if test.exhaust {
				b.Exhaust("127.0.0.1")
			}
			c.Say(test.request)
			b.Eventually("the phase", func() bool {
				p, ok := b.phase()
				return ok && p == test.phase
			})
			b.On(func() {
				x := b.http.clients.x
				if x.underway() != test.underway || x.headed() != (x.phase == replying || x.phase == tunnelling) {
					t.Errorf("under way %v, headed %v", x.underway(), x.headed())
				}
				if (x.head != nil) != (x.phase == dialling) {
					t.Errorf("a head is kept: %v", x.head != nil)
				}
				b.CutAll()
			})
			_ = c.CloseWrite()
			if heard, err := io.ReadAll(c.Reader); err != nil || !strings.Contains(string(heard), test.heard) {
				t.Errorf("heard %q, %v", heard, err)
			}
			if test.refused != notRefused && b.Refused(test.refused) != 1 {
				t.Errorf("%d are counted as %v", b.Refused(test.refused), test.refused)
			}
			b.Eventually("the client to have gone", func() bool { return b.Board.Active() == 0 && b.Board.NodeActive(0) == 0 })
			b.On(func() {
				if test.phase == dialling && len(b.http.spare.heads) == 0 {
					t.Error("the head did not come back")
				}
			})
		})
	}
}

// A request that waits for its rate is looked at once more, and then passes.
func TestPacedRequestPasses(t *testing.T) {
	b := startWorker(t, []string{proxytest.StartSite(t, proxytest.Hello)}, func(s *proxy.Spec) { s.Limits.Action = proxy.ActionThrottle })
	c := b.Visit()
	b.Eventually("the client to be let in", func() bool { return b.Board.Active() == 1 })
	b.Exhaust("127.0.0.1")
	c.Say(proxytest.GetRequest)
	b.Eventually("the request to wait", func() bool {
		p, ok := b.phase()
		return ok && p == paced
	})
	b.On(func() {
		c := b.http.clients
		b.Board.Sources().MessageRate(c.x.source).Store(0) // what it owed is paid
		c.within(time.Nanosecond)
	})
	if _, got := c.Answer("GET"); got != "hello" || b.parsed() != 2 {
		t.Errorf("%q, parsed %d times", got, b.parsed())
	}
}
