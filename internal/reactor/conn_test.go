package reactor

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"runtime"
	"slices"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"
)

func attach(t testing.TB, l *Loop, r *recorder) *net.TCPConn {
	t.Helper()
	fd, peer := tcpPair(t)
	on(l, func() {
		if err := l.Attach(&r.Conn, fd, r); err != nil {
			t.Error(err)
		}
	})
	return peer
}

func TestEchoOfAMegabyte(t *testing.T) {
	l := startLoop(t)
	r := newRecorder(nil)
	r.data = func(c *Conn, p []byte) int {
		c.Send(p)
		if c.Pending() > 0 {
			c.Pause()
		}
		return len(p)
	}
	r.onDrained = func(c *Conn) { c.Resume() }
	r.onEOF = func(c *Conn) { c.CloseWrite() }
	peer := attach(t, l, r)

	want := make([]byte, 1<<20)
	for i := range want {
		want[i] = byte(rand.Uint32())
	}
	go func() {
		_, _ = peer.Write(want)
		_ = peer.CloseWrite()
	}()
	got, err := io.ReadAll(peer)
	if err != nil || !bytes.Equal(got, want) {
		t.Fatalf("echoed %d bytes of %d, %v", len(got), len(want), err)
	}
	if err := receive(t, "close", r.closed); err != nil {
		t.Fatalf("closed with %v", err)
	}
}

func TestUnconsumedInputIsOfferedAgain(t *testing.T) {
	l := startLoop(t)
	lines := make(chan string, 64)
	var arrived atomic.Int64 // bytes
	taken := 0
	r := newRecorder(func(_ *Conn, p []byte) int {
		arrived.Store(int64(taken + len(p)))
		used := 0
		for {
			i := bytes.IndexByte(p[used:], '\n')
			if i < 0 {
				taken += used
				return used
			}
			lines <- string(p[used : used+i])
			used += i + 1
		}
	})
	peer := attach(t, l, r)
	long := bytes.Repeat([]byte("x"), 300<<10)
	sent := 0
	for _, part := range []string{"a", "b\nc", "\n\nd\n", string(long), "\n"} {
		if _, err := io.WriteString(peer, part); err != nil {
			t.Fatal(err)
		}
		sent += len(part)
		waitFor(t, "the piece to be offered", func() bool { return arrived.Load() == int64(sent) })
	}
	for _, want := range []string{"ab", "c", "", "d", string(long)} {
		if got := receive(t, "a line", lines); got != want {
			t.Fatalf("line of %d bytes, want %d", len(got), len(want))
		}
	}
	on(l, func() {
		if r.in != nil {
			t.Error("an idle connection holds an input buffer")
		}
	})
}

// A handler may look at what it was offered until it returns, even if it has closed the connection; and what is large takes
// no memory behind that.
func TestLargeInputIsThereUntilOnDataReturns(t *testing.T) {
	l := startLoop(t)
	want := make([]byte, 5<<20)
	for i := range want {
		want[i] = byte(rand.Uint32())
	}
	same := make(chan bool, 1)
	held := 0
	r := newRecorder(func(c *Conn, p []byte) int {
		if len(p) < len(want) {
			held = c.Held()
			return 0
		}
		c.Close()
		same <- bytes.Equal(p, want)
		return len(p)
	})
	peer := attach(t, l, r)
	if _, err := peer.Write(want); err != nil {
		t.Fatal(err)
	}
	if !receive(t, "the input", same) {
		t.Error("it is not what was sent")
	}
	if err := receive(t, "close", r.closed); err != nil {
		t.Errorf("closed with %v", err)
	}
	on(l, func() {
		if held < len(want)/2 || l.Held() != 0 || len(l.pool.spent) != 0 {
			t.Errorf("%d bytes were held, %d are, and %d buffers wait to be freed", held, l.Held(), len(l.pool.spent))
		}
	})
}

