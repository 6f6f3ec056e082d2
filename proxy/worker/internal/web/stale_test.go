package web

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/erlmcp/erlmcp/proxy"
	"github.com/erlmcp/erlmcp/proxy/internal/board"
	"github.com/erlmcp/erlmcp/proxy/internal/proxytest"
)

// closer is a node that closes each connection behind its so manieth answer, of which it says nothing. It
// counts the requests it has read.
func closer(t testing.TB, answers int, read *atomic.Int64) *proxytest.FakeNode {
	return proxytest.StartNode(t, "", func(c *net.TCPConn) {
		r := bufio.NewReader(c)
		for range answers {
			if _, err := proxytest.ReadHead(r); err != nil {
				return
			}
			if _, err := r.Discard(len("{}")); err != nil {
				return
			}
			read.Add(1)
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")
		}
	})
}

// No new client pays for a node that ends its connections without a word, and nothing is asked twice.
func TestNodeClosesBehindItsAnswers(t *testing.T) {
	const clients, each = 8, 60
	for _, answers := range []int{1, 2, 3, 7} {
		var read atomic.Int64
		b := startWorker(t, []string{closer(t, answers, &read).Address(), closer(t, answers, &read).Address()}, func(s *proxy.Spec) {
			s.Limits.ConnectionsPerSecond, s.Limits.MessagesPerSecond = 0, 0
		})
		var all sync.WaitGroup
		var failed atomic.Int64
		for range clients {
			all.Go(func() {
				for range each {
					c, err := net.Dial("tcp4", b.Web)
					if err != nil {
						t.Error(err)
						return
					}
					_ = c.SetDeadline(time.Now().Add(20 * time.Second))
					_, _ = io.WriteString(c, proxytest.PostRequest)
					head, err := proxytest.ReadHead(bufio.NewReader(c))
					if err != nil || !strings.HasPrefix(head, "HTTP/1.1 200 ") {
						failed.Add(1)
						t.Logf("%q, %v", head, err)
					}
					c.Close()
				}
			})
		}
		all.Wait()
		if n := failed.Load(); n > 0 {
			t.Errorf("%d of %d requests failed with nodes that close behind %d answers", n, clients*each, answers)
		}
		if n := read.Load(); n != clients*each {
			t.Errorf("the nodes have read %d of %d requests", n, clients*each)
		}
	}
}

