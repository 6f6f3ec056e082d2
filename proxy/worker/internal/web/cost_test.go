package web

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"unsafe"

	"github.com/erlmcp/erlmcp/proxy"
	"github.com/erlmcp/erlmcp/proxy/internal/proxytest"
)

// startEcho is a node that answers each request, however it comes, with the same response, and
// allocates nothing for it.
func startEcho(t testing.TB, end, response string) *proxytest.FakeNode {
	return proxytest.StartNode(t, "", func(c *net.TCPConn) {
		buf, answer := make([]byte, 64<<10), []byte(response)
		for n := 0; ; {
			m, err := c.Read(buf[n:])
			if err != nil {
				return
			}
			if n += m; !bytes.HasSuffix(buf[:n], []byte(end)) {
				continue
			}
			n = 0
			if _, err := c.Write(answer); err != nil {
				return
			}
		}
	})
}

// turns returns a function that asks once and reads the response, which is always of the same length.
func turns(t testing.TB, b *bench, request string) func() {
	c := b.Visit()
	asked := []byte(request)
	if _, err := c.Write(asked); err != nil {
		t.Fatal(err)
	}
	first, _ := c.Answer("GET")
	if first.StatusCode != http.StatusOK {
		t.Fatal(first.Status)
	}
	buf := make([]byte, 64<<10)
	if _, err := c.Write(asked); err != nil {
		t.Fatal(err)
	}
	size, err := c.TCPConn.Read(buf)
	if err != nil {
		t.Fatal(err)
	}
	return func() {
		if _, err := c.TCPConn.Write(asked); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(c.TCPConn, buf[:size]); err != nil {
			t.Fatal(err)
		}
	}
}

func limitedTool(s *proxy.Spec) {
	proxytest.WithoutLimits(s)
	s.Limits.Tools = []proxy.ToolLimit{{Name: "other", PerSecond: 1}, {Name: "search", PerSecond: 1_000_000}}
}

func TestForwardingAllocatesNothing(t *testing.T) {
	const reply = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nMcp-Session-Id: 0123456789abcdef\r\n"
	for _, test := range []struct{ name, request, end, response string }{
		{"get", "GET /mcp HTTP/1.1\r\nHost: h\r\nAccept: */*\r\nCookie: a=b; SERVERID=AAAAAAAAAAAAAAAA\r\n\r\n", "\r\n\r\n", reply + "Content-Length: 2\r\n\r\nhi"},
		{"post", "POST /mcp HTTP/1.1\r\nHost: h\r\nMcp-Session-Id: SESSION\r\nMcp-Protocol-Version: 2025-11-25\r\nContent-Length: 8\r\n\r\n{\"id\":1}", "{\"id\":1}", reply + "Content-Length: 2\r\n\r\nhi"},
		{"chunked", "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", "\r\n0\r\n\r\n", reply + "Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n"},
		{"stateless", strings.Replace(proxytest.ToolCall("2026-07-28", "=?base64?c2VhcmNo?="), "\r\n\r\n", "\r\nAccept-Encoding: gzip, deflate, br\r\n\r\n", 1), "\"params\":{}}", reply + "Content-Length: 2\r\n\r\nhi"},
		{"zipped", "GET /mcp HTTP/1.1\r\nHost: h\r\nAccept-Encoding: gzip\r\n\r\n", "\r\n\r\n", reply + "Content-Length: 2000\r\n\r\n" + strings.Repeat("0123456789", 200)},
		{"varies", "GET /mcp HTTP/1.1\r\nHost: h\r\nIf-None-Match: W/\"1\"\r\n\r\n", "\r\n\r\n", reply + "Vary: Origin\r\nETag: \"2\"\r\nContent-Length: 2000\r\n\r\n" + strings.Repeat("0123456789", 200)},
		{"relayed", "GET /mcp HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: unknown, 2001:db8::7\r\nX-Forwarded-For: 127.0.0.1:80\r\nX-Forwarded-Proto: https\r\nForwarded: for=x\r\n\r\n", "\r\n\r\n", reply + "Content-Length: 2\r\n\r\nhi"},
		{"relayed by RFC 7239", "GET /mcp HTTP/1.1\r\nHost: h\r\nForwarded: for=192.0.2.7;proto=https, for=\"[::1]:80\"\r\n\r\n", "\r\n\r\n", reply + "Content-Length: 2\r\n\r\nhi"},
	} {
		t.Run(test.name, func(t *testing.T) {
			b := startWorker(t, []string{startEcho(t, test.end, test.response).Address()}, func(s *proxy.Spec) {
				limitedTool(s)
				if strings.HasPrefix(test.name, "relayed") {
					s.TrustedProxies = []string{"127.0.0.1", "::1"}
				}
			})
			b.trustNodes()
			var session []byte
			b.On(func() { session = b.http.ring.AppendSession(nil, []byte("0123456789abcdef"), 0, 1) })
			turn := turns(t, b, strings.Replace(test.request, "SESSION", string(session), 1))
			for range 100 { // the free lists fill
				turn()
			}
			// Not testing.AllocsPerRun: it leaves one processor, which the loop does not give up
			// while it waits. The runtime and the timers of others allocate now and then.
			const runs = 2000
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			for range runs {
				turn()
			}
			runtime.ReadMemStats(&after)
			if n := after.Mallocs - before.Mallocs; n > runs/20 {
				t.Errorf("%d allocations in %d requests", n, runs)
			}
		})
	}
}

