package swarm

import (
	"time"

	"github.com/erlmcp/erlmcp/internal/reactor"
	"github.com/erlmcp/erlmcp/loadtest/internal/wire"
)

// task is what a swarm does on a schedule, with a timer of its own: by OnTimer of the one that it is.
type task struct {
	swarm    *Swarm
	timer    reactor.Timer
	schedule schedule
}

// begin has a task begin, in place of what it was about.
func (k *task) begin(at int64, rate float64, of reactor.Expirer) {
	k.schedule = newSchedule(at, rate)
	k.swarm.loop.Cancel(&k.timer)
	of.OnTimer(&k.timer)
}

// due is whether something is due by now, and since when. If not, the timer of the task is set.
func (k *task) due(of reactor.Expirer) (at int64, ok bool) {
	at, ok = k.schedule.due(k.swarm.loop.Now())
	if !ok {
		k.swarm.loop.Schedule(&k.timer, time.Duration(at-k.swarm.loop.Now()), of)
	}
	return at, ok
}

// ramp opens the connections for the first time.
type ramp struct {
	task
	rate  float64 // per second
	next  int     // client to dial
	limit int     // the first one not to dial yet
}

// openRest takes the order to open the connections that open has left.
func (s *Swarm) openRest(at int64) {
	s.ramp.limit = len(s.clients)
	s.ramp.begin(at, s.ramp.rate, &s.ramp)
}

// maxUnverified is how many handshakes an agent has under way before its ramp waits for them: more
// would only queue at the balancer, and a full accept queue costs a client a second.
const maxUnverified = 256

// OnTimer implements [reactor.Expirer].
func (r *ramp) OnTimer(*reactor.Timer) {
	s := r.swarm
	for r.next < r.limit && !s.closing {
		if s.unverified >= maxUnverified {
			s.loop.Schedule(&r.timer, time.Duration(tick), r)
			return
		}
		if _, ok := r.due(r); !ok {
			return
		}
		s.clients[r.next].dial()
		r.next++
	}
}

// pings sends requests over all verified connections in turn.
type pings struct {
	task
	until int64 // no instant from here on; 0 is no end
	next  int   // client to ask
}

// ping takes the order to send so many requests per second from at on, in place of the last one.
func (s *Swarm) ping(at int64, rate float64, o *wire.PingOrder) {
	p := &s.pings
	if p.until = 0; o.For > 0 {
		p.until = at + int64(o.For)
	}
	s.tally.Begin(at, o)
	p.begin(at, rate, p)
}

// quiet takes the order to send no more.
func (s *Swarm) quiet() { s.loop.Cancel(&s.pings.timer) }

// OnTimer implements [reactor.Expirer].
func (p *pings) OnTimer(*reactor.Timer) {
	s := p.swarm
	for !s.closing {
		if p.until != 0 && p.schedule.exact() >= p.until {
			return
		}
		at, ok := p.due(p)
		if !ok {
			return
		}
		s.late(at)
		// A loop wakes up to a tick after the instant, whatever the system does. Only what
		// goes beyond counts as latency.
		at += min(s.loop.Now()-at, tick)
		s.tally.Expect(at)
		if c := p.pick(); c != nil {
			c.ping(at)
		}
	}
}

// pick returns the next verified client, nil if there is none at all.
func (p *pings) pick() *client {
	s := p.swarm
	if s.tally.N.Verified == 0 {
		return nil
	}
	for {
		c := &s.clients[p.next]
		p.next = (p.next + 1) % len(s.clients)
		if c.state == stateVerified {
			return c
		}
	}
}

// sample has clients leave and come back.
type sample struct {
	task
	leaving []*client // still to leave
	cursor  int       // where the next sample begins
}

// sticky takes the order to draw a sample: clients that hold a connection to a node they never lost
// to a fault. Neighbours in s.clients have different sources, so a run of them is spread well.
func (s *Swarm) sticky(rate float64, o *wire.StickyOrder) {
	p := &s.sample
	p.leaving = nil
	for range s.clients {
		if len(p.leaving) == o.Sample {
			break
		}
		c := &s.clients[p.cursor]
		p.cursor = (p.cursor + 1) % len(s.clients)
		if c.state == stateVerified && c.fate&fateDisplaced == 0 {
			p.leaving = append(p.leaving, c)
		}
	}
	s.tally.N.Sticky = wire.StickyCounts{Sampled: len(p.leaving)}
	p.begin(s.loop.Now(), rate, p)
}

// OnTimer implements [reactor.Expirer].
func (p *sample) OnTimer(*reactor.Timer) {
	s := p.swarm
	for len(p.leaving) > 0 && !s.closing {
		if _, ok := p.due(p); !ok {
			return
		}
		c := p.leaving[0]
		p.leaving = p.leaving[1:]
		if c.state == stateVerified {
			c.leave(c.node)
			continue
		}
		s.tally.N.Sticky.Sampled-- // lost in the meantime, which is counted elsewhere
		s.settle()
	}
}

// closer ends every connection, at a pace the other side can follow.
type closer struct {
	task
	next int
}

// close takes the order to close so many connections per second. No client dials from here on.
func (s *Swarm) close(rate float64) {
	if s.closing {
		return
	}
	s.closing = true
	s.closer.begin(s.loop.Now(), rate, &s.closer)
	s.settle()
}

// OnTimer implements [reactor.Expirer].
func (o *closer) OnTimer(*reactor.Timer) {
	s := o.swarm
	for o.next < len(s.clients) {
		c := &s.clients[o.next]
		if !c.conn.Open() {
			o.next++
			continue
		}
		if _, ok := o.due(o); !ok {
			return
		}
		o.next++
		c.close()
	}
	if s.posts != nil {
		s.posts.close()
	}
}

// done reports whether all that were open have been closed.
func (o *closer) done() bool { return o.swarm.closing && o.next == len(o.swarm.clients) }
