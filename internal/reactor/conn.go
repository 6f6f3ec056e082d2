package reactor

import (
	"errors"
	"net/netip"

	"golang.org/x/sys/unix"
)

// Handler is told what happens to a connection, on its loop.
type Handler interface {
	// OnOpen is called when a Dial has succeeded. Attach does not call it.
	OnOpen(c *Conn)
	// OnData offers all input not yet consumed, contiguous, and returns how
	// much of it is consumed now. What is left is kept and offered again in
	// front of what comes next, or after Resume. p is valid during the call.
	OnData(c *Conn, p []byte) (consumed int)
	// OnEOF says that the peer has ended its stream; everything before was
	// offered. Writing may go on.
	OnEOF(c *Conn)
	// OnDrained says that Send keeps nothing any more: all output is written,
	// or none ever will be because the peer takes no more. It is not called
	// when that closes the connection.
	OnDrained(c *Conn)
	// OnClose is the last call for a connection and comes exactly once, never
	// from inside Close. err is nil when this side closed. The Conn may be
	// attached or dialled anew from here on.
	OnClose(c *Conn, err error)
}

// A Conn is a non-blocking stream socket run by a Loop. The zero Conn is ready
// for Loop.Attach or Loop.Dial; it must not be copied afterwards.
type Conn struct {
	loop    *Loop
	handler Handler
	in      *buffer // input not consumed
	out     *buffer // output not written
	fd      int32
	flags   flags
}

type flags uint16

const (
	flagOpen       flags = 1 << iota // between Attach or Dial and Close
	flagDying                        // closed, OnClose not yet called
	flagConnecting                   // the dial is under way
	flagReadable                     // a read may bring something
	flagWritable                     // a write may succeed
	flagHangup                       // an end of stream or error may be behind the data: a short read proves nothing
	flagPaused                       // the handler wants no input
	flagEOF                          // the end of the peer's stream was read
	flagEnding                       // CloseWrite: shut down once drained
	flagEnded                        // our stream is shut down, or broken
	flagClosing                      // CloseAfterFlush
	flagQueued                       // in the ready list
	flagReoffer                      // Resume: offer the input in hand again
	flagLayered                      // there is a Layer between socket and handler: in loop.layers
	flagSurplus                      // the layer may hold input that came before it was attached
	flagLayerEOF                     // the stream has ended within the layer, and that is to be told
)

// ErrInUse is returned for a Conn whose OnClose has not been called yet.
var ErrInUse = errors.New("reactor: connection is still in use")

// maxReadsPerTurn keeps a fast peer from starving the others.
const maxReadsPerTurn = 4

// Attach runs a connected, non-blocking socket. The loop owns fd from here on;
// it is closed when Attach fails.
func (l *Loop) Attach(c *Conn, fd int, h Handler) error {
	return l.begin(c, fd, h, flagOpen|flagWritable)
}

// Dial connects to an address. When from is valid it is the source address,
// its port being chosen by the kernel at the time of connecting. The outcome
// is told by OnOpen or OnClose; how long to wait is the caller's to decide.
// An error here means that nothing was begun.
func (l *Loop) Dial(c *Conn, to netip.AddrPort, from netip.Addr, h Handler) error {
	fd, err := connect(to, from)
	if err != nil {
		return err
	}
	return l.begin(c, fd, h, flagOpen|flagConnecting)
}

func (l *Loop) begin(c *Conn, fd int, h Handler, f flags) error {
	if c.has(flagOpen | flagDying) {
		closeFD(fd)
		return ErrInUse
	}
	if err := l.poller.watch(fd); err != nil {
		closeFD(fd)
		return err
	}
	*c = Conn{loop: l, handler: h, fd: int32(fd), flags: f}
	l.adopt(c)
	return nil
}

func (c *Conn) has(f flags) bool { return c.flags&f != 0 }

// Open reports whether the connection is attached or dialled and not closed.
func (c *Conn) Open() bool { return c.has(flagOpen) }

// FD returns the descriptor, for socket options and addresses only.
func (c *Conn) FD() int { return int(c.fd) }

// Pending returns how many bytes of output wait for the peer to take them.
func (c *Conn) Pending() int {
	if c.out == nil {
		return 0
	}
	return len(c.out.bytes())
}

// Held is how many bytes of buffers the connection uses.
func (c *Conn) Held() (bytes int) {
	for _, b := range [...]*buffer{c.in, c.out} {
		if b != nil {
			bytes += cap(b.data)
		}
	}
	return bytes
}

// Send writes p now, as far as the kernel takes it, and keeps a copy of the
// rest. After Close, CloseWrite or a failure it does nothing: OnClose tells.
func (c *Conn) Send(p []byte) {
	if c.has(flagLayered) {
		if len(p) > 0 && c.takes() {
			c.layer().Seal(p)
		}
		return
	}
	c.sendRaw(p)
}

// takes reports whether Send does anything.
func (c *Conn) takes() bool {
	return c.has(flagOpen) && !c.has(flagEnding|flagEnded|flagClosing) && c.flags&(flagConnecting|flagLayered) != flagConnecting|flagLayered
}

