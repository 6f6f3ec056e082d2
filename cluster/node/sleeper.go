package node

import (
	"bytes"
	"unsafe"

	"github.com/erlmcp/erlmcp/cluster/node/internal/protocol"
	"github.com/erlmcp/erlmcp/internal/reactor"
)

// maxAsleep is how many calls of one client may be asleep at a time.
const maxAsleep = 128

// sleeper is a call whose reply is not due yet.
type sleeper struct {
	reactor.Timer
	conn  *conn
	next  *sleeper
	id    []byte
	reply []byte
	batch *protocol.Batch
}

// Defer implements protocol.Later.
func (c *conn) Defer(d protocol.Deferred) bool {
	n := 0
	for s := c.asleep; s != nil; s = s.next {
		n++
	}
	if n >= maxAsleep {
		return false
	}
	s := &sleeper{conn: c, next: c.asleep, id: bytes.Clone(d.ID), reply: bytes.Clone(d.Reply), batch: d.Batch}
	c.asleep = s
	c.sleeps += s.size()
	c.worker.loop.Schedule(&s.Timer, d.After, s)
	return true
}

// Cancel implements protocol.Later.
func (c *conn) Cancel(id []byte) {
	for s := c.asleep; s != nil; s = s.next {
		if bytes.Equal(s.id, id) {
			c.worker.loop.Cancel(&s.Timer)
			s.wake(nil)
			return
		}
	}
}

// OnTimer sends the reply.
func (s *sleeper) OnTimer(*reactor.Timer) {
	s.wake(s.reply)
	s.conn.finish()
}

// wake ends the sleep with a reply, or without one.
func (s *sleeper) wake(reply []byte) {
	at := &s.conn.asleep
	for *at != s {
		at = &(*at).next
	}
	*at = s.next
	s.conn.sleeps -= s.size()

	switch {
	case s.batch != nil:
		s.conn.Send(s.batch.Settle(reply))
	case reply != nil:
		s.conn.Send(append(reply, '\n'))
	}
}

// forgetAsleep drops all sleeping calls unanswered.
func (c *conn) forgetAsleep() {
	for s := c.asleep; s != nil; s = s.next {
		c.worker.loop.Cancel(&s.Timer)
	}
	c.asleep, c.sleeps = nil, 0
}

// size is what s takes, about.
func (s *sleeper) size() int32 { return int32(unsafe.Sizeof(*s)) + int32(cap(s.id)+cap(s.reply)) }
