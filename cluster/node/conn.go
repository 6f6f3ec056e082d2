package node

import (
	"bytes"
	"time"

	"github.com/erlmcp/erlmcp/cluster/node/internal/protocol"
	"github.com/erlmcp/erlmcp/internal/mcp"
	"github.com/erlmcp/erlmcp/internal/reactor"
)

// maxPending is how many bytes of replies a client may leave unread before no more of its requests are taken.
const maxPending = 64 << 10

// conn is a client on the reactor. An idle connection has no other state and no buffer.
//
// A connection that is leaving is not answered any more: our stream has ended, and what is awaited is the
// end of the client's.
type conn struct {
	reactor.Conn
	worker   *worker
	asleep   *sleeper // calls whose replies are not due yet
	held     holding  // of worker.hoard
	sleeps   int32    // bytes that asleep takes
	searched int32    // bytes of the unfinished line, which hold no newline
	index    int32    // in worker.conns; -1: one too many, on its way out
	session  protocol.Session
	leaving  bool
	behind   bool // requests that were read wait, as the client has not taken its replies
	ended    bool // the client has ended its stream
}

// OnOpen is never called: clients come by Attach.
func (c *conn) OnOpen(*reactor.Conn) {}

// OnData answers the lines in p.
func (c *conn) OnData(_ *reactor.Conn, p []byte) (consumed int) {
	if c.leaving {
		return len(p)
	}
	w := c.worker
	out, tooLong := w.out[:0], false
	for c.Pending() <= maxPending {
		line, ok := c.cutLine(p[consumed:])
		if tooLong = max(len(line), int(c.searched)) > w.maxMessage; tooLong || !ok {
			break
		}
		consumed += len(line) + 1
		out = w.server.Answer(out, line, &c.session, c)
		if len(out) >= maxPending {
			c.Send(out)
			out = out[:0]
		}
	}
	c.Send(out)
	w.recycle(out)
	if tooLong {
		c.refuse(mcp.CodeInvalidRequest, "the message is too long")
		return len(p)
	}
	c.behind = c.Pending() > maxPending && consumed < len(p)
	c.hold(len(p) - consumed)
	switch {
	case !c.Open(): // it was the one to give way
	case c.Pending() > maxPending:
		c.Pause() // until OnDrained
	default:
		c.finish()
	}
	return consumed
}

// cutLine returns the first line of p without its newline. When p holds none, it remembers how far it has
// looked.
func (c *conn) cutLine(p []byte) (line []byte, ok bool) {
	end := bytes.IndexByte(p[c.searched:], '\n')
	if end < 0 {
		c.searched = int32(len(p))
		return nil, false
	}
	line = p[:int(c.searched)+end]
	c.searched = 0
	return line, true
}

// OnDrained goes on with the requests of a client that has caught up.
func (c *conn) OnDrained(*reactor.Conn) {
	c.hold(int(c.searched))
	c.Resume()
	c.finish()
}

// OnEOF notes that the client has asked everything it wanted.
func (c *conn) OnEOF(*reactor.Conn) {
	c.ended = true
	c.finish()
}

// OnClose forgets the client.
func (c *conn) OnClose(*reactor.Conn, error) {
	c.forgetAsleep()
	c.worker.hoard.hold(c, 0, 0)
	c.worker.remove(c)
}

// finish ends the connection if all that was asked is answered, and no more is to be: because the client
// has ended its stream, or because the worker is draining.
func (c *conn) finish() {
	switch {
	case c.asleep != nil:
	case c.ended:
		c.CloseAfterFlush()
	case c.worker.draining && !c.leaving && !c.Paused() && !c.behind && c.Pending() == 0 && !unread(c.FD()):
		c.leave()
	}
}

// refuse tells the client what is wrong with its connection, and parts.
func (c *conn) refuse(code int, text string) {
	c.Send(mcp.AppendError(nil, nil, code, text))
	c.leave()
}

// leave ends our stream and drops what comes in. Closing at once could cost the client the last replies:
// the kernel discards them when it has input that nobody has read.
func (c *conn) leave() {
	c.leaving = true
	c.forgetAsleep()
	c.CloseWrite()
	c.Resume()
	c.worker.farewell(c)
}

func (c *conn) account() *holding { return &c.held }

// hold counts what is kept for this client: buffers, of which the one for input is yet to be made when there is a rest
// for the first time, and calls that are asleep. If all clients together hold too much, those with most are cut off.
func (c *conn) hold(rest int) {
	w := c.worker
	bytes := max(c.Held(), rest) + int(c.sleeps)
	if bytes == 0 && c.held.bytes == 0 {
		return
	}
	w.hoard.hold(c, bytes, int32(w.loop.Now()/int64(time.Second)))
	for {
		largest, ok := w.hoard.first()
		if !ok {
			return
		}
		w.complain("cut off a slow client", errTooMuchHeld)
		largest.Abort()
		w.hoard.hold(largest, 0, 0) // its buffers are free, OnClose comes later
	}
}
