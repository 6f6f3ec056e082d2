package line

import (
	"net/netip"
	"time"

	"github.com/erlmcp/erlmcp/internal/reactor"
	"github.com/erlmcp/erlmcp/proxy"
	"github.com/erlmcp/erlmcp/proxy/internal/board"
	"github.com/erlmcp/erlmcp/proxy/internal/policy"
	"github.com/erlmcp/erlmcp/proxy/worker/internal/hub"
)

// The TCP frontend: accept ─▶ admit ─▶ choose a node ─▶ connect ─▶ relay.

// OnAccept takes a newcomer in. It is not read before its node is connected.
func (w *Frontend) OnAccept(fd int, peer netip.AddrPort) {
	p := &pair{w: w}
	if err := w.Loop.Attach(&p.client, fd, (*clientEnd)(p)); err != nil {
		w.Complain("accept", "client", peer, "err", err)
		return
	}
	p.open++
	w.Entered()
	w.Cell.Accepted.Add(1)
	if policy.Contains(w.Limits.Trusted, peer.Addr()) {
		w.Loop.Schedule(&p.timer, hub.GreetingTimeout, p)
		return // admitted by its header
	}
	p.client.Pause()
	w.admit(p, peer.Addr())
}

// admit applies the limits to a client from addr and looks for its node.
func (w *Frontend) admit(p *pair, addr netip.Addr) {
	now := w.Loop.Now()
	p.source = w.Board.Sources().Find(addr, now)
	p.access = w.Access.Begin(addr, now)
	p.meter.exempt = policy.Contains(w.Limits.Exempt, addr)
	reason, wait, ok := w.MayEnter(p.source, addr, p.meter.exempt, now)
	if !ok {
		p.refuse(reason, wait)
		return
	}
	p.enter()
	if wait > 0 {
		p.state = queued
		w.Held++
		w.Loop.Schedule(&p.timer, wait, p)
		return
	}
	w.begin(p, policy.HashAddr(addr))
}

// begin looks for the node of a client that has been admitted.
func (w *Frontend) begin(p *pair, sourceHash uint64) {
	p.state, p.lastActive = connecting, w.Loop.Now()
	w.connect(p, sourceHash)
}

// connect chooses a node for p and begins to connect, to the next one if that
// fails at once.
func (w *Frontend) connect(p *pair, sourceHash uint64) {
	for {
		b, reason := w.choose(p, sourceHash)
		if b == nil {
			p.refuse(reason, 0)
			return
		}
		p.hold(b)
		err := w.Loop.Dial(&p.node, b.line().Address, b.From, (*nodeEnd)(p))
		if err == nil {
			p.open++
			w.Loop.Schedule(&p.timer, min(hub.AttemptTimeout, w.Spec.Timeouts.Connect), p)
			return
		}
		w.Failed(b.line(), hub.ConnectFailure(err), err)
		p.tried |= 1 << b.Slot
		p.leave()
	}
}

// choose chooses the node of a client. Without one, reason says why.
func (w *Frontend) choose(p *pair, sourceHash uint64) (n *node, reason board.Reason) {
	q := &w.Wish
	*q = policy.Wish{Over: board.TCP, Now: w.Loop.Now(), Address: sourceHash, Tried: p.tried, Bound: board.NoNode, Cookies: q.Cookies[:0]}
	if q.Sticky = w.Spec.Sticky.TCP == proxy.StickySource; q.Sticky {
		q.Bound, _ = w.Board.Sources().Sticky(p.source)
	}
	c := w.Picker.Choose(q)
	if b := w.Bring(c, p.source); b != nil {
		return w.nodes[b.Slot], 0
	}
	return nil, c.Reason
}

// elsewhere gives up on p's node before a byte was exchanged with it.
func (w *Frontend) elsewhere(p *pair) {
	p.backend.Flow.Retries.Add(1)
	p.access.Again()
	p.tried |= 1 << p.backend.Slot
	p.leave()
	if p.open > 1 {
		p.node.Close() // if it has not failed just now; OnClose goes on with the next node
		return
	}
	w.connect(p, p.sourceHash())
}

// connectTimeout gives up on a node that does not answer the connect while
// another could be tried, or altogether when the client has waited long enough.
func (w *Frontend) connectTimeout(p *pair) {
	switch left := w.Spec.Timeouts.Connect - time.Duration(w.Loop.Now()-p.lastActive); {
	case left <= 0:
		p.refuse(w.Failed(p.backend.line(), hub.ConnectOutOfTime, nil), 0)
	case w.Picker.HasOther(board.TCP, p.tried|1<<p.backend.Slot):
		w.Failed(p.backend.line(), hub.ConnectUnanswered, nil)
		w.elsewhere(p)
	default:
		w.Loop.Schedule(&p.timer, left, p)
	}
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
func (w *Frontend) connected(p *pair) {
	now := w.Loop.Now()
	p.backend.line().Reached(time.Duration(now - p.lastActive))
	p.state, p.lastActive = relaying, now
	if w.Spec.ProxyProtocol.Send {
		p.node.Send(p.proxyHeader())
	}
	p.schedule()
	p.client.Resume()
}

// greeted reads the PROXY header of a trusted peer.
func (p *pair) greeted(data []byte) (consumed int) {
	h, n := p.w.Greeted(&p.client, data)
	if n > 0 && p.client.Open() {
		p.w.Loop.Cancel(&p.timer)
		p.client.Pause()
		if !h.Local {
			p.rare().source, p.rare().destination = h.Source, h.Destination
		}
		p.w.admit(p, h.Source.Addr())
	}
	return n
}

var _ reactor.Acceptor = (*Frontend)(nil)
