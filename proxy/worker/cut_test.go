package worker

import (
	"context"
	"errors"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/erlmcp/erlmcp/proxy"
	"github.com/erlmcp/erlmcp/proxy/internal/board"
	"github.com/erlmcp/erlmcp/proxy/internal/proxytest"
)

// A script is what an event stream of a node says: each piece is written at once, and after the last of
// them nothing more comes until the client has gone.
const (
	wholeEvent = "event: message\ndata: {}\n\n"
	halfEvent  = "event: message\ndata: {}\n"
)

// startTalker is a node of all transports. Under /mcp it answers with an event stream that says the
// value of the query "say", flushed, and then waits for a piece more on more and ends; under /silent it
// never answers; under /mcp/ws it sends messages back.
func startTalker(t testing.TB, more <-chan string) (address string) {
	return proxytest.StartSite(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/silent":
			_, _ = io.Copy(io.Discard, r.Body)
			<-r.Context().Done()
		case "/mcp/ws":
			c, err := websocket.Accept(w, r, nil)
			if err != nil {
				return
			}
			for {
				kind, data, err := c.Read(r.Context())
				if err != nil || c.Write(r.Context(), kind, data) != nil {
					return
				}
			}
		default:
			_, _ = io.Copy(io.Discard, r.Body)
			w.Header().Set("Content-Type", "text/event-stream")
			_, _ = io.WriteString(w, r.URL.Query().Get("say"))
			_ = http.NewResponseController(w).Flush()
			select {
			case piece := <-more:
				_, _ = io.WriteString(w, piece)
			case <-r.Context().Done():
			}
		}
	})
}

// stream opens an event stream that begins with what the node is to say, and reads that.
func (b *bench) stream(method, version, say string) (body io.ReadCloser, c *proxytest.Client) {
	b.t.Helper()
	c = b.visit()
	target := "/mcp?say=" + strings.NewReplacer("\n", "%0A", " ", "%20").Replace(say)
	c.Say(method + " " + target + " " + version + "\r\nHost: h\r\nContent-Length: 0\r\n\r\n")
	resp, err := http.ReadResponse(c.Reader, nil)
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { resp.Body.Close() })
	got := make([]byte, len(say))
	if _, err := io.ReadFull(resp.Body, got); err != nil || string(got) != say {
		b.t.Fatalf("%q, %v", got, err)
	}
	return resp.Body, c
}

// underWay waits until the node has so many connections and requests.
func (b *bench) underWay(connections, requests uint64) {
	b.t.Helper()
	b.eventually("all to be at the node", func() bool {
		t := b.board.NodeTotals(0)
		return t.Total == connections && t.Requests == requests && t.Active == int64(connections)
	})
}

// wantReason asserts why the lines of an access log say their requests ended, and that each was counted.
func (b *bench) wantReason(path string, reason board.Reason, lines int) {
	b.t.Helper()
	for _, l := range readAccess(b, path, lines) {
		if l.Reason != reason.String() {
			b.t.Errorf("the reason is %q, want %v: %+v", l.Reason, reason, l)
		}
	}
	if n := b.cuts(reason) + b.refused(reason); n != uint64(lines) {
		b.t.Errorf("%d are counted with %v, want %d", n, reason, lines)
	}
}

// What is under way has no timeout by default, however long nothing passes.
func TestNothingUnderWayIsIdle(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	more := make(chan string)
	asked := make(chan bool, 8)
	slow := proxytest.StartNode(t, "", func(c *net.TCPConn) { // answers the line that was said when more says so
		buf := make([]byte, 100)
		n, err := c.Read(buf)
		asked <- true
		if err == nil {
			<-more
			_, _ = c.Write(buf[:n])
		}
	})
	answers := proxytest.StartNode(t, "", func(c *net.TCPConn) {
		buf := make([]byte, 1000)
		_, _ = c.Read(buf)
		asked <- true
		<-more
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
	})
	// As short as they may be, but only once everything is under way.
	hurry := func(b *bench) {
		b.on(func() {
			t := &b.spec.Timeouts
			t.Connect, t.Request, t.Keepalive, t.Send = time.Millisecond, time.Millisecond, time.Millisecond, time.Millisecond
			for _, o := range b.backends {
				if o == nil {
					continue
				}
				for p := o.pairs; p != nil; p = p.next {
					p.schedule()
				}
				for i := range o.ports {
					for x := o.ports[i].exchanges; x != nil; x = x.next {
						if x.phase == replying {
							x.patience()
						}
					}
				}
			}
		})
		b.pass(50 * time.Millisecond) // long enough for what must not happen
		b.on(func() {
			for c := b.http.clients; c != nil; c = c.next {
				if c.due != 0 && (c.x == nil || !c.x.events) {
					t.Errorf("a client in state %d is given up in %v", c.state, time.Duration(c.due-b.loop.Now()))
				}
			}
		})
	}

	relay := startWorker(t, []string{slow.Address()}, nil)
	c := relay.dial("")
	c.Say("x\n")
	<-asked
	hurry(relay)
	more <- ""
	if got := c.Hear(); got != "x" {
		t.Errorf("heard %q", got)
	}

	call := startWorker(t, []string{answers.Address()}, nil)
	c = call.visit()
	c.Say("POST /mcp HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n{}")
	<-asked
	hurry(call)
	more <- ""
	if resp, body := c.Answer("POST"); resp.StatusCode != http.StatusOK || body != "{}" {
		t.Errorf("%s %s", resp.Status, body)
	}

	streams := startWorker(t, []string{startTalker(t, more)}, nil)
	socket := streams.socket(ctx)
	get, _ := streams.stream("GET", "HTTP/1.1", wholeEvent)
	post, _ := streams.stream("POST", "HTTP/1.1", halfEvent)
	hurry(streams)
	more <- "\n"
	more <- "\n"
	for _, body := range []io.Reader{get, post} {
		if rest, err := io.ReadAll(body); err != nil || string(rest) != "\n" {
			t.Errorf("%q, %v", rest, err)
		}
	}
	if err := socket.Write(ctx, websocket.MessageText, []byte("x")); err != nil {
		t.Error(err)
	}
	if _, got, err := socket.Read(ctx); err != nil || string(got) != "x" {
		t.Errorf("%q, %v", got, err)
	}
}

