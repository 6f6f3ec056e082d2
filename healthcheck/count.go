package healthcheck

import (
	"context"
	"net"
	"net/netip"

	"github.com/erlmcp/erlmcp/internal/topology"
)

// countNodes returns the established connections of each node by transport, as the kernel of this
// host tells them. A node that is on another host has nil.
func (c *Collector) countNodes(ctx context.Context) ([]map[string]int, error) {
	ctx, cancel := context.WithTimeout(ctx, c.Spec.Timeout)
	defer cancel()

	type place struct {
		node      int
		transport string
	}
	var servers []netip.AddrPort
	var places []place
	counts := make([]map[string]int, len(c.Nodes))
	here := localAddresses()
	for i, n := range c.Nodes {
		addrs := resolve(ctx, n.Host)
		if !allLocal(addrs, here) {
			continue
		}
		counts[i] = make(map[string]int)
		for _, p := range servedPorts(n) {
			for _, addr := range addrs {
				servers = append(servers, netip.AddrPortFrom(addr, uint16(p.port)))
				places = append(places, place{i, p.transport})
			}
		}
	}
	if len(servers) == 0 {
		return counts, nil
	}
	numbers, err := c.count(ctx, servers)
	if err != nil {
		return make([]map[string]int, len(c.Nodes)), err
	}
	for i, p := range places {
		counts[p.node][p.transport] += numbers[i]
	}
	return counts, nil
}

type servedPort struct {
	transport string
	port      int
}

func servedPorts(n topology.Node) []servedPort {
	var ports []servedPort
	for _, p := range []servedPort{{"tcp", n.TCP}, {"http", n.HTTP}, {"sse", n.SSE}} {
		if p.port != 0 {
			ports = append(ports, p)
		}
	}
	return ports
}

// resolve returns the addresses of a host, or none when it has none.
func resolve(ctx context.Context, host string) []netip.Addr {
	if addr, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{addr.Unmap()}
	}
	addrs, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return nil
	}
	for i := range addrs {
		addrs[i] = addrs[i].Unmap()
	}
	return addrs
}

// localAddresses are the addresses of this host's interfaces.
func localAddresses() map[netip.Addr]bool {
	here := make(map[netip.Addr]bool)
	all, _ := net.InterfaceAddrs() // without them only loopback addresses are known to be local
	for _, a := range all {
		if p, err := netip.ParsePrefix(a.String()); err == nil {
			here[p.Addr().Unmap()] = true
		}
	}
	return here
}

func allLocal(addrs []netip.Addr, here map[netip.Addr]bool) bool {
	for _, a := range addrs {
		if !a.IsLoopback() && !a.IsUnspecified() && !here[a.WithZone("")] {
			return false
		}
	}
	return len(addrs) > 0
}
