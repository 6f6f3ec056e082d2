package web

import (
	"net/netip"
	"time"

	"github.com/erlmcp/erlmcp/internal/http1"
	"github.com/erlmcp/erlmcp/internal/reactor"
	"github.com/erlmcp/erlmcp/internal/tlslayer"
	"github.com/erlmcp/erlmcp/proxy/internal/board"
	"github.com/erlmcp/erlmcp/proxy/internal/policy"
	"github.com/erlmcp/erlmcp/proxy/worker/internal/hub"
)

// client is a client's connection.
//
//	awaitingGreeting ─▶ delayed ─▶ reading ⇄ serving ─▶ parting ─▶ (closed)
//	               ╰──▶ unwelcome ─────────────────────────▲
//
// What is served is an exchange, which has phases of its own. The client is counted on the board (held) from
// its admission until it parts.
type client struct {
	conn  reactor.Conn
	timer reactor.Timer
	layer *tlslayer.Layer // of a connection over TLS
	w     *Frontend
	x     *exchange // while serving

	next, prev *client
	origin
	seat    hub.SourceSeat
	due     int64         // when patience ends, 0 = never
	armed   int64         // when the timer fires: at due or before
	wait    time.Duration // unwelcome: for how long to stay away
	left    uint32        // bytes of input in hand, not consumed
	discard uint32        // how many of them are of a request that is done with
	seen    uint32        // how much of a head was looked at in vain
	served  uint32        // requests
	state   clientState
	reason  uint8 // unwelcome: a board.Reason
	held    bool  // counted on the board
	lingers bool  // counted in Hub.Lingering
	ended   bool  // its stream has ended
	owed    bool  // has not taken all of its last answer, and is not idle
}

type clientState uint8

const (
	awaitingGreeting clientState = iota // a PROXY header
	unwelcome                           // told why as soon as it asks
	delayed                             // over the connection rate: not read until it conforms
	reading                             // a request head
	serving                             // its exchange
	parting                             // everything is said
)

func (w *Frontend) takeClient() *client {
	c := w.spare.clients.Take()
	*c = client{w: w, next: w.clients}
	if c.next != nil {
		c.next.prev = c
	}
	w.clients = c
	return c
}

func (w *Frontend) putClient(c *client) {
	if c.prev != nil {
		c.prev.next = c.next
	} else {
		w.clients = c.next
	}
	if c.next != nil {
		c.next.prev = c.prev
	}
	*c = client{}
	w.spare.clients.Put(c)
}

// admit applies the limits to a client from addr.
func (c *client) admit(addr netip.Addr) {
	c.identify(addr)
	reason, wait, ok := c.w.MayEnter(c.source, c.addr, c.exempt, c.w.Loop.Now())
	if !ok {
		c.turnAway(reason, wait)
		return
	}
	c.enter(wait)
}

// identify notes who the client is.
func (c *client) identify(addr netip.Addr) {
	c.addr, c.source = addr.Unmap(), c.w.Board.Sources().Find(addr, c.w.Loop.Now())
	c.exempt = policy.Contains(c.w.Limits.Exempt, addr)
}

// welcome takes in a client that was charged for its connection before its handshake.
func (c *client) welcome() {
	if c.w.IsOverShare(c.source) {
		c.turnAway(board.ReasonPerSource, 0)
		return
	}
	reason, wait, ok := c.w.HasRoom(c.source)
	if !ok {
		c.turnAway(reason, 0)
		return
	}
	c.enter(wait)
}

// enter takes the client in, but does not read it before wait is over.
func (c *client) enter(wait time.Duration) {
	w := c.w
	c.held = true
	w.Seat(c.source, &c.seat, c, c.exempt)
	if wait > 0 {
		c.state = delayed
		w.Held++
		c.conn.Pause()
		c.within(wait)
		return
	}
	c.begun()
}

// begun lets the client ask.
func (c *client) begun() {
	c.state = reading
	if c.within(c.w.Spec.Timeouts.Request); c.w.Draining && c.secure {
		c.within(lateRequest)
	}
}

