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
	"github.com/erlmcp/erlmcp/proxy/worker/internal/hubtest"
)

// underWay waits until the node has so many connections and requests.
func (b *bench) underWay(connections, requests uint64) {
	b.T.Helper()
	b.Eventually("all to be at the node", func() bool {
		t := b.Board.NodeTotals(0)
		return t.Total == connections && t.Requests == requests && t.Active == int64(connections)
	})
}

// wantReason asserts why the lines of an access log say their requests ended, and that each was counted.
func (b *bench) wantReason(path string, reason board.Reason, lines int) {
	b.T.Helper()
	for _, l := range b.ReadAccess(path, lines) {
		if l.Reason != reason.String() {
			b.T.Errorf("the reason is %q, want %v: %+v", l.Reason, reason, l)
		}
	}
	if n := b.Cuts(reason) + b.Refused(reason); n != uint64(lines) {
		b.T.Errorf("%d are counted with %v, want %d", n, reason, lines)
	}
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

// A client that has said nothing yet is not waited for longer than one between two requests.
func TestSilentNewcomerOverTCP(t *testing.T) {
	path := filepath.Join(t.TempDir(), "access.log")
	b := startWorker(t, []string{proxytest.StartNode(t, "a", nil).Address()}, func(s *proxy.Spec) {
		s.AccessLog.File, s.Timeouts.Keepalive = path, 20*time.Millisecond
	})
	b.Dial("").Ended()
	b.wantReason(path, board.ReasonIdle, 1)
}

func TestIdleEnds(t *testing.T) {
	idle := func(t *testing.T) (*bench, string) {
		path := filepath.Join(t.TempDir(), "access.log")
		return startWorker(t, []string{hubtest.StartTalker(t, nil)}, func(s *proxy.Spec) {
			s.AccessLog.File = path
			s.HTTP.SSEKeepalive, s.Timeouts.Idle = 0, 30*time.Millisecond
		}), path
	}
	for _, method := range []string{"GET", "POST"} {
		for _, version := range []string{"HTTP/1.1", "HTTP/1.0"} {
			t.Run(method+" "+version, func(t *testing.T) {
				b, path := idle(t)
				body, c := b.Stream(method, version, hubtest.WholeEvent)
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
		body, _ := b.Stream("GET", "HTTP/1.1", hubtest.HalfEvent)
		if _, err := io.ReadAll(body); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Error(err)
		}
		b.wantReason(path, board.ReasonIdle, 1)
	})
	t.Run("WebSocket", func(t *testing.T) {
		b, path := idle(t)
		wantClose(t, b.Socket(t.Context()), websocket.StatusGoingAway)
		b.wantReason(path, board.ReasonIdle, 1)
	})
}

// Streams that never end by themselves end as a drain begins, between two events; calls go on.
func TestDrainEndsStreamsAndAwaitsCalls(t *testing.T) {
	path := filepath.Join(t.TempDir(), "access.log")
	more := make(chan string)
	b := startWorker(t, []string{hubtest.StartTalker(t, more)}, func(s *proxy.Spec) { s.AccessLog.File = path })
	call, _ := b.Stream("POST", "HTTP/1.1", hubtest.WholeEvent)
	get, web := b.Stream("GET", "HTTP/1.1", hubtest.WholeEvent)
	old, _ := b.Stream("GET", "HTTP/1.0", hubtest.WholeEvent)
	b.On(func() { b.Drain(time.Hour) })
	for _, body := range []io.Reader{get, old} {
		if rest, err := io.ReadAll(body); err != nil || len(rest) > 0 {
			t.Errorf("%q, %v", rest, err)
		}
	}
	web.Ended()
	b.wantReason(path, board.ReasonDrain, 2)
	more <- hubtest.WholeEvent
	if rest, err := io.ReadAll(call); err != nil || string(rest) != hubtest.WholeEvent {
		t.Errorf("%q, %v", rest, err)
	}
	if err := <-b.Done; err != nil { // nothing is left to wait for
		t.Error(err)
	}
	b.Done <- nil
	if l := b.ReadAccess(path, 3)[2]; l.Method != http.MethodPost || l.Reason != "" {
		t.Errorf("the call's line is %+v", l)
	}
}

// What is left when the time to drain is over is cut, and told so as far as its protocol allows.
func TestDrainCutsWhatIsLeft(t *testing.T) {
	path := filepath.Join(t.TempDir(), "access.log")
	b := startWorker(t, []string{hubtest.StartTalker(t, nil)}, func(s *proxy.Spec) { s.AccessLog.File = path })
	whole, _ := b.Stream("POST", "HTTP/1.1", hubtest.WholeEvent)
	half, _ := b.Stream("POST", "HTTP/1.1", hubtest.HalfEvent)
	socket := b.Socket(t.Context())
	silent := b.Visit()
	silent.Say("POST /silent HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n{}")
	relay := b.Dial("")
	relay.Say("x")
	b.underWay(5, 4)
	b.On(func() { b.Drain(time.Millisecond) })
	if rest, err := io.ReadAll(whole); err != nil || len(rest) > 0 {
		t.Errorf("between events: %q, %v", rest, err)
	}
	if _, err := io.ReadAll(half); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("in an event: %v", err)
	}
	wantClose(t, socket, websocket.StatusGoingAway)
	silent.Denied(http.StatusBadGateway)
	relay.Ended()
	if err := <-b.Done; err != nil {
		t.Error(err)
	}
	b.Done <- nil
	b.wantReason(path, board.ReasonDrain, 5)
}

func TestCutsByANodeThatGoesDown(t *testing.T) {
	path := filepath.Join(t.TempDir(), "access.log")
	b := startWorker(t, []string{hubtest.StartTalker(t, nil)}, func(s *proxy.Spec) { s.AccessLog.File = path })
	whole, _ := b.Stream("GET", "HTTP/1.1", hubtest.WholeEvent)
	socket := b.Socket(t.Context())
	silent := b.Visit()
	silent.Say("POST /silent HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n{}")
	relay := b.Dial("")
	relay.Say("x")
	b.underWay(4, 3)
	b.On(func() { b.Board.SetNodeState(0, board.Down, time.Now()); b.SyncNodes() })
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
	half, socket, relay := b.Visit(), b.Visit(), b.Dial("")
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
			b := startWorker(t, []string{hubtest.StartTalker(t, nil)}, func(s *proxy.Spec) { s.AccessLog.File = path })
			_, get := b.Stream("GET", "HTTP/1.1", hubtest.WholeEvent)
			_, half := b.Stream("POST", "HTTP/1.1", hubtest.HalfEvent)
			body := b.Visit() // of which there is only a half
			body.Say("POST /silent HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n{")
			b.underWay(3, 3)
			leaving, lines := []*proxytest.Client{get, body}, 2
			if name == "reset" { // one that only ends its stream may still want the rest
				relay := b.Dial("")
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
	b.Visit().Say(proxytest.GetRequest)
	b.Dial("").Say("x\n")
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
	ours, theirs := b.Socket(ctx), b.Socket(ctx)
	if err := ours.Close(websocket.StatusNormalClosure, ""); err != nil {
		t.Error(err)
	}
	if err := theirs.Write(ctx, websocket.MessageText, []byte("end")); err != nil {
		t.Error(err)
	}
	wantClose(t, theirs, websocket.StatusNormalClosure)
	for _, l := range b.ReadAccess(path, 2) {
		if l.Reason != "" {
			t.Errorf("line %+v", l)
		}
	}
	for r := range board.Reasons {
		if n := b.Cuts(r); n != 0 {
			t.Errorf("%d are counted with %v", n, r)
		}
	}
}

// The table of reasons in the documents is what statistics count by, and as what.
func TestReasonsAreDocumented(t *testing.T) {
	text, err := os.ReadFile("../../docs/operations.md")
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