// A large buffer that is spent in part grows around what is left.
func TestLargeBufferGrows(t *testing.T) {
	var p pool
	random := rand.New(rand.NewPCG(1, 2))
	var b *buffer
	var want []byte
	for range 2000 {
		if n := random.IntN(200 << 10); b == nil || random.IntN(3) > 0 && len(want) < 8<<20 {
			more := bytes.Repeat([]byte{byte(n)}, n+1)
			b = p.reserve(b, len(more))
			b.data = append(b.data, more...)
			want = append(want, more...)
		} else {
			n = min(n*2, len(want))
			b.consume(n)
			want = want[n:]
		}
		if !bytes.Equal(b.bytes(), want) {
			t.Fatal("the bytes are others")
		}
		if p.lent != cap(b.data) {
			t.Fatalf("%d bytes are lent, with a buffer of %d", p.lent, cap(b.data))
		}
		if len(want) == 0 {
			p.put(b)
			b = nil
			p.settle()
		}
	}
	if b != nil {
		p.put(b)
		p.settle()
	}
	if p.lent != 0 {
		t.Errorf("%d bytes are lent", p.lent)
	}
}

func TestPauseHoldsInputAndResumeReoffersIt(t *testing.T) {
	l := startLoop(t)
	offers := make(chan string, 8)
	take := 0
	r := newRecorder(nil)
	r.data = func(c *Conn, p []byte) int {
		offers <- string(p)
		if take == 0 {
			c.Pause()
		}
		return take
	}
	peer := attach(t, l, r)
	if _, err := io.WriteString(peer, "held"); err != nil {
		t.Fatal(err)
	}
	if got := receive(t, "an offer", offers); got != "held" {
		t.Fatalf("offered %q", got)
	}
	if _, err := io.WriteString(peer, " and more"); err != nil {
		t.Fatal(err)
	}
	if err := peer.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	on(l, func() {}) // a turn: nothing may be offered while paused
	if len(offers) > 0 || len(r.eof) > 0 {
		t.Fatal("a paused connection was read")
	}
	on(l, func() { take = 4; r.Conn.Resume() })
	if got := receive(t, "the held input", offers); got != "held" {
		t.Fatalf("offered %q", got)
	}
	on(l, func() { take = 9 })
	if got := receive(t, "the rest", offers); got != " and more" {
		t.Fatalf("offered %q", got)
	}
	receive(t, "the end of the stream", r.eof)
}

// The end of the stream may be reported in the turn in which the handler resumes, and before its input
// was offered again.
func TestHeldInputComesBeforeTheEnd(t *testing.T) {
	l := startLoop(t)
	var got []string
	take := 0
	r := newRecorder(nil)
	r.data = func(c *Conn, p []byte) int {
		if take == 0 {
			c.Pause()
		} else {
			got = append(got, string(p))
		}
		return take
	}
	r.onEOF = func(*Conn) { got = append(got, "end") }
	peer := attach(t, l, r)
	if _, err := io.WriteString(peer, "held"); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the input to be held", func() (held bool) {
		on(l, func() { held = r.in != nil })
		return held
	})
	if err := peer.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the end to be there", func() (there bool) {
		on(l, func() { there = r.has(flagHangup) })
		return there
	})
	on(l, func() {
		take = 4
		r.Resume()
		r.onEvent(event{fd: r.FD(), readable: true, eof: true})
	})
	receive(t, "the end of the stream", r.eof)
	on(l, func() {
		if !slices.Equal(got, []string{"held", "end"}) {
			t.Errorf("told of %q", got)
		}
	})
}

func TestSendKeepsWhatThePeerDoesNotTake(t *testing.T) {
	l := startLoop(t)
	r := newRecorder(echo)
	peer := attach(t, l, r)
	payload := bytes.Repeat([]byte("0123456789abcdef"), 1<<20/16)
	const times = 16
	on(l, func() {
		for range times {
			r.Send(payload)
		}
		if r.Pending() == 0 {
			t.Error("16 MiB went into a socket nobody reads")
		}
		r.CloseWrite()
		r.Send([]byte("after the end"))
	})
	got, err := io.ReadAll(peer)
	if err != nil || len(got) != times*len(payload) || !bytes.HasSuffix(got, payload) {
		t.Fatalf("received %d bytes, %v", len(got), err)
	}
	on(l, func() {
		if r.Pending() != 0 || r.out != nil {
			t.Error("a drained connection holds an output buffer")
		}
	})
}

func TestHalfCloseLetsTheOtherDirectionFlow(t *testing.T) {
	l := startLoop(t)
	r := newRecorder(echo)
	peer := attach(t, l, r)
	if err := peer.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	receive(t, "the peer's end", r.eof)
	on(l, func() { r.Send([]byte("still here")); r.CloseWrite() })
	got, err := io.ReadAll(peer)
	if err != nil || string(got) != "still here" {
		t.Fatalf("%q, %v", got, err)
	}
}

