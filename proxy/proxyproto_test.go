package proxy

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"strings"
	"testing"
)

func TestProxyHeaderRoundTrip(t *testing.T) {
	for _, pair := range [][2]string{
		{"192.0.2.1:1", "198.51.100.2:65535"},
		{"[2001:db8::1]:1234", "[2001:db8::2]:8000"},
	} {
		source, destination := netip.MustParseAddrPort(pair[0]), netip.MustParseAddrPort(pair[1])
		header := appendProxyHeader(nil, source, destination)
		h, n, err := parseProxyHeader(append(header, "payload"...))
		if err != nil || n != len(header) || h.source != source || h.destination != destination || h.local {
			t.Errorf("%v: %+v, %d, %v", pair, h, n, err)
		}
		for cut := range header {
			if _, n, err := parseProxyHeader(header[:cut]); n != 0 || err != nil {
				t.Errorf("%v: the first %d bytes: %d, %v", pair, cut, n, err)
			}
		}
	}
}

func TestProxyHeaderRefusals(t *testing.T) {
	good := appendProxyHeader(nil, netip.MustParseAddrPort("192.0.2.1:1"), netip.MustParseAddrPort("192.0.2.2:2"))
	change := func(at int, to byte) []byte {
		b := bytes.Clone(good)
		b[at] = to
		return b
	}
	for name, header := range map[string][]byte{
		"version 3":      change(12, 0x31),
		"unknown cmd":    change(12, 0x22),
		"too long":       change(14, 0x20),
		"body too short": change(15, 4),
	} {
		if h, n, err := parseProxyHeader(header); err == nil {
			t.Errorf("%s: accepted %+v, %d bytes", name, h, n)
		}
	}
	for name, header := range map[string][]byte{"LOCAL": change(12, 0x20), "UDP": change(13, 0x12)} {
		if h, n, err := parseProxyHeader(header); err != nil || !h.local || n != len(good) {
			t.Errorf("%s: %+v, %d, %v", name, h, n, err)
		}
	}
}

func TestProxyLine(t *testing.T) {
	for line, want := range map[string]string{
		"PROXY TCP4 192.0.2.1 198.51.100.2 56324 443":                                "192.0.2.1:56324 198.51.100.2:443",
		"PROXY TCP4 192.0.2.1 198.51.100.2 0 65535":                                  "192.0.2.1:0 198.51.100.2:65535",
		"PROXY TCP6 2001:db8::1 2001:db8::2 1 2":                                     "[2001:db8::1]:1 [2001:db8::2]:2",
		"PROXY TCP6 ::ffff:192.0.2.1 ::1 1 2":                                        "192.0.2.1:1 [::1]:2",
		"PROXY UNKNOWN":                                                              "local",
		"PROXY UNKNOWN ffff::1 ffff::2 65535 65535":                                  "local",
		"PROXY UNKNOWN " + strings.Repeat("x", maxProxyLine-2-len("PROXY UNKNOWN ")): "local",
	} {
		line += "\r\n"
		h, n, err := parseProxyHeader([]byte(line + "payload\n"))
		got := fmt.Sprint(h.source, " ", h.destination)
		if h.local {
			got = "local"
		}
		if err != nil || n != len(line) || got != want {
			t.Errorf("%q: %s, %d of %d bytes, %v", line, got, n, len(line), err)
		}
		for cut := range line {
			if _, n, err := parseProxyHeader([]byte(line[:cut])); n != 0 || err != nil {
				t.Errorf("%q: the first %d bytes: %d, %v", line, cut, n, err)
			}
			if more := proxyHeaderLeft([]byte(line[:cut])); more < 1 || cut+more > len(line) {
				t.Errorf("%q: %d bytes are missing behind the first %d", line, more, cut)
			}
		}
	}
	for _, line := range []string{
		"PROXY \r\n", "PROXY UNKNOWN\n\n\n", "PROXY UNKNOWNX\r\n", "PROXY TCP4\r\n", "proxy TCP4 192.0.2.1 192.0.2.2 1 2\r\n",
		"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\n", "PROXY TCP4 192.0.2.1 192.0.2.2 1\r\n", "PROXY TCP4 192.0.2.1 192.0.2.2 1 2 3\r\n",
		"PROXY TCP4  192.0.2.1 192.0.2.2 1 2\r\n", "PROXY TCP4 192.0.2.1 192.0.2.2 1 2 \r\n", "PROXY  TCP4 192.0.2.1 192.0.2.2 1 2\r\n",
		"PROXY TCP4 192.0.2.1 192.0.2.2 01 2\r\n", "PROXY TCP4 192.0.2.1 192.0.2.2 +1 2\r\n", "PROXY TCP4 192.0.2.1 192.0.2.2 1 65536\r\n",
		"PROXY TCP4 192.0.2 192.0.2.2 1 2\r\n", "PROXY TCP4 ::1 ::2 1 2\r\n", "PROXY TCP6 192.0.2.1 192.0.2.2 1 2\r\n",
		"PROXY TCP6 fe80::1%eth0 ::1 1 2\r\n", "PROXY UDP4 192.0.2.1 192.0.2.2 1 2\r\n", "PROXY UNKNOWN " + strings.Repeat("x", maxProxyLine),
		"POST /mcp HTTP/1.1\r\n", "GET / HTTP/1.1\r\n", "{", "\x16\x03\x01",
	} {
		if h, n, err := parseProxyHeader([]byte(line)); err == nil {
			t.Errorf("%q: accepted %+v, %d bytes", line, h, n)
		}
	}
}

