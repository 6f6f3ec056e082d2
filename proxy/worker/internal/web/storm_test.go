package web

import (
	"bufio"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/erlmcp/erlmcp/proxy"
	"github.com/erlmcp/erlmcp/proxy/internal/board"
	"github.com/erlmcp/erlmcp/proxy/internal/proxytest"
)

// dribble writes text in random pieces.
func dribble(w io.Writer, r *rand.Rand, text string) error {
	for len(text) > 0 {
		n := 1 + r.IntN(len(text))
		if r.IntN(4) == 0 {
			n = min(n, 3)
		}
		if _, err := io.WriteString(w, text[:n]); err != nil {
			return err
		}
		text = text[n:]
		if r.IntN(3) == 0 {
			time.Sleep(time.Duration(r.IntN(300)) * time.Microsecond) // lets the other side see a piece of it
		}
	}
	return nil
}

// However requests and responses are cut into pieces, they come out the same.
func TestAnyPieces(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	node := proxytest.StartNode(t, "", func(c *net.TCPConn) {
		random := rand.New(rand.NewPCG(seed, uint64(c.RemoteAddr().(*net.TCPAddr).Port)))
		r := bufio.NewReader(c)
		for {
			req, err := http.ReadRequest(r)
			if err != nil {
				return
			}
			body, err := io.ReadAll(req.Body)
			if err != nil {
				return
			}
			text := req.Method + " " + req.RequestURI + " " + string(body)
			head := "HTTP/1.1 200 OK\r\n"
			switch random.IntN(3) {
			case 0:
				text = fmt.Sprintf("%sContent-Length: %d\r\n\r\n%s", head, len(text), text)
			case 1:
				at := random.IntN(len(text)-1) + 1
				text = fmt.Sprintf("HTTP/1.1 102 Processing\r\n\r\n%sTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n%x;ext\r\n%s\r\n0\r\n\r\n", head, at, text[:at], len(text)-at, text[at:])
			default:
				_ = dribble(c, random, head+"\r\n"+text)
				return
			}
			if dribble(c, random, text) != nil {
				return
			}
		}
	})
	b := startWorker(t, []string{node.Address()}, proxytest.WithoutLimits)
	random := rand.New(rand.NewPCG(seed, 0))
	for range 20 {
		var sent strings.Builder
		var want []string
		for i := range 8 {
			body := strings.Repeat("b", random.IntN(50))
			path := fmt.Sprintf("/%d", i)
			switch random.IntN(3) {
			case 0:
				fmt.Fprintf(&sent, "GET %s HTTP/1.1\r\nHost: h\r\n\r\n", path)
				want = append(want, "GET "+path+" ")
			case 1:
				fmt.Fprintf(&sent, "POST %s HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n%s", path, len(body), body)
				want = append(want, "POST "+path+" "+body)
			default:
				fmt.Fprintf(&sent, "POST %s HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s!\r\n0\r\n\r\n", path, len(body)+1, body)
				want = append(want, "POST "+path+" "+body+"!")
			}
		}
		c := b.Visit()
		var writing sync.WaitGroup
		text, pieces := sent.String(), rand.New(rand.NewPCG(seed, random.Uint64()))
		writing.Go(func() { _ = dribble(c, pieces, text) })
		for _, w := range want {
			for {
				resp, got := c.Answer("GET")
				if resp.StatusCode == http.StatusProcessing {
					continue
				}
				if got != w {
					t.Fatalf("got %q, want %q", got, w)
				}
				break
			}
		}
		writing.Wait()
		c.Close()
	}
}

