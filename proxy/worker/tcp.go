package worker

import (
	"net/netip"
	"time"

	"github.com/erlmcp/erlmcp/internal/reactor"
	"github.com/erlmcp/erlmcp/proxy"
	"github.com/erlmcp/erlmcp/proxy/internal/board"
	"github.com/erlmcp/erlmcp/proxy/internal/policy"
)

// The TCP frontend: accept ─▶ admit ─▶ choose a node ─▶ connect ─▶ relay.

// OnAccept takes a newcomer in. It is not read before its node is connected.
func (w *lineFrontend) OnAccept(fd int, peer netip.AddrPort) {
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

// admit applies the limits to a client from addr and looks for its node.
func (w *lineFrontend) admit(p *pair, addr netip.Addr) {
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
func (w *lineFrontend) begin(p *pair, sourceHash uint64) {
	p.state, p.lastActive = connecting, w.loop.Now()
	w.connect(p, sourceHash)
}

// connect chooses a node for p and begins to connect, to the next one if that
// fails at once.
func (w *lineFrontend) connect(p *pair, sourceHash uint64) {
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
func (w *lineFrontend) choose(p *pair, sourceHash uint64) (n *lineNode, reason board.Reason) {
	q := &w.wish
	*q = policy.Wish{Over: board.TCP, Now: w.loop.Now(), Address: sourceHash, Tried: p.tried, Bound: board.NoNode, Cookies: q.Cookies[:0]}
	if q.Sticky = w.spec.Sticky.TCP == proxy.StickySource; q.Sticky {
		q.Bound, _ = w.board.Sources().Sticky(p.source)
	}
	c := w.picker.Choose(q)
	if b := w.bring(c, p.source); b != nil {
		return w.nodes[b.slot], 0
	}
	return nil, c.Reason
}

// elsewhere gives up on p's node before a byte was exchanged with it.
func (w *lineFrontend) elsewhere(p *pair) {
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
func (w *lineFrontend) connectTimeout(p *pair) {
	waited := time.Duration(w.loop.Now() - p.lastActive)
	left := w.spec.Timeouts.Connect - waited
	if left > 0 && !w.picker.HasOther(board.TCP, p.tried|1<<p.backend.slot) {
		w.loop.Schedule(&p.timer, left, p)
		return
	}
	if left <= 0 {
		p.refuse(w.failed(p.backend.line(), connectOutOfTime, nil), 0)
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
func (w *lineFrontend) connected(p *pair) {
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

var _ reactor.Acceptor = (*lineFrontend)(nil)
