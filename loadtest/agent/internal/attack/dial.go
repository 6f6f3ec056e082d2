package attack

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/erlmcp/erlmcp/internal/mono"
	"github.com/erlmcp/erlmcp/loadtest/agent/internal/delivered"
	"github.com/erlmcp/erlmcp/loadtest/agent/internal/tally"
	"github.com/erlmcp/erlmcp/loadtest/internal/ask"
	"github.com/erlmcp/erlmcp/loadtest/internal/wire"
)

// bufferSize holds the head and the body of most requests and replies. It is kept for as long as the connection is; what is
// longer takes more system calls.
const bufferSize = 1 << 10

// maxHead limits the head of a response.
const maxHead = 64 << 10

// aim prepares what all clients have in common.
func (a *Attack) aim(o *wire.OpenOrder) error {
	e := o.Endpoint
	scheme := "http"
	if e.Secure {
		scheme = "https"
	}
	u, err := url.Parse(scheme + "://" + e.Authority() + e.Path)
	if err != nil {
		return fmt.Errorf("the target is not a URL: %w", errors.Unwrap(err))
	}
	var protocols http.Protocols
	protocols.SetHTTP1(!e.HTTP2)
	protocols.SetHTTP2(e.HTTP2 && e.Secure)
	protocols.SetUnencryptedHTTP2(e.HTTP2 && !e.Secure)
	a.transport = &http.Transport{
		DialContext: a.dialContext, Protocols: &protocols, DisableCompression: true,
		ReadBufferSize: bufferSize, WriteBufferSize: bufferSize, MaxResponseHeaderBytes: maxHead,
	}
	if e.Secure {
		if a.transport.TLSClientConfig, err = e.Trust(); err != nil {
			return err
		}
	}
	a.aside = a.transport.Clone()
	a.aside.DialContext = a.dialAside
	a.aside.MaxConnsPerHost, a.aside.MaxIdleConnsPerHost, a.aside.IdleConnTimeout = maxAside, maxAside, asideIdle
	a.endpoint, a.url, a.host = e, u, u.Host
	a.fixed = fixedHeader(o)
	if h := a.fixed.Get("Host"); h != "" {
		a.host = h
		a.fixed.Del("Host")
	}
	return nil
}

// link is a connection of a client: the socket below net/http, which closes it as soon as it cannot be used any more.
type link struct {
	net.Conn
	client *client
	conn   *http.ClientConn // nil until it can be used; set with Attack.mu held
	since  int64            // it was connected
	heard  atomic.Uint32    // the ask.Cause that reading or writing has met
	writes sync.Mutex       // held while a write is under way
	sent   atomic.Int64     // writes so far
	quiet  atomic.Bool      // no answer has begun since the last of them
	unread atomic.Bool      // the other side ended the connection before it can have read that, see unserved
	busy   atomic.Bool      // with a request, from its first write to the end of the answer
	last   atomic.Bool      // the other side has said that it ends the connection after this answer
	cause  ask.Cause        // why this side is about to close it
	closed bool             // both with Attack.mu held
}

// clientKey is where the context of a dial has its client.
type clientKey struct{}

// dialContext connects a client from the source that is its own.
func (a *Attack) dialContext(ctx context.Context, _, _ string) (net.Conn, error) {
	c := ctx.Value(clientKey{}).(*client)
	began := mono.Now()
	socket, err := a.dial(ctx, a.sources[int(c.index)%len(a.sources)], a.endpoint.Address)
	if err != nil {
		return nil, err
	}
	l := &link{Conn: socket, client: c, since: mono.Now()}
	a.mu.Lock()
	defer a.mu.Unlock()
	c.link = l
	a.tally.Stage(wire.StageConnect, l.since-began)
	return l, nil
}

// Connections that are no client's: for what cannot go over a client's own.
const (
	maxAside  = 64
	asideIdle = 3 * time.Second
)

// dialAside connects from the source of the client in the context.
func (a *Attack) dialAside(ctx context.Context, _, _ string) (net.Conn, error) {
	c := ctx.Value(clientKey{}).(*client)
	return a.dial(ctx, a.sources[int(c.index)%len(a.sources)], a.endpoint.Address)
}

// dial opens a socket from an address; from none it is the kernel's choice.
func dial(ctx context.Context, from netip.Addr, to netip.AddrPort) (net.Conn, error) {
	d := net.Dialer{KeepAlive: -1, Control: prepare}
	if !to.Addr().IsLoopback() {
		d.KeepAlive, d.KeepAliveConfig = 0, net.KeepAliveConfig{Enable: true, Idle: keepIdle, Interval: keepInterval, Count: keepProbes}
	}
	if from.IsValid() {
		d.LocalAddr = &net.TCPAddr{IP: from.AsSlice(), Zone: from.Zone()}
	}
	return d.DialContext(ctx, "tcp", to.String())
}

