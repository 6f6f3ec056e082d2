package worker

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"github.com/erlmcp/erlmcp/proxy"
	"github.com/erlmcp/erlmcp/proxy/internal/proxyproto"
	"github.com/erlmcp/erlmcp/proxy/internal/proxytest"
)

// A header of either version, however it is split, comes before anything on each listener.
func TestProxyHeadersOnEveryListener(t *testing.T) {
	site := proxytest.StartSite(t, func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.Header.Get("X-Forwarded-For")) })
	node := proxytest.StartNode(t, "a", nil)
	change := func(s *proxy.Spec) { s.ProxyProtocol.AcceptFrom = []string{"127.0.9.0/24"} }
	web, raw := startWorker(t, []string{site}, change), startWorker(t, []string{node.Address()}, change)
	headers := map[string]string{
		"PROXY TCP4 192.0.2.7 192.0.2.1 1234 80\r\n":     "192.0.2.7",
		"PROXY TCP6 2001:db8::7 2001:db8::1 1234 80\r\n": "2001:db8::7",
		"PROXY UNKNOWN\r\n":                              "127.0.9.1",
		string(proxyproto.AppendLocal(nil)):              "127.0.9.1",
		string(proxyproto.Append(nil, netip.MustParseAddrPort("192.0.2.8:1"), netip.MustParseAddrPort("192.0.2.1:80"))): "192.0.2.8",
	}
	for header, want := range headers {
		for _, cut := range []int{0, 1, 5, 12, len(header) - 1, len(header)} {
			c := web.DialTo(web.Web, "127.0.9.1")
			c.Say(header[:cut])
			c.Say(header[cut:] + "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
			if _, got := c.Answer("GET"); got != want {
				t.Errorf("http, %q: the node was told %q", header, got)
			}

			c = web.DialTo(web.Secure, "127.0.9.1")
			c.Say(header[:cut])
			c.Say(header[cut:])
			conn := tls.Client(c.TCPConn, proxytest.Trusting(proxytest.LocalPair()))
			_, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
			if got, _ := io.ReadAll(conn); err != nil || !bytes.HasSuffix(got, []byte("\r\n"+want)) {
				t.Errorf("https, %q: %q, %v", header, got, err)
			}

			c = raw.Dial("127.0.9.1")
			c.Say(header[:cut])
			c.Say(header[cut:] + "early\n")
			if got := c.Hear(); got != "a:early" {
				t.Errorf("tcp, %q: %q", header, got)
			}
			if _, ok := raw.Board.Sources().Lookup(netip.MustParseAddr(want)); !ok {
				t.Errorf("tcp, %q: %s is not known", header, want)
			}
		}
	}
}

// What is no header closes the connection, with a line in the log.
func TestMalformedProxyHeadersAreLogged(t *testing.T) {
	for name, address := range map[string]func(*bench) string{
		"tcp":   func(b *bench) string { return b.Address },
		"http":  func(b *bench) string { return b.Web },
		"https": func(b *bench) string { return b.Secure },
	} {
		b := startWorker(t, []string{proxytest.StartNode(t, "a", nil).Address()}, func(s *proxy.Spec) { s.ProxyProtocol.AcceptFrom = []string{"127.0.0.1"} })
		var said bytes.Buffer
		b.On(func() { b.Log.SetOutput(&said) })
		c := b.DialTo(address(b), "")
		c.Say("PROXY TCP4 192.0.2.7 192.0.2.1 1234\r\n")
		if _, err := c.Reader.ReadByte(); err == nil {
			t.Errorf("%s: served", name)
		}
		b.Eventually("the log", func() (ok bool) {
			b.On(func() {
				ok = strings.Contains(said.String(), proxyproto.ErrHeader.Error()) && strings.Contains(said.String(), "127.0.0.1:")
			})
			return ok
		})
	}
}
