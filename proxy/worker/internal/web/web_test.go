package web

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/erlmcp/erlmcp/proxy"
	"github.com/erlmcp/erlmcp/proxy/internal/board"
	"github.com/erlmcp/erlmcp/proxy/internal/proxytest"
)

func TestRequestAsTheNodeGetsIt(t *testing.T) {
	n, heads := headsOf(t)
	b := startWorker(t, []string{n.Address()}, func(s *proxy.Spec) { s.Sticky.HTTP = proxy.StickyNone })
	const forwarded, address = "X-Forwarded-For: 127.0.0.1\r\nX-Forwarded-Proto: http\r\n", "X-Real-IP: 127.0.0.1\r\n\r\n"
	for _, test := range []struct{ name, sent, want string }{
		{
			"plain", "GET /mcp?a=b HTTP/1.1\r\nHost: mcp.example:8080\r\nAccept: */*\r\nX-Custom:   spaced  \r\n\r\n",
			"GET /mcp?a=b HTTP/1.1\r\nHost: mcp.example:8080\r\nAccept: */*\r\nX-Custom: spaced\r\n" + forwarded + "X-Forwarded-Host: mcp.example:8080\r\n" + address,
		},
		{
			"hop by hop", "GET / HTTP/1.1\r\nHost: h\r\nConnection: keep-alive, X-Secret\r\nX-Secret: s\r\nKeep-Alive: 5\r\nTE: trailers\r\nProxy-Connection: x\r\n\r\n",
			"GET / HTTP/1.1\r\nHost: h\r\n" + forwarded + "X-Forwarded-Host: h\r\n" + address,
		},
		{
			"forged origin", "GET / HTTP/1.1\r\nHost: h\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: evil\r\nX-Forwarded-For: 10.9.8.7\r\n\r\n",
			"GET / HTTP/1.1\r\nHost: h\r\n" + forwarded + "X-Forwarded-Host: h\r\n" + address,
		},
		{
			"absolute", "GET http://other.example/x HTTP/1.1\r\nHost: h\r\n\r\n",
			"GET /x HTTP/1.1\r\nHost: other.example\r\n" + forwarded + "X-Forwarded-Host: other.example\r\n" + address,
		},
		{
			"h2c", "GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n",
			"GET / HTTP/1.1\r\nHost: h\r\n" + forwarded + "X-Forwarded-Host: h\r\n" + address,
		},
		{
			"old", "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
			"GET / HTTP/1.1\r\nHost: " + n.Address() + "\r\n" + forwarded + address,
		},
		{
			"chunked", "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nTrailer: X-T\r\n\r\n0\r\nX-T: 1\r\n\r\n",
			"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n" + forwarded + "X-Forwarded-Host: h\r\n" + address,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := b.Visit()
			c.Say(test.sent)
			if got := <-heads; got != test.want {
				t.Errorf("the node got\n%q\nwant\n%q", got, test.want)
			}
			if resp, _ := c.Answer("GET"); resp.StatusCode != http.StatusNoContent {
				t.Errorf("got %s", resp.Status)
			}
			c.Close()
			if test.name == "chunked" { // its body is still in the way
				b.On(func() { b.http.nodes[0].forget() })
			}
		})
	}
}

