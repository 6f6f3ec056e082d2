package proxy

import (
	"context"
	"encoding/binary"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/erlmcp/erlmcp/internal/mcp"
	"github.com/erlmcp/erlmcp/proxy/internal/board"
)

// appendFrame appends a masked frame of n bytes.
func appendFrame(dst []byte, first byte, n int) []byte {
	dst = append(dst, first)
	switch {
	case n < 126:
		dst = append(dst, frameMasked|byte(n))
	case n < 1<<16:
		dst = binary.BigEndian.AppendUint16(append(dst, frameMasked|126), uint16(n))
	default:
		dst = binary.BigEndian.AppendUint64(append(dst, frameMasked|127), uint64(n))
	}
	dst = append(dst, 1, 2, 3, 4)
	return append(dst, make([]byte, n)...)
}

// countFrames counts the messages in pieces of a stream.
func countFrames(s *frameScanner, p []byte, limit uint64) (messages int, tooLong bool) {
	var room []byte
	for len(p) > 0 {
		n, more, tooLong := s.next(p, limit, &room)
		if tooLong {
			return messages, true
		}
		messages += more
		p = p[n:]
	}
	return messages, false
}

func TestFrames(t *testing.T) {
	join := func(frames ...[]byte) (all []byte) {
		for _, f := range frames {
			all = append(all, f...)
		}
		return all
	}
	frame := func(first byte, n int) []byte { return appendFrame(nil, first, n) }
	text := func(first byte, payload string) []byte {
		p := appendFrame(nil, first, len(payload))
		at := len(p) - len(payload)
		copy(p[at:], payload)
		unmask(p[at:], [4]byte{1, 2, 3, 4})
		return p
	}
	const batch = `[{"a":"],"},{},{"b":[1,2]}]`
	const limit = 100_000
	for _, test := range []struct {
		name     string
		stream   []byte
		messages int
		tooLong  bool
	}{
		{"text", frame(0x81, 5), 1, false},
		{"empty", frame(0x82, 0), 1, false},
		{"lengths", join(frame(0x81, 125), frame(0x81, 126), frame(0x81, 65535), frame(0x81, 65536)), 4, false},
		{"fragments", join(frame(0x01, 3), frame(0x00, 3), frame(0x80, 3), frame(0x81, 1)), 2, false},
		{"ping within", join(frame(0x01, 3), frame(0x89, 4), frame(0x80, 3)), 1, false},
		{"control", join(frame(0x89, 0), frame(0x8a, 125), frame(0x88, 2)), 0, false},
		{"compressed", frame(0xc1, 9), 1, false},
		{"unmasked", []byte{0x81, 2, 'h', 'i', 0x81, 0}, 2, false},
		{"unfinished", frame(0x81, 500)[:300], 0, false},
		{"as long as may be", frame(0x81, limit), 1, false},
		{"too long", frame(0x81, limit+1)[:20], 0, true},
		{"too long in all", join(frame(0x01, limit), frame(0x80, 1)), 0, true},
		{"two long ones", join(frame(0x81, limit), frame(0x81, limit)), 2, false},
		{"absurd", []byte{0x81, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0, 0x81, 0, 0x81, 0}, 0, false},
		{"fragmented control", join(frame(0x09, 1), frame(0x81, 1)), 0, false},
		{"long control", join(frame(0x89, 126), frame(0x81, 1)), (4 + 126 + 7) / mcp.UnreadBytes, false},
		{"batch", text(0x81, batch), 3, false},
		{"empty batch", text(0x81, "[]"), 1, false},
		{"batch of many", text(0x81, "["+strings.Repeat("{},", 999)+"{}]"), 1000, false},
		{"batch in fragments", join(text(0x01, batch[:9]), frame(0x89, 3), text(0x00, batch[9:10]), text(0x80, batch[10:])), 3, false},
		{"batch and more", join(text(0x82, "\ufeff"+batch), text(0x81, "{}"), text(0x81, batch)), 7, false},
		{"batch that is compressed", text(0xc1, "["+strings.Repeat("{},", 999)+"{}]"), 3001/mcp.UnreadBytes + 1, false},
		{"one in fragments", join(text(0x01, "{\"a\":"), text(0x80, "[1,2]}")), 1, false},
		{"reserved", join(frame(0x81, 1), frame(0x83, 1), frame(0x81, 1)), 1, false},
	} {
		for _, size := range []int{1, 2, 3, 7, 1 << 20} {
			var s frameScanner
			messages, tooLong := 0, false
			for p := test.stream; len(p) > 0 && !tooLong; {
				k := min(size, len(p))
				var m int
				m, tooLong = countFrames(&s, p[:k], limit)
				messages += m
				p = p[k:]
			}
			if messages != test.messages || tooLong != test.tooLong {
				t.Errorf("%s in pieces of %d: %d messages, too long: %v", test.name, size, messages, tooLong)
			}
		}
	}
}