// sendRaw is Send without a layer.
func (c *Conn) sendRaw(p []byte) {
	if !c.takes() || len(p) == 0 {
		return
	}
	if c.out == nil && c.has(flagWritable) {
		n, err := c.write(p)
		if err != nil {
			c.broken()
			return
		}
		p = p[n:]
	}
	if len(p) > 0 {
		c.out = c.loop.pool.reserve(c.out, len(p))
		c.out.data = append(c.out.data, p...)
	}
}

// Broken reports whether the connection is closed, or a write has failed. If that
// is so after a Send before which nothing was Pending, nothing of it was taken.
func (c *Conn) Broken() bool {
	return !c.has(flagOpen) || c.has(flagEnded) && !c.has(flagEnding)
}

// Acked returns how much of what was sent on a dialled connection the peer's
// kernel is known to have. ok is false where that cannot be found out.
func (c *Conn) Acked() (bytes uint64, ok bool) {
	if !c.has(flagOpen) || c.has(flagConnecting) {
		return 0, false
	}
	return bytesAcked(int(c.fd))
}

// Drop drops the first n bytes of the input in hand, as if they had been consumed.
// It must not be called from within OnData of the same connection.
func (c *Conn) Drop(n int) {
	if c.in == nil {
		return
	}
	c.in.consume(min(n, len(c.in.bytes())))
	if len(c.in.bytes()) == 0 {
		c.release(&c.in)
	}
}

// Pause stops reading. OnData and OnEOF are not called until Resume.
func (c *Conn) Pause() { c.flags |= flagPaused }

// Paused reports whether reading is stopped.
func (c *Conn) Paused() bool { return c.has(flagPaused) }

// Resume goes on reading, soon: input in hand is offered again first.
func (c *Conn) Resume() {
	if c.has(flagPaused) {
		c.flags = c.flags&^flagPaused | flagReoffer
		c.enqueue()
	}
}

// Reoffer goes on reading as Resume does, and has the input in hand offered again
// whether reading was stopped or not: the handler is now ready for more of it.
func (c *Conn) Reoffer() {
	c.Pause()
	c.Resume()
}

// CloseWrite ends our stream once everything sent is written (TCP half-close).
func (c *Conn) CloseWrite() {
	if !c.has(flagOpen) || c.has(flagEnding|flagEnded) {
		return
	}
	c.lastWords()
	c.flags |= flagEnding
	if c.out == nil && !c.has(flagConnecting) {
		c.end()
	}
}

// CloseAfterFlush closes once everything sent is written. Input is no longer
// read; if some is waiting, the kernel may reset the connection and the peer
// may lose the last output. Where that matters, CloseWrite and await OnEOF.
func (c *Conn) CloseAfterFlush() {
	c.lastWords()
	c.flags |= flagClosing | flagPaused
	if c.out == nil {
		c.Close()
	}
}

// Close closes at once; output that is pending is dropped.
func (c *Conn) Close() { c.fail(nil) }

// Abort closes with a reset (RST) instead of an orderly end (FIN).
func (c *Conn) Abort() {
	if c.has(flagOpen) {
		setLingerZero(int(c.fd))
		c.fail(nil)
	}
}

// fail closes and leaves err for OnClose.
func (c *Conn) fail(err error) {
	if !c.has(flagOpen) {
		return
	}
	c.flags = c.flags&^flagOpen | flagDying
	if c.has(flagLayered) {
		c.layer().leave()
	}
	c.release(&c.in)
	c.release(&c.out)
	c.loop.dying = append(c.loop.dying, dying{c, err})
}

// broken notes that nothing more can be written. What the peer sent before it
// went away is still delivered; reading then finds the error.
func (c *Conn) broken() {
	c.release(&c.out)
	c.flags = c.flags&^flagWritable | flagEnded | flagReadable | flagHangup
	if c.has(flagPaused | flagEOF) {
		// Nobody is going to read: this is the end.
		c.fail(unix.EPIPE)
		return
	}
	c.enqueue()
}

func (c *Conn) end() {
	c.flags |= flagEnded
	err := shutdownWrite(int(c.fd))
	switch {
	case c.has(flagEOF):
		c.fail(nil) // both streams are over
	case err != nil && !errors.Is(err, unix.ENOTCONN):
		c.fail(err)
	}
}

func (c *Conn) enqueue() {
	if c.has(flagOpen) && !c.has(flagQueued) {
		c.flags |= flagQueued
		c.loop.ready = append(c.loop.ready, c)
	}
}

func (c *Conn) release(b **buffer) {
	if *b != nil {
		c.loop.pool.put(*b)
		*b = nil
	}
}

func (c *Conn) onEvent(ev event) {
	if !c.has(flagOpen) {
		return
	}
	if c.has(flagConnecting) {
		if ev.writable || ev.failed {
			c.connected()
		}
		if !c.has(flagOpen) || c.has(flagConnecting) {
			return
		}
	}
	if ev.eof || ev.failed {
		c.flags |= flagHangup
	}
	if ev.readable {
		c.flags |= flagReadable
	}
	if ev.writable {
		c.flags |= flagWritable
		c.flush()
	}
	if ev.failed && c.has(flagPaused|flagEOF) {
		// Nobody reads, so nobody else would notice.
		if err := socketError(int(c.fd)); err != nil {
			c.fail(err)
		}
	}
	c.read()
}

