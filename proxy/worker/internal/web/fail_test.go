package web

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/erlmcp/erlmcp/internal/mcp"
	"github.com/erlmcp/erlmcp/proxy"
	"github.com/erlmcp/erlmcp/proxy/internal/board"
	"github.com/erlmcp/erlmcp/proxy/internal/proxytest"
	"github.com/erlmcp/erlmcp/proxy/internal/wire"
)

func TestContinue(t *testing.T) {
	b := startWorker(t, []string{proxytest.StartSite(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body) // the server says 100 now
		_, _ = w.Write(body)
	})}, nil)
	c := b.Visit()
	c.Say("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n")
	if head, err := proxytest.ReadHead(c.Reader); err != nil || head != "HTTP/1.1 100 Continue\r\n\r\n" {
		t.Fatalf("%q, %v", head, err)
	}
	c.Say("12345")
	if _, got := c.Answer("POST"); got != "12345" {
		t.Fatal(got)
	}
}

func TestWebSocket(t *testing.T) {
	b := startWorker(t, []string{proxytest.StartSocketEcho(t)}, nil)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	ws, resp, err := websocket.Dial(ctx, "ws://"+b.Web+"/mcp/ws", &websocket.DialOptions{HTTPClient: b.Browser()})
	if err != nil {
		t.Fatal(err)
	}
	if resp.Body != nil {
		defer resp.Body.Close()
	}
	if resp.Header.Get("X-Served-By") != "n0" {
		t.Errorf("served by %q", resp.Header.Get("X-Served-By"))
	}
	ws.SetReadLimit(1 << 20)
	for _, size := range []int{1, 100, 70_000, 500_000} {
		proxytest.PingWebSocket(ctx, t, ws, strings.Repeat("x", size))
	}
	if n := b.Board.NodeActive(0); n != 1 {
		t.Errorf("%d connections to the node", n)
	}
	if err := ws.Close(websocket.StatusNormalClosure, ""); err != nil {
		t.Error(err)
	}
	b.Eventually("the tunnel to end", func() bool { return b.Board.NodeActive(0) == 0 })
}

