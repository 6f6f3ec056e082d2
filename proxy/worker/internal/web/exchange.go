package web

import (
	"time"

	"github.com/erlmcp/erlmcp/internal/http1"
	"github.com/erlmcp/erlmcp/proxy/internal/board"
	"github.com/erlmcp/erlmcp/proxy/internal/policy"
	"github.com/erlmcp/erlmcp/proxy/worker/internal/access"
)

// exchange is one request: what it is and has cost, the attempts to have a node answer it, and the reply or
// the tunnel that came of them. It counts as a connection of its backend while it has a node.
//
//	    ╭──────── retry ────────┬─────────────────────╮
//	    ▼                       │                     │
//	choosing ──────────────▶ dialling ─▶ opened ─▶ asking ─▶ replying ───▶ (client: reading, or parting)
//	 ▲ │ │ ╰── on a connection out of the pool ───────▲ ╰──▶ tunnelling ─▶ (client: parting)
//	 │ │ ╰───▶ dropping ─▶ (client: reading)
//	 ╰─┴─────▶ paced
//
// Up to asking, an attempt may fail and be repeated for as long as nothing of the request is lost, or the
// request is refused.
type exchange struct {
	client     *client
	next, prev *exchange     // among those of its port
	access     *access.Entry // nil while there is no access log
	tunnel     *tunnel       // nil but for one
	request
	account
	binding
	attempt
	response
	phase phase
}

// phase is how far an exchange has come.
type phase uint8

const (
	choosing   phase = iota // its head is to be read, examined, and led to a node
	paced                   // over the rate of its source; the request stays in the input, as it does up to opened
	dialling                // a node that has not answered the connect
	opened                  // the node has: the request is passed on with the client's next turn
	asking                  // the request passes; the head of the reply is awaited
	replying                // the client has that head
	tunnelling              // after an upgrade, both ends speak
	dropping                // it was refused: the rest of its body is read for the sake of the connection
)

// headed reports whether the client has the head of the reply.
func (x *exchange) headed() bool { return x.phase == replying || x.phase == tunnelling }

// underway reports whether there is something that the client waits for: a node, or its rate.
func (x *exchange) underway() bool { return x.phase != choosing && x.phase != dropping }

func (w *Frontend) takeExchange(c *client) *exchange {
	x := w.spare.exchanges.Take()
	*x = exchange{client: c, request: request{page: x.page[:0]}}
	c.x = x
	return x
}

// hold counts x as a connection of the node to which p belongs.
func (x *exchange) hold(p *port) {
	b := p.Backend
	x.backend, x.port = b, p
	x.access.At(b.Name)
	b.Flow.Active.Add(1)
	b.Flow.Pending.Add(1)
	x.pending = true
	x.prev, x.next = nil, p.exchanges
	if x.next != nil {
		x.next.prev = x
	}
	p.exchanges = x
}

// leave undoes hold.
func (x *exchange) leave() {
	b, p := x.backend, x.port
	if b == nil {
		return
	}
	x.settle()
	x.backend, x.port = nil, nil
	b.Flow.Active.Add(-1)
	if x.prev != nil {
		x.prev.next = x.next
	} else {
		p.exchanges = x.next
	}
	if x.next != nil {
		x.next.prev = x.prev
	}
	x.next, x.prev = nil, nil
	if p.exchanges == nil {
		p.AskedAt = 0 // nobody awaits an answer any more
	}
}

// settle says that nobody has to wait for the end of the response: it has come, or is a stream that ends
// when one of both wishes.
func (x *exchange) settle() {
	if x.pending {
		x.pending = false
		x.backend.Flow.Pending.Add(-1)
	}
}

// dropNode closes the connection to the node.
func (x *exchange) dropNode() {
	if n := x.node; n != nil {
		x.node, n.x = nil, nil
		n.conn.Close()
	}
	x.dropHead()
	x.leave()
}

// end is the end of an exchange that leaves no connection to its node.
func (x *exchange) end() {
	x.dropNode()
	x.free()
}

