package worker

import (
	"net/netip"
	"time"

	"github.com/erlmcp/erlmcp/internal/reactor"
	"github.com/erlmcp/erlmcp/proxy"
	"github.com/erlmcp/erlmcp/proxy/internal/board"
	"github.com/erlmcp/erlmcp/proxy/internal/policy"
	"github.com/erlmcp/erlmcp/proxy/internal/proxyproto"
)

// The TCP frontend: accept ─▶ admit ─▶ choose a node ─▶ connect ─▶ relay.

// attemptTimeout is how long one node may take to connect while another could
// be tried.
const attemptTimeout = 500 * time.Millisecond

// greetingTimeout is how long a trusted peer may take over its PROXY header.
const greetingTimeout = 3 * time.Second

// OnAccept takes a newcomer in. It is not read before its node is connected.
func (w *worker) OnAccept(fd int, peer netip.AddrPort) {
	p := w.freePairs.take()
	*p = pair{w: w}
	if err := w.loop.Attach(&p.client, fd, (*clientEnd)(p)); err != nil {
		w.complain("accept", "client", peer, "err", err)
		w.freePairs.put(p)
		return
	}
	p.open++
	w.entered()
	w.cell.Accepted.Add(1)
	if policy.Contains(w.limits.Trusted, peer.Addr()) {
		w.loop.Schedule(&p.timer, greetingTimeout, p)
		return // admitted by its header
	}
	p.client.Pause()
	w.admit(p, peer.Addr())
}

// OnAcceptError reports that newcomers have to wait in the kernel's queue.
func (w *worker) OnAcceptError(err error) {
	w.complain("accept", "err", err, "clients", w.cell.Active.Load())
}

// admit applies the limits to a client from addr and looks for its node.
func (w *worker) admit(p *pair, addr netip.Addr) {
	now := w.loop.Now()
	p.source = w.board.Sources().Find(addr, now)
	p.access = w.access.begin(addr, now)
	p.meter.exempt = policy.Contains(w.limits.Exempt, addr)
	reason, wait, ok := w.mayEnter(p.source, addr, p.meter.exempt, now)
	if !ok {
		p.refuse(reason, wait)
		return
	}
	p.enter()
	if wait > 0 {
		p.state = queued
		w.held++
		w.loop.Schedule(&p.timer, wait, p)
		return
	}
	w.begin(p, policy.HashAddr(addr))
}

// begin looks for the node of a client that has been admitted.
func (w *worker) begin(p *pair, sourceHash uint64) {
	p.state, p.lastActive = connecting, w.loop.Now()
	w.connect(p, sourceHash)
}

// connect chooses a node for p and begins to connect, to the next one if that
// fails at once.
func (w *worker) connect(p *pair, sourceHash uint64) {
	for {
		b, reason := w.choose(p, sourceHash)
		if b == nil {
			p.refuse(reason, 0)
			return
		}
		p.hold(b)
		err := w.loop.Dial(&p.node, b.line().address, b.from, (*nodeEnd)(p))
		if err == nil {
			p.open++
			w.loop.Schedule(&p.timer, min(attemptTimeout, w.spec.Timeouts.Connect), p)
			return
		}
		w.failed(b.line(), connectFailure(err), err)
		p.tried |= 1 << b.slot
		p.leave()
	}
}

// choose chooses the node of a client. Without one, reason says why.
func (w *worker) choose(p *pair, sourceHash uint64) (b *backend, reason board.Reason) {
	q := &w.wish
	*q = policy.Wish{Over: board.TCP, Now: w.loop.Now(), Address: sourceHash, Tried: p.tried, Bound: board.NoNode, Cookies: q.Cookies[:0]}
	if q.Sticky = w.spec.Sticky.TCP == proxy.StickySource; q.Sticky {
		q.Bound, _ = w.board.Sources().Sticky(p.source)
	}
	c := w.picker.Choose(q)
	return w.bring(c, p.source), c.Reason
}

// bring has a source stay with what was chosen for it, if it is to: from now on, if it did not. It returns the node.
func (w *worker) bring(c policy.Choice, source board.SlotID) *backend {
	switch {
	case c.Node == board.NoNode:
		return nil
	case c.By == policy.BySource:
		w.fulfil(c.Node, c.Pledged)
	case c.By == policy.ByBalance && w.wish.Sticky:
		now := w.board.Sources().SetSticky(source, w.wish.Bound, c.Node)
		if now == c.Node {
			w.pledge(now)
		} else if other := policy.Find(c.Among, now); other != nil { // another worker has chosen for the same source meanwhile
			c.Node = now
			w.fulfil(now, other.Pledged)
		}
	}
	return w.backends[c.Node]
}

