package swarm

import (
	"crypto/tls"
	"fmt"
	"os"

	"github.com/erlmcp/erlmcp/internal/mono"
	"github.com/erlmcp/erlmcp/internal/reactor"
	"github.com/erlmcp/erlmcp/internal/tlslayer"
	"github.com/erlmcp/erlmcp/loadtest/internal/ask"
	"github.com/erlmcp/erlmcp/loadtest/internal/target"
	"github.com/erlmcp/erlmcp/loadtest/internal/wire"
)

// maxHandshakes bounds the handshakes that are under way: each has a goroutine, a descriptor more and some 30 KB. The ramp
// of connections waits before that.
const maxHandshakes = maxUnverified

// secure is TLS towards the target.
type secure struct {
	handshakes reactor.Handshakes
	out        []byte // room for ciphertext, which all connections share
}

// newSecure is nil where the target is not within TLS. Session tickets are shared by all clients of the agent.
func newSecure(s *Swarm) (*secure, error) {
	if !s.endpoint.Secure {
		return nil, nil
	}
	config, err := trust(&s.endpoint)
	if err != nil {
		return nil, err
	}
	e := &secure{handshakes: reactor.Handshakes{Max: maxHandshakes}}
	e.handshakes.Shake = func(c *reactor.Conn, fd int) (reactor.Layer, error) {
		began := mono.Now()
		file := os.NewFile(uintptr(fd), "target") // non-blocking, so it waits in the runtime's poller
		defer file.Close()
		layer := tlslayer.Client(file, config, &e.out)
		if err := layer.Handshake(); err != nil {
			return nil, fmt.Errorf("%w: %w", ask.ErrTLS, err)
		}
		layer.Bind(c)
		ended := mono.Now()
		s.loop.Post(func() { // before the connection is opened
			s.stages.endAt(wire.StageConnect, c, began)
			s.stages.endAt(wire.StageTLS, c, ended)
		})
		return layer, nil
	}
	return e, nil
}

// trust is how the server is known, over HTTP by the only version that is spoken here.
func trust(e *target.Endpoint) (*tls.Config, error) {
	c, err := e.Trust()
	c.ClientSessionCache = tls.NewLRUClientSessionCache(1) // there is one server
	if e.Carried() {
		c.NextProtos = []string{"http/1.1"}
	}
	return c, err
}

// connect dials the target from the source of the i-th client.
func (s *Swarm) connect(c *reactor.Conn, i int, h reactor.Handler) error {
	from := s.sources[i%len(s.sources)]
	if s.secure == nil {
		return s.loop.Dial(c, s.endpoint.Address, from, h)
	}
	return s.loop.DialLayered(c, s.endpoint.Address, from, h, &s.secure.handshakes)
}