// turnAway has a client told why it is not served once it asks: an answer before the question would
// be taken for a fault.
func (c *client) turnAway(reason board.Reason, wait time.Duration) {
	c.state, c.reason, c.wait = unwelcome, uint8(reason), wait
	c.linger()
}

// release takes the client off the board, once.
func (c *client) release() {
	if c.held {
		c.held = false
		c.w.Unseat(c.source, &c.seat)
	}
}

// partTime is how long a client has to take the last of its answer.
const partTime = 30 * time.Second

// part ends the connection behind what was sent. Input is read and dropped meanwhile: closing over
// unread input would reset the connection, and with it the answer.
func (c *client) part() {
	c.state = parting
	if c.conn.Pending() > 0 {
		c.within(partTime)
	} else {
		c.release()
		c.linger()
	}
	c.conn.CloseWrite()
	c.conn.Reoffer()
}

// linger gives a client that is not counted any more a moment to go by itself.
func (c *client) linger() {
	if !c.lingers {
		c.lingers = true
		c.w.Lingering++
	}
	if c.w.Lingering > hub.MaxLingering {
		c.flushOut()
		return
	}
	c.within(hub.LingerTime)
}

// flushOut ends the connection behind what was sent, without regard to what the client still says.
func (c *client) flushOut() {
	c.state = parting
	c.within(partTime)
	c.conn.CloseAfterFlush()
}

// rest waits for the next request.
func (c *client) rest() {
	w := c.w
	more := c.left > c.discard
	switch {
	case w.Draining || c.ended && !more:
		c.part()
	default:
		c.state, c.seen = reading, 0
		w.Crowd.Use(c.source, &c.seat, w.Loop.Now())
		if c.owed = c.conn.Pending() > 0; c.owed {
			c.within(w.Spec.Timeouts.Send)
		} else {
			c.within(w.Spec.Timeouts.Keepalive)
		}
		if more {
			c.conn.Reoffer()
		}
	}
}

// within sets how long the present state may last; 0 is for ever. The timer is moved only to come
// earlier: what is put off with every byte costs nothing.
func (c *client) within(d time.Duration) {
	if d <= 0 {
		c.due = 0
		return
	}
	c.due = c.w.Loop.Now() + int64(d)
	if !c.timer.Pending() || c.due < c.armed {
		c.armed = c.due
		c.w.Loop.Schedule(&c.timer, d, c)
	}
}

// until is within, up to an instant, which may have passed.
func (c *client) until(at int64) { c.within(max(time.Duration(at-c.w.Loop.Now()), time.Nanosecond)) }

// OnTimer looks whether patience has ended by now.
func (c *client) OnTimer(*reactor.Timer) {
	switch left := c.due - c.w.Loop.Now(); {
	case c.due == 0:
	case left > 0:
		c.armed = c.due
		c.w.Loop.Schedule(&c.timer, time.Duration(left), c)
	default:
		c.due = 0
		c.expired()
	}
}

func (c *client) expired() {
	switch {
	case c.state == reading && c.seen > 0:
		c.say(policy.RefusalOf(board.ReasonSlow, 0).Because("the request head did not come in time"), nil, false, false)
		c.part()
	case c.state == delayed && c.w.WaitsForRoom(&c.seat):
		c.within(hub.RoomLook)
	case c.state == delayed:
		c.w.Held--
		c.begun()
		c.conn.Resume()
	case c.x != nil:
		c.x.expired()
	default:
		c.conn.Close()
	}
}

// OnOpen is not called for an accepted connection.
func (c *client) OnOpen(*reactor.Conn) {}

// OnData is the client speaking.
func (c *client) OnData(_ *reactor.Conn, p []byte) (consumed int) {
	consumed = min(int(c.discard), len(p))
	c.discard -= uint32(consumed)
	for consumed < len(p) && !c.conn.Paused() && c.conn.Open() {
		n := c.read(p[consumed:])
		if n == 0 {
			break
		}
		consumed += n
	}
	c.left = uint32(len(p) - consumed)
	if c.ended && c.left == 0 && c.state == reading {
		c.part() // that was its last request
	}
	return consumed
}

