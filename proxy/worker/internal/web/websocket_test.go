package web

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/erlmcp/erlmcp/proxy"
	"github.com/erlmcp/erlmcp/proxy/internal/board"
	"github.com/erlmcp/erlmcp/proxy/internal/proxytest"
)

func TestSocketMessages(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	b := startWorker(t, []string{proxytest.StartSocketEcho(t)}, proxytest.WithoutLimits)
	c := b.Socket(ctx)
	before := b.Cell.Messages.Load() // the handshake
	for _, n := range []int{0, 10, 200, 70_000} {
		proxytest.PingWebSocket(ctx, t, c, strings.Repeat("x", n))
	}
	if n, m := b.Cell.Messages.Load()-before, b.Board.NodeTotals(0).Messages; n != 4 || m != 5 {
		t.Errorf("counted %d, and %d with the handshake", n, m)
	}
}

func TestSocketMessageRate(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	for _, action := range []proxy.Action{proxy.ActionDefault, proxy.ActionReject, proxy.ActionThrottle} {
		b := startWorker(t, []string{proxytest.StartSocketEcho(t)}, func(s *proxy.Spec) {
			s.Limits.MessagesPerSecond = 20
			s.Limits.Action = action
		})
		c := b.Socket(ctx)
		start := time.Now()
		const messages = 40
		go func() {
			for range messages {
				if c.Write(ctx, websocket.MessageText, []byte("{}")) != nil {
					return
				}
			}
		}()
		for i := range messages {
			if _, _, err := c.Read(ctx); err != nil {
				t.Fatalf("%q: message %d: %v", action, i, err)
			}
		}
		// A second's worth at once, less the handshake, and the rest at the rate.
		if took := time.Since(start); took < 800*time.Millisecond {
			t.Errorf("%q: took %v", action, took)
		}
		if b.Cell.Throttles.Load() == 0 || b.Cell.Rejects.Load() != 0 {
			t.Errorf("%q: %d throttles, %d rejects", action, b.Cell.Throttles.Load(), b.Cell.Rejects.Load())
		}
	}
}

func TestSocketMessageTooLong(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	b := startWorker(t, []string{proxytest.StartSocketEcho(t)}, func(s *proxy.Spec) { proxytest.WithoutLimits(s); s.MaxMessage = 2000 })
	c := b.Socket(ctx)
	if err := c.Write(ctx, websocket.MessageText, make([]byte, 2000)); err != nil {
		t.Fatal(err)
	}
	if _, got, err := c.Read(ctx); err != nil || len(got) != 2000 {
		t.Fatal(len(got), err)
	}
	_ = c.Write(ctx, websocket.MessageText, make([]byte, 2001))
	if _, _, err := c.Read(ctx); websocket.CloseStatus(err) != websocket.StatusMessageTooBig {
		t.Errorf("after a message over the limit: %v", err)
	}
	if n := b.Cuts(board.ReasonTooLarge); n != 1 {
		t.Errorf("counted %d", n)
	}
	b.Eventually("the tunnel to be gone", func() bool { return b.Board.NodeActive(0) == 0 })
}

// What is not WebSocket passes as it is.
func TestTunnelPassesAnything(t *testing.T) {
	ours := []byte{0x83, 0xff, 0x80, 'x', 'y', '\n'}
	b := startWorker(t, []string{proxytest.StartSite(t, func(w http.ResponseWriter, _ *http.Request) {
		conn, buf, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer conn.Close()
		_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
		line, err := buf.ReadBytes('\n')
		if err == nil {
			_, _ = conn.Write(line)
		}
	})}, nil)
	c := b.Visit()
	c.Say("GET /mcp/ws HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
	if _, err := proxytest.ReadHead(c.Reader); err != nil {
		t.Fatal(err)
	}
	for _, piece := range [][]byte{ours[:2], ours[2:]} {
		if _, err := c.Write(piece); err != nil {
			t.Fatal(err)
		}
	}
	got := make([]byte, len(ours))
	if _, err := io.ReadFull(c.Reader, got); err != nil || string(got) != string(ours) {
		t.Errorf("%q, %v", got, err)
	}
}
