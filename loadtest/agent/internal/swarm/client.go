package swarm

import (
	"math/rand/v2"
	"time"

	"github.com/erlmcp/erlmcp/internal/mono"
	"github.com/erlmcp/erlmcp/internal/reactor"
	"github.com/erlmcp/erlmcp/loadtest/internal/ask"
	"github.com/erlmcp/erlmcp/loadtest/internal/wire"
)

// client is one connection's worth of an agent: 80 bytes, and no buffer while idle. It is what all transports have in common;
// what it takes to speak over one of them is the swarm's protocol.
//
//	idle ──▶ dialing ──▶ asking ──▶ verified ──▶ leaving ──▶ dialing …
//	            ▲          │            │
//	            └─ waiting ◀┴────────────┘ lost, or refused
type client struct {
	conn     reactor.Conn
	swarm    *Swarm
	index    int32
	begun    uint32 // exchanges: a connect with its first answer, a request, a leave
	ended    uint32 // of these, over in whatever way. A difference of the two is what is under way
	calls    uint32 // requests of the schedule in its session
	state    state
	node     uint8     // see tally.Tally.Node, of the last verified connection
	home     uint8     // the node it left and should meet again; 0: it is not in a sticky sample, and leaves to begin a session anew
	cause    ask.Cause // why the connection is about to be closed
	attempts uint8     // in a row without success
	fate     fate
}

type state uint8

const (
	stateIdle     state = iota
	stateWaiting        // for its retry
	stateDialing        // connect under way
	stateAsking         // connected, and introducing itself
	stateVerified       // an answer came, and named its node if nodes do that
	stateLeaving        // closing its connection, to come back
	stateClosing
	stateFailed // gave up
)

// fate is what a client has been through.
type fate uint8

const (
	fateVerified  fate = 1 << iota // had a verified connection; never gives up from then on
	fateDisplaced                  // lost a node to a fault, in this run
	fateHomeless                   // displaced, and not verified again yet
	fateWelcome                    // a session has begun on the connection, or since
)

// dial begins an attempt.
func (c *client) dial() {
	s := c.swarm
	if s.closing {
		c.state = stateIdle
		return
	}
	c.state, c.cause = stateDialing, ask.CauseNone
	c.fate &^= fateWelcome
	s.tally.N.Attempts++
	s.tally.N.Open++
	s.unverified++
	c.begin()
	s.stages.begin(&c.conn)
	if err := s.connect(&c.conn, int(c.index), c); err != nil {
		c.OnClose(&c.conn, err)
	}
}

// begin counts an exchange and watches over its end.
func (c *client) begin() {
	c.begun++
	c.swarm.expect(c, c.begun)
}

// underWay is how many exchanges of the client are under way.
func (c *client) underWay() int { return int(c.begun - c.ended) }

// overdue implements [overdue].
func (c *client) overdue(exchange uint32) {
	if int32(c.ended-exchange) < 0 && c.conn.Open() {
		c.drop(ask.CauseTimeout)
	}
}

// drop closes the connection for a reason.
func (c *client) drop(cause ask.Cause) {
	c.cause = cause
	c.conn.Close()
}

// ping is one request of the open schedule. When it was due travels with its step as its id.
func (c *client) ping(scheduled int64) {
	s := c.swarm
	s.tally.N.Requests.Sent++
	step := s.script.Next()
	s.protocol.ask(c, step, s.tally.ID(step, scheduled))
	c.calls++
	if s.calls > 0 && c.calls >= s.calls && c.state == stateVerified && (!s.bound || c.fate&fateWelcome != 0) {
		c.leave(0)
	}
}

// leave has the client go and come back: with home to meet that node again, without it to begin another session. What is under
// way is answered before.
func (c *client) leave(home uint8) {
	s := c.swarm
	c.unverify()
	c.state, c.home = stateLeaving, home
	c.farewell()
	c.begin()
	s.protocol.leave(c)
}

// again has a client that is leaving introduce itself once more on the connection that it has.
func (c *client) again() {
	s := c.swarm
	c.state, c.cause = stateAsking, ask.CauseNone
	s.tally.N.Attempts++
	s.unverified++
	c.ended = c.begun
	c.begin()
	s.stages.begin(&c.conn)
	s.protocol.introduce(c)
}

// welcomed is called when a session has begun.
func (c *client) welcomed() {
	s := c.swarm
	s.tally.N.Sessions.Begun++
	s.stages.end(wire.StageSession, &c.conn)
	c.calls = 0
	c.fate |= fateWelcome
}

// farewell is called when a verified client is about to end its connection, and with it a session that is bound to that.
func (c *client) farewell() {
	if c.swarm.bound && c.fate&fateWelcome != 0 {
		c.swarm.tally.N.Sessions.Ended++
	}
}

