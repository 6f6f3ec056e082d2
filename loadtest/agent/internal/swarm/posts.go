package swarm

import (
	"bytes"
	"slices"
	"time"

	"github.com/erlmcp/erlmcp/internal/prefork"
	"github.com/erlmcp/erlmcp/internal/reactor"
	"github.com/erlmcp/erlmcp/loadtest/agent/internal/delivered"
	"github.com/erlmcp/erlmcp/loadtest/internal/ask"
	"github.com/erlmcp/erlmcp/loadtest/internal/wire"
	"github.com/erlmcp/erlmcp/loadtest/internal/work"
)

// errand is a request over a connection that is not the client's own.
type errand struct {
	client   *client
	kind     errandKind
	exchange uint32 // client.begun when it began
	step     int
	id       uint64
	session  string // of the client when it began: its id, or over SSE where to post
	message  []byte // of errandTell
	since    int64  // when it began to wait for a connection
	again    bool   // it has been sent before, to a server that was about to close: not over another connection that may be so
	outcome
}

// errandKind is what a request is for.
type errandKind uint8

const (
	errandNone       errandKind = iota
	errandInitialize            // begin a session
	errandInitialized
	errandVerify  // ask the question
	errandOpen    // open an event stream
	errandStream  // hold it
	errandStep    // of the schedule
	errandTell    // what the server asked
	errandDiscard // end the session
)

// write makes s.line the message of an errand. about is what the head of the request says of a step.
func (s *Swarm) write(e *errand) (about work.Request) {
	switch e.kind {
	case errandInitialize:
		s.line = work.AppendInitialize(s.line[:0], e.id)
	case errandInitialized:
		s.line = work.AppendInitialized(s.line[:0])
	case errandTell:
		s.line = append(s.line[:0], e.message...)
	default:
		about = s.appendStep(e.client, e.step, e.id)
	}
	return about
}

// outcome is what is known of the answer to a request.
type outcome struct {
	served   uint8     // the node that the head of the response names
	answered bool      // the answer was in it
	cause    ask.Cause // why it is none
	ofNone   bool      // it says something about sessions
}

// runner knows what errands are for.
type runner interface {
	// append appends the request.
	append(dst []byte, e *errand) []byte
	// said is told of a message in the response.
	said(e *errand, status int, text []byte)
	// done is told that the response is whole.
	done(e *errand, status int)
	// lost is told that there is none.
	lost(e *errand, cause ask.Cause)
}

// posts are the connections for errands, by source address.
type posts struct {
	swarm   *Swarm
	runner  runner
	idle    [][]*poster // by source; who was busy last is the last one
	spare   []*poster   // without a connection
	open    int
	most    int // at a time. More errands wait, which is a part of what they take: who serves them is slow
	waiting []errand
	timer   reactor.Timer
}

// leastPosters is how many there may be where no room was left for any.
const leastPosters = 64

func newPosts(s *Swarm, r runner) *posts {
	o := &posts{swarm: s, runner: r, idle: make([][]*poster, len(s.sources)), most: wire.MaxBeside}
	if limit, err := prefork.Ceiling(); err == nil {
		room := prefork.Room(1, limit)
		least := max(wire.Beside(wire.Socket, s.endpoint.Transport, room), leastPosters)
		o.most = min(o.most, max(room-s.expected, least))
	}
	return o
}

// poster is a connection for one errand at a time.
type poster struct {
	conn    reactor.Conn
	posts   *posts
	source  int
	reused  bool // it had errands before
	heard   bool // something of the response
	whole   bool // the other side had the whole request when it ended the connection, as far as known
	reply   reply
	errand  errand // of kind errandNone: idle
	ready   bool   // connected
	cause   ask.Cause
	errands uint32 // so far
	since   int64  // idle
}