// As the connections of an event loop are asked whether their peer is still there.
const (
	keepIdle     = 60 * time.Second
	keepInterval = 15 * time.Second
	keepProbes   = 8
)

// Read implements [net.Conn]. What is read may answer what is being written: on a machine with much to do the other side can
// be quicker than the return of the write. net/http does not use a connection again whose request it does not know to be
// written 50 ms after the answer, so the answer has to wait for that.
func (l *link) Read(p []byte) (int, error) {
	n, err := l.Conn.Read(p)
	if err == nil {
		l.writes.Lock()
		l.writes.Unlock() //nolint:gocritic,staticcheck // there is nothing to do but to wait
	}
	if n > 0 && !l.client.attack.endpoint.Secure { // or it may be about the connection: see post
		l.quiet.Store(false)
	}
	l.hear(err)
	return n, err
}

// Write implements [net.Conn].
func (l *link) Write(p []byte) (int, error) {
	l.writes.Lock()
	l.sent.Add(1)
	l.quiet.Store(true)
	l.busy.Store(true)
	n, err := l.Conn.Write(p)
	l.writes.Unlock()
	l.hear(err)
	return n, err
}

// hear remembers the first thing that went wrong, unless it is our own close.
func (l *link) hear(err error) {
	if err == nil || errors.Is(err, net.ErrClosed) {
		return
	}
	if cause := causeOf(err); l.heard.CompareAndSwap(uint32(ask.CauseNone), uint32(cause)) && l.quiet.Load() {
		l.unread.Store(cause == ask.CauseReset || cause == ask.CauseClosed && !l.delivered())
	}
}

// delivered reports whether the other side's kernel has all that was written, as far as known.
func (l *link) delivered() bool {
	c, ok := l.Conn.(syscall.Conn)
	if !ok {
		return true
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return true
	}
	all := true
	if err := raw.Control(func(fd uintptr) { all = delivered.All(int(fd)) }); err != nil {
		return true
	}
	return all
}

// rested reports whether the other side has ended the connection between two requests, as servers do after a while or after so
// many of them. Nothing is lost by that. The caller holds mu.
func (l *link) rested() bool {
	c := l.client
	switch heard := ask.Cause(l.heard.Load()); {
	case l.cause != ask.CauseNone, c.attack.endpoint.HTTP2 && c.underWay > 0:
		return false
	case l.last.Load():
		return true
	case mono.Now()-l.since < tally.LeastIdle:
		return false
	default:
		return l.unread.Load() || heard == ask.CauseClosed && !l.busy.Load()
	}
}

// unserved reports whether a server cannot have served a request that brought no answer and before which there had been so many
// writes. It has kept the connection for others before, and ends it when none come for a while, perhaps in the moment when this
// one is sent. Then either nothing of it was written, or nothing of an answer was read, and the other side's kernel had not got
// all of it when the stream ended, or it has reset the connection: that is what a kernel does with what arrives after a close,
// and at a close with what nobody has read. Such a request is sent again once on a connection of its own, as browsers do; any
// other is lost, as it may have been served (RFC 9110 section 9.2.2). Nobody holds mu.
func (l *link) unserved(before int64) bool {
	a := l.client.attack
	a.mu.Lock()
	ours := l.cause != ask.CauseNone || a.closing
	a.mu.Unlock()
	return !ours && (l.unread.Load() || l.sent.Load() == before)
}

// Close implements [net.Conn]. It is how an attack learns that a connection is over.
func (l *link) Close() error {
	err := l.Conn.Close()
	l.client.attack.over(l)
	return err
}

// why is what ended a connection; the caller holds mu.
func (l *link) why() ask.Cause {
	if l.cause != ask.CauseNone {
		return l.cause
	}
	if heard := ask.Cause(l.heard.Load()); heard != ask.CauseNone {
		return heard
	}
	return ask.CauseReply // net/http had enough of it
}

// hangUp closes a connection; nobody holds mu.
func (a *Attack) hangUp(l *link) {
	a.mu.Lock()
	conn := l.conn
	a.mu.Unlock()
	if conn != nil {
		_ = conn.Close()
		return
	}
	_ = l.Close()
}

// cut closes a connection for a cause; nobody holds mu.
func (a *Attack) cut(l *link, cause ask.Cause) {
	a.mu.Lock()
	if l.cause == ask.CauseNone {
		l.cause = cause
	}
	a.mu.Unlock()
	a.hangUp(l)
}

func ended(err error) bool { return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) }
