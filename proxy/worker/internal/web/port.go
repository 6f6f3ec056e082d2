package web

import (
	"net"
	"strconv"

	"github.com/erlmcp/erlmcp/internal/topology"
	"github.com/erlmcp/erlmcp/proxy"
	"github.com/erlmcp/erlmcp/proxy/internal/board"
	"github.com/erlmcp/erlmcp/proxy/internal/wire"
	"github.com/erlmcp/erlmcp/proxy/worker/internal/hub"
)

// node is a node as those see it who come over HTTP.
type node struct {
	*hub.Backend
	ports [board.Transports]port
}

// port is a port with what is connected to it.
type port struct {
	*hub.Port
	host      string    // what the node gets as Host there; "" is what the client said
	path      string    // of the MCP endpoint
	tls       *portTLS  // nil is plain
	exchanges *exchange // with it, linked by next and prev
	pool      nodePool  // connections between two exchanges
}

func newNode(b *hub.Backend) *node {
	n := &node{Backend: b}
	for t := range n.ports {
		n.ports[t].Port, n.ports[t].pool.told = &b.Ports[t], &b.Flow.Idle[t]
	}
	return n
}

// applyNodes takes over the nodes of a specification, as the hub has them.
func (w *Frontend) applyNodes(s *wire.WorkerSpec) {
	for slot, b := range w.Backends {
		n := w.nodes[slot]
		if n != nil && n.Backend == b {
			continue
		}
		n.forget()
		if w.nodes[slot] = nil; b != nil {
			w.nodes[slot] = newNode(b)
		}
	}
	for _, given := range s.Nodes {
		n := w.nodes[given.Slot]
		n.call(s.Spec.HTTP.Host, given.Node)
		n.secure(w, given.Node)
	}
}

// portFor is where clients of a transport are served.
func (n *node) portFor(over board.Transport) *port { return &n.ports[n.Via(over)] }

// call has each port called by what Spec.HTTP.Host makes of it, and by the path of the node.
func (n *node) call(setting string, is topology.Node) {
	for t, number := range wire.PortsOf(is) {
		n.ports[t].path = is.MCPPath()
		switch setting {
		case proxy.HostClient:
			n.ports[t].host = ""
		case proxy.HostNode:
			n.ports[t].host = net.JoinHostPort(is.Host, strconv.Itoa(int(number)))
		default:
			n.ports[t].host = setting
		}
	}
}

// forget closes what is kept for later. A node that is nil has nothing.
func (n *node) forget() {
	if n == nil {
		return
	}
	for i := range n.ports {
		n.ports[i].pool.empty()
	}
}
