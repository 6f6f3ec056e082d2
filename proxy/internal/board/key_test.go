package board

import (
	"net/netip"
	"testing"

	"pgregory.net/rapid"
)

func TestKeyNamesTheSource(t *testing.T) {
	for _, c := range []struct{ addr, source string }{
		{"0.0.0.0", "0.0.0.0/32"},
		{"192.0.2.7", "192.0.2.7/32"},
		{"255.255.255.255", "255.255.255.255/32"},
		{"::ffff:192.0.2.7", "192.0.2.7/32"},
		{"2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"},
		{"2001:db8:1:2::", "2001:db8:1:2::/64"},
		{"fe80::1%eth0", "fe80::/64"},
		{"ffff:ffff:ffff:ffff::1", "ffff:ffff:ffff:ffff::/64"},
		{"0:2::1", "0:2::/64"},
		{"::1", "::/64"},
		{"::", "::/64"},
		{"0:1:c000:207::", "::/64"}, // would be 192.0.2.7's key
	} {
		if got := prefixOf(keyOf(ip(c.addr))); got.String() != c.source {
			t.Errorf("%s is source %s, want %s", c.addr, got, c.source)
		}
	}
	if keyOf(netip.Addr{}) != keyReserved {
		t.Error("the zero address has a key of its own")
	}
}

func TestKeyIsExactAndNeverNobody(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var a netip.Addr
		if rapid.Bool().Draw(t, "v4") {
			a = netip.AddrFrom4([4]byte(rapid.SliceOfN(rapid.Byte(), 4, 4).Draw(t, "bytes")))
		} else {
			a = netip.AddrFrom16([16]byte(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "bytes")))
		}
		key := keyOf(a)
		if key == keyNobody {
			t.Fatalf("%v is nobody", a)
		}
		p := prefixOf(key)
		if key != keyReserved && !p.Contains(a.Unmap()) {
			t.Fatalf("%v became %v", a, p)
		}
		if again := keyOf(p.Addr()); again != key {
			t.Fatalf("%v has key %#x, its prefix %v has %#x", a, key, p, again)
		}
	})
}

func TestHashSpreadsNeighbours(t *testing.T) {
	const sources, sets = 1 << 14, 1 << 11
	for _, seed := range []uint64{0, 1, 1 << 63, 0xdeadbeefcafe} {
		h := newHasher(seed)
		var load [sets]int
		for i := range uint64(sources) {
			load[h.hash(keyIPv4|10<<24|i)&(sets-1)]++
		}
		worst := 0
		for _, n := range load {
			worst = max(worst, n)
		}
		// A mean of 8 a set: 30 has a chance of 10^-6 in a fair throw.
		if worst > 30 {
			t.Errorf("seed %#x: %d of %d neighbouring addresses in one of %d sets", seed, worst, sources, sets)
		}
	}
}
