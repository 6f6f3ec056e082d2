package swarm

import (
	"fmt"

	"github.com/erlmcp/erlmcp/internal/mcp"
	"github.com/erlmcp/erlmcp/loadtest/internal/target"
)

// protocol is how the clients of a swarm speak to their target: one for all of them, which keeps what it has to know of
// each by client.index.
type protocol interface {
	// introduce begins on a connection that has been opened. It ends with client.verified, or client.drop.
	introduce(c *client)
	// ask sends a request of the schedule.
	ask(c *client, step int, id uint64)
	// tell sends a message that nobody answers, a line in Swarm.line, unless there is too much of that already.
	tell(c *client, line []byte)
	// read takes input of the client's connection, see [reactor.Handler].
	read(c *client, p []byte) (consumed int)
	// ended is told of the end of the other side's stream. The connection is closed after that.
	ended(c *client)
	// leave closes the connection of a client that will come back as if nothing had been, or ends its session, see
	// client.home. It may be called again: each time that a request on the connection is over.
	leave(c *client)
	// close closes it for good.
	close(c *client)
	// closed forgets what belongs to a connection that is closed. It reports whether it rested: it was not a stream, and
	// the server ended it while nothing was asked.
	closed(c *client) (rested bool)
}

// maxMessage is how long a message, or the body of a response, may be over the transports that are carried by HTTP.
const maxMessage = 1 << 20

// speak chooses the protocol.
func (s *Swarm) speak() error {
	s.carried = s.endpoint.Carried()
	of := s.script.Work()
	if of.Era == mcp.SessionEra {
		s.calls = uint32(of.Session.Calls)
	}
	s.bound = s.endpoint.Transport == target.SSE || s.endpoint.Transport != target.HTTP && of.Era == mcp.SessionEra
	switch s.endpoint.Transport {
	case target.TCP:
		s.protocol = &lines{s, s.bound}
		return nil
	case target.HTTP:
		s.protocol = newStreamable(s)
	case target.SSE:
		s.protocol = newEvents(s)
	case target.WS:
		s.protocol = newSockets(s)
	default:
		return fmt.Errorf("clients over %s are not known", s.endpoint.Transport)
	}
	return checkHeader(s.endpoint.Header)
}
