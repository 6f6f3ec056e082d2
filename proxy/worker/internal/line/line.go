// Package line is the frontend for clients that speak newline-delimited JSON-RPC over TCP: it relays between pairs of connections,
// and counts messages as they pass.
package line

import (
	"github.com/erlmcp/erlmcp/internal/mcp"
	"github.com/erlmcp/erlmcp/internal/reactor"
	"github.com/erlmcp/erlmcp/proxy"
	"github.com/erlmcp/erlmcp/proxy/internal/board"
	"github.com/erlmcp/erlmcp/proxy/internal/wire"
	"github.com/erlmcp/erlmcp/proxy/worker/internal/access"
	"github.com/erlmcp/erlmcp/proxy/worker/internal/hub"
)

// Frontend is what a worker has for TCP.
type Frontend struct {
	*hub.Hub
	nodes     [board.MaxNodes]*node // nil: slot not in use
	inspector *mcp.Inspector        // spare, see takeInspector
}

// node is a node as those see it who speak to it by lines.
type node struct {
	*hub.Backend
	pairs *pair // connected or connecting to it, linked by next and prev
}

// New returns the frontend for TCP.
func New(h *hub.Hub) *Frontend { return &Frontend{Hub: h} }

// Acceptors are who takes newcomers, by the names of the listeners.
func (w *Frontend) Acceptors() map[string]reactor.Acceptor {
	return map[string]reactor.Acceptor{proxy.ListenTCP: w}
}

// Apply takes over a specification, as the hub has.
func (w *Frontend) Apply(*wire.WorkerSpec) error {
	for slot, b := range w.Backends {
		switch n := w.nodes[slot]; {
		case b == nil:
			w.nodes[slot] = nil
		case n == nil || n.Backend != b:
			w.nodes[slot] = &node{Backend: b}
		}
	}
	return nil
}

// Trim drops what is kept for reuse: nothing of any size.
func (w *Frontend) Trim() {}

// Beat is the heartbeat.
func (w *Frontend) Beat() {}

// Drain ends what would never end by itself: nothing.
func (w *Frontend) Drain() {}

// all are the pairs that are connected to nodes, or connecting.
func (w *Frontend) all(yield func(*pair) bool) {
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

// Holdings adds the clients for whom something is in hand.
func (w *Frontend) Holdings(all []hub.Holding) []hub.Holding {
	for p := range w.all {
		if bytes := p.client.Held() + p.node.Held(); bytes > 0 {
			all = append(all, hub.Holding{Source: p.source, Bytes: bytes, End: func() { p.cutOff(board.ReasonGaveWay) }})
		}
	}
	return all
}

// CutAll ends what is left when the time to drain is over.
func (w *Frontend) CutAll() {
	for p := range w.all {
		p.cutOff(board.ReasonDrain)
	}
}

// EndEntries writes the lines of what is under way, as the loop has ended.
func (w *Frontend) EndEntries() {
	for p := range w.all {
		w.Access.End(p.access, access.FrontendTCP, w.Loop.Now())
		p.access = nil
	}
}

// Displace closes every client of a port that has gone down; who was still
// connecting is taken elsewhere.
func (w *Frontend) Displace(from *hub.Port) {
	if from.Transport != board.TCP {
		return
	}
	n := w.nodes[from.Backend.Slot]
	for p := n.pairs; p != nil; p = n.pairs {
		if p.state == connecting {
			w.Failed(from, hub.ConnectOvertaken, nil)
			w.elsewhere(p)
			continue
		}
		p.cutOff(w.Failed(from, hub.ConnDisplaced, nil))
	}
}

// line is the port for newline-delimited JSON-RPC.
func (n *node) line() *hub.Port { return &n.Ports[board.TCP] }