// What a node has not got is sent again, whole; what it may have begun with is not.
func TestRequestOnAConnectionThatEnds(t *testing.T) {
	const answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"
	requests := map[string]string{
		"sized":   proxytest.PostRequest,
		"chunked": "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
		"batch":   "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 7\r\n\r\n[{},{}]",
		"get":     proxytest.GetRequest,
	}
	// Of the connections of a node, the first answers once. What becomes of it then says end, when told to.
	start := func(t *testing.T, end func(*net.TCPConn)) (b *bench, c *proxytest.Client, asked chan string, finish func()) {
		var connections atomic.Int64
		asked = make(chan string, 10)
		ending, ended := make(chan struct{}), make(chan struct{})
		n := proxytest.StartNode(t, "", func(c *net.TCPConn) {
			if connections.Add(1) == 1 {
				_, _ = proxytest.ReadHead(bufio.NewReader(c))
				_, _ = io.WriteString(c, answer)
				<-ending
				end(c)
				close(ended)
				return
			}
			buf := make([]byte, 64<<10)
			for {
				n, err := c.Read(buf)
				if err != nil {
					return
				}
				asked <- string(buf[:n])
				_, _ = io.WriteString(c, answer)
			}
		})
		b = startWorker(t, []string{n.Address()}, nil)
		b.trustNodes()
		c = b.Visit()
		c.Say(proxytest.GetRequest)
		c.Answer("GET")
		b.Eventually("the pool to have the connection", func() (pooled bool) {
			b.On(func() { pooled = b.http.idle == 1 && b.http.nodes[0].Flow.Idle[board.HTTP].Load() == 1 })
			return pooled
		})
		return b, c, asked, func() { close(ending); <-ended }
	}
	whole := func(t *testing.T, b *bench, c *proxytest.Client, asked chan string, request string) {
		t.Helper()
		if resp, got := c.Answer("POST"); got != "hi" || resp.StatusCode != http.StatusOK {
			t.Fatalf("%s, %q", resp.Status, got)
		}
		_, body, _ := strings.Cut(request, "\r\n\r\n")
		if got := <-asked; !strings.HasSuffix(got, "\r\n\r\n"+body) || len(asked) > 0 {
			t.Errorf("the node got %q", got)
		}
		if n := b.Board.NodeTotals(0); n.Retries != 1 || n.Total != 2 {
			t.Errorf("%d retries, %d connections", n.Retries, n.Total)
		}
		c.Say(request) // the client's connection is as good as before
		c.Answer("POST")
	}
	for name, request := range requests {
		t.Run(name+" behind the end", func(t *testing.T) {
			b, c, asked, finish := start(t, func(c *net.TCPConn) { c.Close() })
			// The worker comes to the request before it comes to the end of the node's stream, which
			// is there already.
			var from *client
			var to *nodeConn
			b.On(func() {
				from, to = b.http.clients, b.http.nodes[0].ports[board.HTTP].pool.newest
				from.conn.Pause()
				to.conn.Pause()
			})
			finish()
			c.Say(request)
			b.On(func() {}) // both have been noticed
			b.On(func() {
				from.conn.Resume()
				to.conn.Resume()
			})
			whole(t, b, c, asked, request)
		})
		t.Run(name+" not taken", func(t *testing.T) {
			b, c, asked, finish := start(t, func(*net.TCPConn) {})
			defer finish()
			b.On(func() {
				if err := unix.Shutdown(b.http.nodes[0].ports[board.HTTP].pool.newest.conn.FD(), unix.SHUT_WR); err != nil {
					t.Error(err)
				}
			})
			c.Say(request)
			whole(t, b, c, asked, request)
		})
	}
	// A process that dies over a request may have begun with it.
	t.Run("reset", func(t *testing.T) {
		_, c, asked, finish := start(t, func(c *net.TCPConn) {
			_, _ = proxytest.ReadHead(bufio.NewReader(c))
			_ = c.SetLinger(0)
			c.Close()
		})
		c.Say(proxytest.PostRequest)
		finish()
		c.Denied(502)
		if len(asked) > 0 {
			t.Error("it is sent again")
		}
	})
}

// A node is known for keeping its connections once one has stayed, and is not any more when it has closed
// one early.
func TestNodesThatKeepConnections(t *testing.T) {
	release := make(chan struct{})
	n := proxytest.StartNode(t, "", func(c *net.TCPConn) {
		r := bufio.NewReader(c)
		for {
			if _, err := proxytest.ReadHead(r); err != nil {
				return
			}
			_, _ = r.Discard(len("{}"))
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")
			select {
			case <-release:
				return
			default:
			}
		}
	})
	b := startWorker(t, []string{n.Address()}, func(s *proxy.Spec) { s.Limits.MessagesPerSecond, s.HTTP.KeepaliveRequests = 0, 0 })
	stays := func() (stays uint32) {
		b.On(func() { stays = b.http.nodes[0].ports[board.HTTP].pool.stays })
		return stays
	}
	c := b.Visit()
	ask := func() {
		c.Say(proxytest.PostRequest)
		c.Answer("POST")
	}
	if ask(); stays() > 0 {
		t.Error("nothing is known of the node yet")
	}
	b.Eventually("connections to have stayed", func() bool { ask(); return stays() >= manyAnswers })
	before := b.Board.NodeTotals(0).Total
	if ask(); b.Board.NodeTotals(0).Total != before {
		t.Error("its connections are not used")
	}
	b.trustNodes()
	trusted := stays()
	close(release)
	ask()
	b.Eventually("the early end to be noted", func() bool { return stays() < trusted })
}
