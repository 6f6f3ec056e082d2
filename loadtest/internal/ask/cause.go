package ask

import (
	"crypto/tls"
	"errors"
	"io"
	"net/http"
	"syscall"

	"github.com/erlmcp/erlmcp/internal/mcp"
)

// Cause is why an attempt to get a verified connection failed, why one was lost, or why a request failed.
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
	CauseTLS               // no TLS, or nobody to be trusted
	CauseAuth              // 401 or 403
	CauseSession           // the server does not know the session any more
	CauseClient            // any other status of the class 4xx
	CauseServer            // any other status of the class 5xx
	CauseTool              // a JSON-RPC error, or a tool that says that it failed
	Causes                 // how many there are
)

var causeNames = [Causes]string{
	CauseNone: "none", CauseRate: "rate", CauseBan: "ban", CauseUnavailable: "unavailable", CauseReply: "reply",
	CauseRefused: "refused", CauseReset: "reset", CauseClosed: "closed", CauseTimeout: "timeout",
	CauseLocal: "local", CauseNetwork: "network",
	CauseTLS: "tls", CauseAuth: "unauthorized", CauseSession: "session", CauseClient: "4xx", CauseServer: "5xx",
	CauseTool: "tool",
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

// CauseOfStatus classifies a response over HTTP that came in place of an answer.
func CauseOfStatus(status int) Cause {
	switch status {
	case http.StatusTooManyRequests:
		return CauseRate
	case http.StatusServiceUnavailable:
		return CauseUnavailable
	case http.StatusUnauthorized, http.StatusForbidden:
		return CauseAuth
	}
	switch status / 100 {
	case 4:
		return CauseClient
	case 5:
		return CauseServer
	}
	return CauseReply
}

// ErrTLS is in the errors of a handshake.
var ErrTLS = errors.New("TLS handshake failed")

// CauseOfError classifies what ended a connection or kept it from being.
func CauseOfError(err error) Cause {
	var errno syscall.Errno
	var alert tls.AlertError
	switch {
	case errors.As(err, &errno):
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return CauseClosed
	case errors.Is(err, ErrTLS), errors.As(err, &alert):
		return CauseTLS
	default:
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
