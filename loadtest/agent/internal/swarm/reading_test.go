package swarm

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/erlmcp/erlmcp/internal/mcp"
	"github.com/erlmcp/erlmcp/internal/mono"
	"github.com/erlmcp/erlmcp/internal/reactor"
	"github.com/erlmcp/erlmcp/loadtest/internal/ask"
	"github.com/erlmcp/erlmcp/loadtest/internal/target"
	"github.com/erlmcp/erlmcp/loadtest/internal/wire"
	"github.com/erlmcp/erlmcp/loadtest/internal/work"
)

// idleSwarm is one whose loop does not run.
func idleSwarm(t testing.TB) *Swarm {
	t.Helper()
	l, err := reactor.NewLoop(reactor.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		l.Stop()
		_ = l.Run()
	})
	return newSwarm(l, func() {})
}

// readAll reads responses as they come in pieces, and tells what was in them.
func readAll(s *Swarm, r *reply, pieces [][]byte) (parts []string) {
	var in []byte
	feed := func(last bool) bool {
		for {
			n, is, text := r.next(s, in)
			in = in[n:]
			switch is {
			case partNone:
				return true
			case partHead:
				parts = append(parts, fmt.Sprint("head ", r.status))
			case partText:
				parts = append(parts, "text "+string(text))
			case partEndpoint:
				parts = append(parts, "endpoint "+string(text))
			case partDone:
				parts = append(parts, "done")
				if r.reset(s); last {
					return false
				}
			case partBroken:
				parts = append(parts, "broken")
				return false
			}
		}
	}
	for _, p := range pieces {
		if in = append(bytes.Clone(in), p...); !feed(false) {
			return parts
		}
	}
	if r.content != contentHead {
		r.close()
		feed(true)
	}
	return parts
}

func FuzzReply(f *testing.F) {
	f.Add([]byte("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n9\r\ndata: a\r\n\r\n5\r\n\r\n:x\n\r\n0\r\n\r\nHTTP/1.1 404 No\r\nContent-Length: 2\r\n\r\nno"), uint64(0x1234567))
	f.Add([]byte("HTTP/1.1 100 Go on\r\n\r\nHTTP/1.0 200 OK\r\n\r\nall the rest"), uint64(0xffff))
	f.Add([]byte("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\nevent: endpoint\rdata: /x\r\rdata\ndata:  y\n\n"), uint64(5))
	f.Add([]byte("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabcHTTP/2 200"), uint64(5))
	s := idleSwarm(f)
	f.Fuzz(func(t *testing.T, stream []byte, cuts uint64) {
		var whole, cut reply
		want := readAll(s, &whole, [][]byte{stream})
		var pieces [][]byte
		start := 0
		for i := 1; i <= len(stream); i++ {
			if i == len(stream) || cuts>>(i%64)&1 == 1 {
				pieces = append(pieces, stream[start:i])
				start = i
			}
		}
		got := readAll(s, &cut, pieces)
		if !slices.Equal(got, want) {
			t.Fatalf("in pieces %q, at once %q", got, want)
		}
		whole.reset(s)
		cut.reset(s)
	})
}

func TestEventStream(t *testing.T) {
	s := idleSwarm(t)
	for stream, want := range map[string][]string{
		"data: a\n\n":                           {"a"},
		"data:a\r\ndata:  b\r\n\r\n":            {"a\n b"},
		"data: a\r\rdata: b\r\r":                {"a", "b"},
		"data\n\ndata: a\n\n":                   {"a"},
		"data\ndata\n\n":                        {"\n"},
		": nothing\n\nid: 7\nretry: 1\n\n":      nil,
		"event: endpoint\ndata: /p?x=1\n\n":     {"@/p?x=1"},
		"event: endpoint\n\ndata: a\n\n":        {"a"},
		"event: message\ndata: a\nnonsense\n\n": {"a"},
		"data: unfinished":                      nil,
		"data: a\r\n\r\ndata: b\n\r\n\n":        {"a", "b"},
	} {
		for _, size := range []int{1, 2, 3, 100} {
			var e eventStream
			var got []string
			for rest := []byte(stream); len(rest) > 0; {
				piece := rest[:min(size, len(rest))]
				for {
					n, data, endpoint, tooLong := e.next(s, piece)
					if rest, piece = rest[n:], piece[n:]; tooLong {
						t.Fatal("too long")
					}
					if data == nil {
						break
					}
					if text := string(data); endpoint {
						got = append(got, "@"+text)
					} else {
						got = append(got, text)
					}
				}
			}
			if !slices.Equal(got, want) {
				t.Errorf("%q in pieces of %d: %q", stream, size, got)
			}
			if !strings.HasSuffix(stream, "unfinished") && e.room != nil {
				t.Errorf("%q: room is held behind it", stream)
			}
			e.release(s)
		}
	}
}