// The counts do not depend on how the stream is cut, and every byte is accounted for.
func FuzzFrames(f *testing.F) {
	f.Add(appendFrame(appendFrame(nil, 0x01, 3), 0x80, 200), uint32(5), uint16(1000))
	f.Add(appendFrame(appendFrame(nil, 0x89, 4), 0x81, 70_000)[:500], uint32(77), uint16(65535))
	f.Add([]byte{0x81, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0, 0x81, 0}, uint32(3), uint16(9))
	f.Add([]byte("\x00d0\xa80d"), uint32(101), uint16(65498))
	f.Fuzz(func(t *testing.T, stream []byte, cuts uint32, limit uint16) {
		var whole, cut frameScanner
		want, wantLong := countFrames(&whole, stream, uint64(limit))
		got, gotLong, start := 0, false, 0
		for i := 1; i <= len(stream) && !gotLong; i++ {
			if i < len(stream) && cuts>>(i%32)&1 == 0 {
				continue
			}
			var m int
			m, gotLong = countFrames(&cut, stream[start:i], uint64(limit))
			got += m
			start = i
		}
		if got != want || gotLong != wantLong || !wantLong && whole != cut {
			t.Fatalf("%x: %d and %d messages, too long: %v and %v", stream, want, got, wantLong, gotLong)
		}
		var s frameScanner
		var room []byte
		for p := stream; len(p) > 0; {
			n, _, tooLong := s.next(p, uint64(limit), &room)
			if tooLong {
				return
			}
			if n <= 0 || n > len(p) {
				t.Fatalf("read %d of %d bytes", n, len(p))
			}
			p = p[n:]
		}
	})
}

// startSocketEcho is a node that sends every message back.
func startSocketEcho(t testing.TB) (address string) {
	return startSite(t, func(w http.ResponseWriter, r *http.Request) {
		c, err := websocket.Accept(w, r, nil)
		if err != nil {
			return
		}
		c.SetReadLimit(1 << 20)
		for {
			kind, data, err := c.Read(r.Context())
			if err != nil || c.Write(r.Context(), kind, data) != nil {
				return
			}
		}
	})
}

func (b *bench) socket(ctx context.Context) *websocket.Conn {
	b.t.Helper()
	c, _, err := websocket.Dial(ctx, "ws://"+b.web+"/mcp/ws", nil) //nolint:bodyclose // it is the socket's
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { _ = c.CloseNow() })
	c.SetReadLimit(1 << 20)
	return c
}

func TestSocketMessages(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	b := startWorker(t, []string{startSocketEcho(t)}, unlimited)
	c := b.socket(ctx)
	before := b.cell.Messages.Load() // the handshake
	for _, n := range []int{0, 10, 200, 70_000} {
		text := strings.Repeat("x", n)
		if err := c.Write(ctx, websocket.MessageText, []byte(text)); err != nil {
			t.Fatal(err)
		}
		if _, got, err := c.Read(ctx); err != nil || string(got) != text {
			t.Fatalf("%d bytes came back, %v", len(got), err)
		}
	}
	if n, m := b.cell.Messages.Load()-before, b.board.NodeTotals(0).Messages; n != 4 || m != 5 {
		t.Errorf("counted %d, and %d with the handshake", n, m)
	}
}

