// Package swarm is the clients of a load generator on an event loop: many of them, small, and on an open schedule.
package swarm

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/erlmcp/erlmcp/internal/http1"
	"github.com/erlmcp/erlmcp/internal/mono"
	"github.com/erlmcp/erlmcp/internal/reactor"
	"github.com/erlmcp/erlmcp/loadtest/agent/internal/tally"
	"github.com/erlmcp/erlmcp/loadtest/internal/ask"
	"github.com/erlmcp/erlmcp/loadtest/internal/target"
	"github.com/erlmcp/erlmcp/loadtest/internal/wire"
	"github.com/erlmcp/erlmcp/loadtest/internal/work"
)

// Swarm is all clients of one agent. What is not exported is called on its loop.
type Swarm struct {
	loop  *reactor.Loop
	ended chan struct{} // closed after the loop

	endpoint target.Endpoint
	protocol protocol
	carried  bool   // by HTTP
	bound    bool   // sessions end with the connection that they began on
	calls    uint32 // requests of a session; 0: it has no end
	script   *work.Script
	sources  []netip.Addr
	timeout  time.Duration
	patience wire.Patience
	expected int // how many clients there are to be
	clients  []client

	tally      *tally.Tally
	unverified int // clients between dial and first answer

	ramp    ramp
	pings   pings
	sample  sample
	closer  closer
	closing bool
	armed   tally.Armed

	secure *secure // nil: without TLS
	stages stages
	posts  *posts         // nil: all requests go over the clients' own connections
	head   http1.Response // the one that was parsed last
	free   [][]byte       // room for messages, see borrow

	deadlines deadlines
	sweeper   reactor.Timer
	pulse     pulse

	line    []byte // the request being sent
	message []byte // the same over HTTP, or in a frame
	settled func() // called when what an order asked for may be complete
}

// newSwarm returns a swarm without clients and begins to watch how late the loop is.
func newSwarm(l *reactor.Loop, settled func()) *Swarm {
	s := &Swarm{
		loop: l, ended: make(chan struct{}), tally: tally.New(), line: make([]byte, 0, 512), settled: settled,
	}
	s.stages = newStages(s.tally)
	s.ramp.swarm, s.pings.swarm, s.sample.swarm, s.closer.swarm, s.pulse.swarm = s, s, s, s, s
	s.pulse.again()
	l.Schedule(&s.sweeper, sweepInterval, (*sweep)(s))
	return s
}

// open takes the order to open the first connection of every source from at on, so many per second.
func (s *Swarm) open(at int64, rate float64, o *wire.OpenOrder) error {
	if s.clients != nil {
		return fmt.Errorf("connections were opened before")
	}
	var err error
	if s.script, err = o.Work.Compile(); err != nil {
		return err
	}
	s.endpoint, s.timeout, s.patience = o.Endpoint, o.Timeout, o.Patience
	s.expected = o.Connections
	s.sources = make([]netip.Addr, max(o.Sources.Count, 1))
	for i := range s.sources {
		s.sources[i] = o.Sources.At(i)
	}
	if s.secure, err = newSecure(s); err != nil {
		return err
	}
	if err := s.speak(); err != nil {
		return err
	}
	s.clients = make([]client, o.Connections)
	for i := range s.clients {
		s.clients[i].swarm, s.clients[i].index = s, int32(i)
	}
	s.ramp.rate, s.ramp.limit = rate, min(len(s.sources), len(s.clients))
	s.ramp.begin(at, rate, &s.ramp)
	return nil
}

// arm makes the clients of a node displaced rather than dropped when they lose it, and returns how
// many it has.
func (s *Swarm) arm(node string) int {
	s.armed = s.tally.Armed(node)
	n := s.tally.Arm(s.armed)
	s.patience.Spread = max(s.patience.Spread, tally.Spread(n, s.ramp.rate))
	return n
}

func (s *Swarm) disarm() { s.armed = tally.None }

// nodeOf is the node that verifies a connection, 0 if there is none. served is the one that a field of the response
// named, if one has.
func (s *Swarm) nodeOf(r ask.Reply, served uint8) uint8 {
	switch naming := s.script.Work().Naming; {
	case r.Kind != ask.ReplyAnswer:
		return 0
	case naming == work.ByHeader && s.carried:
		return served
	}
	return s.tally.Node(r.Node)
}

// served is the node that a field of the response whose head was just parsed names, 0 if that is not how nodes are named.
func (s *Swarm) served() uint8 {
	if s.script.Work().Naming != work.ByHeader {
		return 0
	}
	if name := s.head.Get("x-served-by"); len(name) > 0 && len(name) <= maxName {
		return s.tally.Node(name)
	}
	return 0
}