// A client that has said nothing yet is not waited for longer than one between two requests.
func TestSilentNewcomerOverTCP(t *testing.T) {
	path := filepath.Join(t.TempDir(), "access.log")
	b := startWorker(t, []string{proxytest.StartNode(t, "a", nil).Address()}, func(s *proxy.Spec) {
		s.AccessLog.File, s.Timeouts.Keepalive = path, 20*time.Millisecond
	})
	b.dial("").Ended()
	b.wantReason(path, board.ReasonIdle, 1)
}

func TestIdleEnds(t *testing.T) {
	idle := func(t *testing.T) (*bench, string) {
		path := filepath.Join(t.TempDir(), "access.log")
		return startWorker(t, []string{startTalker(t, nil)}, func(s *proxy.Spec) {
			s.AccessLog.File = path
			s.HTTP.SSEKeepalive, s.Timeouts.Idle = 0, 30*time.Millisecond
		}), path
	}
	for _, method := range []string{"GET", "POST"} {
		for _, version := range []string{"HTTP/1.1", "HTTP/1.0"} {
			t.Run(method+" "+version, func(t *testing.T) {
				b, path := idle(t)
				body, c := b.stream(method, version, wholeEvent)
				if rest, err := io.ReadAll(body); err != nil || len(rest) > 0 { // a last chunk, or an orderly end
					t.Errorf("%q, %v", rest, err)
				}
				b.wantReason(path, board.ReasonIdle, 1)
				if version == "HTTP/1.1" { // the connection goes on
					c.Say("HEAD /mcp HTTP/1.1\r\nHost: h\r\n\r\n")
					if _, err := proxytest.ReadHead(c.Reader); err != nil {
						t.Error(err)
					}
				}
			})
		}
	}
	t.Run("in an event", func(t *testing.T) {
		b, path := idle(t)
		body, _ := b.stream("GET", "HTTP/1.1", halfEvent)
		if _, err := io.ReadAll(body); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Error(err)
		}
		b.wantReason(path, board.ReasonIdle, 1)
	})
	t.Run("WebSocket", func(t *testing.T) {
		b, path := idle(t)
		wantClose(t, b.socket(t.Context()), websocket.StatusGoingAway)
		b.wantReason(path, board.ReasonIdle, 1)
	})
}

// wantClose asserts what a WebSocket is closed with.
func wantClose(t *testing.T, c *websocket.Conn, status websocket.StatusCode) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if _, _, err := c.Read(ctx); websocket.CloseStatus(err) != status {
		t.Errorf("closed with %v, want %v", err, status)
	}
}

// Streams that never end by themselves end as a drain begins, between two events; calls go on.
func TestDrainEndsStreamsAndAwaitsCalls(t *testing.T) {
	path := filepath.Join(t.TempDir(), "access.log")
	more := make(chan string)
	b := startWorker(t, []string{startTalker(t, more)}, func(s *proxy.Spec) { s.AccessLog.File = path })
	call, _ := b.stream("POST", "HTTP/1.1", wholeEvent)
	get, web := b.stream("GET", "HTTP/1.1", wholeEvent)
	old, _ := b.stream("GET", "HTTP/1.0", wholeEvent)
	b.on(func() { b.drain(time.Hour) })
	for _, body := range []io.Reader{get, old} {
		if rest, err := io.ReadAll(body); err != nil || len(rest) > 0 {
			t.Errorf("%q, %v", rest, err)
		}
	}
	web.Ended()
	b.wantReason(path, board.ReasonDrain, 2)
	more <- wholeEvent
	if rest, err := io.ReadAll(call); err != nil || string(rest) != wholeEvent {
		t.Errorf("%q, %v", rest, err)
	}
	if err := <-b.done; err != nil { // nothing is left to wait for
		t.Error(err)
	}
	b.done <- nil
	if l := readAccess(b, path, 3)[2]; l.Method != http.MethodPost || l.Reason != "" {
		t.Errorf("the call's line is %+v", l)
	}
}

