package reactor

import (
	"net/netip"
	"os"

	"golang.org/x/sys/unix"
)

func closeFD(fd int) {
	// Linux frees the descriptor whatever close returns; retrying could close
	// somebody else's.
	_ = unix.Close(fd)
}

func shutdownWrite(fd int) error { return unix.Shutdown(fd, unix.SHUT_WR) }

// A connection on which nothing passes is asked after keepIdle whether its peer is still there, every
// keepInterval, and fails after keepProbes questions without an answer. That also keeps it known to
// whatever between both forgets silent connections.
const (
	keepIdle     = 60 // seconds
	keepInterval = 15 // seconds
	keepProbes   = 8
)

func keepAlive(fd int) error {
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1); err != nil {
		return os.NewSyscallError("setsockopt SO_KEEPALIVE", err)
	}
	for _, o := range [...]struct{ name, value int }{{tcpKeepIdle, keepIdle}, {unix.TCP_KEEPINTVL, keepInterval}, {unix.TCP_KEEPCNT, keepProbes}} {
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_TCP, o.name, o.value); err != nil {
			return os.NewSyscallError("setsockopt TCP_KEEP*", err)
		}
	}
	return nil
}

func setLingerZero(fd int) {
	_ = unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
}

// socketError takes the error a socket has met, if any.
func socketError(fd int) error {
	errno, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR)
	switch {
	case err != nil:
		return os.NewSyscallError("getsockopt", err)
	case errno != 0:
		return unix.Errno(errno)
	}
	return nil
}

// LocalAddr returns the address of this side.
func (c *Conn) LocalAddr() (netip.AddrPort, error) {
	sa, err := unix.Getsockname(int(c.fd))
	return addrPort(sa), err
}

// RemoteAddr returns the address of the peer.
func (c *Conn) RemoteAddr() (netip.AddrPort, error) {
	sa, err := unix.Getpeername(int(c.fd))
	return addrPort(sa), err
}

func addrPort(sa unix.Sockaddr) netip.AddrPort {
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), uint16(sa.Port))
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(sa.Addr).Unmap(), uint16(sa.Port))
	}
	return netip.AddrPort{}
}