// close ends an open connection for good.
func (c *client) close() {
	s := c.swarm
	switch c.state {
	case stateVerified:
		c.unverify()
		c.farewell()
	case stateDialing, stateAsking:
		s.unverified--
	}
	c.state = stateClosing
	s.protocol.close(c)
}

// OnOpen implements [reactor.Handler].
func (c *client) OnOpen(*reactor.Conn) {
	if c.state != stateDialing { // to be closed
		return
	}
	if s := c.swarm; s.secure == nil { // or the handshake has told
		s.stages.end(wire.StageConnect, &c.conn)
	}
	c.state = stateAsking
	c.swarm.protocol.introduce(c)
}

// OnData implements [reactor.Handler].
func (c *client) OnData(_ *reactor.Conn, p []byte) int { return c.swarm.protocol.read(c, p) }

// answer takes a message that came on the client's connection, where all answers come. served is the node that the
// connection leads to, 0 if only answers tell.
func (c *client) answer(text []byte, served uint8) {
	s := c.swarm
	r := s.script.Parse(text)
	switch {
	case r.Kind == ask.ReplyNone:
		s.react(c, text)
	case r.Kind == ask.ReplyRefusal:
		// Not an answer to anything: why the connection is about to end.
		c.cause = ask.CauseOfCode(r.Code)
		if c.state == stateAsking {
			c.conn.Close()
		}
	case c.state == stateAsking:
		if node := s.nodeOf(r, served); node != 0 {
			c.verified(node)
		} else {
			c.drop(ask.CauseOfCode(r.Code))
		}
	case r.Kind != ask.ReplyOther && c.underWay() > 0: // verified or leaving; all else was not asked for
		s.answered(c, r, served)
		c.concluded()
	}
}

// concluded ends an exchange on the client's connection.
func (c *client) concluded() {
	c.ended++
	if c.state == stateLeaving {
		c.swarm.protocol.leave(c)
	}
}

// verified is called when the client is introduced: its question was answered.
func (c *client) verified(node uint8) {
	s := c.swarm
	c.ended = c.begun
	c.state, c.node, c.attempts = stateVerified, node, 0
	s.unverified--
	s.stages.forget(&c.conn)
	s.tally.Serve(mono.Now(), node, c.home, c.fate&fateHomeless != 0)
	c.fate, c.home = c.fate&^fateHomeless|fateVerified, 0
	s.settle()
}

// unverify takes the client out of the sums of those that hold a verified connection.
func (c *client) unverify() { c.swarm.tally.Verify(c.node, -1) }

// OnEOF implements [reactor.Handler].
func (c *client) OnEOF(*reactor.Conn) {
	c.swarm.protocol.ended(c)
	if c.cause == ask.CauseNone {
		c.cause = ask.CauseClosed
	}
	c.conn.Close()
}

// OnDrained implements [reactor.Handler].
func (c *client) OnDrained(*reactor.Conn) {}

// OnClose implements [reactor.Handler].
func (c *client) OnClose(_ *reactor.Conn, err error) {
	s := c.swarm
	if c.cause == ask.CauseNone && err != nil {
		c.cause = ask.CauseOfError(err)
	}
	s.tally.N.Open--
	rested := s.protocol.closed(c)
	s.stages.forget(&c.conn)
	underWay := int64(c.underWay())
	c.ended = c.begun
	switch c.state {
	case stateDialing, stateAsking:
		s.unverified--
		s.tally.Fail(c.cause)
		c.retry()
	case stateVerified:
		c.unverify()
		if s.closing { // somebody else was quicker
			c.state = stateIdle
			break
		}
		s.tally.N.Requests.Lost += underWay
		if rested && !s.armed.Explains(c.node) {
			s.tally.N.IdleCloses++
			c.dial()
			break
		}
		c.lost()
	case stateLeaving:
		s.tally.N.Requests.Lost += underWay - 1 // the leave itself is none
		c.dial()
	default:
		c.state = stateIdle
	}
	s.settle()
}

// lost is called when a verified connection has ended and not by our will.
func (c *client) lost() {
	s := c.swarm
	if s.armed.Explains(c.node) {
		s.tally.N.Displaced++
		if s.tally.N.FirstLost == 0 {
			s.tally.N.FirstLost = mono.Now()
		}
		c.fate |= fateDisplaced | fateHomeless
	} else {
		s.tally.Drop(c.cause)
	}
	c.await(time.Duration(rand.Float64() * float64(s.patience.Spread)))
}

// retry is called when an attempt has failed.
func (c *client) retry() {
	c.attempts++
	if c.attempts >= wire.MaxAttempts && c.fate&fateVerified == 0 {
		c.state = stateFailed
		c.swarm.tally.N.Failed++
		return
	}
	c.attempts = min(c.attempts, wire.MaxAttempts)
	c.await(c.swarm.patience.After(int(c.attempts), rand.Float64()))
}

// await has the client dial after d.
func (c *client) await(d time.Duration) {
	c.state = stateWaiting
	c.swarm.later(c, d)
}