// maxName is the longest name of a node.
const maxName = 64

// appendStep makes s.line the request of a step, as a client asks it.
func (s *Swarm) appendStep(c *client, step int, id uint64) (about work.Request) {
	s.line, about = s.script.As(int(c.index)).AppendStep(s.line[:0], step, id)
	return about
}

// react says to a request of a server what there is to be said.
func (s *Swarm) react(c *client, message []byte) {
	if s.line = ask.AppendReaction(s.line[:0], message); len(s.line) > 0 {
		s.protocol.tell(c, s.line)
	}
}

// maxTold bounds what waits on a connection for a server that asks, and does not read what it is told.
const maxTold = 64 << 10

// id is the id of a request that is due now, and is none of the schedule.
func (s *Swarm) id(step int) uint64 { return s.tally.ID(step, s.loop.Now()) }

// answered is called for every answer to a request of the schedule. served is the node that its response names, 0 if nodes are
// not named so.
func (s *Swarm) answered(c *client, r ask.Reply, served uint8) {
	node := c.node
	switch cause := r.Cause(); {
	case cause != ask.CauseNone:
		s.tally.Refuse(cause)
		return
	case r.Node != nil:
		node = s.tally.Node(r.Node)
	case served != 0:
		node = served
	case s.carried && s.script.Work().Naming == work.ByHeader:
		s.tally.Refuse(ask.CauseReply)
		return
	}
	s.tally.Answer(r.ID, node, c.node)
}

// expect sets the deadline of an exchange that begins now.
func (s *Swarm) expect(of overdue, exchange uint32) {
	s.deadlines.push(deadline{s.loop.Now() + int64(s.timeout), of, exchange})
}

// maxFree is how much room for messages is kept.
const maxFree = 64

// borrow is room for a message.
func (s *Swarm) borrow() []byte {
	if n := len(s.free); n > 0 {
		room := s.free[n-1]
		s.free = s.free[:n-1]
		return room
	}
	return make([]byte, 0, 1<<10)
}

// giveBack takes room back.
func (s *Swarm) giveBack(room []byte) {
	if room != nil && cap(room) <= 64<<10 && len(s.free) < maxFree {
		s.free = append(s.free, room[:0])
	}
}

// late notes how late something is done that was due then.
func (s *Swarm) late(due int64) { s.tally.Late(due, mono.Now()) }

// posting is how many connections there are beside those of clients.
func (s *Swarm) posting() int {
	if s.posts == nil {
		return 0
	}
	return s.posts.open
}

// settle calls for a report when an order may have been fulfilled; other changes wait for the next
// regular one.
func (s *Swarm) settle() {
	done := s.tally.N.Verified+s.tally.N.Failed == s.ramp.limit
	if s.closing {
		done = s.tally.N.Open+s.posting() == 0
	}
	if done {
		s.settled()
	}
}

// counts returns a copy that may leave the loop.
func (s *Swarm) counts() wire.Counts {
	n := s.tally.Counts()
	if n.Recovered > 0 { // of single clients it is not noted
		n.LongestOut = n.LastRecovered - n.FirstLost
	}
	if s.closing {
		n.Open += s.posting()
	}
	return n
}

// retry is the timer of a client that waits; few clients do at a time.
type retry struct {
	timer  reactor.Timer
	client *client
}

// later has c dial after d.
func (s *Swarm) later(c *client, d time.Duration) {
	r := &retry{client: c}
	s.loop.Schedule(&r.timer, d, r)
}

// OnTimer implements [reactor.Expirer].
func (r *retry) OnTimer(*reactor.Timer) { r.client.dial() }

// sweep ends overdue exchanges.
type sweep Swarm

const sweepInterval = 50 * time.Millisecond

// OnTimer implements [reactor.Expirer].
func (s *sweep) OnTimer(t *reactor.Timer) {
	for {
		d, ok := s.deadlines.expired(s.loop.Now())
		if !ok {
			break
		}
		d.of.overdue(d.exchange)
	}
	s.loop.Schedule(t, sweepInterval, s)
}

// pulse measures how late the loop gets to a timer.
type pulse struct {
	swarm *Swarm
	timer reactor.Timer
	due   int64
}

const pulseInterval = 10 * time.Millisecond

func (p *pulse) again() {
	p.due = (mono.Now() + int64(pulseInterval) + tick - 1) / tick * tick
	p.swarm.loop.Schedule(&p.timer, time.Duration(p.due-p.swarm.loop.Now()), p)
}

// OnTimer implements [reactor.Expirer].
func (p *pulse) OnTimer(*reactor.Timer) {
	p.swarm.late(p.due)
	p.again()
}
