package loadtest

import (
	"errors"
	"syscall"

	"github.com/erlmcp/erlmcp/internal/mcp"
)

// cause is why an attempt to get a verified connection failed, or why one was lost.
type cause uint8

const (
	causeNone        cause = iota
	causeRate              // the balancer: this source is over its rate
	causeBan               // the balancer: this source is banned
	causeUnavailable       // the balancer: full, or no node
	causeReply             // an answer that is none of MCP's, or names no node
	causeRefused           // nobody listens
	causeReset             // RST
	causeClosed            // the other side ended the stream
	causeTimeout           // no connection or no answer in time
	causeLocal             // this machine could not even try: descriptors, ports, addresses
	causeNetwork           // any other error of the network
	causes
)

var causeNames = [causes]string{
	causeNone: "none", causeRate: "rate", causeBan: "ban", causeUnavailable: "unavailable", causeReply: "reply",
	causeRefused: "refused", causeReset: "reset", causeClosed: "closed", causeTimeout: "timeout",
	causeLocal: "local", causeNetwork: "network",
}

func (c cause) String() string { return causeNames[c] }

// causeOfCode classifies a JSON-RPC error that came in place of an answer.
func causeOfCode(code int) cause {
	switch code {
	case mcp.CodeRateLimited:
		return causeRate
	case mcp.CodeBanned:
		return causeBan
	case mcp.CodeUnavailable:
		return causeUnavailable
	}
	return causeReply
}

// causeOfError classifies what ended a connection or kept it from being.
func causeOfError(err error) cause {
	var errno syscall.Errno
	if !errors.As(err, &errno) {
		return causeNetwork
	}
	switch errno {
	case syscall.ECONNREFUSED:
		return causeRefused
	case syscall.ECONNRESET, syscall.EPIPE:
		return causeReset
	case syscall.ETIMEDOUT:
		return causeTimeout
	case syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.EADDRNOTAVAIL, syscall.EADDRINUSE:
		return causeLocal
	}
	return causeNetwork
}
