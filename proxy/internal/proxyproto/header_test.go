package proxyproto

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"testing"
)

func TestRoundTrip(t *testing.T) {
	for _, pair := range [][2]string{
		{"192.0.2.1:1", "198.51.100.2:65535"},
		{"[2001:db8::1]:1234", "[2001:db8::2]:8000"},
	} {
		source, destination := netip.MustParseAddrPort(pair[0]), netip.MustParseAddrPort(pair[1])
		header := Append(nil, source, destination)
		h, n, err := Parse(append(header, "payload"...))
		if err != nil || n != len(header) || h.Source != source || h.Destination != destination || h.Local {
			t.Errorf("%v: %+v, %d, %v", pair, h, n, err)
		}
		from := strings.NewReader(string(header) + "payload")
		if read, err := Read(from); err != nil || read != h || from.Len() != len("payload") {
			t.Errorf("%v: read %+v, %v, %d bytes are left", pair, read, err, from.Len())
		}
		for cut := range header {
			if _, n, err := Parse(header[:cut]); n != 0 || err != nil {
				t.Errorf("%v: the first %d bytes: %d, %v", pair, cut, n, err)
			}
			if _, err := Read(bytes.NewReader(header[:cut])); !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Errorf("%v: reading the first %d bytes: %v", pair, cut, err)
			}
		}
	}
}

func TestRefusals(t *testing.T) {
	good := Append(nil, netip.MustParseAddrPort("192.0.2.1:1"), netip.MustParseAddrPort("192.0.2.2:2"))
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
		if h, n, err := Parse(header); err == nil {
			t.Errorf("%s: accepted %+v, %d bytes", name, h, n)
		}
	}
	for name, header := range map[string][]byte{"LOCAL": change(12, 0x20), "UDP": change(13, 0x12)} {
		if h, n, err := Parse(header); err != nil || !h.Local || n != len(good) {
			t.Errorf("%s: %+v, %d, %v", name, h, n, err)
		}
	}
}

func TestLine(t *testing.T) {
	for line, want := range map[string]string{
		"PROXY TCP4 192.0.2.1 198.51.100.2 56324 443":                           "192.0.2.1:56324 198.51.100.2:443",
		"PROXY TCP4 192.0.2.1 198.51.100.2 0 65535":                             "192.0.2.1:0 198.51.100.2:65535",
		"PROXY TCP6 2001:db8::1 2001:db8::2 1 2":                                "[2001:db8::1]:1 [2001:db8::2]:2",
		"PROXY TCP6 ::ffff:192.0.2.1 ::1 1 2":                                   "192.0.2.1:1 [::1]:2",
		"PROXY UNKNOWN":                                                         "local",
		"PROXY UNKNOWN ffff::1 ffff::2 65535 65535":                             "local",
		"PROXY UNKNOWN " + strings.Repeat("x", maxLine-2-len("PROXY UNKNOWN ")): "local",
	} {
		line += "\r\n"
		h, n, err := Parse([]byte(line + "payload\n"))
		got := fmt.Sprint(h.Source, " ", h.Destination)
		if h.Local {
			got = "local"
		}
		if err != nil || n != len(line) || got != want {
			t.Errorf("%q: %s, %d of %d bytes, %v", line, got, n, len(line), err)
		}
		for cut := range line {
			if _, n, err := Parse([]byte(line[:cut])); n != 0 || err != nil {
				t.Errorf("%q: the first %d bytes: %d, %v", line, cut, n, err)
			}
			if more := left([]byte(line[:cut])); more < 1 || cut+more > len(line) {
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
		"PROXY TCP6 fe80::1%eth0 ::1 1 2\r\n", "PROXY UDP4 192.0.2.1 192.0.2.2 1 2\r\n", "PROXY UNKNOWN " + strings.Repeat("x", maxLine),
		"POST /mcp HTTP/1.1\r\n", "GET / HTTP/1.1\r\n", "{", "\x16\x03\x01",
	} {
		if h, n, err := Parse([]byte(line)); err == nil {
			t.Errorf("%q: accepted %+v, %d bytes", line, h, n)
		}
	}
}

func FuzzHeader(f *testing.F) {
	f.Add(Append(nil, netip.MustParseAddrPort("192.0.2.1:1"), netip.MustParseAddrPort("192.0.2.2:2")))
	f.Add(Append(nil, netip.MustParseAddrPort("[2001:db8::1]:1"), netip.MustParseAddrPort("[::1]:2")))
	f.Add([]byte("PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\n{}"))
	f.Add([]byte("PROXY TCP6 2001:db8::1 ::ffff:192.0.2.2 1 2\r\n"))
	f.Add([]byte("PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n"))
	f.Fuzz(func(t *testing.T, p []byte) {
		h, n, err := Parse(p)
		if n < 0 || n > len(p) || (err != nil && n != 0) {
			t.Fatalf("%d of %d bytes, %v", n, len(p), err)
		}
		if err == nil && n == 0 && len(p)+left(p) > MaxHeader || left(p) < 1 && n == 0 && err == nil {
			t.Fatalf("%d bytes are missing", left(p))
		}
		for cut := range min(n, maxLine) { // however it is split
			if more := left(p[:cut]); more < 1 || cut+more > n {
				t.Fatalf("%d bytes are missing behind the first %d of %d", more, cut, n)
			}
		}
		if err != nil || n == 0 || h.Local {
			return
		}
		again, _, err := Parse(Append(nil, h.Source, h.Destination))
		if err != nil || again != h {
			t.Fatalf("%+v became %+v, %v", h, again, err)
		}
	})
}

func TestLocal(t *testing.T) {
	header := AppendLocal(nil)
	if h, n, err := Parse(append(header, "payload"...)); err != nil || n != len(header) || h != (Header{Local: true}) {
		t.Errorf("%+v, %d, %v", h, n, err)
	}
}
