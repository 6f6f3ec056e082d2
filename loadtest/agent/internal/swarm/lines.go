package swarm

import (
	"bytes"

	"github.com/erlmcp/erlmcp/loadtest/internal/ask"
	"github.com/erlmcp/erlmcp/loadtest/internal/work"
)

// lines is newline TCP: a message a line. In the era of sessions, a connection is one.
type lines struct {
	swarm    *Swarm
	sessions bool
}

func (t *lines) introduce(c *client) {
	s := t.swarm
	if !t.sessions {
		t.verify(c)
		return
	}
	s.stages.begin(&c.conn)
	s.line = work.AppendInitialize(s.line[:0], s.id(initialization))
	c.conn.Send(s.line)
}

func (t *lines) verify(c *client) { t.send(c, work.Verification, t.swarm.id(work.Verification)) }

func (t *lines) ask(c *client, step int, id uint64) {
	c.begin()
	t.send(c, step, id)
}

func (t *lines) send(c *client, step int, id uint64) {
	t.swarm.appendStep(c, step, id)
	c.conn.Send(t.swarm.line)
}

func (t *lines) tell(c *client, line []byte) {
	if c.conn.Pending() < maxTold {
		c.conn.Send(line)
	}
}

func (t *lines) read(c *client, p []byte) int {
	used := 0
	for c.conn.Open() {
		end := bytes.IndexByte(p[used:], '\n')
		if end < 0 {
			if len(p)-used > ask.MaxReply {
				c.drop(ask.CauseReply)
			}
			break
		}
		line := p[used : used+end]
		used += end + 1
		if c.state != stateAsking || !t.sessions || !t.welcomed(c, line) {
			c.answer(line, 0)
		}
	}
	return used
}

// welcomed takes a line, if it is the answer to initialize.
func (t *lines) welcomed(c *client, line []byte) bool {
	r, _ := ask.Parse(line)
	if _, step := work.OfID(r.ID); r.Kind != ask.ReplyAnswer && r.Kind != ask.ReplyError || step != initialization {
		return false
	}
	switch ok, cause := t.swarm.welcomed(line, nil); {
	case !ok && cause != ask.CauseReply: // of the balancer
		c.drop(cause)
		return true
	case !ok: // it has no sessions, and may serve all the same
		t.verify(c)
		return true
	}
	c.welcomed()
	t.swarm.line = work.AppendInitialized(t.swarm.line[:0])
	c.conn.Send(t.swarm.line)
	t.verify(c)
	return true
}

func (t *lines) ended(*client) {}

// leave ends the client's stream. The other side answers what it was asked, and then ends its own; but if a session ends, it
// is not put to the test.
func (t *lines) leave(c *client) {
	if c.home != 0 || c.underWay() == 1 {
		c.conn.CloseWrite()
	}
}

func (t *lines) close(c *client) { c.conn.Close() }

func (t *lines) closed(*client) bool { return false }
