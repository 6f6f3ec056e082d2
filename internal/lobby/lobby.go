// Package lobby bounds the connections of an HTTP server that the program serves beside its work: whoever comes is let
// in, and when there are too many, the connection goes that rests longest, of the address that has most.
package lobby

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"sync"
	"time"

	"github.com/erlmcp/erlmcp/internal/crowd"
	"github.com/erlmcp/erlmcp/internal/mono"
)

// Times of a visitor.
const (
	headerTimeout = 5 * time.Second
	idleTimeout   = time.Minute
)

// Lobby is a listener that bounds what it has accepted.
type Lobby struct {
	net.Listener
	most int

	mu    sync.Mutex
	crowd crowd.Crowd[netip.Addr, *visitor]
}

// New bounds the connections of a listener.
func New(l net.Listener, most int) *Lobby { return &Lobby{Listener: l, most: max(most, 1)} }

// Serve has a server serve the lobby until it is shut down.
func (l *Lobby) Serve(s *http.Server) {
	Prepare(s)
	_ = s.Serve(l) // ErrServerClosed
}

// Prepare has a server tell lobbies what its connections do, as Serve does. What it does not say of times is set.
func Prepare(s *http.Server) {
	s.ConnState = func(c net.Conn, state http.ConnState) {
		if v, ok := c.(*visitor); ok {
			v.enter(state)
		}
	}
	if s.ReadHeaderTimeout == 0 {
		s.ReadHeaderTimeout = headerTimeout
	}
	if s.IdleTimeout == 0 {
		s.IdleTimeout = idleTimeout
	}
}

// Accept takes the next one in.
func (l *Lobby) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	v := &visitor{Conn: c, lobby: l, used: mono.Now()}
	if a, ok := c.RemoteAddr().(*net.TCPAddr); ok {
		v.from = a.AddrPort().Addr().Unmap()
	}
	if gone := l.seat(v); gone != nil {
		_ = gone.Conn.Close()
	}
	return v, nil
}

// seat gives v a place, and returns who has lost one for that. One address has no more than half of them, unless it is
// this machine's own.
func (l *Lobby) seat(v *visitor) (gone *visitor) {
	l.mu.Lock()
	defer l.mu.Unlock()
	key, yields := v.from, v.from.IsValid() && !v.from.IsLoopback() && l.crowd.Held(v.from) >= max(l.most/2, 1)
	if !yields && l.crowd.Seats() >= l.most {
		key, _, yields = l.crowd.Busiest(nil)
	}
	if yields {
		if gone, yields = l.crowd.Idlest(key, v.used); yields {
			l.crowd.Leave(gone.from, &gone.seat)
		}
	}
	l.crowd.Sit(v.from, &v.seat, v, v.used)
	return gone
}

// visitor is one connection.
type visitor struct {
	net.Conn
	lobby *Lobby
	from  netip.Addr // zero: of a local socket

	// Under lobby.mu.
	seat   crowd.Seat[netip.Addr, *visitor]
	used   int64 // when it came, or was last answered
	active bool  // a request is being read or answered
}

// Idle is since when the visitor was told nothing. Called under lobby.mu.
func (v *visitor) Idle() (since int64, loss int) {
	if v.active {
		return v.used, 1
	}
	return v.used, 0
}

func (v *visitor) enter(state http.ConnState) {
	v.lobby.mu.Lock()
	defer v.lobby.mu.Unlock()
	v.active = state == http.StateActive
}

// Write counts as use: to ask slowly does not.
func (v *visitor) Write(p []byte) (int, error) {
	n, err := v.Conn.Write(p)
	v.lobby.mu.Lock()
	defer v.lobby.mu.Unlock()
	v.used = mono.Now()
	v.lobby.crowd.Use(v.from, &v.seat, v.used)
	return n, err
}

// File is that of the connection, as a *net.UnixConn has it.
func (v *visitor) File() (*os.File, error) {
	c, ok := v.Conn.(interface{ File() (*os.File, error) })
	if !ok {
		return nil, fmt.Errorf("a connection of the type %T has no file", v.Conn)
	}
	return c.File()
}

// Close gives the place back.
func (v *visitor) Close() error {
	v.lobby.mu.Lock()
	v.lobby.crowd.Leave(v.from, &v.seat)
	v.lobby.mu.Unlock()
	return v.Conn.Close()
}
