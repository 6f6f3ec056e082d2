package hub

import (
	"errors"
	"io"
	"time"

	"golang.org/x/sys/unix"

	"github.com/erlmcp/erlmcp/healthcheck"
	"github.com/erlmcp/erlmcp/proxy/internal/board"
	"github.com/erlmcp/erlmcp/proxy/internal/wire"
)

// Failure is how an attempt to have a client served by a node has failed, over TCP as over HTTP. After those of a
// connect another node is tried, but when the client is out of time; after those of a connection if nothing that
// the client has said is lost.
type Failure uint8

// Failures, in connecting and of connections.
const (
	NoFailure         Failure = iota
	connectStarved            // this machine lacks something to connect with, which says nothing about the node
	connectRefused            //
	ConnectUnanswered         // in time
	ConnectOutOfTime          // until the client had waited long enough
	ConnectDistrusted         // TLS could not be agreed on
	connectBroken             // otherwise
	ConnectOvertaken          // the node was marked down before
	ConnStale                 // ended where a node is free to end it: before the answer on one out of the pool, and a tunnel
	ConnClosed                //
	ConnReset                 //
	ConnDisowned              // TLS 1.3: a node judges its client after the handshake
	ConnDisplaced             // the node was marked down
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
	ConnectUnanswered: {wire.SuspectTimeout, board.ReasonNoNode, board.ReasonNodeTimeout},
	ConnectOutOfTime:  {wire.SuspectTimeout, board.ReasonNoNode, board.ReasonNodeTimeout},
	ConnectDistrusted: {wire.SuspectTLS, board.ReasonNoNode, board.ReasonNoNode}, // or what the handshake ended with
	connectBroken:     {wire.SuspectReset, board.ReasonNoNode, board.ReasonNodeTimeout},
	ConnectOvertaken:  {"", board.ReasonNoNode, board.ReasonNodeTimeout},
	ConnStale:         {"", board.ReasonNodeLost, board.ReasonNodeTimeout},
	ConnClosed:        {wire.SuspectClosed, board.ReasonNodeLost, board.ReasonNodeLost},
	ConnReset:         {wire.SuspectReset, board.ReasonNodeLost, board.ReasonNodeLost},
	ConnDisowned:      {wire.SuspectTLS, board.ReasonNodeLost, board.ReasonNodeLost},
	ConnDisplaced:     {"", board.ReasonNodeDown, board.ReasonNodeLost},
}

// Told is what a client is told that no other node serves.
func (f Failure) Told() board.Reason { return meanings[f].told }

// OfSession is what one is told whose session the node has.
func (f Failure) OfSession() board.Reason { return meanings[f].ofSession }

// ConnectFailure is how a connect has failed with err.
func ConnectFailure(err error) Failure {
	for _, lack := range []error{unix.EADDRNOTAVAIL, unix.EADDRINUSE, unix.EMFILE, unix.ENFILE, unix.ENOBUFS, unix.ENOMEM} {
		if errors.Is(err, lack) {
			return connectStarved
		}
	}
	switch {
	case Disagreement(err) != "":
		return ConnectDistrusted
	case errors.Is(err, unix.ECONNREFUSED):
		return connectRefused
	case errors.Is(err, unix.ETIMEDOUT):
		return ConnectUnanswered
	}
	return connectBroken
}

// Failed takes note of a failed attempt at a port: in its counters, in what the master is told of it, and in
// whether it is avoided. err is what it failed with, if with anything. What the client is told is returned.
//
// Errors in a row over TCP condemn a node without a check. One that fails over HTTP may lack its HTTP port only:
// that is avoided until a check has decided.
func (h *Hub) Failed(p *Port, f Failure, err error) board.Reason {
	flow := p.Backend.Flow
	suspicion, line := meanings[f].suspicion, p.Transport == board.TCP
	switch f {
	case connectStarved:
		h.Complain("connect", "node", p.Backend.Name, "address", p.Address, "err", err)
	case ConnectDistrusted, ConnDisowned:
		h.Complain("TLS could not be agreed on", "node", p.Backend.Name, "address", p.Address, "why", Disagreement(err))
	}
	if f == ConnectDistrusted {
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
	case ConnReset, ConnDisowned:
		flow.Resets.Add(1)
	case ConnDisplaced:
		flow.Displaced.Add(1)
	case ConnectOvertaken, ConnStale, ConnClosed:
	default:
		flow.ConnectErrors.Add(1)
		if p.failures++; !line && p.failures >= wire.ErrorsInARow {
			p.avoided().Store(h.Loop.Now() + int64(avoidTime))
		}
	}
	if suspicion != "" {
		h.suspect(p, suspicion, line && f != ConnClosed)
	}
	return f.Told()
}

// HandshakeError is one of a handshake, of TLS or of the connection below.
type HandshakeError struct{ Err error }

func (e HandshakeError) Error() string { return e.Err.Error() }
func (e HandshakeError) Unwrap() error { return e.Err }

// Disagreement says why TLS could not be agreed on with a node, "" if it was not for that.
func Disagreement(err error) string {
	reason := healthcheck.TLSReason(err)
	if reason == "" && errors.As(err, new(HandshakeError)) {
		return "the node closed the connection"
	}
	return reason
}

// avoidTime is for how long a port that refuses connections is not the first choice, while the
// node may be well otherwise.
const avoidTime = time.Second
