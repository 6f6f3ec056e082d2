package loadtest

import (
	"fmt"
	"math/big"
	"net/netip"
)

// sourceRange is Count client addresses from First on. A range without First is one source, the
// kernel's choice.
type sourceRange struct {
	First netip.Addr `json:"first"`
	Count int        `json:"count"`
}

// kernelsChoice is the one source a connection has that is not bound.
var kernelsChoice = sourceRange{Count: 1}

// sourcesIn returns the usable addresses of a prefix, at most limit of them: the first and the last
// one are left out, which on most networks mean the network and everybody.
func sourcesIn(p netip.Prefix, limit int) sourceRange {
	host := p.Addr().BitLen() - p.Bits()
	if host < 2 { // /31, /32: point to point, every address is a host
		return sourceRange{p.Addr(), min(1<<host, limit)}
	}
	if host < 31 {
		limit = min(1<<host-2, limit)
	}
	return sourceRange{p.Addr().Next(), limit}
}

// at returns the i-th address; the zero Addr for the kernel's choice.
func (r sourceRange) at(i int) netip.Addr {
	if !r.First.IsValid() {
		return netip.Addr{}
	}
	return addOffset(r.First, i)
}

// slice returns the range [from, to) of r.
func (r sourceRange) slice(from, to int) sourceRange {
	if !r.First.IsValid() {
		return sourceRange{Count: to - from}
	}
	return sourceRange{addOffset(r.First, from), to - from}
}

func (r sourceRange) String() string {
	switch {
	case !r.First.IsValid():
		return "chosen by the kernel"
	case r.Count == 1:
		return r.First.String()
	}
	return fmt.Sprintf("%s to %s", r.First, r.at(r.Count-1))
}

func addOffset(a netip.Addr, n int) netip.Addr {
	sum := new(big.Int).SetBytes(a.AsSlice())
	sum.Add(sum, big.NewInt(int64(n)))
	out, _ := netip.AddrFromSlice(sum.FillBytes(make([]byte, a.BitLen()/8)))
	return out
}
