package reactor

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/netip"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

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

func (e *echoConn) OnOpen(*Conn) {}

func (e *echoConn) OnData(c *Conn, p []byte) int { return echo(c, p) }

func (e *echoConn) OnEOF(c *Conn) { c.CloseWrite() }

func (e *echoConn) OnDrained(*Conn) {}

func (e *echoConn) OnClose(*Conn, error) {}
