package web

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/erlmcp/erlmcp/proxy"
	"github.com/erlmcp/erlmcp/proxy/internal/proxytest"
	"github.com/erlmcp/erlmcp/proxy/internal/sse"
)

func TestEventStreamsAreKeptAlive(t *testing.T) {
	for _, version := range []string{"HTTP/1.1", "HTTP/1.0"} {
		t.Run(version, func(t *testing.T) { keptAlive(t, version) })
	}
}

func keptAlive(t *testing.T, version string) {
	pieces := make(chan string, 8)
	node := proxytest.StartNode(t, "", func(c *net.TCPConn) {
		buf := make([]byte, 4096)
		if _, err := c.Read(buf); err != nil {
			return
		}
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream;charset=utf-8\r\nTransfer-Encoding: chunked\r\n\r\n")
		for p := range pieces {
			if _, err := fmt.Fprintf(c, "%x\r\n%s\r\n", len(p), p); err != nil {
				return
			}
		}
	})
	defer close(pieces)
	b := startWorker(t, []string{node.Address()}, func(s *proxy.Spec) {
		s.HTTP.SSEKeepalive = 20 * time.Millisecond
		s.Timeouts.Idle = 10 * time.Second
	})
	c := b.Visit()
	c.Say("GET /mcp " + version + "\r\nHost: h\r\n\r\n")
	resp, err := http.ReadResponse(c.Reader, nil)
	if err != nil {
		t.Fatal(err)
	}
	read := func(want string) {
		t.Helper()
		got := make([]byte, len(want))
		if _, err := io.ReadFull(resp.Body, got); err != nil || string(got) != want {
			t.Fatalf("%q, %v, want %q", got, err, want)
		}
	}
	read(sse.Keepalive + sse.Keepalive) // in front of the first event
	pieces <- "data: {1}\n"
	for first := make([]byte, 1); ; read(sse.Keepalive[1:]) { // comments that were under way
		if _, err := io.ReadFull(resp.Body, first); err != nil {
			t.Fatal(err)
		}
		if first[0] == 'd' {
			break
		}
	}
	read("ata: {1}\n")
	b.Pass(60 * time.Millisecond) // long enough for a comment that must not come
	pieces <- "\n"
	read("\n" + sse.Keepalive)
}

// An event stream is not idle while it is kept alive, and any other response still is, as is one that
// halts in the middle of an event.
func TestKeptAliveStreamsAreNotIdle(t *testing.T) {
	for _, test := range []struct {
		name, kind, said string
		alive            bool
	}{
		{"events", "text/event-stream", "data: {}\n\n", true},
		{"half an event", "text/event-stream", "data: {}\n", false},
		{"text", "text/plain", "data: {}\n\n", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			b := startWorker(t, []string{proxytest.StartSite(t, func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Type", test.kind)
				_, _ = io.WriteString(w, test.said)
				_ = http.NewResponseController(w).Flush()
				<-r.Context().Done()
			})}, func(s *proxy.Spec) {
				s.HTTP.SSEKeepalive = 25 * time.Millisecond
				s.Timeouts.Idle = 100 * time.Millisecond
			})
			c := b.Visit()
			c.Say(proxytest.GetRequest)
			resp, err := http.ReadResponse(c.Reader, nil)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			defer c.Close() // first: the body would be read to its end, and has none
			if test.alive {
				want := test.said + strings.Repeat(sse.Keepalive, 12) // three times as long as the timeout
				got := make([]byte, len(want))
				if _, err := io.ReadFull(resp.Body, got); err != nil || string(got) != want {
					t.Errorf("%q, %v", got, err)
				}
				return
			}
			if got, err := io.ReadAll(resp.Body); !errors.Is(err, io.ErrUnexpectedEOF) || string(got) != test.said {
				t.Errorf("%q, %v", got, err)
			}
		})
	}
}

// A client that takes nothing is not kept alive for ever.
func TestKeepaliveNeedsAClientThatReads(t *testing.T) {
	b := startWorker(t, []string{proxytest.StartSite(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		event := "data: " + strings.Repeat("x", 64<<10) + "\n\n"
		for {
			if _, err := io.WriteString(w, event); err != nil {
				return
			}
		}
	})}, func(s *proxy.Spec) {
		s.HTTP.SSEKeepalive = 10 * time.Millisecond
		s.Timeouts.Idle = 300 * time.Millisecond
	})
	c := b.Visit()
	c.Say(proxytest.GetRequest)
	if _, err := proxytest.ReadHead(c.Reader); err != nil {
		t.Fatal(err)
	}
	b.Eventually("the stream to be cut off", func() (cut bool) {
		b.On(func() { cut = b.http.clients == nil || b.http.clients.state == parting })
		return cut
	})
	c.Close()
}
