package healthcheck

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"time"
)

// attempt is one probe under way: its limit in time, its connection and its result so far.
type attempt struct {
	ctx    context.Context
	limit  time.Duration // for texts: how long the probe may take
	end    func()        // frees what the attempt holds
	result Result
}

// begin starts a probe. The caller must call end.
func begin(ctx context.Context, kind string, t Target) *attempt {
	limit := t.Timeout
	if limit <= 0 {
		limit = DefaultTimeout
	}
	if deadline, ok := ctx.Deadline(); ok {
		limit = min(limit, time.Until(deadline).Round(time.Millisecond))
	}
	a := &attempt{limit: max(limit, 0), result: Result{Kind: kind, Transport: t.Transport}}
	ctx, cancel := context.WithTimeout(ctx, limit)
	a.ctx, a.end = ctx, cancel
	return a
}

// dial connects, and notes the time of the handshake as the latency. The connection obeys the
// attempt's context, whose end makes pending reads and writes fail, and is closed with the attempt.
// conn is nil on failure.
func (a *attempt) dial(address string) (conn net.Conn) {
	var started time.Time
	d := net.Dialer{
		FallbackDelay: -1, // one address after the other: Control is not called concurrently
		KeepAlive:     -1,
		Control: func(string, string, syscall.RawConn) error {
			started = time.Now()
			return nil
		},
	}
	conn, err := d.DialContext(a.ctx, "tcp", address)
	if err != nil {
		if a.ctx.Err() != nil || errors.Is(err, os.ErrDeadlineExceeded) {
			a.expired(CauseUnreachable, "no connection within %v")
		} else {
			a.failed(err)
		}
		return nil
	}
	a.result.Latency = time.Since(started)
	stop := context.AfterFunc(a.ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	cancel := a.end
	a.end = func() {
		stop()
		_ = conn.Close()
		cancel()
	}
	return conn
}

func (a *attempt) succeed(latency time.Duration) {
	a.result = Result{Kind: a.result.Kind, Transport: a.result.Transport, OK: true, Latency: latency}
}

func (a *attempt) fail(cause Cause, format string, args ...any) {
	a.result = Result{Kind: a.result.Kind, Transport: a.result.Transport, Cause: cause, Error: fmt.Sprintf(format, args...)}
}

// expired fails the attempt because its context ended: by its limit, which the text names by %v, or
// because the caller gave up.
func (a *attempt) expired(cause Cause, format string) {
	if errors.Is(a.ctx.Err(), context.Canceled) {
		a.fail(CauseCanceled, "check canceled")
		return
	}
	a.fail(cause, format, a.limit)
}

// failed fails the attempt with an error of the network other than a timeout.
func (a *attempt) failed(err error) {
	var dns *net.DNSError
	var addr *net.AddrError
	switch {
	case errors.Is(err, io.EOF):
		a.fail(CauseClosed, "closed without a reply")
	case errors.Is(err, syscall.ECONNREFUSED):
		a.fail(CauseRefused, "connection refused")
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE), errors.Is(err, syscall.ECONNABORTED):
		a.fail(CauseReset, "connection reset")
	case errors.Is(err, syscall.EHOSTUNREACH):
		a.fail(CauseUnreachable, "no route to host")
	case errors.Is(err, syscall.ENETUNREACH):
		a.fail(CauseUnreachable, "network unreachable")
	case errors.Is(err, syscall.ETIMEDOUT):
		a.fail(CauseUnreachable, "no answer from host")
	case errors.As(err, &dns):
		a.fail(CauseResolve, "cannot resolve %s: %s", dns.Name, dns.Err)
	case errors.As(err, &addr):
		a.fail(CauseLocal, "bad address %q: %s", addr.Addr, addr.Err)
	default:
		a.fail(CauseLocal, "cannot ask: %v", err)
	}
}