// moods are what a bad node does with a request. Some do not let go of it.
var moods = []func(c *net.TCPConn, random *rand.Rand) (goOn bool){
	func(c *net.TCPConn, _ *rand.Rand) bool {
		_, err := io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")
		return err == nil
	},
	func(c *net.TCPConn, random *rand.Rand) bool {
		return dribble(c, random, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n") == nil
	},
	func(c *net.TCPConn, _ *rand.Rand) bool {
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nnot all of it")
		return false
	},
	func(c *net.TCPConn, _ *rand.Rand) bool { _, _ = io.WriteString(c, "what?\n"); return false },
	func(c *net.TCPConn, _ *rand.Rand) bool { return false },
	func(c *net.TCPConn, _ *rand.Rand) bool { _ = c.SetLinger(0); return false },
	func(c *net.TCPConn, _ *rand.Rand) bool {
		_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nhello")
		_, _ = io.Copy(c, c)
		return false
	},
	func(c *net.TCPConn, _ *rand.Rand) bool {
		_, err := io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi and more")
		return err == nil
	},
	func(c *net.TCPConn, _ *rand.Rand) bool {
		_, err := c.Write(append([]byte("HTTP/1.1 200 OK\r\nContent-Length: 300000\r\n\r\n"), make([]byte, 300_000)...))
		return err == nil
	},
}

// requests are what clients of all kinds send.
var requests = []string{
	proxytest.GetRequest, proxytest.GetRequest, proxytest.PostRequest, proxytest.GetRequest + proxytest.PostRequest + proxytest.GetRequest,
	"GET /mcp/ws HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nearly words",
	"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
	"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nzzz\r\n",
	"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 200000\r\n\r\n" + strings.Repeat("x", 200_000),
	"GET / HTTP/1.0\r\n\r\n", "HEAD / HTTP/1.1\r\nHost: h\r\n\r\n", "nonsense", "GET / HTTP/1.1\r\nHo",
}

// TestStorm lets bad clients and bad nodes meet, with nodes going down and coming back, and looks
// whether anything is left behind.
func TestStorm(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	bad := func(c *net.TCPConn) {
		random := rand.New(rand.NewPCG(seed, uint64(c.RemoteAddr().(*net.TCPAddr).Port)))
		for r := bufio.NewReader(c); ; {
			if _, err := proxytest.ReadHead(r); err != nil || !moods[random.IntN(len(moods))](c, random) {
				return
			}
		}
	}
	refusing := proxytest.StartNode(t, "", nil)
	refusing.Stop()
	b := startWorker(t, []string{proxytest.StartNode(t, "", bad).Address(), proxytest.StartNode(t, "", bad).Address(), refusing.Address()}, func(s *proxy.Spec) {
		proxytest.WithoutLimits(s)
		s.Limits.ConnectionsPerSecond = 0
		s.Timeouts.Request, s.Timeouts.Response, s.Timeouts.Idle = 50*time.Millisecond, 50*time.Millisecond, 50*time.Millisecond
	})
	var clients sync.WaitGroup
	for i := range 30 {
		clients.Go(func() {
			random := rand.New(rand.NewPCG(seed, uint64(i)))
			for range 20 {
				conn, err := net.Dial("tcp4", b.Web)
				if err != nil {
					t.Error(err)
					return
				}
				c := conn.(*net.TCPConn)
				_ = c.SetDeadline(time.Now().Add(time.Second))
				for range 1 + random.IntN(3) {
					if dribble(c, random, requests[random.IntN(len(requests))]) != nil {
						break
					}
				}
				switch random.IntN(4) {
				case 0:
					_ = c.SetLinger(0)
				case 1:
					_ = c.CloseWrite()
					_, _ = io.Copy(io.Discard, c)
				case 2:
					_ = c.SetReadDeadline(time.Now().Add(time.Duration(random.IntN(20)) * time.Millisecond))
					_, _ = io.Copy(io.Discard, c)
				}
				c.Close()
			}
		})
	}
	over := make(chan struct{})
	var flips sync.WaitGroup
	flips.Go(func() {
		random := rand.New(rand.NewPCG(seed, 1<<40))
		for {
			select {
			case <-over:
				return
			case <-time.After(5 * time.Millisecond):
				state := []board.State{board.Up, board.Down, board.Draining}[random.IntN(3)]
				b.Board.SetNodeState(random.IntN(2), state, time.Now())
				b.On(b.SyncNodes)
			}
		}
	})
	clients.Wait()
	close(over)
	flips.Wait()
	b.Eventually("everybody to go", func() (gone bool) {
		b.On(func() { gone = b.http.clients == nil && b.Lingering == 0 && b.Board.Active() == 0 })
		return gone
	})
	b.On(func() {
		pooled := 0
		for i, node := range b.http.nodes[:3] {
			if node.ports[board.HTTP].exchanges != nil || b.Board.NodeActive(i) != 0 {
				t.Errorf("node %d still has an exchange, %d are counted", i, b.Board.NodeActive(i))
			}
			for p := range node.ports {
				n := 0
				for c := node.ports[p].pool.newest; c != nil; c = c.next {
					if n++; c.x != nil || !c.pooled || !c.conn.Open() || c.conn.Paused() {
						t.Errorf("node %d keeps a connection that is of no use: %+v", i, c)
					}
				}
				if n != node.ports[p].pool.size {
					t.Errorf("node %d keeps %d connections and counts %d", i, n, node.ports[p].pool.size)
				}
				pooled += n
			}
		}
		if pooled != b.http.idle {
			t.Errorf("%d connections are kept, %d counted", pooled, b.http.idle)
		}
		for _, x := range b.http.spare.exchanges {
			if x.client != nil || x.node != nil {
				t.Error("a spare exchange is in use")
			}
		}
	})
	answered := b.Cell.Responses[2].Load()
	t.Logf("%d requests, responses by class %d %d %d %d", b.Cell.Requests.Load(), b.Cell.Responses[1].Load(), answered, b.Cell.Responses[4].Load(), b.Cell.Responses[5].Load())
	if answered == 0 {
		t.Error("nobody was answered")
	}
}
