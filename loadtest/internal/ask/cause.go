package ask

import (
	"errors"
	"syscall"

	"github.com/erlmcp/erlmcp/internal/mcp"
)

// Cause is why an attempt to get a verified connection failed, or why one was lost.
type Cause uint8

// The causes.
const (
	CauseNone        Cause = iota
	CauseRate              // the balancer: this source is over its rate
	CauseBan               // the balancer: this source is banned
	CauseUnavailable       // the balancer: full, or no node
	CauseReply             // an answer that is none of MCP's, or names no node
	CauseRefused           // nobody listens
	CauseReset             // RST
	CauseClosed            // the other side ended the stream
	CauseTimeout           // no connection or no answer in time
	CauseLocal             // this machine could not even try: descriptors, ports, addresses
	CauseNetwork           // any other error of the network
	CauseTool              // a JSON-RPC error, or a tool that says that it failed
	Causes                 // how many there are
)

var causeNames = [Causes]string{
	CauseNone: "none", CauseRate: "rate", CauseBan: "ban", CauseUnavailable: "unavailable", CauseReply: "reply",
	CauseRefused: "refused", CauseReset: "reset", CauseClosed: "closed", CauseTimeout: "timeout",
	CauseLocal: "local", CauseNetwork: "network", CauseTool: "tool",
}

func (c Cause) String() string { return causeNames[c] }

// CauseOfCode classifies a JSON-RPC error that came in place of an answer.
func CauseOfCode(code int) Cause {
	switch code {
	case mcp.CodeRateLimited:
		return CauseRate
	case mcp.CodeBanned:
		return CauseBan
	case mcp.CodeUnavailable:
		return CauseUnavailable
	}
	return CauseReply
}

// CauseOfError classifies what ended a connection or kept it from being.
func CauseOfError(err error) Cause {
	var errno syscall.Errno
	if !errors.As(err, &errno) {
		return CauseNetwork
	}
	switch errno {
	case syscall.ECONNREFUSED:
		return CauseRefused
	case syscall.ECONNRESET, syscall.EPIPE:
		return CauseReset
	case syscall.ETIMEDOUT:
		return CauseTimeout
	case syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.EADDRNOTAVAIL, syscall.EADDRINUSE:
		return CauseLocal
	}
	return CauseNetwork
}