func TestCloseIsToldOnceAndWithoutError(t *testing.T) {
	l := startLoop(t)
	r := newRecorder(echo)
	peer := attach(t, l, r)
	on(l, func() {
		r.Close()
		r.Close()
		r.CloseAfterFlush()
		r.Abort()
		r.Send([]byte("x"))
		r.CloseWrite()
	})
	if err := receive(t, "close", r.closed); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(peer); err != nil {
		t.Fatal(err)
	}
	on(l, func() {})
	if len(r.closed) != 0 {
		t.Fatal("told twice")
	}
}

func TestConnIsBusyUntilOnClose(t *testing.T) {
	l := startLoop(t)
	r := newRecorder(echo)
	attach(t, l, r)
	on(l, func() {
		for _, state := range []string{"open", "closed, but not told"} {
			fd, _ := tcpPair(t)
			if err := l.Attach(&r.Conn, fd, r); !errors.Is(err, ErrInUse) {
				t.Errorf("%s: attached again, %v", state, err)
			}
			r.Close()
		}
	})
	if err := receive(t, "close", r.closed); err != nil {
		t.Fatal(err)
	}
	peer := attach(t, l, r)
	if _, err := io.WriteString(peer, "again"); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(peer, make([]byte, 5)); err != nil {
		t.Fatal(err)
	}
}

func TestAbortResets(t *testing.T) {
	l := startLoop(t)
	r := newRecorder(echo)
	peer := attach(t, l, r)
	on(l, r.Abort)
	if _, err := io.ReadAll(peer); !errors.Is(err, unix.ECONNRESET) {
		t.Fatalf("peer saw %v, want a reset", err)
	}
}

func TestCloseAfterFlushDeliversEverything(t *testing.T) {
	l := startLoop(t)
	r := newRecorder(echo)
	peer := attach(t, l, r)
	payload := bytes.Repeat([]byte("y"), 8<<20)
	on(l, func() { r.Send(payload); r.CloseAfterFlush() })
	got, err := io.ReadAll(peer)
	if err != nil || len(got) != len(payload) {
		t.Fatalf("received %d bytes, %v", len(got), err)
	}
	if err := receive(t, "close", r.closed); err != nil {
		t.Fatal(err)
	}
}

func TestPeerReset(t *testing.T) {
	for name, paused := range map[string]bool{"reading": false, "paused": true} {
		t.Run(name, func(t *testing.T) {
			l := startLoop(t)
			r := newRecorder(echo)
			peer := attach(t, l, r)
			on(l, func() {
				if paused {
					r.Pause()
				}
			})
			if err := peer.SetLinger(0); err != nil {
				t.Fatal(err)
			}
			peer.Close()
			if err := receive(t, "close", r.closed); !errors.Is(err, unix.ECONNRESET) {
				t.Fatalf("closed with %v, want a reset", err)
			}
		})
	}
}

func TestLastWordsArriveAlthoughWritingFails(t *testing.T) {
	l := startLoop(t)
	said := make(chan string, 8)
	r := newRecorder(func(_ *Conn, p []byte) int { said <- string(p); return len(p) })
	peer := attach(t, l, r)
	on(l, func() {
		// The peer speaks, goes, and answers what comes next with a reset, all
		// before this loop looks.
		if _, err := io.WriteString(peer, "goodbye"); err != nil {
			t.Error(err)
		}
		peer.Close()
		for range 100 {
			r.Send([]byte("are you there?"))
			runtime.Gosched()
		}
	})
	if got := receive(t, "the last words", said); got != "goodbye" {
		t.Fatalf("heard %q", got)
	}
	// Whether the reset or the end of stream is seen first is the kernel's
	// affair; with a broken write side the connection ends either way.
	_ = receive(t, "close", r.closed)
}

func TestStopClosesEverything(t *testing.T) {
	l, err := NewLoop(Options{})
	if err != nil {
		t.Fatal(err)
	}
	before := openFDs(t)
	done := make(chan error, 1)
	go func() { done <- l.Run() }()
	var all []*recorder
	for range 10 {
		r := newRecorder(echo)
		attach(t, l, r)
		all = append(all, r)
	}
	l.Stop()
	l.Stop()
	if err := receive(t, "Run", done); err != nil {
		t.Fatal(err)
	}
	for _, r := range all {
		if err := receive(t, "close", r.closed); err != nil {
			t.Fatal(err)
		}
	}
	l.Post(func() { t.Error("ran after the loop") })
	if after := openFDs(t) - len(all); after > before { // the peers are closed by cleanup
		t.Fatalf("%d descriptors before, %d after", before, after)
	}
}

