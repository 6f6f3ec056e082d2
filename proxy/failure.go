package proxy

import (
	"errors"
	"io"

	"golang.org/x/sys/unix"

	"github.com/erlmcp/erlmcp/healthcheck"
	"github.com/erlmcp/erlmcp/proxy/internal/board"
)

// failure is how an attempt to have a client served by a node has failed, over TCP as over HTTP.
//
//	                    counted as      the master is told        is it tried elsewhere?
//	connectStarved      connect error   (it is logged)            yes
//	connectRefused      connect error   refused                   yes
//	connectUnanswered   connect error   timeout                   yes
//	connectOutOfTime    connect error   timeout                   no
//	connectDistrusted   connect error   what the error says       yes
//	connectBroken       connect error   what the error says       yes
//	connectOvertaken                                              yes
//	connStale                                                     at the same node, if the request is whole
//	connClosed                          closed                    if the request is whole
//	connReset           reset           reset                     if the request is whole
//	connDisowned        reset           tls                       if the request is whole
//	connDisplaced       displaced                                 if the request is whole
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
	suspicion string       // one of the Suspect… constants; "" is what the error says, or nothing
	told      board.Reason // to a client that no other node serves
	ofSession board.Reason // to one whose session the node has
}

var meanings = [...]meaning{
	connectStarved:    {"", board.ReasonNoNode, board.ReasonNoNode},
	connectRefused:    {SuspectRefused, board.ReasonNoNode, board.ReasonSessionGone},
	connectUnanswered: {SuspectTimeout, board.ReasonNoNode, board.ReasonNodeTimeout},
	connectOutOfTime:  {SuspectTimeout, board.ReasonNoNode, board.ReasonNodeTimeout},
	connectDistrusted: {"", board.ReasonNoNode, board.ReasonNoNode},
	connectBroken:     {"", board.ReasonNoNode, board.ReasonNodeTimeout},
	connectOvertaken:  {"", board.ReasonNoNode, board.ReasonNodeTimeout},
	connStale:         {"", board.ReasonNodeLost, board.ReasonNodeTimeout},
	connClosed:        {SuspectClosed, board.ReasonNodeLost, board.ReasonNodeLost},
	connReset:         {SuspectReset, board.ReasonNodeLost, board.ReasonNodeLost},
	connDisowned:      {SuspectTLS, board.ReasonNodeLost, board.ReasonNodeLost},
	connDisplaced:     {"", board.ReasonNodeDown, board.ReasonNodeLost},
}

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

// suspicionOf is what the master is told of a connect that has failed with err.
func suspicionOf(err error) string {
	switch {
	case errors.Is(err, unix.ECONNREFUSED):
		return SuspectRefused
	case errors.Is(err, unix.ETIMEDOUT):
		return SuspectTimeout
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF): // within a handshake
		return SuspectClosed
	case healthcheck.TLSReason(err) != "":
		return SuspectTLS
	}
	return SuspectReset
}

// failed takes note of a failed attempt at a port: in its counters, in what the master is told of it, and in
// whether it is avoided. err is what it failed with, if with anything. What it means for the client is returned.
//
// Errors in a row over TCP condemn a node without a check. One that fails over HTTP may lack its HTTP port only:
// that is avoided until a check has decided.
func (w *worker) failed(p *port, f failure, err error) *meaning {
	m, flow := &meanings[f], p.backend.flow
	suspicion, line := m.suspicion, p.transport == board.TCP
	switch f {
	case connectStarved:
		w.complain("connect", "node", p.backend.name, "address", p.address, "err", err)
	case connectBroken:
		suspicion = suspicionOf(err)
	case connectDistrusted, connDisowned:
		w.complain("TLS could not be agreed on", "node", p.backend.name, "address", p.address, "why", disagreement(err))
		if f == connectDistrusted {
			suspicion = suspicionOf(err)
		}
	}
	switch {
	case f < connectOvertaken:
		flow.ConnectErrors.Add(1)
		if !line {
			p.pool.failed(w.loop.Now())
		}
	case f == connReset, f == connDisowned:
		flow.Resets.Add(1)
	case f == connDisplaced:
		flow.Displaced.Add(1)
	}
	if suspicion != "" {
		w.suspect(p, suspicion, line && f != connClosed)
	}
	return m
}