func (c *Conn) connected() {
	if c.has(flagLayered) && c.layer().connected {
		return // an event from before the handshake
	}
	if err := socketError(int(c.fd)); err != nil {
		c.fail(err)
		return
	}
	if c.has(flagLayered) {
		c.shakeHands()
		return
	}
	c.flags = c.flags&^flagConnecting | flagWritable
	c.handler.OnOpen(c)
	c.flush()
}

func (c *Conn) flush() {
	if c.out == nil || !c.has(flagOpen) || !c.has(flagWritable) {
		if c.out == nil && c.has(flagOpen) && c.has(flagEnding) && !c.has(flagEnded) {
			c.end()
		}
		return
	}
	n, err := c.write(c.out.bytes())
	if err != nil {
		c.broken()
	} else {
		c.out.consume(n)
		if len(c.out.bytes()) > 0 {
			return
		}
		c.release(&c.out)
		switch {
		case c.has(flagClosing):
			c.Close()
		case c.has(flagEnding):
			c.end()
		}
	}
	if c.has(flagOpen) {
		c.handler.OnDrained(c)
	}
}

// write writes what the kernel takes of p.
func (c *Conn) write(p []byte) (int, error) {
	for {
		n, err := rawWrite(int(c.fd), p)
		switch err {
		case nil:
			if n < len(p) {
				c.flags &^= flagWritable
			}
			return n, nil
		case unix.EINTR:
		case unix.EAGAIN, unix.ENOBUFS:
			c.flags &^= flagWritable
			return 0, nil
		default:
			return 0, err
		}
	}
}

// read offers input in hand again if that was put off, then reads until the
// socket is empty, the handler has enough, or it is the turn of others.
func (c *Conn) read() {
	const wanted, unwanted = flagOpen | flagReadable, flagPaused | flagEOF | flagConnecting
	for range maxReadsPerTurn {
		c.reoffer()
		if c.has(flagLayerEOF) && !c.has(flagPaused) && c.has(flagOpen) {
			c.layerEnded()
			return
		}
		if c.flags&wanted != wanted || c.has(unwanted) || c.has(flagLayered) && c.Pending() > maxOwed {
			return
		}
		if !c.readOnce() {
			return
		}
	}
	c.enqueue()
}

// reoffer offers input in hand again if Resume has asked for that.
func (c *Conn) reoffer() {
	if c.has(flagReoffer) && !c.has(flagPaused) && c.has(flagOpen) {
		c.flags &^= flagReoffer
		if c.in != nil {
			c.offer()
		}
	}
}

// readOnce does one read and offers what it brought. It returns false when
// there is nothing more to read now.
func (c *Conn) readOnce() bool {
	if c.has(flagLayered) {
		return c.readLayered()
	}
	into := c.loop.scratch
	if c.in != nil {
		c.in = c.loop.pool.reserve(c.in, max(minRead, len(c.in.bytes())))
		into = c.in.data[len(c.in.data):cap(c.in.data)]
	}
	n, ok := c.receive(into)
	switch {
	case !ok:
		return false
	case n == 0:
		c.ended()
		return false
	case c.in != nil:
		c.in.data = c.in.data[:len(c.in.data)+n]
		c.offer()
	default:
		c.offerNew(into[:n])
	}
	return true
}

// receive reads from the socket into p. n is 0 at the end of the peer's stream; ok is false when there
// is nothing to read now, or the connection has failed.
func (c *Conn) receive(p []byte) (n int, ok bool) {
	for {
		n, err := rawRead(int(c.fd), p)
		switch err {
		case nil:
			if n < len(p) && !c.has(flagHangup) {
				c.flags &^= flagReadable // drained: whatever comes later is a new event
			}
			return n, true
		case unix.EINTR:
		case unix.EAGAIN:
			c.flags &^= flagReadable
			return 0, false
		default:
			c.fail(err)
			return 0, false
		}
	}
}

// ended takes the end of the peer's stream.
func (c *Conn) ended() {
	c.flags = c.flags&^flagLayerEOF | flagEOF
	c.handler.OnEOF(c)
	if c.has(flagEnded) {
		c.fail(nil) // both streams are over
	}
}

// minRead is the least room a read into kept input is given.
const minRead = 4 << 10

// offerNew gives the handler input that is not kept, and keeps what it leaves. No input may be in hand.
func (c *Conn) offerNew(p []byte) {
	if used := c.handler.OnData(c, p); used < len(p) && c.has(flagOpen) {
		c.in = c.loop.pool.get(len(p) - used)
		c.in.data = append(c.in.data, p[used:]...)
	}
}

// offer gives the kept input to the handler.
func (c *Conn) offer() {
	b := c.in
	used := c.handler.OnData(c, b.bytes())
	if !c.has(flagOpen) {
		return // Close has released the buffer
	}
	b.consume(used)
	if len(b.bytes()) == 0 {
		c.release(&c.in)
	}
}
