package swarm

import (
	"net/http"
	"time"

	"github.com/erlmcp/erlmcp/internal/http1"
	"github.com/erlmcp/erlmcp/internal/mcp"
	"github.com/erlmcp/erlmcp/internal/rawjson"
	"github.com/erlmcp/erlmcp/internal/reactor"
	"github.com/erlmcp/erlmcp/loadtest/agent/internal/delivered"
	"github.com/erlmcp/erlmcp/loadtest/agent/internal/tally"
	"github.com/erlmcp/erlmcp/loadtest/internal/ask"
	"github.com/erlmcp/erlmcp/loadtest/internal/wire"
	"github.com/erlmcp/erlmcp/loadtest/internal/work"
)

// streamable is Streamable HTTP. A client introduces itself on its own connection,
//
//	initialize ─▶ initialized ─▶ verify ─▶ open ─▶ stream      in the session era
//	                               │         └ 405 ▶ none
//	                               └──────────────▶ none       in the stateless one
//
// and holds it: as a stream of events, or for requests. These go there while it is idle, and else as errands.
type streamable struct {
	swarm    *Swarm
	requests *requests
	visits   []visit
	sessions bool // of the session era
	keeps    bool // the server does not let clients end sessions
}

// visit is the connection of a client, and the session that outlives it.
type visit struct {
	session string
	reply   reply
	doing   errandKind // of the request under way; errandNone: idle
	node    uint8      // that has verified it
	fresh   bool       // the session began on this connection
	heard   bool       // something of the response to the request under way
	whole   bool       // see poster
	last    bool       // the server has said that it ends the connection after this answer
	step    uint8      // of the request under way
	errands int32      // requests of the schedule that are under way elsewhere
	id      uint64     // of the request under way
	since   int64      // it was introduced
	outcome
}

func newStreamable(s *Swarm) *streamable {
	h := &streamable{swarm: s, requests: newRequests(&s.endpoint), visits: make([]visit, s.expected)}
	h.sessions = s.script.Work().Era == mcp.SessionEra
	h.requests.version = mcp.LatestVersion
	if h.sessions {
		h.requests.version = mcp.LatestSessionVersion
	}
	s.posts = newPosts(s, h)
	return h
}

func (h *streamable) introduce(c *client) {
	v := &h.visits[c.index]
	v.fresh, v.last, v.since = false, false, h.swarm.loop.Now()
	if h.sessions && v.session == "" {
		h.begin(c, v, errandInitialize)
	} else {
		h.begin(c, v, errandVerify)
	}
}

// begin sends a request of the introduction.
func (h *streamable) begin(c *client, v *visit, what errandKind) {
	s := h.swarm
	e := errand{client: c, kind: what, session: v.session, step: work.Verification, id: s.id(work.Verification)}
	if what == errandInitialize {
		e.id = s.id(initialization)
	}
	if what == errandOpen {
		s.stages.begin(&c.conn)
	}
	h.send(c, v, &e)
}

// send sends a request on the client's own connection.
func (h *streamable) send(c *client, v *visit, e *errand) {
	v.doing, v.outcome, v.step, v.id, v.heard, v.whole = e.kind, outcome{}, uint8(e.step), e.id, false, true
	h.swarm.message = h.append(h.swarm.message[:0], e)
	c.conn.Send(h.swarm.message)
}

// append implements [runner].
func (h *streamable) append(dst []byte, e *errand) []byte {
	switch e.kind {
	case errandOpen:
		return h.requests.appendBare(dst, http.MethodGet, e.session)
	case errandDiscard:
		return h.requests.appendBare(dst, http.MethodDelete, e.session)
	}
	about := h.swarm.write(e)
	if h.sessions { // only heads of the stateless era say what is asked
		about = work.Request{}
	}
	return h.requests.appendPost(dst, h.requests.path, e.session, about, h.swarm.line)
}

