package worker

import (
	"errors"

	"github.com/erlmcp/erlmcp/internal/reactor"
	"github.com/erlmcp/erlmcp/proxy/internal/affinity"
	"github.com/erlmcp/erlmcp/proxy/internal/board"
	"github.com/erlmcp/erlmcp/proxy/internal/coding"
	"github.com/erlmcp/erlmcp/proxy/internal/http1"
	"github.com/erlmcp/erlmcp/proxy/internal/wire"
)

// The HTTP frontend: accept ─▶ admit ─▶ read a head ─▶ choose a node ─▶ exchange ─▶ read the next.
//
//	httpClient ─── exchange ─── httpNode
//	     │     (one at a time)      │
//	     └ between two exchanges    └ in the pool of its backend
//	       it holds no buffer         between two exchanges
//
// What a client has sent of a request stays in its connection's input until the request cannot be
// needed again: a node that fails before it has answered leaves nothing behind, and the request is
// simply read once more. Otherwise its head is parsed once.

// webFrontend is what a worker has for HTTP.
type webFrontend struct {
	*hub
	nodes    [board.MaxNodes]*webNode // nil: slot not in use
	trust    *wire.NodeTrust          // for TLS to nodes
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
	clients  *httpClient    // all of them, linked by next and prev
	idle     int            // connections to nodes in the pools
	parsed   int            // times that a head was parsed

	zippers coding.Zippers
	spare   httpSpares
}

type httpSpares struct {
	clients   spares[httpClient]
	exchanges spares[exchange]
	nodes     spares[httpNode]
	heads     spares[[]byte]
}

// newWeb returns the frontend for HTTP and HTTPS.
func newWeb(h *hub) *webFrontend { return &webFrontend{hub: h} }

// plain takes newcomers of the HTTP listener.
func (w *webFrontend) plain() reactor.Acceptor { return (*httpAcceptor)(w) }

// secure takes newcomers of the HTTPS listener.
func (w *webFrontend) secure() reactor.Acceptor { return (*httpsAcceptor)(w) }

// apply takes over a specification, as the hub has.
func (w *webFrontend) apply(s *wire.WorkerSpec) (err error) {
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
func (w *webFrontend) trim() {
	w.spare = httpSpares{}
	w.zippers.Trim()
}

// displace ends everything between clients and a port that has gone down. Requests that can be
// asked again are taken elsewhere.
func (w *webFrontend) displace(port *port) {
	if port.transport == board.TCP {
		return
	}
	from := &w.nodes[port.backend.slot].ports[port.transport]
	from.pool.empty()
	for x := from.exchanges; x != nil; x = from.exchanges {
		if x.node.opened {
			x.broken(connDisplaced, nil)
		} else {
			x.connectFailed(connectOvertaken, nil)
		}
	}
}

// beat is the heartbeat.
func (w *webFrontend) beat() { w.expireNodes() }

// drain ends what would never end by itself.
func (w *webFrontend) drain() {
	w.closeIdle()
	w.departAll()
}

// closeIdle closes clients that have asked nothing; who has not taken the last answer yet gets it.
func (w *webFrontend) closeIdle() {
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

// cutAll ends what is left when the time to drain is over.
func (w *webFrontend) cutAll() {
	for c := w.clients; c != nil; c = c.next {
		switch {
		case c.x != nil && c.x.underway():
			c.x.cutOff(board.ReasonDrain)
		case c.state != parting:
			c.conn.Close()
		}
	}
}

// holdings adds the clients for whom something is in hand.
func (w *webFrontend) holdings(all []holding) []holding {
	for c := w.clients; c != nil; c = c.next {
		source, bytes := c.source, c.conn.Held()
		if c.x != nil {
			source = c.x.source
			if c.x.node != nil {
				bytes += c.x.node.conn.Held()
			}
		}
		if bytes > 0 {
			all = append(all, holding{source, bytes, c.giveWay})
		}
	}
	return all
}

// endEntries writes the lines of what is under way, as the loop has ended.
func (w *webFrontend) endEntries() {
	for c := w.clients; c != nil; c = c.next {
		if c.x != nil {
			w.access.end(c.x.access, c.frontend(), w.loop.Now())
			c.x.access = nil
		}
	}
}

// webStanding is what the frontend has in hand.
type webStanding struct {
	clients int
	shaking int // hands
	pooled  int // connections to nodes between two exchanges
	zipping int // bodies
}

// standing counts it.
func (w *webFrontend) standing() webStanding {
	s := webStanding{shaking: w.tls.shaking, pooled: w.idle, zipping: w.zippers.InUse()}
	for c := w.clients; c != nil; c = c.next {
		s.clients++
	}
	return s
}
