package web

import (
	"sync/atomic"
	"time"

	"github.com/erlmcp/erlmcp/internal/reactor"
	"github.com/erlmcp/erlmcp/proxy/worker/internal/hub"
)

// nodeConn is a connection to a node, in an exchange or in a pool.
type nodeConn struct {
	conn       reactor.Conn
	w          *Frontend
	x          *exchange // nil: in its pool, or about to close
	pool       *nodePool
	next, prev *nodeConn // in the pool, older and newer
	since      int64     // in the pool: when it came
	answers    uint32    // how many it has brought
	epoch      uint32    // of its pool
	said       uint64    // bytes sent
	before     uint64    // of them before the request under way
	opened     bool
	used       bool // has been in the pool
	pooled     bool
	ended      bool // its stream has ended
	unsent     bool // the request under way could not be sent
}

// nodePool is the idle connections to a port. The newest is used first, so that those a
// quiet time needs no more grow old and are closed.
type nodePool struct {
	told           *atomic.Int64 // how many there are, on the board
	newest, oldest *nodeConn
	size           int
	epoch          uint32 // connections of an earlier one are not kept

	stays uint32 // behind how many answers a connection is known to stay open
}

const (
	// maxPooled bounds a pool.
	maxPooled = 256
	// maxPooledFor is how long a connection may wait: less than the five seconds after which common
	// servers close theirs, for a request may already be on its way then.
	maxPooledFor = 4 * time.Second
	// keptFor is how long a connection has to stay open behind an answer to be known to stay. Some nodes
	// close it at once, behind each answer or so many, without a word.
	keptFor = 20 * time.Millisecond
	// manyAnswers is from how many on a node is believed to give twice as many as it has.
	manyAnswers = 16
)

// put keeps a connection for the next exchange, if there is room.
func (p *nodePool) put(n *nodeConn) {
	if n.epoch != p.epoch || p.size >= maxPooled || n.w.Draining {
		n.conn.Close()
		return
	}
	n.used, n.pooled, n.since = true, true, n.w.Loop.Now()
	p.stays = max(p.stays, n.answers) // it has stayed behind those before
	n.answers++
	n.prev, n.next = nil, p.newest
	if p.newest != nil {
		p.newest.prev = n
	} else {
		p.oldest = n
	}
	p.newest = n
	p.size++
	p.told.Add(1)
	n.w.idle++
}

func (p *nodePool) remove(n *nodeConn) {
	if !n.pooled {
		return
	}
	n.pooled = false
	if n.prev != nil {
		n.prev.next = n.next
	} else {
		p.newest = n.next
	}
	if n.next != nil {
		n.next.prev = n.prev
	} else {
		p.oldest = n.prev
	}
	n.next, n.prev = nil, nil
	p.size--
	p.told.Add(-1)
	n.w.idle--
}

// take returns the newest connection that will do, or nil. For a request that cannot be sent twice, that is
// none which the node may be closing by now.
func (p *nodePool) take(now int64, twice bool) *nodeConn {
	if n := p.newest; n == nil || twice || p.trusts(n) {
		return p.pop()
	}
	var found *nodeConn
	for n := p.newest; n != nil; n = n.next {
		if now-n.since >= int64(keptFor) {
			p.stays = max(p.stays, n.answers)
		}
		if found == nil && p.trusts(n) {
			found = n
		}
	}
	if found != nil {
		p.remove(found)
	}
	return found
}

// trusts reports whether the node is known to keep a connection that has brought as many answers as n.
func (p *nodePool) trusts(n *nodeConn) bool {
	return n.answers <= p.stays || p.stays >= manyAnswers && n.answers/2 < p.stays
}

// ended notes that the node has ended a connection, which is in the pool or was out of it for a request.
func (p *nodePool) ended(n *nodeConn) {
	if n.used && n.w.Loop.Now()-n.since < int64(keptFor) {
		p.stays = min(p.stays, n.answers-1)
	}
	p.remove(n)
}

func (p *nodePool) pop() *nodeConn {
	n := p.newest
	if n != nil {
		p.remove(n)
	}
	return n
}

