package healthcheck

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"
)

// healthPath is what kind http asks for where the target has no path.
const healthPath = "/health"

// probeHTTP asks for GET /health, or another path. Only a status of 200 to 299 is success: a node that is
// stopping answers 503. Detail["status"] is the status of any answer.
func probeHTTP(ctx context.Context, t Target) Result {
	a := begin(ctx, "http", t)
	defer func() { a.end() }()
	if t.Path == "" {
		t.Path = healthPath
	}
	sent := time.Now()
	answer := a.requestHTTP(t, "GET", "", nil)
	if answer == nil {
		return a.result
	}
	if _, err := io.Copy(io.Discard, answer.Body); err != nil || answer.tooLong() {
		a.answerFailed(answer, err)
		return a.result
	}
	if status := answer.StatusCode; status >= 200 && status <= 299 {
		a.succeed(time.Since(sent))
	} else {
		a.fail(CauseUnhealthy, "GET %s: %s", t.Path, statusText(status))
	}
	a.result.Detail = map[string]string{"status": strconv.Itoa(answer.StatusCode)}
	return a.result
}

// httpAnswer is a response, the body of which is still to be read.
type httpAnswer struct {
	*http.Response
	limit *io.LimitedReader
}

// tooLong reports that the answer has been cut at maxReply, which looks like its end.
func (r *httpAnswer) tooLong() bool { return r.limit.N <= 0 }

// requestHTTP makes a request on a connection of its own and returns the response when its head has come.
// Without one it is nil, and the attempt has failed.
func (a *attempt) requestHTTP(t Target, method, header string, body []byte) *httpAnswer {
	conn := a.dial(t.Address)
	if conn == nil {
		return nil
	}
	var stream io.ReadWriter = conn
	if t.TLS != nil {
		secure := a.shakeHands(conn, t.TLS)
		if secure == nil {
			return nil
		}
		stream = secure
	}
	_, writeErr := stream.Write(appendHTTPRequest(nil, t, method, header, body))
	r := &httpAnswer{limit: &io.LimitedReader{R: stream, N: maxReply}}
	in := bufio.NewReader(r.limit)
	begin, err := in.Peek(1)
	if err == nil {
		if other := foreignToHTTP(begin[0], in); other != "" {
			a.fail(CauseProtocol, "speaks %s, not HTTP: write %s", other, foreignKeys[other])
			return nil
		}
		r.Response, err = http.ReadResponse(in, nil) //nolint:bodyclose // the attempt closes the connection
	} else if writeErr != nil {
		err = writeErr
	}
	if err != nil || r.limit.N <= 0 {
		a.answerFailed(r, err)
		return nil
	}
	return r
}

// shakeHands returns conn under TLS. Without it that is nil, and the attempt has failed.
func (a *attempt) shakeHands(conn net.Conn, config *tls.Config) *tls.Conn {
	secure := tls.Client(conn, config)
	if err := secure.HandshakeContext(a.ctx); err != nil {
		a.handshakeFailed(err)
		if a.result.Error == notTLS {
			a.result.Error += ": write url: http://… instead of https://…"
		}
		return nil
	}
	return secure
}

// appendHTTPRequest appends a request of HTTP/1.1.
func appendHTTPRequest(dst []byte, t Target, method, header string, body []byte) []byte {
	host := t.Host
	if host == "" {
		host = t.Address
	}
	dst = fmt.Appendf(dst, "%s %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: erlmcp\r\nConnection: close\r\n%s", method, t.Path, host, header)
	if body != nil {
		dst = fmt.Appendf(dst, "Content-Length: %d\r\n", len(body))
	}
	var fields bytes.Buffer
	_ = t.Header.Write(&fields) // a buffer takes everything
	dst = append(dst, fields.Bytes()...)
	dst = append(dst, "\r\n"...)
	return append(dst, body...)
}

// answerFailed fails the attempt because the answer could not be read, or not to its end.
func (a *attempt) answerFailed(r *httpAnswer, err error) {
	var network interface{ Timeout() bool } // of net.Error, which a malformed answer is not
	var alert *net.OpError
	switch {
	case r.tooLong(): // also where the limit looked like the end
		a.fail(CauseProtocol, "no end of the answer in the first %d KiB", maxReply>>10)
	case errors.Is(err, os.ErrDeadlineExceeded):
		a.expired(CauseTimeout, "no complete answer within %v (frozen?)")
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF) && r.limit.N == maxReply:
		a.failed(io.EOF)
	case errors.Is(err, io.ErrUnexpectedEOF):
		a.fail(CauseClosed, "closed in the middle of the answer")
	case errors.As(err, &alert) && alert.Op == remoteAlert: // TLS 1.3 judges a client after the handshake
		a.handshakeFailed(err)
	case errors.As(err, &network):
		a.failed(err)
	default:
		a.fail(CauseProtocol, "not an HTTP answer: %v", err)
	}
}

// foreignToHTTP names the protocol that a server speaks instead of HTTP, "" where it cannot be told. first
// is the first byte of in.
func foreignToHTTP(first byte, in *bufio.Reader) string {
	switch first {
	case '{', '[':
		return "newline-delimited JSON-RPC"
	case tlsAlert, tlsHandshake:
		if head, _ := in.Peek(2); len(head) == 2 && head[1] == tlsMajor {
			return "TLS"
		}
	}
	return ""
}

// foreignKeys is what to write for a server that speaks something else than HTTP.
var foreignKeys = map[string]string{
	"TLS":                        "url: https://… instead of http",
	"newline-delimited JSON-RPC": "tcp instead of http",
}

// The first two bytes of what a TLS server answers to something else (RFC 8446 section 5.1).
const (
	tlsAlert     = 21
	tlsHandshake = 22
	tlsMajor     = 3
)

// statusText is a status with its meaning.
func statusText(status int) string {
	return strings.TrimSpace(strconv.Itoa(status) + " " + http.StatusText(status))
}
