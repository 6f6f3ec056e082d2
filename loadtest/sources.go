package loadtest

import (
	"fmt"
	"math/big"
	"net/netip"
)

// sourceRange is Count client addresses of a ring: the Size addresses from First on, behind the last of
// which the first comes again. A range without First is one source, the kernel's choice.
type sourceRange struct {
	First netip.Addr `json:"first"`
	Size  int        `json:"size"`
	Begin int        `json:"begin"` // place in the ring
	Count int        `json:"count"`
}

// kernelsChoice is the one source a connection has that is not bound.
var kernelsChoice = sourceRange{Count: 1}

// sourcesIn returns the usable addresses of a prefix, at most limit of them: the first and the last
// one are left out, which on most networks mean the network and everybody.
func sourcesIn(p netip.Prefix, limit int) sourceRange {
	host := p.Addr().BitLen() - p.Bits()
	if host < 2 { // /31, /32: point to point, every address is a host
		return ringOf(p.Addr(), min(1<<host, limit))
	}
	if host < 31 {
		limit = min(1<<host-2, limit)
	}
	return ringOf(p.Addr().Next(), limit)
}

// ringOf is all of a ring.
func ringOf(first netip.Addr, size int) sourceRange {
	return sourceRange{First: first, Size: size, Count: size}
}

// at returns the i-th address; the zero Addr for the kernel's choice.
func (r sourceRange) at(i int) netip.Addr {
	if !r.First.IsValid() {
		return netip.Addr{}
	}
	return addOffset(r.First, (r.Begin+i)%r.Size)
}

// slice returns the range [from, to) of r.
func (r sourceRange) slice(from, to int) sourceRange {
	if !r.First.IsValid() {
		return sourceRange{Count: to - from}
	}
	return sourceRange{First: r.First, Size: r.Size, Begin: (r.Begin + from) % r.Size, Count: to - from}
}

// common counts the addresses that are in both ranges of one ring.
func (r sourceRange) common(o sourceRange) int {
	n := 0
	for _, shift := range []int{-r.Size, 0, r.Size} { // o as seen before, in and behind r's turn of the ring
		from, to := max(r.Begin, o.Begin+shift), min(r.Begin+r.Count, o.Begin+shift+o.Count)
		n += max(to-from, 0)
	}
	return n
}

func (r sourceRange) String() string {
	switch {
	case !r.First.IsValid():
		return "chosen by the kernel"
	case r.Count == 1:
		return r.at(0).String()
	}
	return fmt.Sprintf("%s to %s", r.at(0), r.at(r.Count-1))
}

func addOffset(a netip.Addr, n int) netip.Addr {
	sum := new(big.Int).SetBytes(a.AsSlice())
	sum.Add(sum, big.NewInt(int64(n)))
	out, _ := netip.AddrFromSlice(sum.FillBytes(make([]byte, a.BitLen()/8)))
	return out
}
