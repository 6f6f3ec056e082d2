package web

import (
	"crypto/tls"
	"os"

	"github.com/erlmcp/erlmcp/internal/reactor"
	"github.com/erlmcp/erlmcp/internal/tlslayer"
	"github.com/erlmcp/erlmcp/internal/topology"
	"github.com/erlmcp/erlmcp/proxy/internal/board"
	"github.com/erlmcp/erlmcp/proxy/internal/wire"
	"github.com/erlmcp/erlmcp/proxy/worker/internal/hub"
)

// The way to a node over TLS: connect ─▶ handshake, off the loop ─▶ OnOpen, as over HTTP.
//
// From then on the connection is a nodeConn like others, with a layer below.

// maxNodeHandshakes bounds the handshakes of a worker with a port that are under way: each has a goroutine,
// a descriptor more and some 30 KB. Other connections wait for their turn.
const maxNodeHandshakes = 128

// portTLS is how TLS is spoken to a port.
type portTLS struct {
	trust      *wire.NodeTrust
	host       string // of the node
	handshakes reactor.Handshakes
}

// trustNodes takes over what TLS to nodes takes.
func (w *Frontend) trustNodes(s *wire.WorkerSpec) error {
	if w.trust != nil && w.trust.Of == s.Spec.NodeTLS && w.trust.Same(&s.NodeTrust) {
		return nil
	}
	f := s.NodeTrust
	if err := f.Parse(s.Spec.NodeTLS); err != nil {
		return err
	}
	w.trust = &f
	return nil
}

// secure has new connections to the ports for HTTP made over TLS as the worker now knows. Sessions are
// resumed, but not across a change: other certificates may be good then.
func (n *node) secure(w *Frontend, is topology.Node) {
	if !n.TLS {
		return
	}
	for t := range n.ports {
		p, out := &n.ports[t], &w.tls.out
		if t == int(board.TCP) || p.tls != nil && p.tls.trust == w.trust && p.tls.host == is.Host {
			continue
		}
		if p.tls == nil {
			p.tls = &portTLS{handshakes: reactor.Handshakes{Max: maxNodeHandshakes}}
		}
		p.tls.trust, p.tls.host = w.trust, is.Host
		config := w.trust.Towards(is.Host)
		config.ClientSessionCache = tls.NewLRUClientSessionCache(1) // there is one server
		p.tls.handshakes.Shake = func(c *reactor.Conn, fd int) (reactor.Layer, error) {
			return shakeWithNode(c, fd, config, out)
		}
	}
}

// dial connects to the port.
func (w *Frontend) dial(p *port, c *reactor.Conn, h reactor.Handler) error {
	if p.tls == nil {
		return w.Loop.Dial(c, p.Address, p.Backend.From, h)
	}
	return w.Loop.DialLayered(c, p.Address, p.Backend.From, h, &p.tls.handshakes)
}

// shakeWithNode shakes hands over the socket, which it closes. It takes as long as the exchange is patient,
// which closes the connection at the end of lb.timeouts.connect.
func shakeWithNode(c *reactor.Conn, fd int, config *tls.Config, out *[]byte) (reactor.Layer, error) {
	file := os.NewFile(uintptr(fd), "node") // non-blocking, so it waits in the runtime's poller
	defer file.Close()
	layer := tlslayer.Client(file, config, out)
	if err := layer.Handshake(); err != nil {
		return nil, hub.HandshakeError{Err: err}
	}
	layer.Bind(c)
	return layer, nil
}