func (h *streamable) ask(c *client, step int, id uint64) {
	v := &h.visits[c.index]
	e := errand{client: c, kind: errandStep, step: step, id: id, session: v.session}
	if v.doing != errandNone {
		h.elsewhere(v, e)
		return
	}
	c.begin()
	h.send(c, v, &e)
}

// elsewhere sends a request of the schedule over another connection than the client's own.
func (h *streamable) elsewhere(v *visit, e errand) {
	v.errands++
	h.swarm.posts.run(e)
}

func (h *streamable) tell(c *client, line []byte) {
	h.swarm.posts.tell(c, h.visits[c.index].session, line)
}

func (h *streamable) read(c *client, p []byte) int {
	v := &h.visits[c.index]
	v.heard = v.heard || len(p) > 0
	used := 0
	for c.conn.Open() {
		if v.doing == errandNone {
			if used < len(p) { // not asked for
				c.drop(ask.CauseReply)
			}
			break
		}
		n, is, text := v.reply.next(h.swarm, p[used:])
		used += n
		switch is {
		case partNone:
			return used
		case partHead:
			h.begun(c, v)
		case partText:
			h.heard(c, v, text)
		case partDone:
			h.over(c, v)
		case partBroken:
			c.drop(ask.CauseReply)
		}
	}
	return used
}

// begun takes the head of a response.
func (h *streamable) begun(c *client, v *visit) {
	s := h.swarm
	v.served = s.served()
	switch {
	case v.doing == errandInitialize:
		v.session, v.fresh = "", true
		if id := s.head.Get("mcp-session-id"); len(id) <= maxSession {
			v.session = string(id)
		}
	case v.doing == errandOpen && v.reply.content == contentEvents:
		v.doing = errandStream
		s.stages.end(wire.StageEvent, &c.conn)
		c.verified(v.node)
	}
}

// maxSession is the longest id of a session that is used.
const maxSession = 1 << 10

// heard takes a message.
func (h *streamable) heard(c *client, v *visit, text []byte) {
	if v.reply.status >= 300 {
		h.explain(&v.outcome, text)
		return
	}
	switch v.doing {
	case errandInitialize:
		if v.answered, v.cause = h.swarm.welcomed(text, h.requests); !v.answered {
			h.swarm.react(c, text)
		}
	case errandVerify:
		r := h.swarm.script.Parse(text)
		if r.Kind == ask.ReplyNone {
			h.swarm.react(c, text)
		}
		if r.Kind == ask.ReplyNone || r.Kind == ask.ReplyOther || v.answered {
			h.explain(&v.outcome, text)
			return
		}
		v.node = h.swarm.nodeOf(r, v.served)
		v.answered, v.cause = v.node != 0, ask.CauseOfCode(r.Code)
	case errandStep:
		h.answer(c, &v.outcome, v.id, int(v.reply.status), text)
	case errandStream:
		h.swarm.react(c, text)
	}
}

// answer takes a message in the response to a request of the schedule, which has an id.
func (h *streamable) answer(c *client, o *outcome, id uint64, status int, text []byte) {
	if status >= 300 {
		h.explain(o, text)
		return
	}
	switch r := h.swarm.script.Parse(text); {
	case r.Kind == ask.ReplyNone:
		h.swarm.react(c, text)
	case !o.answered && r.ID == id && (r.Kind == ask.ReplyAnswer || r.Kind == ask.ReplyError || r.Kind == ask.ReplyToolError):
		o.answered = true
		h.swarm.answered(c, r, o.served)
	}
}

// explain reads why there is no answer.
func (h *streamable) explain(o *outcome, text []byte) {
	o.ofNone = o.ofNone || http1.IndexFold(text, "session") >= 0
	if r, _ := ask.Parse(text); r.Code != 0 && ask.CauseOfCode(r.Code) != ask.CauseReply {
		o.cause = ask.CauseOfCode(r.Code)
	}
}