// run begins an errand.
func (o *posts) run(e errand) {
	s := o.swarm
	source := int(e.client.index) % len(s.sources)
	if !e.again {
		if p := o.take(source); p != nil {
			p.reused = true
			p.begin(e)
			p.send()
			return
		}
	}
	if o.open >= o.most {
		e.since = s.loop.Now()
		o.waiting = append(o.waiting, e)
		return
	}
	var p *poster
	if n := len(o.spare); n > 0 {
		p = o.spare[n-1]
		o.spare = o.spare[:n-1]
	} else {
		p = &poster{posts: o}
	}
	p.source, p.reused = source, false
	if err := s.connect(&p.conn, source, p); err != nil {
		o.spare = append(o.spare, p)
		o.runner.lost(&e, ask.CauseOfError(err))
		return
	}
	o.open++
	p.begin(e)
}

// tell begins an errand with a message that nobody answers, unless all connections are busy: a server that asks more than it
// serves would have the agent keep all of it.
func (o *posts) tell(c *client, session string, message []byte) {
	if o.open < o.most || len(o.waiting) == 0 && o.idles() {
		o.run(errand{client: c, kind: errandTell, session: session, message: bytes.Clone(message)})
	}
}

// idles reports whether there is a connection without an errand.
func (o *posts) idles() bool {
	return slices.ContainsFunc(o.idle, func(idle []*poster) bool { return len(idle) > 0 })
}

// take is an idle connection of a source, or of another one if there may be no more. It is nil if there is none.
func (o *posts) take(source int) *poster {
	for i := range o.idle {
		of := (source + i) % len(o.idle)
		for n := len(o.idle[of]); n > 0; n-- {
			p := o.idle[of][n-1]
			o.idle[of] = o.idle[of][:n-1]
			if p.conn.Open() { // or it has ended in this turn of the loop
				return p
			}
		}
		if o.open < o.most {
			break
		}
	}
	return nil
}

// next is the errand that has waited longest, if it is still of use.
func (o *posts) next() (e errand, ok bool) {
	for len(o.waiting) > 0 {
		e, o.waiting = o.waiting[0], o.waiting[1:]
		if o.swarm.loop.Now()-e.since < int64(o.swarm.timeout) {
			return e, true
		}
		o.runner.lost(&e, ask.CauseTimeout)
	}
	return errand{}, false
}

func (p *poster) begin(e errand) {
	p.errand, p.cause, p.heard, p.whole = e, ask.CauseNone, false, true
	p.errands++
	p.posts.swarm.expect(p, p.errands)
}

func (p *poster) send() {
	s := p.posts.swarm
	s.message = p.posts.runner.append(s.message[:0], &p.errand)
	p.conn.Send(s.message)
}

// overdue implements [overdue].
func (p *poster) overdue(exchange uint32) {
	if p.errand.kind != errandNone && p.errands == exchange {
		p.drop(ask.CauseTimeout)
	}
}

func (p *poster) drop(cause ask.Cause) {
	p.posts.forget(p)
	p.cause = cause
	p.conn.Close()
}

// OnOpen implements [reactor.Handler].
func (p *poster) OnOpen(*reactor.Conn) {
	p.ready = true
	p.send()
}

// OnData implements [reactor.Handler].
func (p *poster) OnData(_ *reactor.Conn, in []byte) int {
	o, used := p.posts, 0
	p.heard = p.heard || len(in) > 0
	for p.conn.Open() {
		if p.errand.kind == errandNone {
			if used < len(in) { // not asked for
				p.drop(ask.CauseReply)
			}
			break
		}
		n, is, text := p.reply.next(o.swarm, in[used:])
		used += n
		switch is {
		case partNone:
			return used
		case partHead:
			p.errand.served = o.swarm.served()
		case partText:
			o.runner.said(&p.errand, int(p.reply.status), text)
		case partDone:
			p.finish()
		case partBroken:
			p.drop(ask.CauseReply)
		}
	}
	return used
}