// A stream in the middle of an event is let finish that one.
func TestDrainAwaitsTheEndOfAnEvent(t *testing.T) {
	pieces := make(chan string)
	node := proxytest.StartNode(t, "", func(c *net.TCPConn) {
		if _, err := c.Read(make([]byte, 4096)); err != nil {
			return
		}
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"+halfEvent)
		for p := range pieces {
			_, _ = io.WriteString(c, p)
		}
		_, _ = io.Copy(io.Discard, c)
	})
	b := startWorker(t, []string{node.Address()}, nil)
	defer close(pieces)
	body, _ := b.stream("GET", "HTTP/1.1", halfEvent)
	b.on(func() { b.drain(time.Hour) })
	b.eventually("its turn", func() (late bool) {
		b.on(func() { late = b.http.clients.due == 0 })
		return late
	})
	pieces <- "data: "
	pieces <- "more\n\n"
	if rest, err := io.ReadAll(body); err != nil || string(rest) != "data: more\n\n" {
		t.Errorf("%q, %v", rest, err)
	}
	if n := b.cuts(board.ReasonDrain); n != 1 {
		t.Errorf("%d are counted", n)
	}
}

// What is left when the time to drain is over is cut, and told so as far as its protocol allows.
func TestDrainCutsWhatIsLeft(t *testing.T) {
	path := filepath.Join(t.TempDir(), "access.log")
	b := startWorker(t, []string{startTalker(t, nil)}, func(s *proxy.Spec) { s.AccessLog.File = path })
	whole, _ := b.stream("POST", "HTTP/1.1", wholeEvent)
	half, _ := b.stream("POST", "HTTP/1.1", halfEvent)
	socket := b.socket(t.Context())
	silent := b.visit()
	silent.Say("POST /silent HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n{}")
	relay := b.dial("")
	relay.Say("x")
	b.underWay(5, 4)
	b.on(func() { b.drain(time.Millisecond) })
	if rest, err := io.ReadAll(whole); err != nil || len(rest) > 0 {
		t.Errorf("between events: %q, %v", rest, err)
	}
	if _, err := io.ReadAll(half); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("in an event: %v", err)
	}
	wantClose(t, socket, websocket.StatusGoingAway)
	silent.Denied(http.StatusBadGateway)
	relay.Ended()
	if err := <-b.done; err != nil {
		t.Error(err)
	}
	b.done <- nil
	b.wantReason(path, board.ReasonDrain, 5)
}

func TestCutsByANodeThatGoesDown(t *testing.T) {
	path := filepath.Join(t.TempDir(), "access.log")
	b := startWorker(t, []string{startTalker(t, nil)}, func(s *proxy.Spec) { s.AccessLog.File = path })
	whole, _ := b.stream("GET", "HTTP/1.1", wholeEvent)
	socket := b.socket(t.Context())
	silent := b.visit()
	silent.Say("POST /silent HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n{}")
	relay := b.dial("")
	relay.Say("x")
	b.underWay(4, 3)
	b.on(func() { b.board.SetNodeState(0, board.Down, time.Now()); b.syncNodes() })
	if _, err := io.ReadAll(whole); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("the stream looks whole: %v", err)
	}
	wantClose(t, socket, websocket.StatusGoingAway)
	silent.Denied(http.StatusBadGateway)
	relay.Ended()
	b.wantReason(path, board.ReasonNodeDown, 4)
}

