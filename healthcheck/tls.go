package healthcheck

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"time"
)

// notTLS says that a server does not speak TLS.
const notTLS = "not a TLS server"

// maxNames is how many names of a certificate are told.
const maxNames = 8

// probeTLS makes a TLS handshake. The certificate must be valid now, and for the host when that is a
// name: nodes are often reached by an address no certificate names. Who signed it does not matter,
// but Detail["trust"] tells whether this machine trusts it. Detail["expires"] and Detail["names"] are
// of the certificate, Detail["version"] is of the protocol.
func probeTLS(ctx context.Context, t Target) Result {
	a := begin(ctx, "tls", t)
	defer func() { a.end() }()
	conn := a.dial(t.Address)
	if conn == nil {
		return a.result
	}
	host, _, _ := net.SplitHostPort(t.Address) // it was dialed
	if _, err := netip.ParseAddr(host); err == nil {
		host = ""
	}
	// The certificate is judged below, so that one that is not good can still be described.
	c := tls.Client(conn, &tls.Config{ServerName: host, InsecureSkipVerify: true}) //nolint:gosec // only asks
	sent := time.Now()
	if err := c.HandshakeContext(a.ctx); err != nil {
		a.handshakeFailed(err)
		return a.result
	}
	latency := time.Since(sent)
	state := c.ConnectionState()
	leaf := state.PeerCertificates[0] // a server of TLS has one
	if reason := badCertificate(leaf, host, time.Now()); reason != "" {
		a.fail(CauseUnhealthy, "%s", reason)
	} else {
		a.succeed(latency)
	}
	a.result.Detail = map[string]string{
		"expires": leaf.NotAfter.UTC().Format(time.RFC3339),
		"names":   certificateNames(leaf),
		"trust":   trust(state.PeerCertificates),
		"version": tls.VersionName(state.Version),
	}
	return a.result
}

func (a *attempt) handshakeFailed(err error) {
	reason := TLSReason(err)
	switch {
	case certificateReason(err) != "":
		a.fail(CauseUnhealthy, "%s", reason)
	case reason != "":
		a.fail(CauseProtocol, "%s", reason)
	case a.ctx.Err() != nil, errors.Is(err, os.ErrDeadlineExceeded):
		a.expired(CauseTimeout, "no handshake within %v (frozen?)")
	case errors.Is(err, io.ErrUnexpectedEOF):
		a.failed(io.EOF)
	default:
		a.failed(err)
	}
}

// badCertificate says why a certificate is not good for a host, or "". No host is any host.
func badCertificate(c *x509.Certificate, host string, now time.Time) string {
	switch {
	case now.After(c.NotAfter):
		return "certificate expired " + c.NotAfter.UTC().Format(time.DateOnly)
	case now.Before(c.NotBefore):
		return "certificate not valid before " + c.NotBefore.UTC().Format(time.RFC3339)
	case host != "" && c.VerifyHostname(host) != nil:
		return notFor(c, host)
	}
	return ""
}

func notFor(c *x509.Certificate, host string) string {
	return "certificate is not for " + host + " (names: " + certificateNames(c) + ")"
}

func certificateNames(c *x509.Certificate) string {
	names := append([]string{}, c.DNSNames...)
	for _, ip := range c.IPAddresses {
		names = append(names, ip.String())
	}
	if len(names) > maxNames {
		names = append(names[:maxNames], "...")
	}
	return strings.Join(names, ", ")
}

// trust is "trusted", or why this machine does not trust the chain.
func trust(chain []*x509.Certificate) string {
	between := x509.NewCertPool()
	for _, c := range chain[1:] {
		between.AddCert(c)
	}
	if _, err := chain[0].Verify(x509.VerifyOptions{Intermediates: between}); err != nil {
		return err.Error()
	}
	return "trusted"
}
