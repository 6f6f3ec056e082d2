package reactor

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// greets is a handshake for tests: each side says a byte, and what comes with the peer's is the layer's.
func greets(c *Conn, fd int) (Layer, error) {
	file := os.NewFile(uintptr(fd), "peer")
	defer file.Close()
	if _, err := file.Write([]byte("?")); err != nil {
		return nil, err
	}
	var room [100]byte
	n, err := file.Read(room[:])
	if err != nil {
		return nil, err
	}
	if room[0] != '!' {
		return nil, fmt.Errorf("greeted with %q", room[0])
	}
	return &mirror{conn: c, kept: room[1:n:n]}, nil
}

// peers accepts connections until the test ends.
func peers(t testing.TB) (netip.AddrPort, <-chan *net.TCPConn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	accepted := make(chan *net.TCPConn, 100)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			accepted <- c.(*net.TCPConn)
		}
	}()
	t.Cleanup(func() {
		ln.Close()
		<-done
		close(accepted)
		for c := range accepted {
			c.Close()
		}
	})
	return netip.MustParseAddrPort(ln.Addr().String()), accepted
}

func dialLayered(t testing.TB, l *Loop, r *recorder, to netip.AddrPort, s *Handshakes) {
	t.Helper()
	on(l, func() {
		if err := l.DialLayered(&r.Conn, to, netip.Addr{}, r, s); err != nil {
			t.Error(err)
		}
		r.Send([]byte("too early"))
	})
}

// What comes with the last word of the handshake is not lost, nor is an end that comes before anybody looks.
func TestDialLayered(t *testing.T) {
	l := startLoop(t)
	to, accepted := peers(t)
	heard := make(chan string, 8)
	r := newRecorder(func(_ *Conn, p []byte) int { heard <- string(p); return len(p) })
	r.onEOF = func(c *Conn) { c.Send([]byte("bye")); c.CloseWrite() }
	dialLayered(t, l, r, to, &Handshakes{Shake: greets, Max: 1})
	peer := receive(t, "the connection", accepted)
	defer peer.Close()
	var question [10]byte
	if n, err := peer.Read(question[:]); err != nil || string(question[:n]) != "?" {
		t.Fatalf("asked %q, %v", question[:n], err)
	}
	_, _ = peer.Write(append([]byte("!"), sealed([]byte("hello"))...))
	_ = peer.CloseWrite()
	receive(t, "the opening", r.opened)
	if got := receive(t, "input", heard); got != "hello" {
		t.Errorf("heard %q", got)
	}
	receive(t, "the end", r.eof)
	if got, err := unsealed(peer); err != nil || string(got) != "bye" {
		t.Errorf("got %q, %v", got, err)
	}
	if err := receive(t, "close", r.closed); err != nil {
		t.Errorf("closed with %v", err)
	}
}

// The error of a handshake, of the connect, or none for who closes meanwhile; each gives its place to one
// that waits.
func TestHandshakesThatFail(t *testing.T) {
	l := startLoop(t)
	to, accepted := peers(t)
	s := &Handshakes{Shake: greets, Max: 2}
	nothing := func(_ *Conn, p []byte) int { return len(p) }
	dial := func() *recorder {
		r := newRecorder(nothing)
		dialLayered(t, l, r, to, s)
		return r
	}
	first, second := dial(), dial()
	a, b := receive(t, "a connection", accepted), receive(t, "a connection", accepted)
	defer a.Close()
	defer b.Close()
	waitFor(t, "both to shake hands", func() (both bool) { on(l, func() { both = s.underWay == 2 }); return both })
	given, third := dial(), dial()
	waitFor(t, "two to wait", func() (both bool) { on(l, func() { both = len(s.waiting) == 2 }); return both })
	on(l, given.Close)
	if err := receive(t, "close", given.closed); err != nil {
		t.Errorf("one that waited: %v", err)
	}
	on(l, first.Close)
	if err := receive(t, "close", first.closed); err != nil {
		t.Errorf("one under way: %v", err)
	}
	waitFor(t, "the next to begin", func() (begun bool) { on(l, func() { begun = s.underWay == 2 && len(s.waiting) == 0 }); return begun })
	for _, p := range []*net.TCPConn{a, b} {
		_, _ = p.Write([]byte("x")) // one of them is of the closed one
	}
	if err := receive(t, "close", second.closed); err == nil || err.Error() != `greeted with 'x'` {
		t.Errorf("closed with %v", err)
	}
	receive(t, "the one that gave up", accepted).Close()
	receive(t, "the last", accepted).Close()
	if err := receive(t, "close", third.closed); !errors.Is(err, io.EOF) && !errors.Is(err, unix.ECONNRESET) {
		t.Errorf("closed with %v", err)
	}
	on(l, func() {
		if s.underWay != 0 || len(s.waiting) != 0 {
			t.Errorf("%d under way, %d wait", s.underWay, len(s.waiting))
		}
	})
	refused := newRecorder(nothing)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	at := netip.MustParseAddrPort(ln.Addr().String())
	ln.Close()
	dialLayered(t, l, refused, at, s)
	if err := receive(t, "close", refused.closed); !errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("closed with %v", err)
	}
}

// A loop that ends does not wait for handshakes, and leaves none behind: startLoop counts descriptors.
func TestLoopEndsWithinHandshake(t *testing.T) {
	to, accepted := peers(t)
	l := startLoop(t)
	ended := make(chan error, 1)
	r := newRecorder(nil)
	dialLayered(t, l, r, to, &Handshakes{Max: 1, Shake: func(c *Conn, fd int) (Layer, error) {
		between, err := greets(c, fd)
		ended <- err
		return between, err
	}})
	peer := receive(t, "the connection", accepted)
	defer peer.Close()
	if _, err := io.ReadFull(peer, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	l.Stop()
	if err := receive(t, "close", r.closed); err != nil {
		t.Errorf("closed with %v", err)
	}
	select {
	case err := <-ended:
		if !errors.Is(err, io.EOF) {
			t.Errorf("the handshake ended with %v", err)
		}
	case <-time.After(time.Minute):
		t.Error("the handshake goes on")
	}
}
