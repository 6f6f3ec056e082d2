package reactor

import (
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/erlmcp/erlmcp/internal/waittest"
)

// startLoop runs a loop for the length of a test, and fails the test when the
// loop leaves descriptors behind.
func startLoop(t testing.TB) *Loop {
	t.Helper()
	before := openFDs(t)
	l, err := NewLoop(Options{})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- l.Run() }()
	t.Cleanup(func() {
		l.Stop()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
		waitFor(t, "descriptors to be given back", func() bool { return openFDs(t) <= before })
	})
	return l
}

// openFDs counts this process's descriptors where the system tells.
func openFDs(t testing.TB) int {
	dir := "/proc/self/fd"
	if _, err := os.Stat(dir); err != nil {
		return 0
	}
	names, err := filepath.Glob(dir + "/*")
	if err != nil {
		t.Fatal(err)
	}
	return len(names)
}

func waitFor(t testing.TB, what string, ok func() bool) {
	t.Helper()
	waittest.Until(t, time.Minute, what, ok)
}

// on runs fn on the loop and waits for it.
func on(l *Loop, fn func()) {
	done := make(chan struct{})
	l.Post(func() { fn(); close(done) })
	<-done
}

// tcpPair returns a connected pair: a raw non-blocking descriptor for the loop
// and the test's own end.
func tcpPair(t testing.TB) (int, *net.TCPConn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	fd, err := connect(netip.MustParseAddrPort(ln.Addr().String()), netip.Addr{})
	if err != nil {
		t.Fatal(err)
	}
	peer, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { peer.Close() })
	return fd, peer.(*net.TCPConn)
}

// listenFD returns a listening descriptor and its address.
func listenFD(t testing.TB) (int, netip.AddrPort) {
	t.Helper()
	var lc net.ListenConfig
	lc.SetMultipathTCP(false) // as the listeners of a balancer are
	ln, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	f, err := ln.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	return fd, netip.MustParseAddrPort(ln.Addr().String())
}

// recorder is a Handler whose calls a test can wait for.
type recorder struct {
	Conn
	data      func(c *Conn, p []byte) int
	onEOF     func(c *Conn)
	onDrained func(c *Conn)
	opened    chan struct{}
	eof       chan struct{}
	closed    chan error
}

func newRecorder(data func(c *Conn, p []byte) int) *recorder {
	return &recorder{
		data:   data,
		opened: make(chan struct{}, 8),
		eof:    make(chan struct{}, 8),
		closed: make(chan error, 8),
	}
}

func (r *recorder) OnOpen(*Conn)                 { r.opened <- struct{}{} }
func (r *recorder) OnData(c *Conn, p []byte) int { return r.data(c, p) }
func (r *recorder) OnClose(_ *Conn, err error)   { r.closed <- err }
func (r *recorder) OnDrained(c *Conn) {
	if r.onDrained != nil {
		r.onDrained(c)
	}
}
func (r *recorder) OnEOF(c *Conn) {
	r.eof <- struct{}{}
	if r.onEOF != nil {
		r.onEOF(c)
	}
}

func echo(c *Conn, p []byte) int {
	c.Send(p)
	return len(p)
}

func receive[T any](t testing.TB, what string, ch <-chan T) T {
	t.Helper()
	select {
	case v := <-ch:
		return v
	case <-time.After(time.Minute):
		t.Fatalf("waited in vain for %s", what)
		panic("unreachable")
	}
}
