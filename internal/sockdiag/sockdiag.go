// Package sockdiag asks the kernel about TCP sockets: how many established connections a server
// address has, and which process listens on a port.
//
// On Linux the kernel itself selects the sockets (NETLINK_SOCK_DIAG with a state mask and a filter
// program, see [filter]), so the price of a count is one walk over its connection table and the
// sockets that match; nothing is kept per socket. Elsewhere the answers come from gopsutil.
package sockdiag

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
)

// ErrNotListening is returned by [Listener] when no socket listens on the address.
var ErrNotListening = errors.New("no listener")

// Count returns, for each server address, how many TCP connections are in the state ESTABLISHED
// with that local address and port. An unspecified (or zero) IP stands for every local address; an
// IPv4 address also counts connections of dual-stack IPv6 sockets (::ffff:a.b.c.d).
//
// A connection counts from the end of the handshake, so those still waiting to be accepted are
// included, and those whose peer has already shut down its side are not. Only sockets of this
// network namespace are seen. On a kernel without socket diagnosis the error satisfies
// errors.Is(err, errors.ErrUnsupported).
func Count(ctx context.Context, servers []netip.AddrPort) ([]int, error) {
	t := newTally(servers)
	if err := count(ctx, t); err != nil {
		return nil, fmt.Errorf("count connections: %w", err)
	}
	return t.counts, nil
}

// Listener finds who keeps a server from listening on addr: the process of a listening TCP socket
// with that port whose address is the same, or where either one is unspecified. An addr without IP
// means [::], all addresses of both families.
//
// When somebody listens but the process cannot be told (it belongs to another user), pid is 0 and
// process is empty, without an error. When nobody listens the error is [ErrNotListening].
func Listener(addr netip.AddrPort) (pid int, process string, err error) {
	pid, process, err = listener(addr)
	if err != nil {
		err = fmt.Errorf("find listener on %s: %w", addr, err)
	}
	return pid, process, err
}

// socket is the part of a kernel socket that the questions of this package need.
type socket struct {
	local  netip.AddrPort
	inode  uint32 // Linux only
	only6  bool   // IPV6_V6ONLY; set on listening IPv6 sockets only
	listen bool
}

// blocks reports whether a listening socket keeps others from listening on addr. An IPv6 wildcard
// takes the IPv4 port as well unless it is IPv6 only.
func (s socket) blocks(addr netip.AddrPort) bool {
	if !s.listen || s.local.Port() != addr.Port() {
		return false
	}
	mine, wanted := s.local.Addr().Unmap(), addr.Addr().Unmap()
	switch {
	case mine == wanted:
		return true
	case !wanted.IsValid() || wanted == netip.IPv6Unspecified():
		return true // a server that asks for [::] normally asks for both families
	case mine == netip.IPv6Unspecified():
		return !s.only6 || wanted.Is6()
	}
	return mine.Is4() == wanted.Is4() && (mine.IsUnspecified() || wanted.IsUnspecified())
}
