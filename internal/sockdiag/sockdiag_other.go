//go:build !linux

package sockdiag

import (
	"context"
	"net/netip"
	"syscall"

	"github.com/shirou/gopsutil/v4/net"
	"github.com/shirou/gopsutil/v4/process"
)

func count(ctx context.Context, t *tally) error {
	all, err := net.ConnectionsWithContext(ctx, "tcp")
	if err != nil {
		return err
	}
	// A socket is listed once for every process that has it open.
	type pair struct{ local, remote net.Addr }
	seen := make(map[pair]bool)
	for _, c := range all {
		p := pair{c.Laddr, c.Raddr}
		if c.Status != "ESTABLISHED" || seen[p] {
			continue
		}
		seen[p] = true
		if local, ok := addrPort(c.Laddr, c.Family); ok {
			t.add(local)
		}
	}
	return nil
}

func listener(addr netip.AddrPort) (pid int, name string, err error) {
	all, err := net.Connections("tcp")
	if err != nil {
		return 0, "", err
	}
	for _, c := range all {
		local, ok := addrPort(c.Laddr, c.Family)
		s := socket{local: local, listen: c.Status == "LISTEN"}
		if !ok || !s.blocks(addr) {
			continue
		}
		if p, err := process.NewProcess(c.Pid); err == nil {
			name, _ = p.Name()
		}
		return int(c.Pid), name, nil
	}
	return 0, "", ErrNotListening
}

// addrPort converts an address as gopsutil prints it; "*" and "" are the family's wildcard.
func addrPort(a net.Addr, family uint32) (netip.AddrPort, bool) {
	if a.IP == "*" || a.IP == "" {
		wildcard := netip.IPv4Unspecified()
		if family == syscall.AF_INET6 {
			wildcard = netip.IPv6Unspecified()
		}
		return netip.AddrPortFrom(wildcard, uint16(a.Port)), true
	}
	addr, err := netip.ParseAddr(a.IP)
	return netip.AddrPortFrom(addr, uint16(a.Port)), err == nil
}
