package reactor

import (
	"net/netip"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// Acceptor is told of new connections, on the loop.
type Acceptor interface {
	// OnAccept hands over a connected, non-blocking socket: Attach it or close
	// it. TCP_NODELAY and SO_KEEPALIVE are set. peer is the zero AddrPort for a local socket.
	OnAccept(fd int, peer netip.AddrPort)
	// OnAcceptError reports a failure to accept, most often that descriptors
	// or memory have run out. The listener then rests for acceptPause.
	OnAcceptError(err error)
}

const (
	// acceptsPerTurn keeps a storm of newcomers from starving the others.
	acceptsPerTurn = 64
	acceptPause    = 100 * time.Millisecond
)

// A Listener accepts connections on a loop.
type Listener struct {
	loop     *Loop
	acceptor Acceptor
	fd       int
	resting  Timer
	paused   bool
}

// Listen accepts from a listening socket. The loop owns fd from here on; it is
// closed when Listen fails.
func (l *Loop) Listen(fd int, a Acceptor) (*Listener, error) {
	// What is accepted inherits these; a local socket has none of them.
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	_ = keepAlive(fd)
	err := unix.SetNonblock(fd, true)
	if err == nil {
		err = l.poller.listen(fd)
	}
	if err != nil {
		closeFD(fd)
		return nil, err
	}
	ln := &Listener{loop: l, acceptor: a, fd: fd}
	l.listeners = append(l.listeners, ln)
	return ln, nil
}

// Patience sets for how long who is accepted from now on may leave bytes, or the question whether it is
// still there, without an acknowledgement: its connection fails then. 0 is what the kernel does by
// itself. It does nothing where the kernel cannot.
func (ln *Listener) Patience(d time.Duration) {
	if ln.fd >= 0 {
		setUserTimeout(ln.fd, d)
	}
}

// Pause leaves newcomers in the kernel's queue until Resume.
func (ln *Listener) Pause() {
	ln.loop.Cancel(&ln.resting)
	if !ln.paused && ln.fd >= 0 {
		ln.paused = true
		_ = ln.loop.poller.unlisten(ln.fd) // a spurious report is ignored by accept
	}
}

// Resume accepts again.
func (ln *Listener) Resume() {
	ln.loop.Cancel(&ln.resting)
	if !ln.paused || ln.fd < 0 {
		return
	}
	ln.paused = false
	if err := ln.loop.poller.listen(ln.fd); err != nil {
		ln.rest(err)
	}
}

// Close stops accepting and closes the socket. If no other process holds it,
// the kernel resets who is still in the queue.
func (ln *Listener) Close() {
	if ln.fd < 0 {
		return
	}
	ln.Pause()
	closeFD(ln.fd)
	ln.loop.listeners = slices.DeleteFunc(ln.loop.listeners, func(other *Listener) bool { return other == ln })
	ln.fd = -1
}

func (ln *Listener) accept() {
	for range acceptsPerTurn {
		if ln.paused || ln.fd < 0 {
			return
		}
		fd, peer, err := accept(ln.fd)
		switch err {
		case nil:
			ln.acceptor.OnAccept(fd, peer)
		case unix.EAGAIN:
			return
		case unix.EINTR, unix.ECONNABORTED, unix.EPROTO, unix.EPERM:
			// That newcomer is gone; the next may be well.
		default:
			ln.rest(err)
			return
		}
	}
}

// rest pauses for a moment after err.
func (ln *Listener) rest(err error) {
	ln.acceptor.OnAcceptError(err)
	if ln.fd < 0 {
		return
	}
	ln.Pause()
	ln.loop.Schedule(&ln.resting, acceptPause, ln)
}

// OnTimer ends a rest.
func (ln *Listener) OnTimer(*Timer) { ln.Resume() }