func TestRequests(t *testing.T) {
	at := func(url string) target.Target {
		to, err := target.Parse(url)
		must(t, err)
		return to
	}
	for url, want := range map[string]string{
		"http://a.example/x": "a.example", "https://a.example": "a.example", "http://a.example:443": "a.example:443",
		"https://[::1]/": "[::1]", "http://[::1]:8080/": "[::1]:8080", "wss://b:80/": "b:80", "ws://b": "b",
	} {
		to := at(url)
		if got := host(&to); got != want {
			t.Errorf("%s: Host is %q, want %q", url, got, want)
		}
	}
	to := at("http://a.example/base/sse?x=1")
	for reference, want := range map[string]string{
		"/messages?s=1": "/messages?s=1", "?s=1": "/base/sse?s=1", "m/1": "/base/m/1", "http://a.example/m": "/m", "//b/c": "/c",
		"http://a.example": "/", "ftp://a/b": "", ":": "", "/a%0d%0ab": "/a%0d%0ab", "/a\r\nb": "",
	} {
		if got, ok := resolve(&to, to.Path, []byte(reference)); got != want || ok != (want != "") {
			t.Errorf("%q leads to %q, %v", reference, got, ok)
		}
	}
	e := target.Endpoint{Target: to, Header: []target.Field{{Name: "accept", Value: "x/y"}}}
	q := newRequests(&e)
	q.version = "v"
	got := string(q.appendPost(nil, "/p", "s", work.Request{Method: "tools/call", Name: "n"}, []byte("{}\n")))
	want := "POST /p HTTP/1.1\r\nHost: a.example\r\naccept: x/y\r\nContent-Type: application/json\r\nMcp-Protocol-Version: v\r\n" +
		"Mcp-Session-Id: s\r\nMcp-Method: tools/call\r\nMcp-Name: n\r\nContent-Length: 2\r\n\r\n{}"
	if got != want {
		t.Errorf("%q", got)
	}
}

// Requests over newline TCP cost no allocation: here 2,000 of them, with their answers.
func TestRequestsAllocateNothing(t *testing.T) {
	s := idleSwarm(t)
	s.endpoint = target.Endpoint{Target: target.Target{Transport: target.TCP}}
	s.timeout = time.Minute
	var err error
	s.script, err = (work.Work{Era: mcp.StatelessEra, Verify: ask.Whoami, Naming: work.ByAnswer}).Compile()
	must(t, err)
	must(t, s.speak())
	s.clients = make([]client, 1)
	c := &s.clients[0]
	c.swarm, c.state = s, stateAsking
	s.unverified = 1
	must(t, s.connectTo(t, c))
	c.verified(s.tally.Node([]byte("a")))
	s.tally.Begin(mono.Now(), &wire.PingOrder{Record: true, Limits: []int64{1000}})
	answers := make([][]byte, 1)
	answers[0] = []byte(nodeReply(fmt.Sprint(s.tally.ID(work.Verification, mono.Now())), "a"))
	once := func() {
		c.ping(mono.Now())
		if used := c.OnData(&c.conn, answers[0]); used != len(answers[0]) {
			t.Fatalf("%d bytes are used", used)
		}
		if d, ok := s.deadlines.expired(1 << 62); ok { // as time does
			d.of.overdue(d.exchange)
		}
	}
	once()
	if n := testing.AllocsPerRun(2000, once); n != 0 && !raceEnabled {
		t.Errorf("%v allocations a request", n)
	}
	if n := s.tally.N.Requests; n.Answered != n.Sent || n.Sent < 2000 {
		t.Errorf("%+v", n)
	}
}

// connectTo gives a client a connection to somebody who does not care.
func (s *Swarm) connectTo(t *testing.T, c *client) error {
	t.Helper()
	e := rawServer(t, target.TCP, func(c net.Conn, in *bufio.Reader, _ int) { _, _ = io.Copy(io.Discard, in) })
	return s.loop.Dial(&c.conn, e.Address, netip.Addr{}, c)
}

// Requests that find all connections busy wait for one.
func TestPostsWait(t *testing.T) {
	e := rawServer(t, target.HTTP, func(c net.Conn, in *bufio.Reader, _ int) {
		for {
			r, ok := hear(in)
			if !ok {
				return
			}
			if !talk(c, r) {
				say(c, 200, isJSON, result(r.ID))
			}
		}
	})
	s := startOver(t, e, stepped, 8, time.Minute)
	s.awaitVerified(8)
	s.on(func() {
		s.posts.most = 1
		for i := range s.clients { // all at once
			s.clients[i].ping(mono.Now())
			s.clients[i].ping(mono.Now())
		}
		if s.posts.open != 1 || len(s.posts.waiting) != 15 {
			t.Errorf("%d connections, %d wait", s.posts.open, len(s.posts.waiting))
		}
	})
	n := s.await("answers", func(n wire.Counts) bool { return n.Requests.UnderWay() == 0 })
	if n.Requests != (wire.RequestCounts{Sent: 16, Answered: 16}) || n.Verified != 8 {
		t.Errorf("%+v", n)
	}
	s.on(func() {
		if s.posts.open != 1 {
			t.Errorf("%d connections", s.posts.open)
		}
	})
}

// Connections for requests are used again, and closed when they are idle for long.
func TestPostsAreShared(t *testing.T) {
	e := rawServer(t, target.HTTP, func(c net.Conn, in *bufio.Reader, _ int) {
		for {
			r, ok := hear(in)
			if !ok {
				return
			}
			if !talk(c, r) {
				say(c, 200, isJSON, result(r.ID))
			}
		}
	})
	s := startOver(t, e, stepped, 8, time.Minute)
	s.awaitVerified(8)
	for range 2 {
		s.on(func() { s.ping(mono.Now(), 100, &wire.PingOrder{For: 200 * time.Millisecond}) })
		before := s.Counts().Requests.Sent
		s.await("answers", func(n wire.Counts) bool { return n.Requests.Sent > before+10 && n.Requests.UnderWay() == 0 })
	}
	open := 0
	s.on(func() { open = s.posting() })
	if open < 1 || open > 8 {
		t.Errorf("%d connections for requests", open)
	}
	s.await("them to be closed", func(wire.Counts) bool {
		s.on(func() { open = s.posting() })
		return open == 0
	})
	if n := s.Counts(); n.Verified != 8 || n.Requests.Lost != 0 {
		t.Errorf("%+v", n)
	}
}
