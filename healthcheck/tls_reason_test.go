package healthcheck

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/erlmcp/erlmcp/internal/topology"
)

// Nodes whose URL begins with https are asked within TLS, except for lines.
func TestCollectOverTLS(t *testing.T) {
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadRequest) }))
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	t.Cleanup(s.Close)
	roots := x509.NewCertPool()
	roots.AddCert(s.Certificate())
	node := topology.Node{Name: "a", URL: s.URL + "/mcp", TCP: 1}.Complete()
	for name, test := range map[string]struct {
		tls  func(string) *tls.Config
		want string
	}{
		"trusted":      {func(host string) *tls.Config { return &tls.Config{RootCAs: roots, ServerName: host} }, ""},
		"another":      {func(string) *tls.Config { return &tls.Config{RootCAs: roots, ServerName: "other.test"} }, "certificate is not for other.test (names: example.com, *.example.com, 127.0.0.1, ::1)"},
		"the system's": {nil, "certificate is of an authority that is not trusted"},
	} {
		c := &Collector{Spec: Spec{Kinds: []string{"mcp"}, Timeout: 5 * time.Second}, Nodes: []topology.Node{node}, TLS: test.tls}
		for _, check := range c.nodeChecks(node) {
			if secure := check.Target.TLS != nil; secure != (check.Target.Transport != OverTCP) {
				t.Errorf("%s over %s: TLS %t", name, check.Target.Transport, secure)
			}
			if check.Target.Transport == OverTCP {
				continue
			}
			for _, probe := range []func(context.Context, Target) Result{probeMCP, probeTCP} {
				if r := probe(t.Context(), check.Target); r.Error != test.want || test.want != "" && r.Cause != CauseUnhealthy {
					t.Errorf("%s: %+v", name, r)
				}
			}
		}
	}
}

// A server of TLS 1.3 judges its client when the handshake is over for that: it has answered, and is not well.
func TestProbeWithoutACertificate(t *testing.T) {
	s := httptest.NewUnstartedServer(http.NotFoundHandler())
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.TLS = &tls.Config{ClientAuth: tls.RequireAnyClientCert}
	s.StartTLS()
	t.Cleanup(s.Close)
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		config := &tls.Config{InsecureSkipVerify: true, MinVersion: version, MaxVersion: version} //nolint:gosec // of a test
		r := probeMCP(t.Context(), Target{Address: s.Listener.Addr().String(), Transport: OverHTTP, TLS: config})
		if r.OK || r.Cause != CauseProtocol || !strings.HasPrefix(r.Error, "handshake refused: tls: ") {
			t.Errorf("%x: %+v", version, r)
		}
	}
}

func TestTLSReason(t *testing.T) {
	c := &x509.Certificate{DNSNames: []string{"a.test"}, NotAfter: time.Now().Add(time.Hour)}
	expired := &x509.Certificate{NotAfter: time.Date(2020, 1, 2, 0, 0, 0, 0, time.UTC)}
	verify := func(err error) error { return &tls.CertificateVerificationError{Err: err} }
	for _, test := range []struct {
		err  error
		want string
	}{
		{nil, ""},
		{io.EOF, ""},
		{io.ErrUnexpectedEOF, ""},
		{os.ErrDeadlineExceeded, ""},
		{&os.PathError{Op: "read", Path: "node", Err: syscall.ECONNRESET}, ""},
		{&net.OpError{Op: "read", Err: errors.New("use of closed network connection")}, ""},
		{verify(x509.HostnameError{Certificate: c, Host: "b.test"}), "certificate is not for b.test (names: a.test)"},
		{verify(x509.CertificateInvalidError{Cert: expired, Reason: x509.Expired}), "certificate expired 2020-01-02"},
		{verify(x509.CertificateInvalidError{Cert: c, Reason: x509.IncompatibleUsage}), "certificate is not valid: x509: certificate specifies an incompatible key usage"},
		{verify(x509.UnknownAuthorityError{Cert: c}), "certificate is of an authority that is not trusted"},
		{verify(errors.New("no")), "certificate cannot be verified: no"},
		{tls.RecordHeaderError{Msg: "first record does not look like a TLS handshake"}, "not a TLS server"},
		{fmt.Errorf("wrapped: %w", &net.OpError{Op: "remote error", Err: errors.New("tls: bad certificate")}), "handshake refused: tls: bad certificate"},
		{&net.OpError{Op: "local error", Err: errors.New("tls: bad record MAC")}, "handshake failed: local error: tls: bad record MAC"},
		{errors.New("tls: odd"), "handshake failed: tls: odd"},
	} {
		if got := TLSReason(test.err); got != test.want {
			t.Errorf("%v: %q, want %q", test.err, got, test.want)
		}
	}
}