func TestUpgradeIsNotForcedOnAnybody(t *testing.T) {
	const upgrade = "GET /mcp/ws HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
	for _, test := range []struct {
		name, asked, answer string
		status              int
	}{
		{"nobody asked", proxytest.GetRequest, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n", 502},
		{"another protocol", upgrade, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n", 502},
		{"no protocol", upgrade, "HTTP/1.1 101 Switching Protocols\r\n\r\n", 502},
		{"no thanks", upgrade, "HTTP/1.1 426 Upgrade Required\r\nContent-Length: 0\r\n\r\n", 426},
	} {
		t.Run(test.name, func(t *testing.T) {
			b := startWorker(t, []string{proxytest.StartScript(t, test.answer).Address()}, nil)
			c := b.Visit()
			c.Say(test.asked)
			if resp, _ := c.Answer("GET"); resp.StatusCode != test.status {
				t.Fatalf("got %s, want %d", resp.Status, test.status)
			}
		})
	}
}

func TestNodeTalksGarbage(t *testing.T) {
	for _, garbage := range []string{
		"SSH-2.0-OpenSSH_9.2\r\n", "HTTP/2.0 200 OK\r\n\r\n", "HTTP/1.1 200 OK\r\nA : b\r\n\r\n", "HTTP/1.1 200 OK\nA: b\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", "HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", 40<<10) + "\r\n\r\n",
		"HTTP/1.1 103 Early Hints\r\n\r\nSSH-2.0-OpenSSH_9.2\r\n", "\x00\x01\x02", `{"jsonrpc":"2.0"}` + "\n",
	} {
		for _, asked := range []string{proxytest.GetRequest, proxytest.PostRequest} {
			b := startWorker(t, []string{proxytest.StartScript(t, garbage, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").Address()}, nil)
			c := b.Visit()
			c.Say(asked)
			for { // interim responses may come first
				resp, err := http.ReadResponse(c.Reader, nil)
				if err != nil {
					t.Fatalf("%.40q: %v", garbage, err)
				}
				resp.Body.Close()
				if resp.StatusCode == http.StatusEarlyHints {
					continue
				}
				if resp.StatusCode != http.StatusBadGateway {
					t.Errorf("%.40q: %s", garbage, resp.Status)
				}
				break
			}
			if n := b.Refused(board.ReasonBadReply); n != 1 {
				t.Errorf("%.40q: counted %d", garbage, n)
			}
			var pooled int
			b.On(func() { pooled = b.http.idle })
			if pooled != 0 {
				t.Errorf("%.40q: the connection is kept", garbage)
			}
		}
	}
}

// A response that was cut must not look whole, whatever its framing.
func TestNodeDiesInMidResponse(t *testing.T) {
	for _, test := range []struct{ name, asked, answer string }{
		{"sized", proxytest.GetRequest, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhal"},
		{"chunked", proxytest.GetRequest, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhal\r\n"},
		{"bad chunk", proxytest.GetRequest, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhal\r\nzz\r\n"},
		{"chunked to old", "GET / HTTP/1.0\r\n\r\n", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhal\r\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			b := startWorker(t, []string{proxytest.StartScript(t, test.answer).Address()}, nil)
			c := b.Visit()
			c.Say(test.asked)
			resp, err := http.ReadResponse(c.Reader, nil)
			if err == nil {
				defer resp.Body.Close()
				var body []byte
				if body, err = io.ReadAll(resp.Body); err == nil {
					t.Errorf("%q looks whole", body)
				}
			}
			b.Eventually("the exchange to end", func() bool { return b.Board.NodeActive(0) == 0 && b.Board.Active() == 0 })
		})
	}
}

// trustNodes has all nodes known for keeping their connections.
func (b *bench) trustNodes() {
	b.On(func() {
		for _, n := range b.http.nodes {
			if n != nil {
				n.ports[board.HTTP].pool.stays = 1 << 30
			}
		}
	})
}

func TestStaleConnection(t *testing.T) {
	start := func() (*bench, *atomic.Int64, chan struct{}) {
		var connections atomic.Int64
		asked := make(chan struct{}, 10)
		n := proxytest.StartNode(t, "", func(c *net.TCPConn) {
			first := connections.Add(1) == 1
			for r := bufio.NewReader(c); ; {
				if _, err := proxytest.ReadHead(r); err != nil {
					return
				}
				_, _ = r.Discard(r.Buffered())
				asked <- struct{}{}
				if first && len(asked) == 2 {
					return // the second request is never answered
				}
				_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")
			}
		})
		return startWorker(t, []string{n.Address()}, nil), &connections, asked
	}
	t.Run("GET is asked again", func(t *testing.T) {
		b, connections, asked := start()
		c := b.Visit()
		for range 2 {
			c.Say(proxytest.GetRequest)
			if _, got := c.Answer("GET"); got != "hi" {
				t.Fatal(got)
			}
		}
		if connections.Load() != 2 || len(asked) != 3 || b.Board.NodeTotals(0).Retries != 1 {
			t.Errorf("%d connections, asked %d times", connections.Load(), len(asked))
		}
	})
	t.Run("POST is not", func(t *testing.T) {
		b, connections, asked := start()
		b.trustNodes()
		c := b.Visit()
		c.Say(proxytest.PostRequest)
		if _, got := c.Answer("POST"); got != "hi" {
			t.Fatal(got)
		}
		c.Say(proxytest.PostRequest)
		if code := c.Denied(502); code != mcp.CodeUnavailable {
			t.Error(code)
		}
		if connections.Load() != 1 || len(asked) != 2 {
			t.Errorf("%d connections, asked %d times", connections.Load(), len(asked))
		}
		c.Say(proxytest.PostRequest) // the client's connection is as good as before
		if _, got := c.Answer("POST"); got != "hi" {
			t.Fatal(got)
		}
	})
}

func TestRequestGoesToALivingNode(t *testing.T) {
	dead := proxytest.StartNode(t, "", nil)
	dead.Stop()
	b := startWorker(t, []string{dead.Address(), proxytest.StartSite(t, proxytest.Hello)}, func(s *proxy.Spec) { s.Balance = proxy.BalanceRoundRobin })
	for i := range 8 {
		c := b.Visit()
		c.Say(proxytest.PostRequest)
		if resp, got := c.Answer("POST"); got != "hello" || resp.Header.Get("X-Served-By") != "n1" {
			t.Fatalf("request %d: %q from %s", i, got, resp.Header.Get("X-Served-By"))
		}
	}
	// After three failures in a row the port is left alone for a while.
	if n := b.Board.NodeTotals(0); n.ConnectErrors != wire.ErrorsInARow || n.Retries != wire.ErrorsInARow || n.Total != 0 {
		t.Errorf("counted %+v", n)
	}
	if r := <-b.Reports; r.Slot != 0 || r.Reason != wire.SuspectRefused || r.Errors != 0 {
		t.Errorf("reported %+v", r)
	}
}

func TestNoNode(t *testing.T) {
	dead := proxytest.StartNode(t, "", nil)
	dead.Stop()
	b := startWorker(t, []string{dead.Address()}, nil)
	c := b.Visit()
	for range 3 { // the connection goes on
		c.Say(proxytest.PostRequest)
		if code := c.Denied(503); code != mcp.CodeUnavailable {
			t.Fatal(code)
		}
	}
	b.Board.SetNodeState(0, board.Down, time.Now())
	c.Say(proxytest.GetRequest)
	c.Denied(503)
	if n := b.Refused(board.ReasonNoNode); n != 4 {
		t.Errorf("counted %d", n)
	}
}

func TestNodeAnswersBeforeTheRequestIsRead(t *testing.T) {
	b := startWorker(t, []string{proxytest.StartScript(t, "HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno").Address()}, nil)
	c := b.Visit()
	c.Say("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000\r\n\r\nabc")
	resp, got := c.Answer("POST")
	if resp.StatusCode != http.StatusRequestEntityTooLarge || got != "no" || !resp.Close {
		t.Fatalf("%s, %q, close %v", resp.Status, got, resp.Close)
	}
	c.Ended()
}

// A node that goes down takes what it was answering along, and requests that were on their way to it
// are taken elsewhere.
func TestDisplacedHTTPClients(t *testing.T) {
	inside := make(chan struct{}, 4)
	hold := func(name string, headed bool) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			if name != "n0" {
				fmt.Fprint(w, name)
				return
			}
			if headed {
				_ = http.NewResponseController(w).Flush()
			}
			_, _ = io.Copy(io.Discard, r.Body)
			inside <- struct{}{}
			<-r.Context().Done()
		}
	}
	for _, test := range []struct {
		name, asked string
		headed      bool
		want        string
	}{
		{"get", proxytest.GetRequest, false, "n1"},
		{"post", proxytest.PostRequest, false, "502"},
		{"stream", proxytest.GetRequest, true, "cut"},
	} {
		t.Run(test.name, func(t *testing.T) {
			b := startWorker(t, []string{proxytest.StartSite(t, hold("n0", test.headed)), proxytest.StartSite(t, hold("n1", false))}, nil)
			b.Board.SetNodeState(1, board.Down, time.Now())
			c := b.Visit()
			c.Say(test.asked)
			<-inside
			if test.headed {
				b.Eventually("the head", func() bool { return b.Board.NodeTotals(0).Responses[2] == 1 })
			}
			b.Board.SetNodeState(1, board.Up, time.Now())
			b.Board.SetNodeState(0, board.Down, time.Now())
			b.On(b.SyncNodes)
			resp, err := http.ReadResponse(c.Reader, nil)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			body, err := io.ReadAll(resp.Body)
			got := string(body)
			switch {
			case err != nil:
				got = "cut"
			case resp.StatusCode != http.StatusOK:
				got = fmt.Sprint(resp.StatusCode)
				if !strings.Contains(string(body), "the node went down before it answered") {
					t.Errorf("the client hears %s", body)
				}
			}
			if got != test.want {
				t.Errorf("got %s, %q, %v", resp.Status, body, err)
			}
		})
	}
}

func TestDrainWithHTTPClients(t *testing.T) {
	release := make(chan struct{})
	b := startWorker(t, []string{proxytest.StartSite(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			<-release
		}
		proxytest.Hello(w, r)
	})}, nil)
	idle, busy := b.Visit(), b.Visit()
	idle.Say(proxytest.GetRequest)
	idle.Answer("GET")
	busy.Say("GET /slow HTTP/1.1\r\nHost: h\r\n\r\n")
	b.Eventually("both requests", func() bool { return b.Board.NodeTotals(0).Requests == 2 })
	b.On(func() { b.Drain(20 * time.Second) })
	idle.Ended()
	close(release)
	if resp, got := busy.Answer("GET"); got != "hello" || !resp.Close {
		t.Errorf("%q, close %v", got, resp.Close)
	}
	busy.Ended()
	if kind := <-b.Kinds; kind != wire.MessageDrained {
		t.Errorf("the worker said %q", kind)
	}
}

// A worker that drains lets a client take the last of its answer, and waits no longer for it.
func TestDrainWithAnAnswerNotTaken(t *testing.T) {
	b := startWorker(t, []string{proxytest.StartSite(t, proxytest.Hello)}, nil)
	c := b.Visit()
	c.Say(proxytest.GetRequest)
	c.Answer("GET")
	rest := make([]byte, 32<<20) // more than the kernel takes
	b.On(func() {
		b.http.clients.conn.Send(rest) // as if the answer had been so long
		if b.http.clients.conn.Pending() == 0 {
			t.Error("the kernel has taken everything")
		}
		b.Drain(time.Hour)
	})
	if n, err := io.Copy(io.Discard, c.Reader); err != nil || n != int64(len(rest)) {
		t.Errorf("%d bytes of %d, %v", n, len(rest), err)
	}
	if kind := <-b.Kinds; kind != wire.MessageDrained { // although the client stays
		t.Errorf("the worker said %q", kind)
	}
}

// The time to connect begins when a node is wanted, not when one before it had the request.
func TestConnectTimeOfAnotherNode(t *testing.T) {
	const bucket = 21 // of connects that took at least 2²⁰ µs
	first := proxytest.StartNode(t, "", func(c *net.TCPConn) {
		if _, err := proxytest.ReadHead(bufio.NewReader(c)); err == nil {
			<-time.After(1100 * time.Millisecond) // has the request for longer than those, and then closes
		}
	})
	b := startWorker(t, []string{first.Address(), proxytest.StartSite(t, proxytest.Hello)}, func(s *proxy.Spec) { s.Balance = proxy.BalanceRoundRobin })
	for range 2 { // one of them goes to the first node first
		c := b.Visit()
		c.Say(proxytest.GetRequest)
		if resp, _ := c.Answer("GET"); resp.StatusCode != http.StatusOK {
			t.Fatal(resp.Status)
		}
	}
	if n := b.Board.NodeTotals(0).Retries; n != 1 {
		t.Fatalf("%d retries", n)
	}
	for i, n := range b.Board.NodeTotals(1).Connect {
		if n > 0 && i >= bucket {
			t.Errorf("%d connects in bucket %d", n, i)
		}
	}
}
