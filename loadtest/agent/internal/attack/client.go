package attack

import (
	"math/rand/v2"
	"time"

	"github.com/erlmcp/erlmcp/internal/mono"
	"github.com/erlmcp/erlmcp/loadtest/internal/ask"
	"github.com/erlmcp/erlmcp/loadtest/internal/wire"
)

// client is one connection's worth of an agent. Its methods are called with Attack.mu held, unless they say otherwise.
//
//	idle ──▶ asking ──▶ verified ──▶ leaving ──▶ asking …
//	           ▲ │          │
//	           │ ▼          ▼ lost, or refused
//	           waiting ◀────┘
type client struct {
	attack   *Attack
	link     *link  // nil: no connection
	session  string // empty: none
	index    int32
	underWay int32 // requests
	calls    int32 // of the schedule in its session
	state    state
	version  uint8 // the session's: 1 + its place in mcp.Versions; 0: none was agreed on
	node     uint8 // see tally.Tally.Node, of the last verified connection
	home     uint8 // the node it left and should meet again; 0: it is not in a sticky sample, and leaves to begin a session anew
	attempts uint8 // in a row without success
	fate     fate
	lostAt   int64 // when it lost its node to a fault
}

type state uint8

const (
	stateIdle     state = iota
	stateWaiting        // for its retry
	stateAsking         // connect under way, or what comes between that and the first answer
	stateVerified       // an answer came, and named its node if nodes do that
	stateLeaving        // about to close its connection or to end its session, to come back
	stateClosing        // about to close its connection for good
	stateFailed         // gave up
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
	a := c.attack
	if a.closing {
		c.state = stateIdle
		return
	}
	a.tally.N.Open++
	c.try(func() { c.attempt() })
}

// try begins with what should make the client a verified one.
func (c *client) try(how func()) {
	c.state = stateAsking
	c.attack.tally.N.Attempts++
	c.attack.unverified++
	c.attack.spawn(how)
}

// verified is called when the first answer on a connection has come.
func (c *client) verified(node uint8) {
	a := c.attack
	c.state, c.node, c.attempts = stateVerified, node, 0
	a.unverified--
	now, back := mono.Now(), c.fate&fateHomeless != 0
	a.tally.Serve(now, node, c.home, back)
	if back {
		a.tally.N.LongestOut = max(a.tally.N.LongestOut, now-c.lostAt)
	}
	c.fate, c.home = c.fate&^fateHomeless|fateVerified, 0
	a.settle()
}

// unverify takes the client out of the sums of those that hold a verified connection.
func (c *client) unverify() { c.attack.tally.Verify(c.node, -1) }

// over is called when a connection has ended, whoever wanted it; nobody holds mu.
func (a *Attack) over(l *link) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if l.closed {
		return
	}
	l.closed = true
	a.tally.N.Open--
	c := l.client
	switch c.state {
	case stateVerified:
		c.unverify()
		c.link = nil
		if a.closing { // somebody else was quicker
			c.state = stateIdle
			break
		}
		displaced := c.displaced()
		if !displaced && l.rested() {
			a.tally.N.IdleCloses++
			c.dial()
			break
		}
		if !displaced {
			a.tally.Drop(l.why())
		}
		c.await(time.Duration(rand.Float64() * float64(a.patience.Spread)))
	case stateLeaving:
		c.link = nil
		c.dial()
	case stateClosing:
		c.link, c.state = nil, stateIdle
	default: // the attempt under way sees it
	}
	a.settle()
}

// displaced notes that the client has lost its node to a fault, and reports whether that is so.
func (c *client) displaced() bool {
	a := c.attack
	if !a.armed.Explains(c.node) {
		return false
	}
	a.tally.N.Displaced++
	c.lostAt = mono.Now()
	if a.tally.N.FirstLost == 0 {
		a.tally.N.FirstLost = c.lostAt
	}
	c.fate |= fateDisplaced | fateHomeless
	return true
}

// refused is called when an attempt has failed; its connection is closed.
func (c *client) refused(cause ask.Cause) {
	a := c.attack
	c.link = nil
	a.unverified--
	defer a.settle()
	if a.closing {
		c.state = stateIdle
		return
	}
	a.tally.Fail(cause)
	c.attempts++
	if c.attempts >= wire.MaxAttempts && c.fate&fateVerified == 0 {
		c.state = stateFailed
		a.tally.N.Failed++
		return
	}
	c.attempts = min(c.attempts, wire.MaxAttempts)
	c.await(a.patience.After(int(c.attempts), rand.Float64()))
}

// await has the client dial after d.
func (c *client) await(d time.Duration) {
	c.state = stateWaiting
	time.AfterFunc(d, func() {
		c.attack.mu.Lock()
		defer c.attack.mu.Unlock()
		c.dial()
	})
}
