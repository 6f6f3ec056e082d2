package sockdiag

import "net/netip"

// tally adds up sockets by server address.
type tally struct {
	servers []netip.AddrPort // IPv4 in its plain form; any unspecified address as the zero Addr
	counts  []int
	byPort  map[uint16][]int // positions in servers
}

func newTally(servers []netip.AddrPort) *tally {
	t := &tally{
		servers: make([]netip.AddrPort, len(servers)),
		counts:  make([]int, len(servers)),
		byPort:  make(map[uint16][]int, len(servers)),
	}
	for i, s := range servers {
		addr := s.Addr().Unmap().WithZone("")
		if addr.IsUnspecified() {
			addr = netip.Addr{}
		}
		t.servers[i] = netip.AddrPortFrom(addr, s.Port())
		t.byPort[s.Port()] = append(t.byPort[s.Port()], i)
	}
	return t
}

// add counts a socket for every server address it belongs to.
func (t *tally) add(local netip.AddrPort) {
	addr := local.Addr().Unmap()
	for _, i := range t.byPort[local.Port()] {
		if s := t.servers[i].Addr(); !s.IsValid() || s == addr {
			t.counts[i]++
		}
	}
}
