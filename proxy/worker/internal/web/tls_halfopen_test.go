package web

import (
	"bufio"
	"crypto/tls"
	"errors"
	"io"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/erlmcp/erlmcp/proxy"
	"github.com/erlmcp/erlmcp/proxy/internal/board"
	"github.com/erlmcp/erlmcp/proxy/internal/proxyproto"
	"github.com/erlmcp/erlmcp/proxy/internal/proxytest"
)

// Whose handshakes give way: the oldest of the busiest source, wherever the newcomer is from.
func TestWhoseHandshakeGivesWay(t *testing.T) {
	const places = 6
	b := startWorker(t, []string{proxytest.StartSite(t, proxytest.Hello)}, nil)
	b.On(func() { b.Max = 2 * places })
	var busy []*proxytest.Client
	for i := range places - 2 {
		busy = append(busy, b.DialTo(b.Secure, "127.0.8.1"))
		b.Eventually("it to begin", func() (begun bool) {
			b.On(func() { begun = b.http.tls.crowd.Seats() == i+1 })
			return begun
		})
	}
	other := []*proxytest.Client{b.DialTo(b.Secure, "127.0.8.2"), b.DialTo(b.Secure, "127.0.8.2")}
	b.Eventually("all to begin", func() (full bool) {
		b.On(func() { full = b.http.tls.crowd.Seats() == places })
		return full
	})
	for i, from := range []string{"127.0.8.3", "127.0.8.1"} {
		b.DialTo(b.Secure, from)
		if _, err := busy[i].Read(make([]byte, 1)); err == nil {
			t.Fatalf("handshake %d goes on", i)
		}
	}
	for _, c := range append(other, busy[2:]...) {
		_ = c.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
		if _, err := c.Read(make([]byte, 1)); errors.Is(err, io.EOF) {
			t.Error("a handshake that was none of the oldest has ended")
		}
	}
	if b.Refused(board.ReasonWorkerFull) != 0 || b.Cuts(board.ReasonGaveWay) != 2 {
		t.Errorf("%d refused, %d gave way", b.Refused(board.ReasonWorkerFull), b.Cuts(board.ReasonGaveWay))
	}
}

// Behind a trusted peer as well, which cannot tell who means it.
func TestHalfOpenHandshakesBehindPROXY(t *testing.T) {
	b := startWorker(t, []string{proxytest.StartSite(t, proxytest.Hello)}, func(s *proxy.Spec) { s.ProxyProtocol.AcceptFrom = []string{"127.0.0.1"} })
	b.On(func() { b.Max = 40 })
	header := func(from string) string {
		return string(proxyproto.Append(nil, netip.MustParseAddrPort(from), netip.MustParseAddrPort("192.0.2.1:443")))
	}
	for range 60 {
		b.DialTo(b.Secure, "127.0.0.1").Say(header("192.0.2.7:1234"))
	}
	for i := range 10 {
		raw := b.DialTo(b.Secure, "127.0.0.1")
		raw.Say(header("192.0.2.8:1234"))
		c := tls.Client(raw.TCPConn, proxytest.Trusting(proxytest.LocalPair()))
		_, _ = io.WriteString(c, proxytest.GetRequest)
		if line, err := bufio.NewReader(c).ReadString('\n'); err != nil || !strings.Contains(line, "200") {
			t.Fatalf("newcomer %d: %q, %v", i, line, err)
		}
	}
}

// A handshake counts as a connection of its source.
func TestHandshakesCountForTheirSource(t *testing.T) {
	b := startWorker(t, []string{proxytest.StartSite(t, proxytest.Hello)}, func(s *proxy.Spec) { s.Limits.MaxPerSource = 3 })
	var all []*proxytest.Client
	for range 3 {
		all = append(all, b.DialTo(b.Secure, "127.0.8.1"))
	}
	b.Eventually("them to begin", func() (full bool) {
		b.On(func() { full = b.http.tls.shaking == 3 })
		return full
	})
	c := b.DialTo(b.Web, "127.0.8.1")
	c.Say(proxytest.GetRequest)
	if line, err := c.Reader.ReadString('\n'); err != nil || !strings.Contains(line, "429") {
		t.Errorf("a fourth connection gets %q, %v", line, err)
	}
	for _, c := range all {
		c.Close()
	}
	b.Eventually("nothing to be counted", func() (none bool) {
		b.On(func() {
			id, ok := b.Board.Sources().Lookup(netip.MustParseAddr("127.0.8.1"))
			none = ok && b.Board.Sources().Live(id) == 0
		})
		return none
	})
}