func FuzzProxyHeader(f *testing.F) {
	f.Add(appendProxyHeader(nil, netip.MustParseAddrPort("192.0.2.1:1"), netip.MustParseAddrPort("192.0.2.2:2")))
	f.Add(appendProxyHeader(nil, netip.MustParseAddrPort("[2001:db8::1]:1"), netip.MustParseAddrPort("[::1]:2")))
	f.Add([]byte("PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\n{}"))
	f.Add([]byte("PROXY TCP6 2001:db8::1 ::ffff:192.0.2.2 1 2\r\n"))
	f.Add([]byte("PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n"))
	f.Fuzz(func(t *testing.T, p []byte) {
		h, n, err := parseProxyHeader(p)
		if n < 0 || n > len(p) || (err != nil && n != 0) {
			t.Fatalf("%d of %d bytes, %v", n, len(p), err)
		}
		if err == nil && n == 0 && len(p)+proxyHeaderLeft(p) > maxProxyHeader || proxyHeaderLeft(p) < 1 && n == 0 && err == nil {
			t.Fatalf("%d bytes are missing", proxyHeaderLeft(p))
		}
		for cut := range min(n, maxProxyLine) { // however it is split
			if more := proxyHeaderLeft(p[:cut]); more < 1 || cut+more > n {
				t.Fatalf("%d bytes are missing behind the first %d of %d", more, cut, n)
			}
		}
		if err != nil || n == 0 || h.local {
			return
		}
		again, _, err := parseProxyHeader(appendProxyHeader(nil, h.source, h.destination))
		if err != nil || again != h {
			t.Fatalf("%+v became %+v, %v", h, again, err)
		}
	})
}

// A header of either version, however it is split, comes before anything on each listener.
func TestProxyHeadersOnEveryListener(t *testing.T) {
	site := startSite(t, func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.Header.Get("X-Forwarded-For")) })
	node := startNode(t, "a", nil)
	change := func(s *Spec) { s.ProxyProtocol.AcceptFrom = []string{"127.0.9.0/24"} }
	web, raw := startWorker(t, []string{site}, change), startWorker(t, []string{node.address()}, change)
	headers := map[string]string{
		"PROXY TCP4 192.0.2.7 192.0.2.1 1234 80\r\n":     "192.0.2.7",
		"PROXY TCP6 2001:db8::7 2001:db8::1 1234 80\r\n": "2001:db8::7",
		"PROXY UNKNOWN\r\n":                              "127.0.9.1",
		proxySignature + "\x20\x00\x00\x00":              "127.0.9.1",
		string(appendProxyHeader(nil, netip.MustParseAddrPort("192.0.2.8:1"), netip.MustParseAddrPort("192.0.2.1:80"))): "192.0.2.8",
	}
	for header, want := range headers {
		for _, cut := range []int{0, 1, 5, 12, len(header) - 1, len(header)} {
			c := web.dialTo(web.web, "127.0.9.1")
			c.say(header[:cut])
			c.say(header[cut:] + "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
			if _, got := c.answer("GET"); got != want {
				t.Errorf("http, %q: the node was told %q", header, got)
			}

			c = web.dialTo(web.secure, "127.0.9.1")
			c.say(header[:cut])
			c.say(header[cut:])
			conn := tls.Client(c.TCPConn, trusting(testPair()))
			_, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
			if got, _ := io.ReadAll(conn); err != nil || !bytes.HasSuffix(got, []byte("\r\n"+want)) {
				t.Errorf("https, %q: %q, %v", header, got, err)
			}

			c = raw.dial("127.0.9.1")
			c.say(header[:cut])
			c.say(header[cut:] + "early\n")
			if got := c.hear(); got != "a:early" {
				t.Errorf("tcp, %q: %q", header, got)
			}
			if _, ok := raw.board.Sources().Lookup(netip.MustParseAddr(want)); !ok {
				t.Errorf("tcp, %q: %s is not known", header, want)
			}
		}
	}
}

// What is no header closes the connection, with a line in the log.
func TestMalformedProxyHeadersAreLogged(t *testing.T) {
	for name, address := range map[string]func(*bench) string{
		"tcp":   func(b *bench) string { return b.address },
		"http":  func(b *bench) string { return b.web },
		"https": func(b *bench) string { return b.secure },
	} {
		b := startWorker(t, []string{startNode(t, "a", nil).address()}, func(s *Spec) { s.ProxyProtocol.AcceptFrom = []string{"127.0.0.1"} })
		var said bytes.Buffer
		b.on(func() { b.log.SetOutput(&said) })
		c := b.dialTo(address(b), "")
		c.say("PROXY TCP4 192.0.2.7 192.0.2.1 1234\r\n")
		if _, err := c.r.ReadByte(); err == nil {
			t.Errorf("%s: served", name)
		}
		b.eventually("the log", func() (ok bool) {
			b.on(func() {
				ok = strings.Contains(said.String(), errProxyHeader.Error()) && strings.Contains(said.String(), "127.0.0.1:")
			})
			return ok
		})
	}
}
