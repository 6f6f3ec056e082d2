package board

import (
	"encoding/binary"
	"math/bits"
	"net/netip"
)

// A key names a source in one word, exactly and reversibly:
//
//	IPv4, also mapped   1<<32 | address
//	IPv6                the top 64 bits: a customer's /64 is one source
//
// The two cannot meet: IPv6 below 0:2::/32 is reserved (RFC 4291 section 2.4),
// but for loopback, and is one source with it. Key 0 is nobody.
const (
	keyNobody   = 0
	keyIPv4     = 1 << 32
	keyReserved = 2
	keyIPv6     = 1 << 33
)

func keyOf(a netip.Addr) uint64 {
	a = a.Unmap()
	if a.Is4() {
		b := a.As4()
		return keyIPv4 | uint64(binary.BigEndian.Uint32(b[:]))
	}
	b := a.As16()
	if k := binary.BigEndian.Uint64(b[:8]); k >= keyIPv6 {
		return k
	}
	return keyReserved
}

// prefixOf is the inverse of keyOf: a /32, or a /64 (::/64 for the reserved key).
func prefixOf(k uint64) netip.Prefix {
	switch {
	case k == keyReserved:
		return netip.PrefixFrom(netip.IPv6Unspecified(), 64)
	case k < keyIPv6:
		var b [4]byte
		binary.BigEndian.PutUint32(b[:], uint32(k))
		return netip.PrefixFrom(netip.AddrFrom4(b), 32)
	}
	var b [16]byte
	binary.BigEndian.PutUint64(b[:8], k)
	return netip.PrefixFrom(netip.AddrFrom16(b), 64)
}

// SourceOf is the source that an address belongs to: a /32 of IPv4, or a /64 of IPv6.
func SourceOf(a netip.Addr) netip.Prefix { return prefixOf(keyOf(a)) }

// hasher spreads keys by a secret seed, so that a stranger cannot choose
// addresses that collide. Two folded multiplications, as in wyhash.
type hasher struct{ a, b uint64 }

func newHasher(seed uint64) hasher {
	return hasher{a: seed ^ 0xa0761d6478bd642f, b: bits.RotateLeft64(seed, 32) ^ 0xe7037ed1a0b428db}
}

func (h hasher) hash(k uint64) uint64 {
	hi, lo := bits.Mul64(k^h.a, h.b|1)
	hi, lo = bits.Mul64(hi^h.b, lo^h.a)
	return hi ^ lo
}