func TestResponseAsTheClientGetsIt(t *testing.T) {
	const get = "GET / HTTP/1.1\r\nHost: h\r\n\r\n"
	const old = "GET / HTTP/1.0\r\n\r\n"
	const served = "X-Served-By: n0\r\n\r\n"
	for _, test := range []struct{ name, asked, answer, want string }{
		{"sized", get, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nA: b\r\n\r\nhi", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nA: b\r\n" + served + "hi"},
		{"empty", get, "HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n", "HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n" + served},
		{"hop by hop", get, "HTTP/1.1 200 OK\r\nConnection: close, X-A\r\nX-A: 1\r\nKeep-Alive: timeout=5\r\nContent-Length: 0\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n" + served},
		{"chunked", get, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;x=y\r\nhi\r\n3\r\n ho\r\n0\r\nT: x\r\n\r\n", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n" + served + "2\r\nhi\r\n3\r\n ho\r\n0\r\n\r\n"},
		{"until close", get, "HTTP/1.1 200 OK\r\n\r\nhi", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n" + served + "2\r\nhi\r\n0\r\n\r\n"},
		{"chunked to old", old, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n", "HTTP/1.1 200 OK\r\nConnection: close\r\n" + served + "hi"},
		{"until close to old", old, "HTTP/1.0 200 OK\r\n\r\nhi", "HTTP/1.1 200 OK\r\nConnection: close\r\n" + served + "hi"},
		{"sized to old", old, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n" + served + "hi"},
		{"old keep-alive", "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: keep-alive\r\n" + served + "hi"},
		{"head", "HEAD / HTTP/1.1\r\nHost: h\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 42\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 42\r\n" + served},
		{"not modified", get, "HTTP/1.1 304 Not Modified\r\nContent-Length: 42\r\n\r\n", "HTTP/1.1 304 Not Modified\r\nContent-Length: 42\r\n" + served},
		{"interim", get, "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n", "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 204 No Content\r\n" + served},
		{"interim to old", old, "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n", "HTTP/1.1 204 No Content\r\nConnection: close\r\n" + served},
		{"asked to close", "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", "HTTP/1.1 204 No Content\r\n\r\n", "HTTP/1.1 204 No Content\r\nConnection: close\r\n" + served},
		{"no reason", get, "HTTP/1.1 204\r\n\r\n", "HTTP/1.1 204 \r\n" + served},
	} {
		t.Run(test.name, func(t *testing.T) {
			b := startWorker(t, []string{proxytest.StartScript(t, test.answer).Address()}, func(s *proxy.Spec) { s.Sticky.HTTP = proxy.StickyNone })
			c := b.Visit()
			c.Say(test.asked)
			got := make([]byte, len(test.want))
			if _, err := io.ReadFull(c.Reader, got); err != nil || string(got) != test.want {
				t.Errorf("the client got\n%q, %v\nwant\n%q", got, err, test.want)
			}
			if strings.Contains(test.want, "Connection: close") {
				c.Ended()
			}
		})
	}
}

func TestBodiesBothWays(t *testing.T) {
	b := startWorker(t, []string{proxytest.StartSite(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Has("sized") {
			w.Header().Set("Content-Length", fmt.Sprint(r.ContentLength))
		}
		body, _ := io.ReadAll(r.Body)
		_, _ = w.Write(body)
	})}, nil)
	b.trustNodes()
	web := b.Browser()
	for _, size := range []int{0, 1, 1000, 100_000, 3 << 20} {
		for _, sized := range []bool{true, false} {
			body := bytes.Repeat([]byte{'a' + byte(size%26)}, size)
			url, from := "http://"+b.Web+"/echo", io.Reader(bytes.NewReader(body))
			if sized {
				url += "?sized"
			} else {
				from = io.MultiReader(from) // of unknown length
			}
			resp, err := web.Post(url, "text/plain", from)
			if err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(resp.Body)
			resp.Body.Close()
			if err != nil || !bytes.Equal(got, body) || resp.StatusCode != http.StatusOK {
				t.Fatalf("%d bytes (sized: %v): %s, %d came back, %v", size, sized, resp.Status, len(got), err)
			}
		}
	}
	if n := b.Cell.Accepted.Load(); n != 1 {
		t.Errorf("%d connections of the client", n)
	}
	if n := b.Board.NodeTotals(0); n.Total != 1 || n.Requests != 10 || n.Responses[2] != 10 {
		t.Errorf("counted %+v", n)
	}
}

func TestPipelining(t *testing.T) {
	b := startWorker(t, []string{proxytest.StartSite(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		fmt.Fprintf(w, "%s %s %s", r.Method, r.URL.Path, body)
	})}, nil)
	c := b.Visit()
	c.Say("GET /1 HTTP/1.1\r\nHost: h\r\n\r\n" +
		"POST /2 HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc" +
		"POST /3 HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nxyz\r\n0\r\n\r\n" +
		"GET /4 HTTP/1.1\r\nHost: h\r\n\r\nGET /5 HT")
	for _, want := range []string{"GET /1 ", "POST /2 abc", "POST /3 xyz", "GET /4 "} {
		if _, got := c.Answer("GET"); got != want {
			t.Fatalf("got %q, want %q", got, want)
		}
	}
	c.Say("TP/1.1\r\nHost: h\r\nConnection: close\r\n\r\nignored")
	if _, got := c.Answer("GET"); got != "GET /5 " {
		t.Fatal(got)
	}
	c.Ended()
}

// A client that asks much and takes nothing is not read on.
func TestPipeliningWithoutReading(t *testing.T) {
	var answered atomic.Int64
	b := startWorker(t, []string{proxytest.StartSite(t, func(w http.ResponseWriter, _ *http.Request) {
		answered.Add(1)
		_, _ = w.Write(make([]byte, 256<<10))
	})}, func(s *proxy.Spec) { s.Limits.MessagesPerSecond = 0; s.HTTP.KeepaliveRequests = 0 })
	c := b.Visit()
	go func() {
		for range 10_000 {
			if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: h\r\n\r\n"); err != nil {
				return
			}
		}
	}()
	var before int64
	b.Eventually("the answers to stop", func() bool {
		now := answered.Load()
		still := now > 0 && now == before
		before = now
		b.Pass(50 * time.Millisecond) // where the site is slower than that, it has answered even less than it will
		return still
	})
	if n := answered.Load(); n > 100 {
		t.Errorf("%d answers for a client that takes none", n)
	}
	var pending int
	b.On(func() { pending = b.http.clients.conn.Pending() })
	if pending > 512<<10 {
		t.Errorf("%d bytes wait for the client", pending)
	}
}

