package swarm

import (
	"bytes"

	"github.com/erlmcp/erlmcp/loadtest/internal/ask"
	"github.com/erlmcp/erlmcp/loadtest/internal/work"
)

// lines is newline TCP: a message a line, and no session before the first question.
type lines struct{ swarm *Swarm }

func (t *lines) introduce(c *client) {
	t.send(c, work.Verification, t.swarm.id(work.Verification))
}

func (t *lines) ask(c *client, step int, id uint64) {
	c.begin()
	t.send(c, step, id)
}

func (t *lines) send(c *client, step int, id uint64) {
	s := t.swarm
	s.line, _ = s.script.AppendStep(s.line[:0], step, id)
	c.conn.Send(s.line)
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
		c.answer(p[used:used+end], 0)
		used += end + 1
	}
	return used
}

func (t *lines) ended(*client) {}

// leave ends the client's stream. The other side answers what it was asked, and then ends its own.
func (t *lines) leave(c *client) { c.conn.CloseWrite() }

func (t *lines) close(c *client) { c.conn.Close() }

func (t *lines) closed(*client) {}
