package worker

import (
	"errors"
	"io"
	"time"

	"golang.org/x/sys/unix"

	"github.com/erlmcp/erlmcp/healthcheck"
	"github.com/erlmcp/erlmcp/proxy/internal/board"
	"github.com/erlmcp/erlmcp/proxy/internal/wire"
)

// failure is how an attempt to have a client served by a node has failed, over TCP as over HTTP. After those of a
// connect another node is tried, but when the client is out of time; after those of a connection if nothing that
// the client has said is lost.
type failure uint8

const (
	noFailure         failure = iota
	connectStarved            // this machine lacks something to connect with, which says nothing about the node
	connectRefused            //
	connectUnanswered         // in time
	connectOutOfTime          // until the client had waited long enough
	connectDistrusted         // TLS could not be agreed on
	connectBroken             // otherwise
	connectOvertaken          // the node was marked down before
	connStale                 // ended where a node is free to end it: before the answer on one out of the pool, and a tunnel
	connClosed                //
	connReset                 //
	connDisowned              // TLS 1.3: a node judges its client after the handshake
	connDisplaced             // the node was marked down
)

// meaning is what follows from a failure.
type meaning struct {
	suspicion string       // one of the Suspect… constants, "" for none
	told      board.Reason // to a client that no other node serves
	ofSession board.Reason // to one whose session the node has
}

var meanings = [...]meaning{
	connectStarved:    {"", board.ReasonNoNode, board.ReasonNoNode},
	connectRefused:    {wire.SuspectRefused, board.ReasonNoNode, board.ReasonSessionGone},
	connectUnanswered: {wire.SuspectTimeout, board.ReasonNoNode, board.ReasonNodeTimeout},
	connectOutOfTime:  {wire.SuspectTimeout, board.ReasonNoNode, board.ReasonNodeTimeout},
	connectDistrusted: {wire.SuspectTLS, board.ReasonNoNode, board.ReasonNoNode}, // or what the handshake ended with
	connectBroken:     {wire.SuspectReset, board.ReasonNoNode, board.ReasonNodeTimeout},
	connectOvertaken:  {"", board.ReasonNoNode, board.ReasonNodeTimeout},
	connStale:         {"", board.ReasonNodeLost, board.ReasonNodeTimeout},
	connClosed:        {wire.SuspectClosed, board.ReasonNodeLost, board.ReasonNodeLost},
	connReset:         {wire.SuspectReset, board.ReasonNodeLost, board.ReasonNodeLost},
	connDisowned:      {wire.SuspectTLS, board.ReasonNodeLost, board.ReasonNodeLost},
	connDisplaced:     {"", board.ReasonNodeDown, board.ReasonNodeLost},
}

// told is what a client is told that no other node serves.
func (f failure) told() board.Reason { return meanings[f].told }

// ofSession is what one is told whose session the node has.
func (f failure) ofSession() board.Reason { return meanings[f].ofSession }

// connectFailure is how a connect has failed with err.
func connectFailure(err error) failure {
	for _, lack := range []error{unix.EADDRNOTAVAIL, unix.EADDRINUSE, unix.EMFILE, unix.ENFILE, unix.ENOBUFS, unix.ENOMEM} {
		if errors.Is(err, lack) {
			return connectStarved
		}
	}
	switch {
	case disagreement(err) != "":
		return connectDistrusted
	case errors.Is(err, unix.ECONNREFUSED):
		return connectRefused
	case errors.Is(err, unix.ETIMEDOUT):
		return connectUnanswered
	}
	return connectBroken
}

// failed takes note of a failed attempt at a port: in its counters, in what the master is told of it, and in
// whether it is avoided. err is what it failed with, if with anything. What the client is told is returned.
//
// Errors in a row over TCP condemn a node without a check. One that fails over HTTP may lack its HTTP port only:
// that is avoided until a check has decided.
func (h *hub) failed(p *port, f failure, err error) board.Reason {
	flow := p.backend.flow
	suspicion, line := meanings[f].suspicion, p.transport == board.TCP
	switch f {
	case connectStarved:
		h.complain("connect", "node", p.backend.name, "address", p.address, "err", err)
	case connectDistrusted, connDisowned:
		h.complain("TLS could not be agreed on", "node", p.backend.name, "address", p.address, "why", disagreement(err))
	}
	if f == connectDistrusted {
		switch {
		case errors.Is(err, unix.ETIMEDOUT):
			suspicion = wire.SuspectTimeout
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
			suspicion = wire.SuspectClosed
		case healthcheck.TLSReason(err) == "":
			suspicion = wire.SuspectReset
		}
	}
	switch f {
	case connReset, connDisowned:
		flow.Resets.Add(1)
	case connDisplaced:
		flow.Displaced.Add(1)
	case connectOvertaken, connStale, connClosed:
	default:
		flow.ConnectErrors.Add(1)
		if p.failures++; !line && p.failures >= wire.ErrorsInARow {
			p.avoided().Store(h.loop.Now() + int64(avoidTime))
		}
	}
	if suspicion != "" {
		h.suspect(p, suspicion, line && f != connClosed)
	}
	return f.told()
}

// handshakeError is one of a handshake, of TLS or of the connection below.
type handshakeError struct{ err error }

func (e handshakeError) Error() string { return e.err.Error() }
func (e handshakeError) Unwrap() error { return e.err }

// disagreement says why TLS could not be agreed on with a node, "" if it was not for that.
func disagreement(err error) string {
	reason := healthcheck.TLSReason(err)
	if reason == "" && errors.As(err, new(handshakeError)) {
		return "the node closed the connection"
	}
	return reason
}

// avoidTime is for how long a port that refuses connections is not the first choice, while the
// node may be well otherwise.
const avoidTime = time.Second
