package attack

import (
	"context"
	"net/http"
	"time"

	"github.com/erlmcp/erlmcp/internal/mono"
	"github.com/erlmcp/erlmcp/loadtest/internal/wire"
)

// maxUnverified is how many handshakes an agent has under way before its ramp waits for them: more would only queue at the
// balancer, and a full accept queue costs a client a second.
const maxUnverified = 256

// beginRamp has the clients up to the limit dial from at on, in place of the last ramp; the caller holds mu.
func (a *Attack) beginRamp(at int64) {
	if a.endRamp != nil {
		a.endRamp()
	}
	var ctx context.Context
	ctx, a.endRamp = context.WithCancel(a.opening)
	a.spawn(func() { a.ramp(ctx, schedule{at, a.rate}) })
}

// ramp opens the connections that are due for the first time.
func (a *Attack) ramp(ctx context.Context, s schedule) {
	for i := uint64(0); until(ctx, s.at(i)); i++ {
		for !a.admit() {
			if !until(ctx, mono.Now()+tick) {
				return
			}
		}
		if !a.dialNext() {
			return
		}
	}
}

// admit reports whether another handshake may be under way.
func (a *Attack) admit() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.unverified < maxUnverified
}

// dialNext has the next client dial, and reports whether there was one to do so.
func (a *Attack) dialNext() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closing || a.opened >= a.limit {
		return false
	}
	a.clients[a.opened].dial()
	a.opened++
	return true
}

// sticky takes the order to draw a sample: clients that hold a connection to a node they never lost to a fault. Neighbours
// have different sources, so a run of them is spread well.
func (a *Attack) sticky(rate float64, o *wire.StickyOrder) {
	var leaving []*client
	for range a.clients {
		if len(leaving) == o.Sample {
			break
		}
		c := &a.clients[a.sampled]
		a.sampled = (a.sampled + 1) % len(a.clients)
		if c.state == stateVerified && c.fate&fateDisplaced == 0 {
			leaving = append(leaving, c)
		}
	}
	a.tally.N.Sticky = wire.StickyCounts{Sampled: len(leaving)}
	s := schedule{mono.Now(), rate}
	a.spawn(func() {
		for i, c := range leaving {
			if !until(a.opening, s.at(uint64(i))) {
				return
			}
			a.leave(c)
		}
	})
}

// leave has a client close its connection once nothing is under way on it, and come back.
func (a *Attack) leave(c *client) {
	a.mu.Lock()
	if c.state != stateVerified {
		a.tally.N.Sticky.Sampled-- // lost in the meantime, which is counted elsewhere
		a.settle()
		a.mu.Unlock()
		return
	}
	c.unverify()
	c.state, c.home = stateLeaving, c.node
	l, busy := c.link, c.underWay > 0
	a.mu.Unlock()
	if !busy {
		a.hangUp(l)
	}
}

// close takes the order to close so many connections per second. No client dials from here on.
func (a *Attack) close(rate float64) {
	if a.closing {
		return
	}
	a.closing = true
	a.endOpen() // what is not verified yet ends at once
	s := schedule{mono.Now(), rate}
	a.spawn(func() {
		room := make(chan struct{}, maxUnverified)
		i := uint64(0)
		for n := range a.clients {
			c := &a.clients[n]
			if !a.farewell(c) {
				continue
			}
			if !until(a.life, s.at(i)) {
				return
			}
			i++
			room <- struct{}{}
			a.mu.Lock()
			a.spawn(func() {
				defer func() { <-room }()
				a.part(c)
			})
			a.mu.Unlock()
		}
	})
	a.settle()
}

// farewell decides that a client is about to close its connection, if it has one that an attempt does not close anyway.
func (a *Attack) farewell(c *client) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch c.state {
	case stateVerified:
		c.unverify()
	case stateLeaving:
	default:
		return false
	}
	c.state = stateClosing
	return true
}

// partingTime is how long a server has to say that a session has ended.
const partingTime = 2 * time.Second

// part ends a client's session, unless requests are under way, and closes its connection.
func (a *Attack) part(c *client) {
	a.mu.Lock()
	l := c.link
	ends := c.session != "" && c.underWay == 0 && !a.keeps
	head := c.header("", "")
	a.mu.Unlock()
	if l == nil { // the other side was quicker
		return
	}
	if ends {
		a.endSession(l, head)
	}
	a.hangUp(l)
}

func (a *Attack) endSession(l *link, head http.Header) {
	ctx, cancel := context.WithTimeout(a.life, partingTime)
	defer cancel()
	r := &http.Request{Method: http.MethodDelete, URL: a.url, Host: a.host, Header: head}
	head.Del("Content-Type")
	resp, err := l.conn.RoundTrip(r.WithContext(ctx)) //nolint:bodyclose // finish does
	if err != nil {
		return
	}
	(&answer{link: l, body: resp.Body}).finish()
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case resp.StatusCode/100 == 2:
		a.tally.N.Sessions.Ended++
	case resp.StatusCode == http.StatusMethodNotAllowed:
		a.keeps = true
	}
}
