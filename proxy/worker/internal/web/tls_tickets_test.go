package web

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"testing"

	"github.com/erlmcp/erlmcp/proxy/internal/proxytest"
	"github.com/erlmcp/erlmcp/proxy/internal/wire"
)

// A session begun with one worker goes on with another one.
func TestTLSResumption(t *testing.T) {
	site := proxytest.StartSite(t, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "hi") })
	first, second := startWorker(t, []string{site}, nil), startWorker(t, []string{site}, nil)
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		config := proxytest.Trusting(proxytest.LocalPair())
		config.MaxVersion, config.ClientSessionCache = version, tls.NewLRUClientSessionCache(4)
		for i, b := range []*bench{first, second, first} {
			conn := b.secureDial(config)
			_, _ = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
			if got, err := io.ReadAll(conn); err != nil || !bytes.HasSuffix(got, []byte("hi")) {
				t.Fatalf("%q, %v", got, err)
			}
			if resumed := conn.ConnectionState().DidResume; resumed != (i > 0) {
				t.Errorf("version %x, connection %d: resumed %v", version, i, resumed)
			}
		}
	}
}

// What a worker was told of new keys holds for new handshakes, and tickets of keys that are gone are good for nothing.
func TestTicketKeysAreReplaced(t *testing.T) {
	b := startWorker(t, []string{proxytest.StartSite(t, func(http.ResponseWriter, *http.Request) {})}, nil)
	keys := func(names ...byte) {
		s := b.Given
		s.TicketKeys = nil
		for _, name := range names {
			s.TicketKeys = append(s.TicketKeys, bytes.Repeat([]byte{name}, wire.TicketKeySize))
		}
		b.On(func() {
			if err := b.Apply(s); err != nil {
				t.Error(err)
			}
		})
	}
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		keys('a')
		config := proxytest.Trusting(proxytest.LocalPair())
		config.MaxVersion, config.ClientSessionCache = version, tls.NewLRUClientSessionCache(4)
		for i, step := range []struct {
			keys    string
			resumed bool
		}{{"a", false}, {"ba", true}, {"cb", true}, {"dc", true}, {"fe", false}} {
			keys([]byte(step.keys)...)
			conn := b.secureDial(config)
			_, _ = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
			if _, err := io.ReadAll(conn); err != nil {
				t.Fatal(err)
			}
			if resumed := conn.ConnectionState().DidResume; resumed != step.resumed {
				t.Errorf("version %x, step %d: resumed %v", version, i, resumed)
			}
		}
	}
}