// Whoever waits for what Send keeps is told that it is gone, however it went.
func TestDrainedWhateverBecomesOfTheOutput(t *testing.T) {
	big := make([]byte, 16<<20)
	keep := func(t *testing.T) (*Loop, *recorder, *net.TCPConn, <-chan bool) {
		l := startLoop(t)
		r := newRecorder(func(c *Conn, _ []byte) int { c.Pause(); return 0 })
		drained := make(chan bool, 8)
		r.onDrained = func(c *Conn) { drained <- c.Pending() == 0 }
		peer := attach(t, l, r)
		on(l, func() { r.Send(big) })
		return l, r, peer, drained
	}
	t.Run("written before our end of stream", func(t *testing.T) {
		l, r, peer, drained := keep(t)
		on(l, r.CloseWrite)
		if n, err := io.Copy(io.Discard, peer); n != int64(len(big)) || err != nil {
			t.Fatalf("%d bytes arrived, %v", n, err)
		}
		if !receive(t, "OnDrained", drained) {
			t.Error("something is pending")
		}
	})
	t.Run("lost with the peer, which has left input", func(t *testing.T) {
		l, r, peer, drained := keep(t)
		on(l, func() {
			if _, err := io.WriteString(peer, "last words"); err != nil {
				t.Error(err)
			}
			if err := peer.SetLinger(0); err != nil {
				t.Error(err)
			}
			peer.Close()
			// The input and the reset are one event then.
		})
		if !receive(t, "OnDrained", drained) {
			t.Error("something is pending")
		}
		on(l, r.Close)
	})
}

// A handler that left input although it was not stopped gets it again when it asks.
func TestReoffer(t *testing.T) {
	l := startLoop(t)
	offers := make(chan string, 8)
	take := 0
	r := newRecorder(nil)
	r.data = func(_ *Conn, p []byte) int {
		offers <- string(p)
		return take
	}
	peer := attach(t, l, r)
	if _, err := io.WriteString(peer, "input"); err != nil {
		t.Fatal(err)
	}
	receive(t, "an offer", offers)
	for _, paused := range []bool{false, true} {
		on(l, func() {
			if paused {
				r.Conn.Pause()
			}
			r.Conn.Reoffer()
		})
		if got := receive(t, "the offer of what was left", offers); got != "input" {
			t.Errorf("offered %q", got)
		}
	}
	on(l, func() {
		if take = 5; r.Conn.Paused() {
			t.Error("it is still not read")
		}
		r.Conn.Reoffer()
	})
	receive(t, "the offer that is taken", offers)
	on(l, func() { r.Conn.Reoffer() })
	on(l, func() {}) // a turn: there is nothing in hand
	if len(offers) > 0 {
		t.Errorf("offered %q", <-offers)
	}
	on(l, r.Close)
}

// A handler may stop and go on within one call; what it left is still offered before the end is told.
func TestResumeWithinOnData(t *testing.T) {
	l := startLoop(t)
	ended, offers := false, 0
	late := make(chan bool, 8)
	r := newRecorder(nil)
	r.data = func(c *Conn, p []byte) int {
		if offers++; offers == 1 {
			c.Pause()
			c.Resume()
			return 0
		}
		late <- ended
		return len(p)
	}
	r.onEOF = func(*Conn) { ended = true }
	fd, peer := tcpPair(t)
	if _, err := io.WriteString(peer, "goodbye"); err != nil {
		t.Fatal(err)
	}
	peer.Close() // input and end are one event
	on(l, func() {
		if err := l.Attach(&r.Conn, fd, r); err != nil {
			t.Error(err)
		}
	})
	if receive(t, "what was left", late) {
		t.Error("offered after the end")
	}
	receive(t, "the end", r.eof)
	on(l, r.Close)
}

// A peer that has ended its stream and then resets is noticed although nothing is to be read or written.
func TestPeerResetBehindItsEnd(t *testing.T) {
	l := startLoop(t)
	r := newRecorder(func(_ *Conn, p []byte) int { return len(p) })
	peer := attach(t, l, r)
	if err := peer.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	receive(t, "the end", r.eof)
	_ = peer.SetLinger(0)
	peer.Close()
	if err := receive(t, "close", r.closed); err == nil {
		t.Error("closed without an error")
	}
}
