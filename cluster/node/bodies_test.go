package node

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/erlmcp/erlmcp/internal/units"
)

// unfinished sends the head of a message and so many bytes of it.
func unfinished(t *testing.T, s *site, bytes int) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", strings.TrimPrefix(s.http, "http://"))
	must(t, err)
	t.Cleanup(func() { _ = c.Close() })
	must(t, c.SetDeadline(time.Now().Add(time.Minute)))
	_, err = fmt.Fprintf(c, "POST /mcp HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\nAccept: application/json, text/event-stream\r\nContent-Length: %d\r\n\r\n%s", 250*units.KiB, strings.Repeat(" ", bytes))
	must(t, err)
	return c
}

func (all *bodies) held() int {
	all.mu.Lock()
	defer all.mu.Unlock()
	return all.hoard.held
}

// Messages that do not come to their end give way to those that do, the largest first.
func TestUnfinishedMessagesGiveWay(t *testing.T) {
	s := startWeb(t)
	s.bodies.hoard.most = 1 << 20
	large := unfinished(t, s, 200<<10)
	small := unfinished(t, s, 1<<10)
	waitFor(t, func() bool { return s.bodies.held() >= 200<<10 })
	for range 4 {
		unfinished(t, s, 200<<10)
	}
	id := s.begin(t, "192.0.2.1")
	for range 3 {
		resp := s.post(t, "192.0.2.1", id, call(1, "echo", fmt.Sprintf(`{"message":%q}`, strings.Repeat("m", 200<<10))))
		text, err := io.ReadAll(resp.Body)
		must(t, err)
		resp.Body.Close()
		if resp.StatusCode != http.StatusOK || len(text) < 200<<10 {
			t.Fatalf("%s, %d bytes", resp.Status, len(text))
		}
		if n := s.bodies.held(); n > 1<<20 {
			t.Errorf("%d bytes are held", n)
		}
	}
	resp, err := http.ReadResponse(bufio.NewReader(large), nil)
	must(t, err)
	defer resp.Body.Close()
	text, _ := io.ReadAll(resp.Body)
	if resp.StatusCode != http.StatusServiceUnavailable || !resp.Close || !strings.Contains(string(text), errTooMuchHeld.Error()) {
		t.Errorf("%s: %s", resp.Status, text)
	}
	_, err = io.WriteString(small, strings.Repeat(" ", int(250*units.KiB)-1<<10))
	must(t, err)
	if resp, err = http.ReadResponse(bufio.NewReader(small), nil); err != nil || resp.StatusCode != http.StatusBadRequest {
		t.Errorf("the small one, finished: %v, %v", resp, err)
	}
	resp.Body.Close()
}

// What has been answered is given back, and what a client takes with it when it goes.
func TestMessagesAreGivenBack(t *testing.T) {
	s := startWeb(t)
	gone := unfinished(t, s, 100<<10)
	ws := dialSocket(t, s)
	must(t, ws.Write(t.Context(), websocket.MessageText, []byte(initialize)))
	_, _, err := ws.Read(t.Context())
	must(t, err)
	w, err := ws.Writer(t.Context(), websocket.MessageText)
	must(t, err)
	_, err = w.Write([]byte(`{"jsonrpc":"2.0","id":1,"method":"ping","params":{"x":"` + strings.Repeat("x", 100<<10)))
	must(t, err)
	waitFor(t, func() bool { return s.bodies.held() >= 200<<10 })
	_, err = w.Write([]byte(`"}}`))
	must(t, err)
	must(t, w.Close())
	_, _, err = ws.Read(t.Context())
	must(t, err)
	must(t, gone.Close())
	waitFor(t, func() bool { return s.bodies.held() == 0 })
	must(t, ws.CloseNow())
}

// A socket whose client does not take the answers is not read any more, until it does.
func TestSocketIsHeldBack(t *testing.T) {
	s := startWeb(t)
	ws := dialSocket(t, s)
	ws.SetReadLimit(1 << 20)
	must(t, ws.Write(t.Context(), websocket.MessageText, []byte(initialize)))
	_, _, err := ws.Read(t.Context())
	must(t, err)
	const calls = 3 * maxUnanswered
	asleep := make(chan error, 1)
	go func() {
		for i := range calls {
			if err := ws.Write(t.Context(), websocket.MessageText, []byte(sleep(i, 300))); err != nil {
				asleep <- err
				return
			}
		}
		asleep <- nil
	}()
	waitFor(t, func() bool { s.calls.mu.Lock(); defer s.calls.mu.Unlock(); return s.calls.n >= maxUnanswered/2 })
	for range calls {
		_, _, err := ws.Read(t.Context())
		must(t, err)
		s.calls.mu.Lock()
		if s.calls.n > maxUnanswered {
			t.Errorf("%d calls of a socket are under way", s.calls.n)
		}
		s.calls.mu.Unlock()
	}
	must(t, <-asleep)
	must(t, ws.CloseNow())
}

// What has come of a message counts while it is read, whatever is answered meanwhile.
func TestSocketMessageCountsWhileAnswersGo(t *testing.T) {
	all := newBodies(budget)
	transport := &socketTransport{backlog: newBacklog(all.message(t.Context()))}
	must(t, transport.body.hold(100))
	transport.asked(25)
	transport.begin()
	must(t, transport.body.hold(100+5000))
	transport.replied()
	if n := all.held(); n != 5100 {
		t.Errorf("%d bytes are held while a message is read", n)
	}
	transport.told()
	if n := all.held(); n != 0 {
		t.Errorf("%d bytes are held of what needs no answer", n)
	}
}
