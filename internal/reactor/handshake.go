package reactor

import (
	"net/netip"
	"os"

	"golang.org/x/sys/unix"
)

// Handshakes makes the layers of connections that are dialled to one server, a
// bounded number at a time. It belongs to one Loop.
type Handshakes struct {
	// Shake makes the layer of c over fd, a further descriptor of its socket
	// that is non-blocking and Shake's to close. It is called on a goroutine;
	// c is for the layer, not for Shake to use. When c is closed meanwhile,
	// both directions of the socket are shut down. It may be replaced.
	Shake func(c *Conn, fd int) (Layer, error)
	// Max is how many may be under way; the others wait.
	Max int

	underWay int
	waiting  []*layer
}

// DialLayered is Dial for a socket that is spoken to through a layer. OnOpen is
// called once there is one; until then nothing can be sent. OnClose gets the
// error of Shake.
func (l *Loop) DialLayered(c *Conn, to netip.AddrPort, from netip.Addr, h Handler, s *Handshakes) error {
	fd, err := connect(to, from)
	if err != nil {
		return err
	}
	if err := l.begin(c, fd, h, flagOpen|flagConnecting|flagLayered); err != nil {
		return err
	}
	l.layers[c.fd] = &layer{conn: c, handshakes: s}
	return nil
}

// shakeHands goes on after the connect. The socket is not watched until there
// is a layer: it is Shake's.
func (c *Conn) shakeHands() {
	l := c.layer()
	l.connected = true
	c.loop.poller.unwatch(int(c.fd))
	if s := l.handshakes; s.underWay < s.Max {
		s.begin(l)
	} else {
		s.waiting = append(s.waiting, l)
	}
}

func (s *Handshakes) begin(l *layer) {
	c, loop, shake := l.conn, l.conn.loop, s.Shake
	fd, err := unix.FcntlInt(uintptr(c.fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		c.fail(os.NewSyscallError("fcntl", err))
		return
	}
	s.underWay++
	l.shaking = true
	go func() {
		between, err := shake(c, fd)
		loop.Post(func() { s.done(l, between, err) })
	}()
}

// done takes the outcome of a handshake, and begins with those that wait.
func (s *Handshakes) done(l *layer, between Layer, err error) {
	s.underWay--
	l.shaking = false
	switch {
	case l.closed:
	case err != nil:
		l.conn.fail(err)
	default:
		l.conn.shaken(l, between)
	}
	for len(s.waiting) > 0 && s.underWay < s.Max {
		next := s.waiting[0]
		s.waiting[0] = nil
		s.waiting = s.waiting[1:]
		if !next.closed {
			s.begin(next)
		}
	}
}

// shaken opens the connection.
func (c *Conn) shaken(l *layer, between Layer) {
	if err := c.loop.poller.watch(int(c.fd)); err != nil {
		c.fail(err)
		return
	}
	l.Layer, l.handshakes = between, nil
	c.flags = c.flags&^flagConnecting | flagWritable | flagReadable | flagSurplus
	c.handler.OnOpen(c)
	c.flush()
	c.enqueue()
}

// leave notes that the connection is closed, and hastens the end of its
// handshake.
func (l *layer) leave() {
	l.closed = true
	if l.shaking {
		_ = unix.Shutdown(int(l.conn.fd), unix.SHUT_RDWR)
	}
}