// finish ends the errand with its response.
func (p *poster) finish() {
	e, status, keep := p.errand, int(p.reply.status), p.reply.keep && !p.reply.closed
	p.errand = errand{}
	p.reply.reset(p.posts.swarm)
	if !keep {
		p.conn.CloseAfterFlush()
	} else if next, ok := p.posts.next(); ok {
		p.reused = true
		p.begin(next)
		p.send()
	} else if p.posts.swarm.closer.done() {
		p.conn.CloseAfterFlush()
	} else {
		p.rest()
	}
	p.posts.runner.done(&e, status)
}

// OnEOF implements [reactor.Handler].
func (p *poster) OnEOF(*reactor.Conn) {
	if p.errand.kind != errandNone {
		p.whole = delivered.All(p.conn.FD())
		p.reply.close()
		p.OnData(&p.conn, nil)
	}
	p.drop(ask.CauseClosed)
}

// OnDrained implements [reactor.Handler].
func (p *poster) OnDrained(*reactor.Conn) {}

// OnClose implements [reactor.Handler].
func (p *poster) OnClose(_ *reactor.Conn, err error) {
	o, e, cause := p.posts, p.errand, p.cause
	if cause == ask.CauseNone {
		cause = ask.CauseClosed
		if err != nil {
			cause = ask.CauseOfError(err)
		}
	}
	p.reply.reset(o.swarm)
	p.errand, p.ready = errand{}, false
	o.forget(p)
	o.open--
	o.spare = append(o.spare, p)
	if e.kind == errandStep && !e.again && p.reused && unserved(cause, p.heard, p.whole) {
		e.again = true
		o.run(e)
	} else if e.kind != errandNone {
		o.runner.lost(&e, cause)
	}
	for o.open < o.most {
		next, ok := o.next()
		if !ok {
			break
		}
		o.run(next)
	}
	o.swarm.settle()
}

// unserved reports whether a server cannot have served the request on a connection that it has ended. It has kept the connection
// for others before, and ends it when none come for a while, perhaps in the moment when this one is sent. Then nothing of an
// answer was heard, and either its kernel had not got all of the request when the stream ended, or it has reset the connection:
// that is what a kernel does with what arrives after a close, and at a close with what nobody has read. Such a request is sent
// again once on a connection of its own, as browsers do; any other is lost, as it may have been served (RFC 9110 section 9.2.2).
func unserved(cause ask.Cause, heard, whole bool) bool {
	return !heard && (cause == ask.CauseReset || cause == ask.CauseClosed && !whole)
}

// idleFor is how long a connection waits for an errand. It is shorter than what servers wait for a request, which is five
// seconds where it is short.
const idleFor = 3 * time.Second

// rest makes a connection idle.
func (p *poster) rest() {
	o := p.posts
	p.since = o.swarm.loop.Now()
	o.idle[p.source] = append(o.idle[p.source], p)
	if !o.timer.Pending() {
		o.swarm.loop.Schedule(&o.timer, idleFor, o)
	}
}

// forget takes a connection out of those that are idle.
func (o *posts) forget(p *poster) {
	if i := slices.Index(o.idle[p.source], p); i >= 0 {
		o.idle[p.source] = slices.Delete(o.idle[p.source], i, i+1)
	}
}

// OnTimer implements [reactor.Expirer]: it closes what was idle for long.
func (o *posts) OnTimer(*reactor.Timer) {
	left := false
	for source, idle := range o.idle {
		n := 0
		for n < len(idle) && (o.swarm.closer.done() || o.swarm.loop.Now()-idle[n].since >= int64(idleFor)) {
			idle[n].conn.CloseAfterFlush()
			n++
		}
		o.idle[source] = slices.Delete(idle, 0, n)
		left = left || len(o.idle[source]) > 0
	}
	if left {
		o.swarm.loop.Schedule(&o.timer, idleFor/4, o)
	}
}

// close closes what is idle, when no client has an errand any more. From then on no connection becomes so.
func (o *posts) close() {
	o.swarm.loop.Cancel(&o.timer)
	o.OnTimer(&o.timer)
}