// What an idle connection takes of user memory, beside the free lists, is these structs and nothing
// else: no buffer stays with it.
func TestIdleConnectionsHoldNoBuffers(t *testing.T) {
	idle := unsafe.Sizeof(client{})
	stream := idle + unsafe.Sizeof(exchange{}) + unsafe.Sizeof(nodeConn{})
	if idle > 256 || stream > 768 {
		t.Errorf("%d bytes for an idle client, %d for an idle stream", idle, stream)
	}
	hold := make(chan struct{})
	node := proxytest.StartNode(t, "", func(c *net.TCPConn) {
		buf := make([]byte, 4096)
		if _, err := c.Read(buf); err == nil {
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n:\n\n\r\n")
			<-hold
		}
	})
	defer close(hold)
	b := startWorker(t, []string{node.Address()}, func(s *proxy.Spec) { proxytest.WithoutLimits(s); s.Limits.ConnectionsPerSecond = 0 })
	const streams = 200
	conns := make([]*proxytest.Client, streams)
	for i := range conns {
		conns[i] = b.Visit()
		conns[i].Say("GET /mcp HTTP/1.1\r\nHost: h\r\nX: " + strings.Repeat("x", 3000) + "\r\n\r\n")
		if _, err := proxytest.ReadHead(conns[i].Reader); err != nil {
			t.Fatal(err)
		}
	}
	b.Eventually("the requests to be let go of", func() (ok bool) {
		b.On(func() {
			ok = true
			for c := b.http.clients; c != nil; c = c.next {
				ok = ok && c.left == 0 && c.discard == 0 && c.x != nil && c.x.kept == 0 && c.conn.Pending() == 0
			}
		})
		return ok
	})
	var n int
	b.On(func() {
		for c := b.http.clients; c != nil; c = c.next {
			n++
		}
	})
	if n != streams {
		t.Errorf("%d streams", n)
	}
}

// BenchmarkRequest is one keep-alive request through the worker and back, in one process: for
// profiles.
func BenchmarkRequest(b *testing.B) {
	node := startEcho(b, "\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")
	w := startWorker(b, []string{node.Address()}, proxytest.WithoutLimits)
	turn := turns(b, w, "GET /mcp HTTP/1.1\r\nHost: h\r\nAccept: */*\r\n\r\n")
	b.ReportAllocs()
	for b.Loop() {
		turn()
	}
}
