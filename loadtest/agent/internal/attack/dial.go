package attack

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"github.com/erlmcp/erlmcp/internal/mono"
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
		c := &tls.Config{
			MinVersion: tls.VersionTLS12, ServerName: e.TLS.ServerName,
			InsecureSkipVerify: e.TLS.Insecure, // #nosec G402 -- only where it was asked for
		}
		if c.ServerName == "" {
			c.ServerName = e.Host
		}
		if e.TLS.CA != "" {
			c.RootCAs = x509.NewCertPool()
			if !c.RootCAs.AppendCertsFromPEM([]byte(e.TLS.CA)) {
				return errors.New("there is no certificate in what is to be trusted")
			}
		}
		a.transport.TLSClientConfig = c
	}
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
	l.hear(err)
	return n, err
}

// Write implements [net.Conn].
func (l *link) Write(p []byte) (int, error) {
	l.writes.Lock()
	n, err := l.Conn.Write(p)
	l.writes.Unlock()
	l.hear(err)
	return n, err
}

// hear remembers the first thing that went wrong, unless it is our own close.
func (l *link) hear(err error) {
	if err != nil && !errors.Is(err, net.ErrClosed) {
		l.heard.CompareAndSwap(uint32(ask.CauseNone), uint32(causeOf(err)))
	}
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
