package admin

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/erlmcp/erlmcp/internal/lobby"
	"github.com/erlmcp/erlmcp/internal/tempo"
	"github.com/erlmcp/erlmcp/proxy"
)

// pipes is a listener without a network, for tests in fake time.
type pipes struct {
	accepted chan net.Conn
	closed   chan struct{}
}

func newPipes() *pipes { return &pipes{make(chan net.Conn), make(chan struct{})} }

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.accepted:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error   { close(p.closed); return nil }
func (p *pipes) Addr() net.Addr { return &net.TCPAddr{} }

// request connects and asks for /.
func (p *pipes) request() net.Conn {
	near, far := net.Pipe()
	p.accepted <- far
	_, _ = io.WriteString(near, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n") // a failure shows when reading
	return near
}

// ticking is a balancer with something new every second, and another version each time that somebody looks.
type ticking struct {
	Balancer // has no more than what events ask for

	mu    sync.Mutex
	next  chan struct{}
	looks int
}

// tick lets seconds pass until ctx ends.
func (b *ticking) tick(ctx context.Context) {
	for range tempo.Every(ctx, time.Second) {
		b.mu.Lock()
		close(b.next)
		b.next = make(chan struct{})
		b.mu.Unlock()
	}
}

func (b *ticking) Next() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.next
}

func (b *ticking) View() View {
	b.looks++ // with the lock of events
	return View{Stats: proxy.Stats{Time: time.Now(), Version: fmt.Sprint(b.looks)}}
}

func (b *ticking) History() History                { return History{Times: []int64{time.Now().UnixMilli()}} }
func (b *ticking) FirstBans(int) []proxy.BanStatus { return []proxy.BanStatus{} }

// eventStream serves events in fake time, behind the limits of a real door.
type eventStream struct {
	*events
	pipes *pipes
	door  *door
}

func inFakeTime(t *testing.T, test func(t *testing.T, s *eventStream)) {
	synctest.Test(t, func(t *testing.T) {
		b := &ticking{next: make(chan struct{})}
		s := &eventStream{pipes: newPipes(), events: newEvents(b)}
		ctx, cancel := context.WithCancel(context.Background())
		go b.tick(ctx)
		s.door = &door{listener: lobby.New(s.pipes, maxVisitors)}
		s.door.serve(s)
		synctest.Wait()
		defer synctest.Wait()
		defer cancel()
		defer s.door.close()
		test(t, s)
	})
}

// event is one server-sent event.
type event struct {
	name string
	data []byte
	at   time.Time
}

// readEvents reads n events behind the head of a response, and closes the connection.
func readEvents(t *testing.T, conn net.Conn, n int) (list []event) {
	t.Helper()
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close() // which would read on
	defer conn.Close()
	if got := response.Header.Get("Content-Type"); response.StatusCode != http.StatusOK || got != "text/event-stream" {
		t.Fatalf("got %d, %s", response.StatusCode, got)
	}
	lines := bufio.NewReader(response.Body)
	for e := (event{}); len(list) < n; {
		line, err := lines.ReadString('\n')
		if err != nil {
			t.Fatalf("after %d events: %v", len(list), err)
		}
		switch field, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ": "); field {
		case "event":
			e.name = value
		case "data":
			e.data, e.at = []byte(value), time.Now()
		case "":
			list = append(list, e)
			e = event{}
		}
	}
	return list
}

func TestEvents(t *testing.T) {
	inFakeTime(t, func(t *testing.T, s *eventStream) {
		list := readEvents(t, s.pipes.request(), 22) // for longer than the door waits for a request
		var h History
		if err := json.Unmarshal(list[0].data, &h); err != nil || list[0].name != "history" || len(h.Times) != 1 {
			t.Errorf("first comes %s, %s, %v", list[0].name, list[0].data, err)
		}
		for i, e := range list[1:] {
			var snap snapshot
			if err := json.Unmarshal(e.data, &snap); err != nil || e.name != "stats" || snap.Version != fmt.Sprint(i+1) {
				t.Errorf("then comes %s, %s, %v", e.name, e.data, err)
			}
			if after := e.at.Sub(list[0].at); after != time.Duration(i)*time.Second {
				t.Errorf("event %d comes after %v", i, after)
			}
		}
	})
}

func TestEventsAreMadeOnce(t *testing.T) {
	inFakeTime(t, func(t *testing.T, s *eventStream) {
		got := make(chan []event, 2)
		for _, conn := range []net.Conn{s.pipes.request(), s.pipes.request()} {
			go func() { got <- readEvents(t, conn, 5) }()
		}
		first, second := <-got, <-got
		for i := range first {
			if string(first[i].data) != string(second[i].data) {
				t.Errorf("event %d differs: %s, %s", i, first[i].data, second[i].data)
			}
		}
	})
}

func TestTooManyWatchers(t *testing.T) {
	inFakeTime(t, func(t *testing.T, s *eventStream) {
		var first net.Conn
		for range maxWatchers {
			conn := s.pipes.request()
			go func() { _, _ = io.Copy(io.Discard, conn) }()
			defer conn.Close()
			if first == nil {
				first = conn
			}
		}
		synctest.Wait()
		refused := s.pipes.request()
		defer refused.Close()
		response, err := http.ReadResponse(bufio.NewReader(refused), nil)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		if response.StatusCode != http.StatusServiceUnavailable || response.Header.Get("Retry-After") == "" {
			t.Fatalf("got %d, %v", response.StatusCode, response.Header)
		}
		_, _ = io.Copy(io.Discard, response.Body)
		first.Close()
		synctest.Wait()
		readEvents(t, s.pipes.request(), 2)
	})
}

func TestSlowWatcherIsDropped(t *testing.T) {
	inFakeTime(t, func(t *testing.T, s *eventStream) {
		conn := s.pipes.request() // and nothing is read
		defer conn.Close()
		synctest.Wait()
		if len(s.seats) != 1 {
			t.Fatal("it is not served")
		}
		time.Sleep(watchPatience - time.Millisecond)
		synctest.Wait()
		if len(s.seats) != 1 {
			t.Error("it is dropped early")
		}
		time.Sleep(2 * time.Millisecond)
		synctest.Wait()
		if len(s.seats) != 0 {
			t.Error("it keeps its place")
		}
	})
}

func TestEventsEndWithTheDoor(t *testing.T) {
	inFakeTime(t, func(t *testing.T, s *eventStream) {
		conn := s.pipes.request()
		defer conn.Close()
		ended := make(chan error, 1)
		go func() {
			_, err := io.Copy(io.Discard, conn)
			ended <- err
		}()
		synctest.Wait()
		begin := time.Now()
		other := &door{listener: lobby.New(newPipes(), maxVisitors)} // inFakeTime closes this one in place of the other
		s.door, other = other, s.door
		other.close()
		if err := <-ended; err != nil && !errors.Is(err, io.ErrClosedPipe) || time.Since(begin) > time.Second/2 {
			t.Errorf("it ends with %v after %v", err, time.Since(begin))
		}
	})
}