func (x *exchange) free() {
	c := x.client
	c.x = nil
	x.exit()
	c.w.Access.End(x.access, c.frontend(), c.w.Loop.Now())
	c.discard += x.kept
	if x.zip != nil {
		c.w.zippers.Put(x.zip)
	}
	*x = exchange{request: request{page: x.page[:0]}}
	c.w.spare.exchanges.Put(x)
}

// finish ends an exchange whose response is complete.
func (x *exchange) finish() {
	c, n := x.client, x.node
	if c.ended && x.endless() {
		c.w.CountCut(x.access, board.ReasonClientGone) // and the node has ended the stream for that
	}
	x.leave()
	x.node, n.x = nil, nil
	if x.nodeKeeps && x.complete {
		n.conn.Resume()
		n.pool.put(n)
	} else {
		n.conn.Close()
	}
	x.done(x.keep)
}

// done ends an exchange that has no node any more: the client may ask on, or has to go.
func (x *exchange) done(keep bool) {
	c := x.client
	if x.free(); keep {
		c.rest()
	} else {
		c.part()
	}
}

// refuse answers a request that is under way with an error of ours, or breaks its response off.
func (x *exchange) refuse(no policy.Refusal) {
	if x.headed() {
		x.cutOff(no.Reason)
		return
	}
	x.dropNode()
	x.forgetRequest()
	keep := x.keep && !x.old && x.complete && !x.client.w.Draining
	x.client.say(no, x.page, keep, x.verb == verbHead)
	x.done(keep)
}

// breakOff ends the client's connection in the middle of a response, so that it cannot look whole.
func (x *exchange) breakOff() {
	c, framing := x.client, x.framing
	x.end()
	if framing == http1.UntilClose {
		c.conn.Abort() // an orderly end would be the end of the body
		return
	}
	c.flushOut()
}

// forgetRequest lets go of a request that cannot be sent again any more.
func (x *exchange) forgetRequest() {
	if x.kept > 0 {
		x.client.discard += x.kept
		x.kept = 0
		x.client.conn.Reoffer()
	}
}

// answered does the same as the node begins to answer. Mostly there is no more in hand than the request.
func (x *exchange) answered() {
	c := x.client
	if x.kept != c.left || c.discard > 0 || c.conn.Paused() {
		x.forgetRequest()
		return
	}
	c.conn.Drop(int(x.kept))
	x.kept, c.left = 0, 0
}

// expired ends an exchange in which nothing happens.
func (x *exchange) expired() {
	c := x.client
	switch x.phase {
	case paced: // over the rate until now
		x.phase = choosing
		c.conn.Reoffer()
	case dialling:
		x.connectTimeout()
	case opened: // in this turn
	case asking:
		switch {
		case x.asks:
			x.ask()
		case !x.complete && !c.conn.Paused():
			x.refuse(policy.RefusalOf(board.ReasonSlow, 0).Because("the request body did not come in time"))
		default:
			x.refuse(policy.RefusalOf(board.ReasonNodeTimeout, 0))
		}
	case replying:
		x.silent()
	case tunnelling:
		x.tunnelExpired()
	default:
		c.conn.Close()
	}
}

// fromClient is the client speaking within the exchange.
func (x *exchange) fromClient(p []byte) (consumed int) {
	switch x.phase {
	case choosing:
		return x.client.readHead(p)
	case opened:
		w := x.client.w
		w.Scratch = append(w.Scratch[:0], *x.head...)
		x.dropHead()
		return x.forward(w.Scratch, p)
	case asking, replying:
		if x.complete || x.kept > 0 {
			return 0 // the next request waits for its turn
		}
		return x.pass(x.client.w.Scratch[:0], p)
	case tunnelling:
		return x.tunnelIn(p)
	case dropping:
		return x.drop(p)
	}
	return 0
}

// pause has a request wait.
func (x *exchange) pause(wait time.Duration) {
	x.client.w.Throttled(wait)
	x.phase = paced
	x.client.within(wait)
}
