package proxy

import (
	"bytes"
	"net/netip"
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
		"version 1":      []byte("PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n"),
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

func FuzzProxyHeader(f *testing.F) {
	f.Add(appendProxyHeader(nil, netip.MustParseAddrPort("192.0.2.1:1"), netip.MustParseAddrPort("192.0.2.2:2")))
	f.Add(appendProxyHeader(nil, netip.MustParseAddrPort("[2001:db8::1]:1"), netip.MustParseAddrPort("[::1]:2")))
	f.Fuzz(func(t *testing.T, p []byte) {
		h, n, err := parseProxyHeader(p)
		if n < 0 || n > len(p) || (err != nil && n != 0) {
			t.Fatalf("%d of %d bytes, %v", n, len(p), err)
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
