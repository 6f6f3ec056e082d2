package swarm

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"
	"unsafe"

	"github.com/erlmcp/erlmcp/internal/mcp"
	"github.com/erlmcp/erlmcp/internal/mono"
	"github.com/erlmcp/erlmcp/internal/wsframe"
	"github.com/erlmcp/erlmcp/loadtest/internal/ask"
	"github.com/erlmcp/erlmcp/loadtest/internal/target"
	"github.com/erlmcp/erlmcp/loadtest/internal/wire"
	"github.com/erlmcp/erlmcp/loadtest/internal/work"
)

// rawServer serves connections as the test likes, and counts them.
func rawServer(t *testing.T, transport target.Transport, each func(c net.Conn, in *bufio.Reader, n int)) target.Endpoint {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	var all sync.WaitGroup
	var mu sync.Mutex
	var open []net.Conn
	all.Go(func() {
		for n := 0; ; n++ {
			c, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			open = append(open, c)
			mu.Unlock()
			all.Go(func() {
				defer c.Close()
				each(c, bufio.NewReader(c), n)
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		mu.Lock()
		for _, c := range open {
			c.Close()
		}
		mu.Unlock()
		all.Wait()
	})
	a := netip.MustParseAddrPort(l.Addr().String())
	return target.Endpoint{Target: target.Target{Transport: transport, Host: "127.0.0.1", Port: a.Port(), Path: "/mcp"}, Address: a}
}

// told is a request as a raw server reads it.
type told struct {
	*http.Request
	mcp.Envelope
}

// hear reads a request over HTTP.
func hear(in *bufio.Reader) (told, bool) {
	r, err := http.ReadRequest(in)
	if err != nil {
		return told{}, false
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return told{}, false
	}
	m := told{Request: r}
	_ = json.Unmarshal(body, &m.Envelope)
	return m, true
}

func say(c net.Conn, status int, fields, body string) {
	fmt.Fprintf(c, "HTTP/1.1 %d Status\r\n%sContent-Length: %d\r\n\r\n%s", status, fields, len(body), body)
}

const (
	isJSON   = "Content-Type: application/json\r\n"
	isEvents = "Content-Type: text/event-stream; charset=utf-8\r\n"
)

// talk answers requests of Streamable HTTP in an unremarkable way, and returns false for what it does not answer: requests of the
// schedule, which have the step 0.
func talk(c net.Conn, r told) bool {
	switch {
	case r.Envelope.Method == "initialize":
		say(c, 200, isJSON+"Mcp-Session-Id: one\r\n", fmt.Sprintf(`{"jsonrpc":"2.0","id":%s,"result":{"protocolVersion":"2025-06-18"}}`, r.ID))
	case r.Envelope.Method == "notifications/initialized":
		say(c, 202, "", "")
	case r.Request.Method == http.MethodGet:
		fmt.Fprintf(c, "HTTP/1.1 200 OK\r\n%sTransfer-Encoding: chunked\r\n\r\n", isEvents)
	case r.Request.Method == http.MethodDelete:
		say(c, 204, "", "")
	case strings.Contains(string(r.Params), "whoami"):
		say(c, 200, isJSON, nodeReply(string(r.ID), "a"))
	default:
		return false
	}
	return true
}

// stepped is work with a request of its own.
var stepped = work.Work{
	Era: mcp.SessionEra, Verify: ask.Whoami, Naming: work.ByAnswer, Steps: []work.Step{{Name: "list", Method: "tools/list", Weight: 1}},
}

func result(id json.RawMessage) string {
	return fmt.Sprintf(`{"jsonrpc":"2.0","id":%s,"result":{}}`, id)
}

// What servers answer to requests, and what is made of it. Each of these is sent once over each of two connections.
func TestAnswers(t *testing.T) {
	for name, test := range map[string]struct {
		answer func(c net.Conn, id json.RawMessage) // nil: none
		want   wire.RequestCounts
		cause  string
	}{
		"JSON": {func(c net.Conn, id json.RawMessage) { say(c, 200, isJSON, result(id)) }, wire.RequestCounts{Sent: 1, Answered: 1}, ""},
		"chunks": {func(c net.Conn, id json.RawMessage) {
			p := result(id)
			fmt.Fprintf(c, "HTTP/1.1 200 OK\r\n%sTransfer-Encoding: chunked\r\n\r\n5;x=y\r\n%s\r\n%x\r\n%s\r\n0\r\nA: b\r\n\r\n", isJSON, p[:5], len(p)-5, p[5:])
		}, wire.RequestCounts{Sent: 1, Answered: 1}, ""},
		"until close": {func(c net.Conn, id json.RawMessage) {
			fmt.Fprintf(c, "HTTP/1.1 200 OK\r\n%s\r\n%s", isJSON, result(id))
			c.Close()
		}, wire.RequestCounts{Sent: 1, Answered: 1}, ""},
		"interim": {func(c net.Conn, id json.RawMessage) {
			fmt.Fprint(c, "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\n\r\n")
			say(c, 200, isJSON, result(id))
		}, wire.RequestCounts{Sent: 1, Answered: 1}, ""},
		"events": {func(c net.Conn, id json.RawMessage) {
			say(c, 200, isEvents, ": hello\r\n\r\nid: 1\r\ndata:\r\n\r\nevent: message\rdata: {\"jsonrpc\":\"2.0\",\rdata: \"method\":\"notifications/x\"}\r\rdata:"+result(id)+"\n\n")
		}, wire.RequestCounts{Sent: 1, Answered: 1}, ""},
		"events without an answer": {func(c net.Conn, _ json.RawMessage) { say(c, 200, isEvents, ": hello\n\n") }, wire.RequestCounts{Sent: 1, Failed: 1}, "reply"},
		"error": {func(c net.Conn, id json.RawMessage) {
			say(c, 200, isJSON, string(mcp.AppendError(nil, id, -32602, "no")))
		}, wire.RequestCounts{Sent: 1, Failed: 1}, "tool"},
		"429":            {func(c net.Conn, _ json.RawMessage) { say(c, 429, "", "slow down") }, wire.RequestCounts{Sent: 1, Failed: 1}, "rate"},
		"503":            {func(c net.Conn, _ json.RawMessage) { say(c, 503, "", "") }, wire.RequestCounts{Sent: 1, Failed: 1}, "unavailable"},
		"401":            {func(c net.Conn, _ json.RawMessage) { say(c, 401, "", "") }, wire.RequestCounts{Sent: 1, Failed: 1}, "unauthorized"},
		"400":            {func(c net.Conn, _ json.RawMessage) { say(c, 400, "", "bad") }, wire.RequestCounts{Sent: 1, Failed: 1}, "4xx"},
		"500 to the end": {func(c net.Conn, _ json.RawMessage) { fmt.Fprint(c, "HTTP/1.0 500 No\r\n\r\nsorry"); c.Close() }, wire.RequestCounts{Sent: 1, Failed: 1}, "5xx"},
		"nothing":        {func(c net.Conn, _ json.RawMessage) { say(c, 200, isJSON, "") }, wire.RequestCounts{Sent: 1, Failed: 1}, "reply"},
		"garbage":        {func(c net.Conn, _ json.RawMessage) { fmt.Fprint(c, "\x00\x01\x02\r\n\r\n") }, wire.RequestCounts{Sent: 1, Lost: 1}, ""},
		"the beginning": {func(c net.Conn, _ json.RawMessage) {
			fmt.Fprint(c, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{")
			c.Close()
		}, wire.RequestCounts{Sent: 1, Lost: 1}, ""},
		"reset":   {func(c net.Conn, _ json.RawMessage) { _ = c.(*net.TCPConn).SetLinger(0); c.Close() }, wire.RequestCounts{Sent: 1, Lost: 1}, ""},
		"silence": {func(net.Conn, json.RawMessage) {}, wire.RequestCounts{Sent: 1, Lost: 1}, ""},
		"an endless head": {func(c net.Conn, _ json.RawMessage) {
			fmt.Fprint(c, "HTTP/1.1 200 OK\r\n")
			for range 40 << 10 {
				if _, err := fmt.Fprint(c, "X: yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy\r\n"); err != nil {
					return
				}
			}
		}, wire.RequestCounts{Sent: 1, Lost: 1}, ""},
		"an endless body": {func(c net.Conn, _ json.RawMessage) {
			fmt.Fprintf(c, "HTTP/1.1 200 OK\r\n%s\r\n", isJSON)
			for range 40 {
				if _, err := c.Write(bytes.Repeat([]byte("x"), 64<<10)); err != nil {
					return
				}
			}
		}, wire.RequestCounts{Sent: 1, Lost: 1}, ""},
		"an endless event": {func(c net.Conn, _ json.RawMessage) {
			fmt.Fprintf(c, "HTTP/1.1 200 OK\r\n%s\r\n", isEvents)
			for range 40 {
				if _, err := fmt.Fprintf(c, "data: %s\n", bytes.Repeat([]byte("x"), 64<<10)); err != nil {
					return
				}
			}
		}, wire.RequestCounts{Sent: 1, Lost: 1}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			e := rawServer(t, target.HTTP, func(c net.Conn, in *bufio.Reader, _ int) {
				for {
					r, ok := hear(in)
					if !ok {
						return
					}
					if !talk(c, r) {
						test.answer(c, r.ID)
					}
				}
			})
			s := startOver(t, e, stepped, 1, 2*time.Second)
			s.awaitVerified(1)
			s.on(func() { s.ping(mono.Now(), 1000, &wire.PingOrder{For: time.Millisecond}) })
			n := s.await("the outcome", func(n wire.Counts) bool { return n.Requests.Sent == 1 && n.Requests.UnderWay() == 0 })
			if n.Requests != test.want || test.cause != "" && n.Refused[test.cause] != 1 || len(n.Refused) != int(test.want.Failed) {
				t.Errorf("%+v", n)
			}
			if n.Verified != 1 || n.Dropped != 0 { // its stream is another connection
				t.Errorf("the client: %+v", n)
			}
		})
	}
}

// A server that does not know a session any more gets a new one.
func TestLostSessions(t *testing.T) {
	for name, status := range map[string]int{"404": 404, "400": 400} {
		t.Run(name, func(t *testing.T) {
			var mu sync.Mutex
			var known string
			begun := 0
			forget := func() {
				mu.Lock()
				defer mu.Unlock()
				known = ""
			}
			e := rawServer(t, target.HTTP, func(c net.Conn, in *bufio.Reader, _ int) {
				for {
					r, ok := hear(in)
					if !ok {
						return
					}
					mu.Lock()
					id := r.Request.Header.Get("Mcp-Session-Id")
					fresh := r.Envelope.Method == "initialize"
					if fresh {
						begun++
						known = fmt.Sprintf("s%d", begun)
					}
					ok = fresh && id == "" || id == known
					session := known
					mu.Unlock()
					switch {
					case !ok:
						say(c, status, "", "no valid session")
					case fresh:
						say(c, 200, isJSON+"Mcp-Session-Id: "+session+"\r\n", fmt.Sprintf(`{"jsonrpc":"2.0","id":%s,"result":{}}`, r.ID))
					case !talk(c, r):
						say(c, 200, isJSON, result(r.ID))
					}
				}
			})
			s := startOver(t, e, stepped, 1, time.Minute)
			s.awaitVerified(1)
			forget()
			s.on(func() { s.clients[0].conn.Close() })
			n := s.await("a new session", func(n wire.Counts) bool { return n.Verified == 1 && n.Sessions.Begun == 2 })
			if n.Sessions.Lost != 1 || n.Dropped != 1 || len(n.Failures) != 0 {
				t.Errorf("%+v", n)
			}
			forget()
			s.on(func() { s.ping(mono.Now(), 1000, &wire.PingOrder{For: 3 * time.Millisecond}) })
			n = s.await("another session", func(n wire.Counts) bool { return n.Verified == 1 && n.Sessions.Begun == 3 })
			if n.Sessions.Lost != 2 || n.Dropped != 2 || n.Losses["session"] != 1 || n.Refused["session"] == 0 {
				t.Errorf("%+v", n)
			}
			s.on(func() { s.close(1e6) })
			if n = s.await("the end", func(n wire.Counts) bool { return n.Open == 0 }); n.Sessions.Ended != 1 {
				t.Errorf("%+v", n)
			}
		})
	}
}

// A stream that ends is a lost connection, displaced if its node is about to fail.
func TestStreamsThatEnd(t *testing.T) {
	for name, end := range map[string]func(c net.Conn){
		"in order": func(c net.Conn) { fmt.Fprint(c, "0\r\n\r\n") },
		"early":    func(c net.Conn) { c.Close() },
		"by reset": func(c net.Conn) { _ = c.(*net.TCPConn).SetLinger(0); c.Close() },
		"in chaos": func(c net.Conn) { fmt.Fprint(c, "what?") },
	} {
		t.Run(name, func(t *testing.T) {
			streams := make(chan net.Conn, 10)
			e := rawServer(t, target.HTTP, func(c net.Conn, in *bufio.Reader, _ int) {
				for {
					r, ok := hear(in)
					if !ok {
						return
					}
					talk(c, r)
					if r.Request.Method == http.MethodGet {
						streams <- c
					}
				}
			})
			s := startOver(t, e, stepped, 1, time.Minute)
			s.awaitVerified(1)
			end(<-streams)
			n := s.await("the client to be back", func(n wire.Counts) bool { return n.Dropped == 1 && n.Verified == 1 })
			if n.Sessions.Begun != 1 || n.Displaced != 0 {
				t.Errorf("%+v", n)
			}
			s.on(func() { s.arm("a") })
			end(<-streams)
			n = s.await("the displaced client to be back", func(n wire.Counts) bool { return n.Recovered == 1 && n.Verified == 1 })
			if n.Displaced != 1 || n.Dropped != 1 || n.Sessions != (wire.SessionCounts{Begun: 1}) {
				t.Errorf("%+v", n)
			}
		})
	}
}

// Clients that meet what they cannot speak to fail, by a cause.
func TestStrangers(t *testing.T) {
	for name, test := range map[string]struct {
		text, cause string
	}{
		"silence":        {"", "timeout"},
		"401":            {"HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n", "unauthorized"},
		"429":            {"HTTP/1.1 429 No\r\nContent-Length: 0\r\n\r\n", "rate"},
		"404":            {"HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n", "4xx"},
		"502":            {"HTTP/1.1 502 No\r\nContent-Length: 0\r\n\r\n", "5xx"},
		"a page":         {"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 2\r\n\r\nhi", "reply"},
		"SSH":            {"SSH-2.0-OpenSSH_9.2\r\n", "reply"},
		"not an upgrade": {"HTTP/1.1 101 Yes\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: x\r\n\r\n", "reply"},
	} {
		for _, transport := range []target.Transport{target.HTTP, target.SSE, target.WS} {
			t.Run(name+" over "+string(transport), func(t *testing.T) {
				e := rawServer(t, transport, func(c net.Conn, in *bufio.Reader, _ int) {
					if _, ok := hear(in); ok {
						fmt.Fprint(c, test.text)
						_, _ = io.Copy(io.Discard, in)
					}
				})
				s := startOver(t, e, sessions, 2, 300*time.Millisecond)
				n := s.await("failures", func(n wire.Counts) bool { return n.Failures[test.cause] >= 2 })
				if len(n.Failures) != 1 || n.Verified != 0 {
					t.Errorf("%+v", n)
				}
			})
		}
	}
}

// A socket is spoken to as RFC 6455 says.
func TestSocketFrames(t *testing.T) {
	ended := make(chan error, 10)
	frame := func(first byte, payload string) []byte { return append([]byte{first, byte(len(payload))}, payload...) }
	e := rawServer(t, target.WS, func(c net.Conn, in *bufio.Reader, n int) {
		r, ok := hear(in)
		if !ok {
			return
		}
		if r.Request.Header.Get("Authorization") != "Bearer x" || r.Host != "example.com" {
			ended <- fmt.Errorf("head: %v", r.Request.Header)
		}
		fmt.Fprintf(c, "HTTP/1.1 101 Yes\r\nConnection: upgrade\r\nUpgrade: WebSocket\r\nSec-WebSocket-Accept: %s\r\n\r\n", acceptOf(r.Request.Header.Get("Sec-WebSocket-Key")))
		for {
			op, text, err := readMasked(in)
			if err != nil {
				return
			}
			var m mcp.Envelope
			switch op {
			case wsframe.Pong:
				if string(text) != "you?" {
					ended <- fmt.Errorf("pong %q", text)
				}
				continue
			case wsframe.Close:
				ended <- nil
				_, _ = c.Write(frame(0x88, string(text)))
				return
			}
			if json.Unmarshal(text, &m) != nil {
				ended <- fmt.Errorf("message %q", text)
			}
			answer := strings.TrimSpace(nodeReply(string(m.ID), "a"))
			_, _ = c.Write(frame(0x89, "you?"))
			_, _ = c.Write(frame(0x01, answer[:9]))
			_, _ = c.Write(frame(0x8a, "unasked"))
			_, _ = c.Write(frame(0x00, answer[9:20]))
			_, _ = c.Write(frame(0x80, answer[20:]))
		}
	})
	e.Header = []target.Field{{Name: "host", Value: "example.com"}, {Name: "Authorization", Value: "Bearer x"}}
	s := startOver(t, e, stateless, 3, time.Minute)
	s.awaitVerified(3)
	s.on(func() { s.ping(mono.Now(), 1000, &wire.PingOrder{For: 10 * time.Millisecond}) })
	s.await("answers", func(n wire.Counts) bool { return n.Requests.Answered == 10 })
	s.on(func() { s.close(1e6) })
	s.await("the end", func(n wire.Counts) bool { return n.Open == 0 })
	for range 3 {
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
}

// readMasked reads a short frame of a client.
func readMasked(in *bufio.Reader) (op wsframe.Opcode, payload []byte, err error) {
	var head [2]byte
	if _, err = io.ReadFull(in, head[:]); err != nil {
		return 0, nil, err
	}
	n := int(head[1] & 0x7f)
	if n == 126 {
		var more [2]byte
		if _, err = io.ReadFull(in, more[:]); err != nil {
			return 0, nil, err
		}
		n = int(more[0])<<8 | int(more[1])
	}
	p := make([]byte, 4+n)
	if _, err = io.ReadFull(in, p); err != nil {
		return 0, nil, err
	}
	for i := range p[4:] {
		p[4+i] ^= p[i%4]
	}
	return wsframe.Opcode(head[0] & 0xf), p[4:], nil
}

// What a client has beside itself is small, too.
func TestClientsOfOtherTransportsAreSmall(t *testing.T) {
	for name, size := range map[string]uintptr{
		"http": unsafe.Sizeof(visit{}), "sse": unsafe.Sizeof(stream{}), "ws": unsafe.Sizeof(socket{}),
	} {
		if size > 200 {
			t.Errorf("%s: a client takes %d bytes more", name, size)
		}
	}
}