// maxHeld is how much a client may say in advance before it is not read any more.
const maxHeld = 2 * http1.MaxHead

func (c *client) read(p []byte) (consumed int) {
	switch c.state {
	case awaitingGreeting:
		return c.greeted(p)
	case reading:
		consumed = c.readHead(p)
	case serving:
		consumed = c.x.fromClient(p)
	case unwelcome:
		r := &c.w.request
		_, _ = r.Parse(p) // as far as it has come
		c.say(c.w.RefusalTo(c.source, board.Reason(c.reason), c.wait), originOf(r), false, false)
		c.part()
		return len(p)
	default:
		return len(p)
	}
	if consumed == 0 && len(p) >= maxHeld {
		c.conn.Pause()
	}
	return consumed
}

// greeted reads the PROXY header of a trusted peer.
func (c *client) greeted(p []byte) (consumed int) {
	h, n := c.w.Greeted(&c.conn, p)
	if n > 0 && c.conn.Open() {
		c.admit(h.Source.Addr())
	}
	return n
}

// OnDrained lets the node speak on, or the client ask on.
func (c *client) OnDrained(*reactor.Conn) {
	if x := c.x; x != nil && x.node != nil {
		x.node.conn.Resume()
		switch x.phase {
		case tunnelling:
			x.tunnelPatience()
		case replying:
			x.patience()
		}
	}
	switch {
	case c.state == reading:
		if c.owed {
			c.owed = false
			c.within(c.w.Spec.Timeouts.Keepalive)
		}
		c.conn.Reoffer()
	case c.state == parting: // it has its answer
		c.release()
		c.linger()
	case c.x != nil && c.x.phase == choosing:
		c.conn.Reoffer()
	}
}

// OnEOF is the end of the client's stream. Behind a whole request it only says that the client has nothing
// more to ask.
func (c *client) OnEOF(*reactor.Conn) {
	c.ended = true
	switch x := c.x; {
	case c.state == parting:
		// The connection closes with the end of ours, behind what the client has not taken yet.
	case x != nil && x.phase < asking, c.state == reading && c.left > c.discard && c.seen == 0:
		// A request is in hand.
	case c.state == reading && c.conn.Pending() > 0:
		c.part() // it has not taken its last answer yet
	case x == nil || x.node == nil || !x.complete, c.layer != nil && c.layer.Cut():
		c.conn.Close() // over TLS, who only has nothing more to say says so (RFC 8446 section 6.1)
	case x.phase == tunnelling:
		x.node.conn.CloseWrite()
	default:
		x.halfClosed()
	}
}

// OnClose ends what the client had asked for.
func (c *client) OnClose(*reactor.Conn, error) {
	w := c.w
	w.Open--
	if c.x != nil {
		c.x.left()
		c.x.end()
	}
	w.Loop.Cancel(&c.timer)
	if c.state == delayed {
		w.Held--
	}
	c.release()
	if c.lingers {
		w.Lingering--
	}
	w.putClient(c)
	w.EndIfDrained()
}

// plainAcceptor takes newcomers of the HTTP listener.
type plainAcceptor Frontend

// OnAccept takes a newcomer in.
func (a *plainAcceptor) OnAccept(fd int, peer netip.AddrPort) {
	w := (*Frontend)(a)
	c := w.takeClient()
	if err := w.Loop.Attach(&c.conn, fd, c); err != nil {
		w.Complain("accept", "client", peer, "err", err)
		w.putClient(c)
		return
	}
	w.Entered()
	w.Cell.Accepted.Add(1)
	if policy.Contains(w.Limits.Trusted, peer.Addr()) {
		c.within(hub.GreetingTimeout)
		return // admitted by its header
	}
	c.admit(peer.Addr())
}
