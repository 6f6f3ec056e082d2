package swarm

import (
	"net/http"

	"github.com/erlmcp/erlmcp/loadtest/internal/ask"
	"github.com/erlmcp/erlmcp/loadtest/internal/wire"
	"github.com/erlmcp/erlmcp/loadtest/internal/work"
)

// events is HTTP with SSE as of 2024-11-05: the client's own connection is a stream of events, on which all answers come. The
// first event says where to post.
type events struct {
	swarm    *Swarm
	requests *requests
	streams  []stream
}

// stream is the connection of a client.
type stream struct {
	reply  reply
	path   string     // where to post; empty: not known yet
	doing  errandKind // of the introduction
	first  uint32     // exchange of the connection
	served uint8
}

func newEvents(s *Swarm) *events {
	v := &events{swarm: s, requests: newRequests(&s.endpoint), streams: make([]stream, s.expected)}
	s.posts = newPosts(s, v)
	return v
}

func (v *events) introduce(c *client) {
	s := v.swarm
	v.streams[c.index].doing, v.streams[c.index].first = errandOpen, c.begun
	s.stages.begin(&c.conn)
	s.message = v.requests.appendBare(s.message[:0], http.MethodGet, "")
	c.conn.Send(s.message)
}

func (v *events) ask(c *client, step int, id uint64) {
	c.begin()
	v.swarm.posts.run(errand{
		client: c, kind: errandStep, exchange: c.begun, step: step, id: id, session: v.streams[c.index].path,
	})
}

func (v *events) tell(c *client, line []byte) { v.swarm.posts.tell(c, v.streams[c.index].path, line) }

// post goes on with the introduction.
func (v *events) post(c *client, what errandKind, step int) {
	t := &v.streams[c.index]
	t.doing = what
	v.swarm.posts.run(errand{
		client: c, kind: what, exchange: c.begun, step: step, id: v.swarm.id(step), session: t.path,
	})
}

// append implements [runner].
func (v *events) append(dst []byte, e *errand) []byte {
	v.swarm.write(e)
	return v.requests.appendPost(dst, e.session, "", work.Request{}, v.swarm.line)
}

func (v *events) read(c *client, p []byte) int {
	t := &v.streams[c.index]
	used := 0
	for c.conn.Open() {
		n, is, text := t.reply.next(v.swarm, p[used:])
		used += n
		switch is {
		case partNone:
			return used
		case partHead:
			t.served = v.swarm.served()
			if t.reply.content != contentEvents {
				c.drop(ask.CauseOfStatus(int(t.reply.status)))
			}
		case partEndpoint:
			v.addressed(c, t, text)
		case partText:
			v.heard(c, t, text)
		case partDone:
			c.drop(ask.CauseClosed)
		case partBroken:
			c.drop(ask.CauseReply)
		}
	}
	return used
}

// addressed takes the first event.
func (v *events) addressed(c *client, t *stream, reference []byte) {
	if t.doing != errandOpen {
		return
	}
	var ok bool
	if t.path, ok = resolve(&v.swarm.endpoint.Target, v.requests.path, reference); !ok {
		c.drop(ask.CauseReply)
		return
	}
	v.swarm.stages.end(wire.StageEvent, &c.conn)
	v.post(c, errandInitialize, initialization)
}

// heard takes a message.
func (v *events) heard(c *client, t *stream, text []byte) {
	if t.doing != errandInitialize {
		if t.doing != errandOpen && t.doing != errandInitialized {
			c.answer(text, t.served)
		}
		return
	}
	switch ok, cause := v.swarm.welcomed(text, v.requests); {
	case ok:
		c.welcomed()
		v.post(c, errandInitialized, work.Verification)
	case cause != ask.CauseNone:
		c.drop(cause)
	default:
		v.swarm.react(c, text)
	}
}

// over reports whether nobody waits for what becomes of an errand any more.
func (v *events) over(e *errand) bool {
	c := e.client
	return e.kind == errandTell || !c.conn.Open() || int32(e.exchange-v.streams[c.index].first) < 0 || c.underWay() == 0
}

// done implements [runner].
func (v *events) done(e *errand, status int) {
	c := e.client
	switch {
	case v.over(e):
	case status >= 300:
		cause := ask.CauseOfStatus(status)
		if status == http.StatusNotFound {
			cause = ask.CauseSession
		}
		if e.kind != errandStep {
			c.drop(cause)
			return
		}
		v.swarm.tally.Refuse(cause)
		c.concluded()
	case e.kind == errandInitialized:
		v.post(c, errandVerify, work.Verification)
	}
}

// said implements [runner]: answers come on the stream.
func (v *events) said(*errand, int, []byte) {}

// lost implements [runner].
func (v *events) lost(e *errand, cause ask.Cause) {
	c := e.client
	switch {
	case v.over(e):
	case e.kind != errandStep:
		c.drop(cause)
	default:
		if cause == ask.CauseLocal {
			v.swarm.tally.Refuse(cause)
		} else {
			v.swarm.tally.N.Requests.Lost++
		}
		c.concluded()
	}
}

func (v *events) ended(*client) {}

func (v *events) leave(c *client) {
	if c.underWay() == 1 {
		c.conn.CloseAfterFlush()
	}
}

func (v *events) close(c *client) { c.conn.CloseAfterFlush() }

func (v *events) closed(c *client) bool {
	t := &v.streams[c.index]
	t.reply.reset(v.swarm)
	*t = stream{}
	return false
}
