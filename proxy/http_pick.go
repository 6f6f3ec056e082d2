package proxy

import (
	"github.com/erlmcp/erlmcp/proxy/internal/board"
	"github.com/erlmcp/erlmcp/proxy/internal/http1"
)

// requestHead is the head of the request that a node is chosen for.
type requestHead = *http1.Request

// route chooses the node of x. Without any, reason says why.
func (w *worker) route(x *exchange, r requestHead) (b *backend, reason board.Reason) {
	list, full := w.takers(x)
	if len(list) == 0 {
		return nil, noCandidate(full)
	}
	c := x.client
	hash := hashAddr(c.addr)
	if x.kind != plainHTTP && !x.stateless && w.spec.Sticky.TCP == StickySource {
		return w.bySource(list, c.source, hash), 0
	}
	return w.backends[w.picker.pick(list, hash)], 0
}

// takers lists the nodes that could take x. Those whose port refused connections lately are among
// them only when there are no others.
func (w *worker) takers(x *exchange) (list []candidate, full bool) {
	port, now := x.kind.port(), w.loop.Now()
	without, avoided := x.tried, uint64(0)
	for slot, b := range w.backends {
		if b == nil {
			continue
		}
		switch p := &b.pools[port]; {
		case !p.address.IsValid():
			without |= 1 << slot
		case p.avoid > now:
			avoided |= 1 << slot
		}
	}
	list, full = w.picker.candidates(w.board, &w.backends, without|avoided)
	if len(list) == 0 && avoided != 0 {
		list, full = w.picker.candidates(w.board, &w.backends, without)
	}
	return list, full
}

// hasOther reports whether another node could take x.
func (w *worker) hasOther(x *exchange) bool {
	tried := x.tried
	x.tried |= 1 << x.backend.slot
	list, _ := w.takers(x)
	x.tried = tried
	return len(list) > 0
}
