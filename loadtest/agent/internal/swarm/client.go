package swarm

import (
	"bytes"
	"math/rand/v2"
	"time"

	"github.com/erlmcp/erlmcp/internal/mono"
	"github.com/erlmcp/erlmcp/internal/reactor"
	"github.com/erlmcp/erlmcp/loadtest/internal/ask"
	"github.com/erlmcp/erlmcp/loadtest/internal/wire"
	"github.com/erlmcp/erlmcp/loadtest/internal/work"
)

// client is one connection's worth of an agent: 80 bytes, and no buffer while idle.
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
	state    state
	node     uint8     // 1 + its place in swarm.nodes, of the last verified connection
	home     uint8     // the node it left and should meet again; 0: it is not in a sticky sample
	cause    ask.Cause // why the connection is about to be closed
	attempts uint8     // in a row without success
	fate     fate
}

type state uint8

const (
	stateIdle     state = iota
	stateWaiting        // for its retry
	stateDialing        // connect under way
	stateAsking         // connected, first request sent
	stateVerified       // an answer came, and named its node if nodes do that
	stateLeaving        // half-closed, to come back
	stateClosing
	stateFailed // gave up
)

// fate is what a client has been through.
type fate uint8

const (
	fateVerified  fate = 1 << iota // had a verified connection; never gives up from then on
	fateDisplaced                  // lost a node to a fault, in this run
	fateHomeless                   // displaced, and not verified again yet
)

// dial begins an attempt.
func (c *client) dial() {
	s := c.swarm
	if s.closing {
		c.state = stateIdle
		return
	}
	c.state, c.cause = stateDialing, ask.CauseNone
	s.n.Attempts++
	s.n.Open++
	s.unverified++
	c.begin()
	if err := s.loop.Dial(&c.conn, s.endpoint.Address, s.sources[int(c.index)%len(s.sources)], c); err != nil {
		c.OnClose(&c.conn, err)
	}
}

// begin counts an exchange and watches over its end.
func (c *client) begin() {
	c.begun++
	c.swarm.deadlines.push(deadline{c.swarm.loop.Now() + int64(c.swarm.timeout), c, c.begun})
}

// overdue is called at the deadline of an exchange.
func (c *client) overdue(exchange uint32) {
	if int32(c.ended-exchange) < 0 && c.conn.Open() {
		c.cause = ask.CauseTimeout
		c.conn.Close()
	}
}

// ask sends the request of a step that was due at the given time. Both travel as the request's id.
func (c *client) ask(step int, scheduled int64) {
	s := c.swarm
	id := work.ID((scheduled-s.epoch)/int64(time.Microsecond), step)
	s.line, _ = s.script.AppendStep(s.line[:0], step, id)
	c.conn.Send(s.line)
}

// ping is one request of the open schedule.
func (c *client) ping(scheduled int64) {
	c.begin()
	c.swarm.n.Requests.Sent++
	c.ask(c.swarm.script.Next(), scheduled)
}

// leave ends the client's stream, to dial again when the other side has ended its own.
func (c *client) leave() {
	c.unverify()
	c.state, c.home = stateLeaving, c.node
	c.begin()
	c.conn.CloseWrite()
}

// close ends an open connection for good.
func (c *client) close() {
	switch c.state {
	case stateVerified:
		c.unverify()
	case stateDialing, stateAsking:
		c.swarm.unverified--
	}
	c.state = stateClosing
	c.conn.Close()
}

// OnOpen implements [reactor.Handler].
func (c *client) OnOpen(*reactor.Conn) {
	c.state = stateAsking
	c.ask(work.Verification, c.swarm.loop.Now())
}

// OnData implements [reactor.Handler].
func (c *client) OnData(_ *reactor.Conn, p []byte) int {
	used := 0
	for c.conn.Open() {
		end := bytes.IndexByte(p[used:], '\n')
		if end < 0 {
			if len(p)-used > ask.MaxReply {
				c.cause = ask.CauseReply
				c.conn.Close()
			}
			break
		}
		c.answer(p[used : used+end])
		used += end + 1
	}
	return used
}

func (c *client) answer(line []byte) {
	r := c.swarm.script.Parse(line)
	switch {
	case r.Kind == ask.ReplyNone:
	case r.Kind == ask.ReplyRefusal:
		// Not an answer to anything: why the connection is about to end.
		c.cause = ask.CauseOfCode(r.Code)
		if c.state == stateAsking {
			c.conn.Close()
		}
	case c.state == stateAsking && r.Kind == ask.ReplyAnswer:
		c.verified(c.swarm.nodeIndex(r.Node))
	case c.state == stateAsking:
		c.cause = ask.CauseReply
		if r.Kind == ask.ReplyError {
			c.cause = ask.CauseOfCode(r.Code)
		}
		c.conn.Close()
	case r.Kind != ask.ReplyOther && c.ended != c.begun: // verified or leaving; all else was not asked for
		c.ended++
		c.swarm.answered(c, r)
	}
}

// verified is called when the first answer on a connection has come.
func (c *client) verified(node uint8) {
	s := c.swarm
	c.ended = c.begun
	c.state, c.node, c.attempts = stateVerified, node, 0
	s.unverified--
	s.n.Verified++
	s.nodes[node-1].verified++
	now := mono.Now()
	s.n.LastVerified = now
	if c.fate&fateHomeless != 0 {
		s.n.Recovered++
		s.n.LastRecovered = now
	}
	c.fate = c.fate&^fateHomeless | fateVerified
	if c.home != 0 {
		if c.home == node {
			s.n.Sticky.Consistent++
		} else {
			s.n.Sticky.Moved++
		}
		c.home = 0
	}
	s.settle()
}

// unverify takes the client out of the sums of those that hold a verified connection.
func (c *client) unverify() {
	c.swarm.n.Verified--
	c.swarm.nodes[c.node-1].verified--
}

// OnEOF implements [reactor.Handler].
func (c *client) OnEOF(*reactor.Conn) {
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
	s.n.Open--
	underWay := int64(c.begun - c.ended)
	c.ended = c.begun
	switch c.state {
	case stateDialing, stateAsking:
		s.unverified--
		s.failures[c.cause]++
		c.retry()
	case stateVerified:
		c.unverify()
		if s.closing { // somebody else was quicker
			c.state = stateIdle
			break
		}
		s.n.Requests.Lost += underWay
		c.lost()
	case stateLeaving:
		s.n.Requests.Lost += underWay - 1 // the leave itself is none
		c.dial()
	default:
		c.state = stateIdle
	}
	s.settle()
}

// lost is called when a verified connection has ended and not by our will.
func (c *client) lost() {
	s := c.swarm
	if s.armed != 0 && s.armed == c.node {
		s.n.Displaced++
		if s.n.FirstLost == 0 {
			s.n.FirstLost = mono.Now()
		}
		c.fate |= fateDisplaced | fateHomeless
	} else {
		s.n.Dropped++
		s.losses[c.cause]++
	}
	c.await(time.Duration(rand.Float64() * float64(s.patience.Spread)))
}

// retry is called when an attempt has failed.
func (c *client) retry() {
	c.attempts++
	if c.attempts >= wire.MaxAttempts && c.fate&fateVerified == 0 {
		c.state = stateFailed
		c.swarm.n.Failed++
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