// empty closes what is in the pool, and what comes back to it of before.
func (p *nodePool) empty() {
	p.epoch++
	p.stays = 0
	for n := p.pop(); n != nil; n = p.pop() {
		n.conn.Close()
	}
}

// expire closes connections that came before an instant.
func (p *nodePool) expire(before int64) {
	for n := p.oldest; n != nil && n.since < before; n = p.oldest {
		p.remove(n)
		n.conn.Close()
	}
}

// pools are those of all ports.
func (w *Frontend) pools(yield func(*nodePool) bool) {
	for _, n := range w.nodes {
		if n == nil {
			continue
		}
		for i := range n.ports {
			if !yield(&n.ports[i].pool) {
				return
			}
		}
	}
}

// expireNodes closes connections that were not needed for a while, every heartbeat.
func (w *Frontend) expireNodes() {
	if w.idle == 0 {
		return
	}
	before := w.Loop.Now() - int64(maxPooledFor)
	for pool := range w.pools {
		pool.expire(before)
	}
}

// makeRoom gives an idle connection up when all descriptors that the clients may take could be
// needed: one of its own for each, and one to a node.
func (w *Frontend) makeRoom() {
	if w.idle == 0 || w.Cell.Active.Load()+int64(w.idle) < int64(w.Max) {
		return
	}
	for pool := range w.pools {
		if n := pool.oldest; n != nil {
			pool.remove(n)
			n.conn.Close()
			return
		}
	}
}

func (n *nodeConn) OnOpen(*reactor.Conn) {
	n.opened = true
	x := n.x
	if x == nil {
		return // closed in this turn
	}
	x.port.Reached(time.Duration(n.w.Loop.Now() - x.began))
	x.phase = opened
	x.client.conn.Reoffer()
}

// OnData is the node speaking.
func (n *nodeConn) OnData(_ *reactor.Conn, p []byte) (consumed int) {
	x := n.x
	switch {
	case x == nil: // it was not asked: who knows what it would answer next
		n.pool.ended(n)
		n.conn.Close()
		return len(p)
	case x.phase == tunnelling:
		return x.tunnelOut(p)
	case x.phase == opened: // it speaks first
		x.badReply()
		return len(p)
	}
	return x.fromNode(p)
}

// OnDrained lets the client speak on.
func (n *nodeConn) OnDrained(*reactor.Conn) {
	switch x := n.x; {
	case x == nil:
	case x.phase == tunnelling:
		x.readTunnel()
	default:
		x.client.conn.Resume()
	}
}

// OnEOF is the end of the node's stream: of the response, of the pool's connection, or too early.
func (n *nodeConn) OnEOF(*reactor.Conn) {
	x := n.x
	n.ended = true
	n.pool.ended(n)
	switch {
	case x == nil:
		n.conn.Close()
	case x.phase == tunnelling:
		x.tunnelEnded()
	case x.phase == replying && x.out.End() == nil:
		x.ended()
	default:
		n.broke(nil)
	}
}

// OnClose is the end of the connection.
func (n *nodeConn) OnClose(_ *reactor.Conn, err error) {
	w := n.w
	if err != nil {
		n.pool.ended(n)
	}
	n.pool.remove(n)
	if x := n.x; x != nil {
		if !n.opened {
			x.connectFailed(hub.ConnectFailure(err), err)
		} else {
			n.broke(err)
		}
	}
	*n = nodeConn{}
	w.spare.nodes.Put(n)
}

// untouched reports whether the node has ended its stream before anything of the request under way had
// reached its kernel: it cannot have begun with it. A reset proves nothing, whatever was acknowledged
// before: it may be that of a process that has died over the request.
func (n *nodeConn) untouched() bool {
	if !n.ended {
		return false
	}
	acked, ok := n.conn.Acked()
	return ok && acked <= n.before
}

// broke is the end of the connection, by the node, before the end of the response.
func (n *nodeConn) broke(err error) {
	f := hub.ConnClosed
	switch x := n.x; {
	case x.phase == tunnelling, n.used && x.phase != replying:
		f = hub.ConnStale
	case hub.Disagreement(err) != "":
		f = hub.ConnDisowned
	case err != nil:
		f = hub.ConnReset
	}
	n.x.broken(f, err)
}
