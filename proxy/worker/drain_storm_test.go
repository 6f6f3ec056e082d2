package worker

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/erlmcp/erlmcp/proxy"
	"github.com/erlmcp/erlmcp/proxy/internal/board"
	"github.com/erlmcp/erlmcp/proxy/internal/proxytest"
	"github.com/erlmcp/erlmcp/proxy/worker/internal/web"
)

// What storming clients say, by the listener they come to. Not all of it is whole, or sensible.
var (
	tcpWords = []string{
		"", "half a line", "{}\n", `[{"id":1},{"id":2}]` + "\n", strings.Repeat("{}\n", 300), strings.Repeat("x", 1<<20),
	}
	webWords = []string{
		"", "\r\n", "GET", "nonsense\r\n\r\n",
		proxytest.GetRequest, proxytest.GetRequest + proxytest.GetRequest + proxytest.GetRequest, "GET / HTTP/1.0\r\n\r\n", "HEAD / HTTP/1.1\r\nHost: h\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: h\r\nAccept-Encoding: gzip\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 100\r\n\r\nnot all of it",
		"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 99999999\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1048576\r\n\r\n" + strings.Repeat("x", 1<<20),
		"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n" + proxytest.GetRequest,
		"GET /mcp/sse HTTP/1.1\r\nHost: h\r\n\r\n",
		"GET /mcp/ws HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
		"GET /mcp/ws HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n\x81\x82\x00\x00\x00\x00{}",
	}
	tlsWords = []string{"", "\x16\x03\x01\x02\x00\x01", proxytest.GetRequest, "nonsense"} // instead of a handshake
)

// What storming nodes do with what they have read first; then they wait for the end. A nil is one that
// does not read at all.
var nodeMoods = []func(c *net.TCPConn){
	func(*net.TCPConn) {},
	func(c *net.TCPConn) { c.Close() },
	func(c *net.TCPConn) { _ = c.SetLinger(0); c.Close() },
	func(c *net.TCPConn) { _, _ = io.WriteString(c, "{}\n"); _ = c.CloseWrite() },
	func(c *net.TCPConn) { _, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi") },
	func(c *net.TCPConn) { _, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhi") },
	func(c *net.TCPConn) {
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n")
	},
	func(c *net.TCPConn) {
		_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n\x81\x02{}")
	},
	func(c *net.TCPConn) { // more than anybody takes
		_, err := io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n")
		for piece := bytes.Repeat([]byte("0123456789abcdef"), 4<<10); err == nil; {
			_, err = c.Write(piece)
		}
	},
	nil,
}

// moody is a node whose connections each behave in another way, until over is closed.
func moody(t testing.TB, seed uint64, moods []func(*net.TCPConn), over chan struct{}) *proxytest.FakeNode {
	return proxytest.StartNode(t, "", func(c *net.TCPConn) {
		random := rand.New(rand.NewPCG(seed, uint64(c.RemoteAddr().(*net.TCPAddr).Port)))
		mood := moods[random.IntN(len(moods))]
		if mood == nil {
			<-over
			return
		}
		if _, err := c.Read(make([]byte, 64<<10)); err != nil {
			return
		}
		mood(c)
		_, _ = io.Copy(io.Discard, c)
	})
}

// storm is many clients of a worker in every state there is.
type storm struct {
	*bench
	mu   sync.Mutex
	left []*net.TCPConn // not closed by their clients
}

// client comes from one of a few sources, says something, perhaps reads, and goes in one of several ways
// or stays.
func (s *storm) client(random *rand.Rand) {
	listener := random.IntN(4)
	to := []string{s.Address, s.Web, s.Secure, s.Secure}[listener]
	words := [][]string{tcpWords, webWords, tlsWords, webWords}[listener]
	raw, err := net.DialTimeout("tcp4", to, 10*time.Second)
	if err != nil {
		return // the worker drains by now
	}
	c := raw.(*net.TCPConn)
	var stream io.ReadWriter = c
	if listener == 3 {
		_ = c.SetDeadline(time.Now().Add(10 * time.Second))
		secure := tls.Client(c, proxytest.Trusting(proxytest.LocalPair()))
		if secure.Handshake() != nil {
			c.Close()
			return
		}
		stream = secure
	}
	_ = c.SetDeadline(time.Now().Add(time.Duration(1+random.IntN(50)) * time.Millisecond)) // who is not heard gives up
	_, _ = io.WriteString(stream, words[random.IntN(len(words))])
	if random.IntN(2) == 0 {
		_, _ = bufio.NewReader(stream).Peek(1 + random.IntN(4000))
	}
	switch random.IntN(5) {
	case 0:
		c.Close()
		return
	case 1:
		_ = c.SetLinger(0)
		c.Close()
		return
	case 2:
		_ = c.CloseWrite()
	}
	s.mu.Lock()
	s.left = append(s.left, c)
	s.mu.Unlock()
}

// leave closes what clients have left open.
func (s *storm) leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.left {
		_ = c.SetLinger(0)
		c.Close()
	}
	s.left = nil
}

// Whatever state its clients are in, a worker that drains ends when the last of them has gone.
func TestDrainInAStorm(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	for round := range uint64(4) {
		over := make(chan struct{})
		moods := nodeMoods
		if round%2 == 0 {
			moods = nodeMoods[:len(nodeMoods)-1] // all read, and learn themselves that their clients have gone
		}
		nodes := []*proxytest.FakeNode{moody(t, seed, moods, over), moody(t, seed, moods, over)}
		dead := proxytest.StartNode(t, "", nil)
		dead.Stop()
		b := startWorker(t, []string{nodes[0].Address(), nodes[1].Address(), dead.Address()}, func(s *proxy.Spec) {
			proxytest.WithoutLimits(s)
			s.Limits.ConnectionsPerSecond, s.Limits.MaxPerSource = 0, 60
			s.HTTP.SSEKeepalive, s.Timeouts.Send = time.Second, 5*time.Second
		})
		s := storm{bench: b}
		var clients sync.WaitGroup
		for i := range uint64(200) {
			clients.Go(func() { s.client(rand.New(rand.NewPCG(seed, round<<32|i))) })
			switch i {
			case 50, 150:
				b.On(func() { b.Board.SetNodeState(1, board.Down, time.Now()); b.SyncNodes() })
			case 100:
				b.On(func() { b.Board.SetNodeState(1, board.Up, time.Now()); b.SyncNodes() })
			case 170:
				b.On(func() { b.Drain(time.Hour) })
			}
		}
		clients.Wait()
		s.leave()
		if round%2 != 0 {
			close(over)
		}
		s.ends()
		if round%2 == 0 {
			close(over)
		}
		if t.Failed() {
			return
		}
	}
}

// ends waits until the worker has ended, and says what it is waiting for if it does not.
func (s *storm) ends() {
	s.T.Helper()
	select {
	case err := <-s.Done:
		s.Done <- err
	case <-time.After(time.Minute):
		s.On(func() {
			s.T.Errorf("the worker does not end: %d open, %d of them counted, %d lingering, over HTTP %+v", s.Open, s.Cell.Active.Load(), s.Lingering, s.http.Standing())
		})
		return
	}
	if left := s.http.Standing(); s.Open != 0 || s.Lingering != 0 || left != (web.Standing{}) {
		s.T.Errorf("%d open, %d lingering, over HTTP %+v", s.Open, s.Lingering, left)
	}
}
