package attack

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"net/http"
	"net/http/httptrace"
	"slices"

	"github.com/erlmcp/erlmcp/internal/mcp"
	"github.com/erlmcp/erlmcp/internal/mono"
	"github.com/erlmcp/erlmcp/loadtest/internal/ask"
	"github.com/erlmcp/erlmcp/loadtest/internal/wire"
	"github.com/erlmcp/erlmcp/loadtest/internal/work"
)

// attempt connects a client and has it verified; nobody holds mu.
func (c *client) attempt() {
	a := c.attack
	ctx, cancel := context.WithTimeout(a.opening, a.timeout)
	defer cancel()
	l, cause := c.connect(ctx)
	if cause == ask.CauseNone {
		cause = c.introduce(ctx, l)
	}
	if cause != ask.CauseNone {
		c.giveUp(cause)
	}
}

// renew has a client whose session is lost verified with another one; nobody holds mu.
func (c *client) renew(l *link) {
	ctx, cancel := context.WithTimeout(c.attack.opening, c.attack.timeout)
	defer cancel()
	if cause := c.introduce(ctx, l); cause != ask.CauseNone {
		c.giveUp(cause)
	}
}

// anew has a client that leaves end its session and begin another one on its connection; nobody holds mu.
func (c *client) anew(l *link) {
	a := c.attack
	a.mu.Lock()
	ends := c.session != "" && !a.keeps
	head := c.header("", "")
	a.mu.Unlock()
	if ends {
		a.endSession(l, head)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if c.state != stateLeaving || c.link != l { // the connection has ended, or is to
		return
	}
	c.session = ""
	c.try(func() { c.renew(l) })
}

// giveUp ends an attempt that has failed.
func (c *client) giveUp(cause ask.Cause) {
	a := c.attack
	a.mu.Lock()
	l := c.link
	if l == nil {
		a.tally.N.Open-- // nothing came of it
	}
	a.mu.Unlock()
	if l != nil {
		a.hangUp(l)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	c.refused(cause)
}

// connect opens a connection that can be used.
func (c *client) connect(ctx context.Context) (*link, ask.Cause) {
	a := c.attack
	var began int64
	ctx = httptrace.WithClientTrace(context.WithValue(ctx, clientKey{}, c), &httptrace.ClientTrace{
		TLSHandshakeStart: func() { began = mono.Now() },
		TLSHandshakeDone: func(_ tls.ConnectionState, err error) {
			if err == nil {
				a.mu.Lock()
				defer a.mu.Unlock()
				a.tally.Stage(wire.StageTLS, mono.Now()-began)
			}
		},
	})
	conn, err := a.transport.NewClientConn(ctx, a.url.Scheme, a.endpoint.Authority())
	a.mu.Lock()
	l := c.link
	if err != nil {
		defer a.mu.Unlock()
		return l, c.why(err)
	}
	l.conn = conn
	gone := a.closing
	a.mu.Unlock()
	if gone {
		return l, ask.CauseClosed
	}
	return l, ask.CauseNone
}

// why is the cause of an error of an attempt; the caller holds mu.
func (c *client) why(err error) ask.Cause {
	cause := causeOf(err)
	if cause == ask.CauseNetwork && c.link != nil {
		if heard := ask.Cause(c.link.heard.Load()); heard != ask.CauseNone {
			return heard
		}
	}
	return cause
}

// introduce makes a client of a connection a verified one, with the session that it has or with another one.
func (c *client) introduce(ctx context.Context, l *link) ask.Cause {
	a := c.attack
	for fresh := false; ; {
		if a.script.Work().Era == mcp.SessionEra && !c.known() {
			if cause := c.initialize(ctx, l); cause != ask.CauseNone {
				return cause
			}
			fresh = true
		}
		status, cause := c.verify(ctx, l)
		// Servers differ in what they say to a session that they do not know.
		if lost := status == http.StatusNotFound || status == http.StatusBadRequest; fresh || !lost || !c.forget() {
			return cause
		}
	}
}

// known reports whether the client has a session; nobody holds mu.
func (c *client) known() bool {
	c.attack.mu.Lock()
	defer c.attack.mu.Unlock()
	return c.session != ""
}

// forget gives up a session that the server does not know, and reports whether there was one; nobody holds mu.
func (c *client) forget() bool {
	a := c.attack
	a.mu.Lock()
	defer a.mu.Unlock()
	if c.session == "" {
		return false
	}
	a.tally.N.Sessions.Lost++
	c.session = ""
	return true
}

// maxSession is the longest id of a session.
const maxSession = 4 << 10

// initialize begins a session.
func (c *client) initialize(ctx context.Context, l *link) ask.Cause {
	a := c.attack
	a.mu.Lock()
	id := a.tally.ID(work.Verification, mono.Now())
	c.session, c.version = "", 0
	head := c.header(mcp.MethodInitialize, "")
	a.mu.Unlock()
	r, err := a.post(ctx, l, head, work.AppendInitialize(nil, id))
	if err != nil {
		return c.failed(l, err)
	}
	took := mono.Now() - l.since
	r.finish()
	if cause := r.cause(); cause != ask.CauseNone {
		return cause
	}
	version := agreed(r.line)
	session := r.head.Get(mcp.HeaderSessionID)
	if version == 0 || len(session) > maxSession {
		return ask.CauseReply
	}
	a.mu.Lock()
	a.tally.N.Sessions.Begun++
	c.calls = 0
	a.tally.Stage(wire.StageSession, took)
	c.session, c.version = session, version
	head = c.header(mcp.MethodInitialized, "")
	a.mu.Unlock()
	n, err := a.post(ctx, l, head, work.AppendInitialized(nil))
	if err != nil {
		return c.failed(l, err)
	}
	n.finish()
	return causeOfStatus(n.status)
}

// verify asks the question that verifies a connection.
func (c *client) verify(ctx context.Context, l *link) (status int, cause ask.Cause) {
	a := c.attack
	a.mu.Lock()
	id := a.tally.ID(work.Verification, mono.Now())
	body, about := a.script.As(int(c.index)).AppendVerify(nil, id)
	head := c.header(about.Method, about.Name)
	a.mu.Unlock()
	r, err := a.post(ctx, l, head, body)
	if err != nil {
		return 0, c.failed(l, err)
	}
	r.finish()
	if cause := r.cause(); cause != ask.CauseNone {
		return r.status, cause
	}
	reply := a.script.Parse(r.line)
	switch {
	case reply.Kind == ask.ReplyError:
		return r.status, ask.CauseOfCode(reply.Code)
	case reply.Kind != ask.ReplyAnswer || reply.ID != id:
		return r.status, ask.CauseReply
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	name, ok := a.named(r, reply)
	switch {
	case !ok:
		return r.status, ask.CauseReply
	case l.closed:
		return r.status, l.why()
	case a.closing:
		return r.status, ask.CauseClosed
	}
	c.verified(a.tally.Node([]byte(name)))
	return r.status, ask.CauseNone
}

// failed is the cause of an exchange that brought no answer; nobody holds mu.
func (c *client) failed(l *link, err error) ask.Cause {
	c.attack.mu.Lock()
	defer c.attack.mu.Unlock()
	if l.cause != ask.CauseNone {
		return l.cause
	}
	return c.why(err)
}

// agreed is 1 + the place in mcp.Versions of the version that an answer to initialize says; 0: none that we know.
func agreed(line []byte) uint8 {
	m, err := mcp.ParseReply(line)
	if err != nil || m.Err != nil {
		return 0
	}
	var result struct {
		ProtocolVersion string `json:"protocolVersion"`
	}
	if err := json.Unmarshal(m.Result, &result); err != nil {
		return 0
	}
	return uint8(1 + slices.Index(mcp.Versions, result.ProtocolVersion))
}