// over takes the end of a response on the client's own connection.
func (h *streamable) over(c *client, v *visit) {
	s := h.swarm
	did, status, kept := v.doing, int(v.reply.status), v.reply.keep && !v.reply.closed
	v.doing = errandNone
	v.reply.reset(s)
	switch did {
	case errandInitialize:
		if !v.answered {
			v.session = ""
			c.drop(v.why(status))
			return
		}
		c.welcomed()
		h.begin(c, v, errandInitialized)
	case errandInitialized:
		if status >= 300 {
			c.drop(ask.CauseOfStatus(status))
			return
		}
		h.begin(c, v, errandVerify)
	case errandVerify:
		switch {
		case v.session != "" && (status == http.StatusNotFound || status == http.StatusBadRequest):
			if h.forget(v, v.session); v.fresh {
				c.drop(ask.CauseSession)
				return
			}
			s.stages.begin(&c.conn)
			h.begin(c, v, errandInitialize)
		case !v.answered:
			c.drop(v.why(status))
			return
		case h.sessions:
			h.begin(c, v, errandOpen)
		case kept:
			c.verified(v.node)
		}
	case errandOpen:
		switch {
		case status == http.StatusConflict: // the stream before this one is not known to have ended
			h.again(c)
		case status == http.StatusTooManyRequests, status >= 500 && status != http.StatusNotImplemented:
			c.drop(ask.CauseOfStatus(status))
			return
		case kept:
			c.verified(v.node)
		}
	case errandStep:
		h.concluded(c, &v.outcome, status, v.session)
		c.concluded()
	case errandDiscard:
		h.discarded(c, c.begun, status)
	case errandStream:
		v.doing = did // it did not rest
		c.drop(ask.CauseClosed)
	}
	if !kept && c.conn.Open() {
		v.last = did == errandStep
		c.drop(ask.CauseClosed)
	}
}

// why is what failed with a response.
func (o *outcome) why(status int) ask.Cause {
	if o.cause != ask.CauseNone {
		return o.cause
	}
	return ask.CauseOfStatus(status)
}

// concluded takes the end of the response to a request of the schedule.
func (h *streamable) concluded(c *client, o *outcome, status int, session string) {
	switch {
	case o.answered:
	case session != "" && (status == http.StatusNotFound || status == http.StatusBadRequest && o.ofNone):
		h.swarm.tally.Refuse(ask.CauseSession)
		if v := &h.visits[c.index]; h.forget(v, session) && c.state == stateVerified {
			c.drop(ask.CauseSession) // and begins anew
		}
	default:
		h.swarm.tally.Refuse(o.why(status))
	}
}

// forget counts a session that the server has forgotten. It reports whether it is the one that the client has.
func (h *streamable) forget(v *visit, session string) bool {
	if v.session != session {
		return false
	}
	v.session = ""
	h.swarm.tally.N.Sessions.Lost++
	return true
}

// reopening is the timer of a client that waits to open its stream again.
type reopening struct {
	timer    reactor.Timer
	of       *streamable
	client   *client
	exchange uint32
}

const reopenAfter = 50 * time.Millisecond

func (h *streamable) again(c *client) {
	r := &reopening{of: h, client: c, exchange: c.begun}
	h.swarm.loop.Schedule(&r.timer, reopenAfter, r)
}

// OnTimer implements [reactor.Expirer].
func (r *reopening) OnTimer(*reactor.Timer) {
	if c := r.client; c.state == stateAsking && c.begun == r.exchange && c.conn.Open() {
		r.of.begin(c, &r.of.visits[c.index], errandOpen)
	}
}

func (h *streamable) ended(c *client) {
	v := &h.visits[c.index]
	v.whole = delivered.All(c.conn.FD())
	if v.doing != errandNone && v.doing != errandStream {
		v.reply.close()
		h.read(c, nil)
	}
}