func TestSocketMessageRate(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	for _, action := range []Action{ActionDefault, ActionReject, ActionThrottle} {
		b := startWorker(t, []string{startSocketEcho(t)}, func(s *Spec) {
			s.Limits.MessagesPerSecond = 20
			s.Limits.Action = action
		})
		c := b.socket(ctx)
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
		if b.cell.Throttles.Load() == 0 || b.cell.Rejects.Load() != 0 {
			t.Errorf("%q: %d throttles, %d rejects", action, b.cell.Throttles.Load(), b.cell.Rejects.Load())
		}
	}
}

func TestSocketMessageTooLong(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	b := startWorker(t, []string{startSocketEcho(t)}, func(s *Spec) { unlimited(s); s.MaxMessage = 2000 })
	c := b.socket(ctx)
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
	if n := b.cuts(board.ReasonTooLarge); n != 1 {
		t.Errorf("counted %d", n)
	}
	b.eventually("the tunnel to be gone", func() bool { return b.board.NodeActive(0) == 0 })
}

// What is not WebSocket passes as it is.
func TestTunnelPassesAnything(t *testing.T) {
	ours := []byte{0x83, 0xff, 0x80, 'x', 'y', '\n'}
	b := startWorker(t, []string{startSite(t, func(w http.ResponseWriter, _ *http.Request) {
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
	c := b.visit()
	c.say("GET /mcp/ws HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
	if _, err := readHead(c.r); err != nil {
		t.Fatal(err)
	}
	for _, piece := range [][]byte{ours[:2], ours[2:]} {
		if _, err := c.Write(piece); err != nil {
			t.Fatal(err)
		}
	}
	got := make([]byte, len(ours))
	if _, err := io.ReadFull(c.r, got); err != nil || string(got) != string(ours) {
		t.Errorf("%q, %v", got, err)
	}
}

// Frames that are no message but have the node do something are due like one.
func TestFramesThatAreDue(t *testing.T) {
	join := func(frames ...[]byte) []byte { return slices.Concat(frames...) }
	frame := func(first byte, n int) []byte { return appendFrame(nil, first, n) }
	for name, test := range map[string]struct {
		stream []byte
		due    int
	}{
		"messages":        {join(frame(0x81, 0), frame(0x82, 100)), 0},
		"pings and pongs": {join(frame(0x89, 0), frame(0x8a, 10), frame(0x89, 125)), 3},
		"long fragments":  {join(frame(0x01, shortFragment), frame(0x00, shortFragment), frame(0x80, 1)), 0},
		"short fragments": {join(frame(0x01, 1), frame(0x00, 0), frame(0x00, shortFragment-1), frame(0x80, 0)), 3},
	} {
		var s frameScanner
		countFrames(&s, test.stream, 1000)
		if due := s.takeDues(1); due != test.due || s.takeDues(1) != 0 {
			t.Errorf("%s: %d are due, want %d", name, due, test.due)
		}
	}
}

// A large batch in one frame is not unmasked as a whole for each step in which its messages are counted.
func TestBatchesAreUnmaskedInPieces(t *testing.T) {
	const size = 64 << 10
	frame := append([]byte{frameFin | 1, frameMasked | 127, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0}, "["+strings.Repeat("1,", size/2-1)+"]"...)
	var s frameScanner
	var room []byte
	unmasked, messages := 0, 0
	for rest := frame; len(rest) > 0; {
		n, m, _ := s.next(rest, size, &room)
		rest, messages, unmasked = rest[n:], messages+m, unmasked+len(room)
	}
	if messages < size/2-1 || unmasked > 16*size {
		t.Errorf("for %d messages in %d bytes %d were unmasked", messages, size, unmasked)
	}
}
