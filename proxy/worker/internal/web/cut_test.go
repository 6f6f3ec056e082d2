package web

import (
	"context"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/erlmcp/erlmcp/proxy/internal/board"
	"github.com/erlmcp/erlmcp/proxy/internal/proxytest"
	"github.com/erlmcp/erlmcp/proxy/worker/internal/hubtest"
)

// What is under way has no timeout by default, however long nothing passes.
func TestNothingUnderWayIsIdle(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	more := make(chan string)
	asked := make(chan bool, 8)
	answers := proxytest.StartNode(t, "", func(c *net.TCPConn) {
		buf := make([]byte, 1000)
		_, _ = c.Read(buf)
		asked <- true
		<-more
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
	})
	// As short as they may be, but only once everything is under way.
	hurry := func(b *bench) {
		b.On(func() {
			t := &b.Spec.Timeouts
			t.Connect, t.Request, t.Keepalive, t.Send = time.Millisecond, time.Millisecond, time.Millisecond, time.Millisecond
			for _, o := range b.http.nodes {
				if o == nil {
					continue
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
		b.Pass(50 * time.Millisecond) // long enough for what must not happen
		b.On(func() {
			for c := b.http.clients; c != nil; c = c.next {
				if c.due != 0 && (c.x == nil || !c.x.events) {
					t.Errorf("a client in state %d is given up in %v", c.state, time.Duration(c.due-b.Loop.Now()))
				}
			}
		})
	}

	call := startWorker(t, []string{answers.Address()}, nil)
	c := call.Visit()
	c.Say("POST /mcp HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n{}")
	<-asked
	hurry(call)
	more <- ""
	if resp, body := c.Answer("POST"); resp.StatusCode != http.StatusOK || body != "{}" {
		t.Errorf("%s %s", resp.Status, body)
	}

	streams := startWorker(t, []string{hubtest.StartTalker(t, more)}, nil)
	socket := streams.Socket(ctx)
	get, _ := streams.Stream("GET", "HTTP/1.1", hubtest.WholeEvent)
	post, _ := streams.Stream("POST", "HTTP/1.1", hubtest.HalfEvent)
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

// A stream in the middle of an event is let finish that one.
func TestDrainAwaitsTheEndOfAnEvent(t *testing.T) {
	pieces := make(chan string)
	node := proxytest.StartNode(t, "", func(c *net.TCPConn) {
		if _, err := c.Read(make([]byte, 4096)); err != nil {
			return
		}
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"+hubtest.HalfEvent)
		for p := range pieces {
			_, _ = io.WriteString(c, p)
		}
		_, _ = io.Copy(io.Discard, c)
	})
	b := startWorker(t, []string{node.Address()}, nil)
	defer close(pieces)
	body, _ := b.Stream("GET", "HTTP/1.1", hubtest.HalfEvent)
	b.On(func() { b.Drain(time.Hour) })
	b.Eventually("its turn", func() (late bool) {
		b.On(func() { late = b.http.clients.due == 0 })
		return late
	})
	pieces <- "data: "
	pieces <- "more\n\n"
	if rest, err := io.ReadAll(body); err != nil || string(rest) != "data: more\n\n" {
		t.Errorf("%q, %v", rest, err)
	}
	if n := b.Cuts(board.ReasonDrain); n != 1 {
		t.Errorf("%d are counted", n)
	}
}
