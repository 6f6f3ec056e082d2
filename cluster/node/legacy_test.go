package node

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// events is a stream that has been opened and is read only when asked to.
type events struct {
	net.Conn
	in       *bufio.Reader
	endpoint string // URL
}

func openEvents(t *testing.T, s *site) *events {
	t.Helper()
	c, err := net.Dial("tcp", strings.TrimPrefix(s.sse, "http://"))
	must(t, err)
	t.Cleanup(func() { _ = c.Close() })
	must(t, c.(*net.TCPConn).SetReadBuffer(64<<10))
	must(t, c.SetDeadline(time.Now().Add(time.Minute)))
	_, err = io.WriteString(c, "GET /mcp/sse HTTP/1.1\r\nHost: h\r\nAccept: text/event-stream\r\n\r\n")
	must(t, err)
	e := &events{Conn: c, in: bufio.NewReader(c)}
	e.endpoint = s.sse + e.data(t)
	return e
}

// data is that of the next event.
func (e *events) data(t *testing.T) string {
	t.Helper()
	for {
		line, err := e.in.ReadString('\n')
		must(t, err)
		if data, ok := strings.CutPrefix(line, "data: "); ok {
			return strings.TrimSpace(data)
		}
	}
}

func (e *events) post(t *testing.T, text string) (status int) {
	t.Helper()
	status, _ = ask(t, http.MethodPost, e.endpoint, text, "Content-Type", "application/json")
	return status
}

// postEchoes asks for answers that are long, and counts the messages that are accepted.
func (e *events) postEchoes(n int) (accepted *atomic.Int32, ended chan struct{}) {
	accepted, ended = new(atomic.Int32), make(chan struct{})
	go func() {
		defer close(ended)
		for i := range n {
			resp, err := http.Post(e.endpoint, "application/json", strings.NewReader(longEcho(i+1)))
			if err != nil {
				return
			}
			resp.Body.Close()
			if resp.StatusCode == http.StatusAccepted {
				accepted.Add(1)
			}
		}
	}()
	return accepted, ended
}

func longEcho(id int) string {
	return call(id, "echo", fmt.Sprintf(`{"message":%q}`, strings.Repeat("m", 200<<10)))
}

// A stream whose client does not take the answers takes no more messages, until it does.
func TestEventStreamIsHeldBack(t *testing.T) {
	s := startWeb(t)
	e := openEvents(t, s)
	if status := e.post(t, initialize); status != http.StatusAccepted {
		t.Fatal(status)
	}
	e.data(t)
	const calls = 100 // more than the kernel takes in
	accepted, ended := e.postEchoes(calls)
	waitFor(t, func() bool { return s.bodies.held() >= handling*maxUnansweredBytes })
	if n := accepted.Load(); n == calls {
		t.Errorf("all %d are accepted", n)
	}
	for range calls {
		if n, most := s.bodies.held(), handling*(maxUnansweredBytes+2*int(s.spec.MaxMessage)); n > most {
			t.Errorf("%d bytes are held, at most %d may be", n, most)
		}
		if answer := e.data(t); !strings.Contains(answer, `"result"`) {
			t.Fatalf("%.200s", answer)
		}
	}
	<-ended
	if n := accepted.Load(); n != calls {
		t.Errorf("%d of %d are accepted", n, calls)
	}
	waitFor(t, func() bool { return s.bodies.held() == 0 })
}

// A stream whose client does not take the answers gives way when others need the memory.
func TestUnreadEventStreamGivesWay(t *testing.T) {
	s := startWeb(t)
	s.bodies.hoard.most = 3 << 20 // less than what may be unanswered takes
	e := openEvents(t, s)
	e.post(t, initialize)
	e.data(t)
	_, ended := e.postEchoes(100)
	id := s.begin(t, "192.0.2.1")
	waitFor(t, func() bool {
		resp := s.post(t, "192.0.2.1", id, longEcho(1))
		resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			t.Fatal(resp.Status)
		}
		return s.streams.Load() == 0
	})
	<-ended
	waitFor(t, func() bool { return s.bodies.held() == 0 })
}

func TestLegacyRefusals(t *testing.T) {
	s := startWeb(t)
	e := openEvents(t, s)
	for _, test := range []struct {
		method, url, body string
		contentType       string
		want              int
	}{
		{http.MethodPost, e.endpoint, initialize, "text/plain", http.StatusUnsupportedMediaType},
		{http.MethodPost, e.endpoint, "[]", "application/json", http.StatusBadRequest},
		{http.MethodPost, e.endpoint, "", "application/json", http.StatusBadRequest},
		{http.MethodPost, s.sse + "/mcp/sse", initialize, "application/json", http.StatusBadRequest},
		{http.MethodPost, s.sse + "/mcp/sse?sessionid=x", initialize, "application/json", http.StatusNotFound},
		{http.MethodHead, e.endpoint, "", "application/json", http.StatusMethodNotAllowed},
		{http.MethodDelete, e.endpoint, "", "application/json", http.StatusMethodNotAllowed},
		{http.MethodPost, e.endpoint, initialize, "application/json; charset=utf-8", http.StatusAccepted},
	} {
		if status, text := ask(t, test.method, test.url, test.body, "Content-Type", test.contentType); status != test.want {
			t.Errorf("%s %s %q: %d %s, want %d", test.method, test.url, test.body, status, text, test.want)
		}
	}
	if answer := e.data(t); !strings.Contains(answer, `"serverInfo"`) {
		t.Errorf("%.200s", answer)
	}
}