func TestCutsByANodeThatIsLost(t *testing.T) {
	path := filepath.Join(t.TempDir(), "access.log")
	end := make(chan bool)
	node := proxytest.StartNode(t, "", func(c *net.TCPConn) {
		buf := make([]byte, 4096)
		n, _ := c.Read(buf)
		switch request := string(buf[:n]); {
		case strings.HasPrefix(request, "GET /mcp/ws"):
			_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
		case strings.HasPrefix(request, "POST"):
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{")
		}
		<-end
	})
	b := startWorker(t, []string{node.Address()}, func(s *proxy.Spec) { s.AccessLog.File = path })
	half, socket, relay := b.visit(), b.visit(), b.dial("")
	half.Say("POST /mcp HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n")
	socket.Say("GET /mcp/ws HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
	for _, c := range []*proxytest.Client{half, socket} {
		if _, err := proxytest.ReadHead(c.Reader); err != nil {
			t.Fatal(err)
		}
	}
	relay.Say("x")
	for range 3 {
		end <- true
	}
	if rest, err := io.ReadAll(half.Reader); string(rest) != "{" || err != nil {
		t.Errorf("%q, %v", rest, err)
	}
	socket.Ended()
	relay.Ended()
	socket.Close()
	relay.Close()
	b.wantReason(path, board.ReasonNodeLost, 3)
}

func TestCutsByClients(t *testing.T) {
	for name, leave := range map[string]func(c *proxytest.Client){
		"reset": func(c *proxytest.Client) { _ = c.SetLinger(0); c.Close() },
		"end":   func(c *proxytest.Client) { c.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "access.log")
			b := startWorker(t, []string{startTalker(t, nil)}, func(s *proxy.Spec) { s.AccessLog.File = path })
			_, get := b.stream("GET", "HTTP/1.1", wholeEvent)
			_, half := b.stream("POST", "HTTP/1.1", halfEvent)
			body := b.visit() // of which there is only a half
			body.Say("POST /silent HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n{")
			b.underWay(3, 3)
			leaving, lines := []*proxytest.Client{get, body}, 2
			if name == "reset" { // one that only ends its stream may still want the rest
				relay := b.dial("")
				relay.Say("x")
				b.underWay(4, 3)
				leaving, lines = append(leaving, half, relay), 4
			}
			for _, c := range leaving {
				leave(c)
			}
			b.wantReason(path, board.ReasonClientGone, lines)
		})
	}
}

// A client that takes nothing is cut, whatever the protocol.
func TestCutsOfWhoTakesNothing(t *testing.T) {
	flood := proxytest.StartNode(t, "", func(c *net.TCPConn) {
		if _, err := c.Read(make([]byte, 4096)); err != nil {
			return
		}
		_, err := io.WriteString(c, "HTTP/1.1 200 OK\r\n\r\n")
		for piece := make([]byte, 64<<10); err == nil; {
			_, err = c.Write(piece)
		}
	})
	path := filepath.Join(t.TempDir(), "access.log")
	b := startWorker(t, []string{flood.Address()}, func(s *proxy.Spec) {
		s.AccessLog.File, s.Timeouts.Send = path, 100*time.Millisecond
		s.HTTP.Gzip = false
	})
	b.visit().Say(proxytest.GetRequest)
	b.dial("").Say("x\n")
	b.wantReason(path, board.ReasonUntaken, 2)
}

// The closing handshake of a WebSocket is no cut, whoever begins it.
func TestSocketsThatEnd(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	path := filepath.Join(t.TempDir(), "access.log")
	b := startWorker(t, []string{proxytest.StartSite(t, func(w http.ResponseWriter, r *http.Request) {
		c, err := websocket.Accept(w, r, nil)
		if err != nil {
			return
		}
		if _, text, err := c.Read(r.Context()); err == nil && string(text) == "end" {
			_ = c.Close(websocket.StatusNormalClosure, "")
		}
	})}, func(s *proxy.Spec) { s.AccessLog.File = path })
	ours, theirs := b.socket(ctx), b.socket(ctx)
	if err := ours.Close(websocket.StatusNormalClosure, ""); err != nil {
		t.Error(err)
	}
	if err := theirs.Write(ctx, websocket.MessageText, []byte("end")); err != nil {
		t.Error(err)
	}
	wantClose(t, theirs, websocket.StatusNormalClosure)
	for _, l := range readAccess(b, path, 2) {
		if l.Reason != "" {
			t.Errorf("line %+v", l)
		}
	}
	for r := range board.Reasons {
		if n := b.cuts(r); n != 0 {
			t.Errorf("%d are counted with %v", n, r)
		}
	}
}

// The table of reasons in the documents is what statistics count by, and as what.
func TestReasonsAreDocumented(t *testing.T) {
	text, err := os.ReadFile("../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	counted := map[string]string{}
	new(proxy.RefusedStats).Each(func(reason string, _ uint64) { counted[reason] += "R" })
	new(proxy.CutStats).Each(func(reason string, _ uint64) { counted[reason] += "C" })
	written := map[string]string{}
	for _, row := range regexp.MustCompile("(?m)^\\| `(\\w+)` \\| (R|C|R C) \\|").FindAllStringSubmatch(string(text), -1) {
		written[row[1]] = strings.ReplaceAll(row[2], " ", "")
	}
	if !maps.Equal(counted, written) {
		t.Errorf("counted are %v\nwritten are %v", counted, written)
	}
	if len(counted) != int(board.Reasons) {
		t.Errorf("%d of %d reasons are counted", len(counted), board.Reasons)
	}
}
