// Package web is the frontend for clients that speak HTTP, HTTPS and WebSocket: it leads each request to a node.
package web

import (
	"errors"

	"github.com/erlmcp/erlmcp/internal/http1"
	"github.com/erlmcp/erlmcp/internal/reactor"
	"github.com/erlmcp/erlmcp/proxy"
	"github.com/erlmcp/erlmcp/proxy/internal/affinity"
	"github.com/erlmcp/erlmcp/proxy/internal/board"
	"github.com/erlmcp/erlmcp/proxy/internal/coding"
	"github.com/erlmcp/erlmcp/proxy/internal/wire"
	"github.com/erlmcp/erlmcp/proxy/worker/internal/hub"
)

// The HTTP frontend: accept ─▶ admit ─▶ read a head ─▶ choose a node ─▶ exchange ─▶ read the next.
//
//	client ─── exchange ─── nodeConn
//	     │     (one at a time)      │
//	     └ between two exchanges    └ in the pool of its port
//	       it holds no buffer         between two exchanges
//
// What a client has sent of a request stays in its connection's input until the request cannot be
// needed again: a node that fails before it has answered leaves nothing behind, and the request is
// simply read once more. Otherwise its head is parsed once.

// Frontend is what a worker has for HTTP.
type Frontend struct {
	*hub.Hub
	nodes    [board.MaxNodes]*node // nil: slot not in use
	trust    *wire.NodeTrust       // for TLS to nodes
	tls      tlsEnd
	departed uint32 // endless streams that draining has ended, or is about to

	request  http1.Request  // the head being read
	response http1.Response // likewise
	belief   belief         // of the request
	routes   []route
	paths    []string       // of the nodes' MCP endpoints, if there are several
	hsts     []byte         // the field of Spec.TLS.HSTS as a line, nil without
	cookie   []byte         // the cookie of Spec.Sticky, up to and with its equals sign
	ring     *affinity.Ring // reads and writes the tags of nodes, by slot
	clients  *client        // all of them, linked by next and prev
	idle     int            // connections to nodes in the pools
	parsed   int            // times that a head was parsed

	zippers coding.Zippers
	spare   reserves
}

type reserves struct {
	clients   hub.Spares[client]
	exchanges hub.Spares[exchange]
	nodes     hub.Spares[nodeConn]
	heads     hub.Spares[[]byte]
}

// New returns the frontend for HTTP and HTTPS.
func New(h *hub.Hub) *Frontend { return &Frontend{Hub: h} }

// Acceptors are who takes newcomers, by the names of the listeners.
func (w *Frontend) Acceptors() map[string]reactor.Acceptor {
	return map[string]reactor.Acceptor{proxy.ListenHTTP: (*plainAcceptor)(w), proxy.ListenHTTPS: (*tlsAcceptor)(w)}
}

// Apply takes over a specification, as the hub has.
func (w *Frontend) Apply(s *wire.WorkerSpec) (err error) {
	trusted := w.trustNodes(s)
	w.applyNodes(s)
	w.routes = newRoutes(s.Spec.HTTP.Routes)
	w.hsts = nil
	if s.Spec.TLS.HSTS != "" {
		w.hsts = []byte("Strict-Transport-Security: " + s.Spec.TLS.HSTS + "\r\n")
	}
	w.cookie = []byte(s.Spec.Sticky.Cookie + "=")
	if w.ring, err = affinity.New(s.Key); err != nil {
		return errors.Join(trusted, err)
	}
	w.ring.SetNodes(wire.SlotNames(s.Nodes))
	w.paths = endpointsOf(s.Nodes)
	return errors.Join(trusted, w.tls.apply(s))
}

// Trim drops what is kept for reuse.
func (w *Frontend) Trim() {
	w.spare = reserves{}
	w.zippers.Trim()
}

// Displace ends everything between clients and a port that has gone down. Requests that can be
// asked again are taken elsewhere.
func (w *Frontend) Displace(port *hub.Port) {
	if port.Transport == board.TCP {
		return
	}
	from := &w.nodes[port.Backend.Slot].ports[port.Transport]
	from.pool.empty()
	for x := from.exchanges; x != nil; x = from.exchanges {
		if x.node.opened {
			x.broken(hub.ConnDisplaced, nil)
		} else {
			x.connectFailed(hub.ConnectOvertaken, nil)
		}
	}
}

// Beat is the heartbeat.
func (w *Frontend) Beat() { w.expireNodes() }

// Drain ends what would never end by itself.
func (w *Frontend) Drain() {
	w.closeIdle()
	w.departAll()
}

// closeIdle closes clients that have asked nothing; who has not taken the last answer yet gets it.
func (w *Frontend) closeIdle() {
	for c := w.clients; c != nil; c = c.next {
		switch {
		case c.state == awaitingGreeting:
			c.conn.Close()
		case c.state != reading || c.left != 0:
		case c.conn.Pending() > 0:
			c.part()
		default:
			c.conn.Close()
		}
	}
}

// CutAll ends what is left when the time to drain is over.
func (w *Frontend) CutAll() {
	for c := w.clients; c != nil; c = c.next {
		switch {
		case c.x != nil && c.x.underway():
			c.x.cutOff(board.ReasonDrain)
		case c.state != parting:
			c.conn.Close()
		}
	}
}

// Holdings adds the clients for whom something is in hand.
func (w *Frontend) Holdings(all []hub.Holding) []hub.Holding {
	for c := w.clients; c != nil; c = c.next {
		source, bytes := c.source, c.conn.Held()
		if c.x != nil {
			source = c.x.source
			if c.x.node != nil {
				bytes += c.x.node.conn.Held()
			}
		}
		if bytes > 0 {
			all = append(all, hub.Holding{Source: source, Bytes: bytes, End: c.GiveWay})
		}
	}
	return all
}

// EndEntries writes the lines of what is under way, as the loop has ended.
func (w *Frontend) EndEntries() {
	for c := w.clients; c != nil; c = c.next {
		if c.x != nil {
			w.Access.End(c.x.access, c.frontend(), w.Loop.Now())
			c.x.access = nil
		}
	}
}

// Standing is what the frontend has in hand.
type Standing struct {
	clients int
	shaking int // hands
	Pooled  int // connections to nodes between two exchanges
	Zipping int // bodies
}

// Standing counts it.
func (w *Frontend) Standing() Standing {
	s := Standing{shaking: w.tls.shaking, Pooled: w.idle, Zipping: w.zippers.InUse()}
	for c := w.clients; c != nil; c = c.next {
		s.clients++
	}
	return s
}
