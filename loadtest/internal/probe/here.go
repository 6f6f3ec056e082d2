package probe

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"

	"github.com/erlmcp/erlmcp/loadtest/internal/target"
)

// Here reports whether an address is of this machine.
func Here(addr netip.Addr) bool {
	addr = addr.Unmap().WithZone("")
	if addr.IsLoopback() || addr.IsUnspecified() {
		return true
	}
	own, err := net.InterfaceAddrs()
	if err != nil {
		return false
	}
	for _, a := range own {
		if n, ok := a.(*net.IPNet); ok && n.IP.Equal(addr.AsSlice()) {
			return true
		}
	}
	return false
}

// Locate finds the address of a target: the first of its host's that takes connections, or the first one. Nothing but the
// name is asked for until it is known that all of them are of this machine, or that remote ones may be loaded. others are
// the addresses that are not taken.
func Locate(ctx context.Context, t target.Target, remote bool) (taken netip.AddrPort, others []netip.Addr, trouble *Trouble) {
	limited, cancel := within(ctx)
	defer cancel()
	found, err := net.DefaultResolver.LookupNetIP(limited, "ip", t.Host)
	if err != nil {
		return taken, nil, silent(causeOf(limited, err))
	}
	for i := range found {
		found[i] = found[i].Unmap()
	}
	if !remote {
		if trouble := elsewhere(t, found); trouble != nil {
			return taken, nil, trouble
		}
	}
	place := 0
	if len(found) > 1 {
		place = answering(ctx, t.Port, found)
	}
	for i, a := range found {
		if i != place && a != found[place] {
			others = append(others, a)
		}
	}
	return netip.AddrPortFrom(found[place], t.Port), others, nil
}

func elsewhere(t target.Target, found []netip.Addr) *Trouble {
	for _, a := range found {
		if Here(a) {
			continue
		}
		is := ""
		if a.String() != t.Host {
			var list []string
			for _, a := range found {
				list = append(list, a.String())
			}
			is = fmt.Sprintf(" (%s)", strings.Join(list, ", "))
		}
		return asked("--allow-remote-target, if the server there is yours to load", "%s%s is not on this machine", t.Host, is).needing("a target that is, lest a server of somebody else is loaded")
	}
	return nil
}

// answering is the place of the first address that takes a connection.
func answering(ctx context.Context, port uint16, found []netip.Addr) int {
	for i, a := range found {
		limited, cancel := within(ctx)
		conn, err := dialer(netip.Addr{}).DialContext(limited, "tcp", netip.AddrPortFrom(a, port).String())
		cancel()
		if err == nil {
			_ = conn.Close()
			return i
		}
	}
	return 0
}
