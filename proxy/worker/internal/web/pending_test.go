package web

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/erlmcp/erlmcp/proxy"
	"github.com/erlmcp/erlmcp/proxy/internal/proxytest"
)

// dialInto connects a client that takes hardly more than size bytes before they are read.
func (b *bench) dialInto(address string, size int) *proxytest.Client {
	b.T.Helper()
	d := net.Dialer{Control: func(_, _ string, raw syscall.RawConn) error {
		return raw.Control(func(fd uintptr) {
			_ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, size) // before the window is told
		})
	}}
	conn, err := d.Dial("tcp4", address)
	if err != nil {
		b.T.Fatal(err)
	}
	b.T.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		b.T.Fatal(err)
	}
	return &proxytest.Client{T: b.T, TCPConn: conn.(*net.TCPConn), Reader: bufio.NewReader(conn)}
}

// narrow has the kernel take hardly more than size bytes for the only HTTP client, which it returns.
func (b *bench) narrow(size int) (c *client) {
	b.T.Helper()
	b.Eventually("the client to be admitted", func() bool {
		b.On(func() { c = b.http.clients })
		return c != nil
	})
	b.On(func() {
		if err := unix.SetsockoptInt(c.conn.FD(), unix.SOL_SOCKET, unix.SO_SNDBUF, size); err != nil {
			b.T.Error(err)
		}
	})
	return c
}

// visitSlowly connects an HTTP client with hardly any room between it and the worker, and has it answered
// with a body that is complete for the worker while most of it waits for the client.
func (b *bench) visitSlowly(request string, written chan struct{}) (c *proxytest.Client, of *client) {
	b.T.Helper()
	c = b.dialInto(b.Web, 4<<10)
	of = b.narrow(4 << 10)
	c.Say(request)
	<-written // the node has the request
	b.On(func() {
		written <- struct{}{}
		<-written // all of the answer is in the kernel: the loop gets it with one read
	})
	b.Eventually("the answer to wait for the client", func() (waits bool) {
		b.On(func() { waits = of.x == nil && of.conn.Pending() > 0 })
		return waits
	})
	return c, of
}

// startBulk runs a node whose answer is large, for visitSlowly.
func startBulk(t testing.TB) (n *proxytest.FakeNode, body string, written chan struct{}) {
	body, written = strings.Repeat("0123456789abcdef", 50<<10/16), make(chan struct{})
	n = proxytest.StartNode(t, "", func(c *net.TCPConn) {
		if _, err := proxytest.ReadHead(bufio.NewReader(c)); err != nil {
			return
		}
		written <- struct{}{}
		<-written
		fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
		written <- struct{}{}
		_, _ = io.Copy(io.Discard, c)
	})
	return n, body, written
}

// A client that has nothing more to say while it takes its last answer gets all of it.
func TestHalfClosedClientTakesItsLastAnswer(t *testing.T) {
	n, body, written := startBulk(t)
	b := startWorker(t, []string{n.Address()}, nil)
	c, of := b.visitSlowly("GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", written)
	if err := c.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	b.Eventually("the worker to learn of it", func() (ended bool) {
		b.On(func() { ended = of.ended || of.w == nil })
		return ended
	})
	if _, got := c.Answer("GET"); got != body {
		t.Errorf("%d bytes of %d", len(got), len(body))
	}
	c.Ended()
}

// A client is not idle while it takes its answer.
func TestKeepaliveBeginsBehindTheAnswer(t *testing.T) {
	n, body, written := startBulk(t)
	b := startWorker(t, []string{n.Address()}, func(s *proxy.Spec) { s.Timeouts.Keepalive = 50 * time.Millisecond })
	c, _ := b.visitSlowly(proxytest.GetRequest, written)
	b.Pass(200 * time.Millisecond)
	if _, got := c.Answer("GET"); got != body {
		t.Errorf("%d bytes of %d", len(got), len(body))
	}
	c.Ended()
}

// A client has as long for what a tunnel still has for it as for the last of an answer, also where
// nothing is idle.
func TestTunnelEndsWithoutAnIdleTimeout(t *testing.T) {
	cut := make(chan struct{})
	n := proxytest.StartNode(t, "", func(c *net.TCPConn) {
		if _, err := proxytest.ReadHead(bufio.NewReader(c)); err != nil {
			return
		}
		_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
		_, _ = c.Write(make([]byte, 50<<10))
		<-cut
		_ = c.SetLinger(0)
	})
	b := startWorker(t, []string{n.Address()}, func(s *proxy.Spec) { s.Timeouts.Idle = 0 })
	c := b.dialInto(b.Web, 4<<10)
	of := b.narrow(4 << 10)
	c.Say("GET /mcp/ws HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
	b.Eventually("the tunnel to be full", func() (full bool) {
		b.On(func() { full = of.conn.Pending() > 0 })
		return full
	})
	close(cut)
	b.Eventually("the node to be lost", func() bool { return b.Board.NodeActive(0) == 0 })
	b.On(func() {
		if left := of.due - b.Loop.Now(); of.due == 0 || left > int64(partTime) || !of.timer.Pending() {
			t.Errorf("the client is waited for until %d, %v from now", of.due, time.Duration(left))
		}
	})
}
