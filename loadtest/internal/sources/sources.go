// Package sources says which addresses the clients of a load test connect from, and remembers which were used.
package sources

import (
	"fmt"
	"math/big"
	"net/netip"
)

// Range is Count client addresses of a ring: the Size addresses from First on, behind the last of
// which the first comes again. A range without First is one source, the kernel's choice.
type Range struct {
	First netip.Addr `json:"first"`
	Size  int        `json:"size"`
	Begin int        `json:"begin"` // place in the ring
	Count int        `json:"count"`
}

// Max is how many addresses a ring has at most.
const Max = 10_000_000

// KernelsChoice is the one source a connection has that is not bound.
var KernelsChoice = Range{Count: 1}

// In returns the usable addresses of a prefix, at most limit of them: the first and the last
// one are left out, which on most networks mean the network and everybody.
func In(p netip.Prefix, limit int) Range {
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
func ringOf(first netip.Addr, size int) Range {
	return Range{First: first, Size: size, Count: size}
}

// At returns the i-th address; the zero Addr for the kernel's choice.
func (r Range) At(i int) netip.Addr {
	if !r.First.IsValid() {
		return netip.Addr{}
	}
	return addOffset(r.First, (r.Begin+i)%r.Size)
}

// Slice returns the range [from, to) of r.
func (r Range) Slice(from, to int) Range {
	if !r.First.IsValid() {
		return Range{Count: to - from}
	}
	return Range{First: r.First, Size: r.Size, Begin: (r.Begin + from) % r.Size, Count: to - from}
}

// common counts the addresses that are in both ranges of one ring.
func (r Range) common(o Range) int {
	n := 0
	for _, shift := range []int{-r.Size, 0, r.Size} { // o as seen before, in and behind r's turn of the ring
		from, to := max(r.Begin, o.Begin+shift), min(r.Begin+r.Count, o.Begin+shift+o.Count)
		n += max(to-from, 0)
	}
	return n
}

func (r Range) String() string {
	switch {
	case !r.First.IsValid():
		return "chosen by the kernel"
	case r.Count == 1:
		return r.At(0).String()
	}
	return fmt.Sprintf("%s to %s", r.At(0), r.At(r.Count-1))
}

func addOffset(a netip.Addr, n int) netip.Addr {
	sum := new(big.Int).SetBytes(a.AsSlice())
	sum.Add(sum, big.NewInt(int64(n)))
	out, _ := netip.AddrFromSlice(sum.FillBytes(make([]byte, a.BitLen()/8)))
	return out
}