func TestAbortReachesTheNode(t *testing.T) {
	gone := make(chan struct{})
	started := make(chan struct{})
	b := startWorker(t, []string{proxytest.StartSite(t, func(w http.ResponseWriter, r *http.Request) {
		_ = http.NewResponseController(w).Flush()
		close(started)
		<-r.Context().Done()
		close(gone)
	})}, nil)
	c := b.Visit()
	c.Say("GET /mcp HTTP/1.1\r\nHost: h\r\nAccept: text/event-stream\r\n\r\n")
	<-started
	c.Close()
	select {
	case <-gone:
	case <-time.After(time.Minute):
		t.Fatal("the node does not learn that its client has gone")
	}
	b.Eventually("nobody to await an answer", func() (ok bool) {
		b.On(func() {
			ok = b.http.nodes[0].ports[board.HTTP].exchanges == nil && b.Backends[0].Ports[board.HTTP].AskedAt == 0
		})
		return ok
	})
}

func TestEventsAreForwardedAtOnce(t *testing.T) {
	next := make(chan string, 1)
	b := startWorker(t, []string{proxytest.StartSite(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for {
			_ = http.NewResponseController(w).Flush()
			select {
			case event, more := <-next:
				if !more {
					return
				}
				fmt.Fprintf(w, "data: %s\n\n", event)
			case <-r.Context().Done():
				return
			}
		}
	})}, nil)
	resp, err := b.Browser().Get("http://" + b.Web + "/mcp")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	for range 5 { // each is read before the next is sent
		next <- "event"
		buf := make([]byte, len("data: event\n\n"))
		if _, err := io.ReadFull(resp.Body, buf); err != nil || string(buf) != "data: event\n\n" {
			t.Fatalf("%q, %v", buf, err)
		}
	}
	close(next)
	if rest, err := io.ReadAll(resp.Body); err != nil || len(rest) > 0 {
		t.Fatalf("%q, %v", rest, err)
	}
}
