package worker

import (
	"github.com/erlmcp/erlmcp/internal/mcp"
	"github.com/erlmcp/erlmcp/proxy/internal/board"
	"github.com/erlmcp/erlmcp/proxy/internal/wire"
)

// lineFrontend is what a worker has for TCP.
type lineFrontend struct {
	*hub
	nodes     [board.MaxNodes]*lineNode // nil: slot not in use
	freePairs spares[pair]
	inspector *mcp.Inspector // spare, see takeInspector
}

// lineNode is a node as those see it who speak to it by lines.
type lineNode struct {
	*backend
	pairs *pair // connected or connecting to it, linked by next and prev
}

// newLine returns the frontend for TCP.
func newLine(h *hub) *lineFrontend { return &lineFrontend{hub: h} }

// apply takes over a specification, as the hub has.
func (w *lineFrontend) apply(*wire.WorkerSpec) error {
	for slot, b := range w.backends {
		switch n := w.nodes[slot]; {
		case b == nil:
			w.nodes[slot] = nil
		case n == nil || n.backend != b:
			w.nodes[slot] = &lineNode{backend: b}
		}
	}
	return nil
}

// trim drops what is kept for reuse.
func (w *lineFrontend) trim() { w.freePairs = nil }

// beat is the heartbeat.
func (w *lineFrontend) beat() {}

// drain ends what would never end by itself: nothing.
func (w *lineFrontend) drain() {}

// all are the pairs that are connected to nodes, or connecting.
func (w *lineFrontend) all(yield func(*pair) bool) {
	for _, n := range w.nodes {
		if n == nil {
			continue
		}
		for p := n.pairs; p != nil; {
			next := p.next // p may leave
			if !yield(p) {
				return
			}
			p = next
		}
	}
}

// holdings adds the clients for whom something is in hand.
func (w *lineFrontend) holdings(all []holding) []holding {
	for p := range w.all {
		if bytes := p.client.Held() + p.node.Held(); bytes > 0 {
			all = append(all, holding{p.source, bytes, func() { p.cutOff(board.ReasonGaveWay) }})
		}
	}
	return all
}

// cutAll ends what is left when the time to drain is over.
func (w *lineFrontend) cutAll() {
	for p := range w.all {
		p.cutOff(board.ReasonDrain)
	}
}

// endEntries writes the lines of what is under way, as the loop has ended.
func (w *lineFrontend) endEntries() {
	for p := range w.all {
		w.access.end(p.access, frontendTCP, w.loop.Now())
		p.access = nil
	}
}

// displace closes every client of a port that has gone down; who was still
// connecting is taken elsewhere.
func (w *lineFrontend) displace(from *port) {
	if from.transport != board.TCP {
		return
	}
	n := w.nodes[from.backend.slot]
	for p := n.pairs; p != nil; p = n.pairs {
		if p.state == connecting {
			w.failed(from, connectOvertaken, nil)
			w.elsewhere(p)
			continue
		}
		p.cutOff(w.failed(from, connDisplaced, nil))
	}
}

// line is the port for newline-delimited JSON-RPC.
func (n *lineNode) line() *port { return &n.ports[board.TCP] }