// A source that is bound to a node brings all its connections there, so the
// node has more to expect than the first one. It is pledged as many as sources
// have on average; each connection that comes fulfils one, and what does not
// come fades. Otherwise the clients of a dead node would all be bound to
// whichever node has a few connections less than the others.

// pledge notes what the source just bound to slot is expected to bring besides
// its first connection.
func (w *worker) pledge(slot int) {
	if sources := int64(w.board.Sources().Tracked()); sources > 0 {
		w.backends[slot].flow.Pledged.Add(max(0, w.board.Active()/sources-1))
	}
}

// fulfil takes a connection of a bound source off what its node was pledged.
func (w *worker) fulfil(slot int, pledged int64) {
	if pledged > 0 {
		w.backends[slot].flow.Pledged.Add(-1)
	}
}

// fade forgets a part of the pledges, every heartbeat: half of them in four
// seconds.
func (w *worker) fade() {
	for _, b := range w.backends {
		if b != nil {
			pledged := b.flow.Pledged.Load()
			b.flow.Pledged.Store(pledged - pledged*11/256 - sign(pledged))
		}
	}
}

func sign(n int64) int64 {
	switch {
	case n > 0:
		return 1
	case n < 0:
		return -1
	}
	return 0
}

// elsewhere gives up on p's node before a byte was exchanged with it.
func (w *worker) elsewhere(p *pair) {
	p.backend.flow.Retries.Add(1)
	p.access.again()
	p.tried |= 1 << p.backend.slot
	p.leave()
	if p.open > 1 {
		p.node.Close() // if it has not failed just now; OnClose goes on with the next node
		return
	}
	w.connect(p, p.sourceHash())
}

// connectTimeout gives up on a node that does not answer the connect while
// another could be tried, or altogether when the client has waited long enough.
func (w *worker) connectTimeout(p *pair) {
	waited := time.Duration(w.loop.Now() - p.lastActive)
	left := w.spec.Timeouts.Connect - waited
	if left > 0 && !w.picker.HasOther(board.TCP, p.tried|1<<p.backend.slot) {
		w.loop.Schedule(&p.timer, left, p)
		return
	}
	if left <= 0 {
		p.refuse(w.failed(p.backend.line(), connectOutOfTime, nil).told, 0)
		return
	}
	w.failed(p.backend.line(), connectUnanswered, nil)
	w.elsewhere(p)
}

// address is the client's; ok is false when it has gone.
func (p *pair) address() (addr netip.Addr, ok bool) {
	if source, _, ok := p.origin(); ok {
		return source.Addr(), true
	}
	peer, err := p.client.RemoteAddr()
	return peer.Addr(), err == nil
}

// sourceHash is that of the client's address, for balancing by source.
func (p *pair) sourceHash() uint64 {
	addr, ok := p.address()
	if !ok {
		return 0 // any node will do
	}
	return policy.HashAddr(addr)
}

// connected begins the relay.
func (w *worker) connected(p *pair) {
	b := p.backend
	now := w.loop.Now()
	b.line().errors = 0
	b.flow.Total.Add(1)
	b.flow.ObserveConnect(time.Duration(now - p.lastActive))
	p.state, p.lastActive = relaying, now
	if w.spec.ProxyProtocol.Send {
		p.node.Send(p.proxyHeader())
	}
	p.schedule()
	p.client.Resume()
}

// greeted reads the PROXY header of a trusted peer.
func (p *pair) greeted(data []byte) (consumed int) {
	h, n := p.w.greeted(&p.client, data)
	if n > 0 && p.client.Open() {
		p.w.loop.Cancel(&p.timer)
		p.client.Pause()
		if !h.Local {
			p.rare().source, p.rare().destination = h.Source, h.Destination
		}
		p.w.admit(p, h.Source.Addr())
	}
	return n
}

// greeted reads the PROXY header with which a trusted peer begins; its source is the peer itself if the header says
// that. n is 0 while it is incomplete. A connection is closed if there is no header, or it has gone.
func (w *worker) greeted(conn *reactor.Conn, data []byte) (h proxyproto.Header, n int) {
	h, n, err := proxyproto.Parse(data)
	if err == nil && !h.Local {
		return h, n
	}
	peer, gone := conn.RemoteAddr()
	switch h.Source = peer; {
	case err != nil:
		w.complain("PROXY header", "peer", peer, "err", err)
		conn.Close()
		return h, len(data)
	case gone != nil:
		conn.Close()
	}
	return h, n
}

var _ reactor.Acceptor = (*worker)(nil)