func (h *streamable) leave(c *client) {
	v := &h.visits[c.index]
	if c.underWay() > 1 {
		return
	}
	if c.home != 0 { // it takes its session with it
		c.conn.CloseAfterFlush()
		return
	}
	discard := errand{client: c, kind: errandDiscard, exchange: c.begun, session: v.session}
	switch {
	case v.errands > 0:
	case v.session == "" || h.keeps:
		h.anew(c, v)
	case v.doing == errandNone:
		v.session = ""
		h.send(c, v, &discard)
	default: // a stream, which ends with its session
		v.session = ""
		h.swarm.posts.run(discard)
	}
}

// discarded takes what the server says to the end of a session, for which a client leaves in an exchange.
func (h *streamable) discarded(c *client, exchange uint32, status int) {
	switch {
	case status < 300:
		h.swarm.tally.N.Sessions.Ended++
	case status == http.StatusMethodNotAllowed:
		h.keeps = true
	}
	if c.state == stateLeaving && c.begun == exchange {
		h.anew(c, &h.visits[c.index])
	}
}

// anew has a client that has ended its session begin another one, on its connection if that is no stream.
func (h *streamable) anew(c *client, v *visit) {
	v.session = ""
	if v.doing == errandNone && c.conn.Open() {
		c.again()
	} else {
		c.conn.CloseAfterFlush()
	}
}

func (h *streamable) close(c *client) {
	c.conn.CloseAfterFlush()
	if v := &h.visits[c.index]; v.session != "" && !h.keeps {
		h.swarm.posts.run(errand{client: c, kind: errandDiscard, session: v.session})
		v.session = ""
	}
}

func (h *streamable) closed(c *client) (rested bool) {
	v := &h.visits[c.index]
	if c.state == stateVerified {
		again := v.doing == errandStep && unserved(c.cause, v.heard, v.whole)
		late := h.swarm.loop.Now()-v.since >= tally.LeastIdle
		rested = v.last || late && (again || v.doing == errandNone && c.cause == ask.CauseClosed)
		if again {
			c.ended++ // it goes on elsewhere
			defer h.elsewhere(v, errand{client: c, kind: errandStep, step: int(v.step), id: v.id, session: v.session, again: true})
		}
	}
	v.reply.reset(h.swarm)
	v.doing = errandNone
	return rested
}

// said implements [runner].
func (h *streamable) said(e *errand, status int, text []byte) {
	if e.kind == errandStep {
		h.answer(e.client, &e.outcome, e.id, status, text)
	}
}

// done implements [runner].
func (h *streamable) done(e *errand, status int) {
	switch e.kind {
	case errandStep:
		h.concluded(e.client, &e.outcome, status, e.session)
		h.back(e.client)
	case errandDiscard:
		h.discarded(e.client, e.exchange, status)
	}
}

// back takes the end of a request that was sent elsewhere.
func (h *streamable) back(c *client) {
	h.visits[c.index].errands--
	if c.state == stateLeaving && c.conn.Open() {
		h.leave(c)
	}
}

// lost implements [runner].
func (h *streamable) lost(e *errand, cause ask.Cause) {
	switch {
	case e.kind == errandDiscard:
		h.discarded(e.client, e.exchange, http.StatusServiceUnavailable)
		return
	case e.kind != errandStep:
		return
	case e.answered:
	case cause == ask.CauseLocal:
		h.swarm.tally.Refuse(cause)
	default:
		h.swarm.tally.N.Requests.Lost++
	}
	h.back(e.client)
}

// welcomed reads the answer to initialize, and which version was agreed upon, which q says from then on if there is one.
func (s *Swarm) welcomed(text []byte, q *requests) (ok bool, cause ask.Cause) {
	m, err := mcp.ParseReply(text)
	if err != nil {
		return false, ask.CauseNone
	}
	if m.Err != nil {
		return false, ask.CauseOfCode(m.Err.Code)
	}
	var version []byte
	rawjson.Take(m.Result, rawjson.Wanted{Name: "protocolVersion", Into: &version})
	if v, _ := rawjson.String(version); q != nil && mcp.Known(string(v)) && q.version != string(v) {
		q.version = string(v)
	}
	return true, ask.CauseNone
}
