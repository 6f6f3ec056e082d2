package sources

import (
	"net/netip"
	"testing"
)

func TestSources(t *testing.T) {
	for _, c := range []struct {
		prefix      string
		count       int
		first, last string
	}{
		{"127.1.0.0/16", 65_534, "127.1.0.1", "127.1.255.254"},
		{"10.0.0.8/30", 2, "10.0.0.9", "10.0.0.10"},
		{"10.0.0.8/31", 2, "10.0.0.8", "10.0.0.9"},
		{"10.0.0.8/32", 1, "10.0.0.8", "10.0.0.8"},
		{"fd00::/64", 1_000_000, "fd00::1", "fd00::f:4240"},
	} {
		r := In(netip.MustParsePrefix(c.prefix), 1_000_000)
		if r.Count != c.count || r.At(0).String() != c.first || r.At(r.Count-1).String() != c.last {
			t.Errorf("%s: %d, %s", c.prefix, r.Count, r)
		}
	}
	if KernelsChoice.At(0).IsValid() {
		t.Error("the kernel's choice has an address")
	}
}
