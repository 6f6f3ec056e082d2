package reactor

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"runtime"
	"testing"
	"time"

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
	r := newRecorder(func(_ *Conn, p []byte) int {
		used := 0
		for {
			i := bytes.IndexByte(p[used:], '\n')
			if i < 0 {
				return used
			}
			lines <- string(p[used : used+i])
			used += i + 1
		}
	})
	peer := attach(t, l, r)
	long := bytes.Repeat([]byte("x"), 300<<10)
	for _, part := range []string{"a", "b\nc", "\n\nd\n", string(long), "\n"} {
		if _, err := io.WriteString(peer, part); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Millisecond) // let the pieces arrive apart; the outcome does not depend on it
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

func TestDial(t *testing.T) {
	ln, err := net.Listen("tcp4", "0.0.0.0:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	port := uint16(ln.Addr().(*net.TCPAddr).Port)
	l := startLoop(t)
	r := newRecorder(echo)
	from := netip.MustParseAddr("127.0.0.1")
	if runtime.GOOS == "linux" {
		from = netip.MustParseAddr("127.9.8.7")
	}
	on(l, func() {
		to := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), port)
		if err := l.Dial(&r.Conn, to, from, r); err != nil {
			t.Error(err)
		}
		r.Send([]byte("early")) // kept until connected
	})
	peer, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer peer.Close()
	receive(t, "open", r.opened)
	if got := peer.RemoteAddr().(*net.TCPAddr).AddrPort().Addr(); got != from {
		t.Fatalf("came from %v, want %v", got, from)
	}
	var early [5]byte
	if _, err := io.ReadFull(peer, early[:]); err != nil || string(early[:]) != "early" {
		t.Fatalf("%q, %v", early, err)
	}
	local, err := r.LocalAddr()
	if err != nil || local.Addr() != from {
		t.Fatalf("local address %v, %v", local, err)
	}
	remote, err := r.RemoteAddr()
	if err != nil || remote.Port() != port {
		t.Fatalf("remote address %v, %v", remote, err)
	}
}

func TestDialRefused(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	to := netip.MustParseAddrPort(ln.Addr().String())
	ln.Close()
	l := startLoop(t)
	r := newRecorder(echo)
	var begun error
	on(l, func() { begun = l.Dial(&r.Conn, to, netip.Addr{}, r) })
	if begun == nil {
		begun = receive(t, "close", r.closed)
	}
	if !errors.Is(begun, unix.ECONNREFUSED) || len(r.opened) != 0 {
		t.Fatalf("dial ended with %v", begun)
	}
}

// A descriptor closed in a turn may come back, under the same number, in the
// same turn's accepts. Nothing of the old connection may reach the new one.
func TestDescriptorReuseUnderChurn(t *testing.T) {
	l := startLoop(t)
	fd, addr := listenFD(t)
	on(l, func() {
		if _, err := l.Listen(fd, &echoServer{l: l, t: t}); err != nil {
			t.Error(err)
		}
	})
	const clients, rounds = 16, 200
	errs := make(chan error, clients)
	for id := range clients {
		go func() {
			errs <- func() error {
				for round := range rounds {
					c, err := net.Dial("tcp", addr.String())
					if err != nil {
						return err
					}
					want := []byte{byte(id), byte(round), byte(round >> 8)}
					if _, err := c.Write(want); err != nil {
						return err
					}
					got := make([]byte, 3)
					if _, err := io.ReadFull(c, got); err != nil {
						return err
					}
					if !bytes.Equal(got, want) {
						return errors.New("another connection's bytes")
					}
					if round%2 == 0 {
						_ = c.(*net.TCPConn).SetLinger(0)
					}
					c.Close()
				}
				return nil
			}()
		}()
	}
	for range clients {
		if err := receive(t, "a client", errs); err != nil {
			t.Fatal(err)
		}
	}
}

type echoServer struct {
	l *Loop
	t testing.TB
}

func (s *echoServer) OnAccept(fd int, peer netip.AddrPort) {
	if !peer.Addr().IsLoopback() {
		s.t.Errorf("accepted from %v", peer)
	}
	c := &echoConn{}
	if err := s.l.Attach(&c.Conn, fd, c); err != nil {
		s.t.Error(err)
	}
}
func (s *echoServer) OnAcceptError(err error) { s.t.Error(err) }

type echoConn struct{ Conn }

func (e *echoConn) OnOpen(*Conn)                 {}
func (e *echoConn) OnData(c *Conn, p []byte) int { return echo(c, p) }
func (e *echoConn) OnEOF(c *Conn)                { c.CloseWrite() }
func (e *echoConn) OnDrained(*Conn)              {}
func (e *echoConn) OnClose(*Conn, error)         {}

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

func TestAcceptRestsWhenDescriptorsRunOut(t *testing.T) {
	l := startLoop(t)
	fd, addr := listenFD(t)
	errs := make(chan error, 64)
	accepted := make(chan int, 64)
	on(l, func() {
		if _, err := l.Listen(fd, acceptFuncs{func(fd int) { accepted <- fd }, func(err error) { errs <- err }}); err != nil {
			t.Error(err)
		}
	})
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	client, err := net.Dial("tcp", addr.String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	unix.Close(receive(t, "the first", accepted))

	waiting, err := connect(addr, netip.Addr{})
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(waiting)
	receivedFD := receive(t, "the second", accepted)
	unix.Close(receivedFD)

	// From here on no descriptor number is free.
	third, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(third)
	tight := limit
	tight.Cur = uint64(third + 1)
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &tight); err != nil {
		t.Fatal(err)
	}
	restore := func() { _ = unix.Setrlimit(unix.RLIMIT_NOFILE, &limit) }
	defer restore()
	var hogs []int
	for {
		dup, err := unix.Dup(third)
		if err != nil {
			break
		}
		hogs = append(hogs, dup)
	}
	if err := unix.Connect(third, sockaddr4(addr)); err != nil {
		t.Fatal(err)
	}
	if err := receive(t, "the error", errs); !errors.Is(err, unix.EMFILE) {
		t.Fatalf("accept failed with %v", err)
	}
	restore()
	for _, hog := range hogs {
		unix.Close(hog)
	}
	unix.Close(receive(t, "the third, after the rest", accepted))
}

func sockaddr4(a netip.AddrPort) unix.Sockaddr {
	return &unix.SockaddrInet4{Addr: a.Addr().As4(), Port: int(a.Port())}
}

type acceptFuncs struct {
	accept func(fd int)
	fail   func(err error)
}

func (a acceptFuncs) OnAccept(fd int, _ netip.AddrPort) { a.accept(fd) }
func (a acceptFuncs) OnAcceptError(err error)           { a.fail(err) }
