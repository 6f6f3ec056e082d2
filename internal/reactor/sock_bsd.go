//go:build darwin || freebsd

package reactor

import (
	"net/netip"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

func rawRead(fd int, p []byte) (int, error)  { return unix.Read(fd, p) }
func rawWrite(fd int, p []byte) (int, error) { return unix.Write(fd, p) }

// setUserTimeout does nothing: there is no such option.
func setUserTimeout(int, time.Duration) {}

func accept(fd int) (int, netip.AddrPort, error) {
	conn, sa, err := unix.Accept(fd)
	if err != nil {
		return -1, netip.AddrPort{}, err
	}
	unix.CloseOnExec(conn)
	if err := unix.SetNonblock(conn, true); err != nil {
		closeFD(conn)
		return -1, netip.AddrPort{}, err
	}
	return conn, addrPort(sa), nil
}

// connect begins a connection and returns its non-blocking socket.
func connect(to netip.AddrPort, from netip.Addr) (int, error) {
	family := unix.AF_INET
	if to.Addr().Unmap().Is6() {
		family = unix.AF_INET6
	}
	fd, err := unix.Socket(family, unix.SOCK_STREAM, 0)
	if err != nil {
		return -1, os.NewSyscallError("socket", err)
	}
	unix.CloseOnExec(fd)
	if err := begin(fd, to, from); err != nil {
		closeFD(fd)
		return -1, err
	}
	return fd, nil
}

func begin(fd int, to netip.AddrPort, from netip.Addr) error {
	if err := unix.SetNonblock(fd, true); err != nil {
		return os.NewSyscallError("fcntl O_NONBLOCK", err)
	}
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1); err != nil {
		return os.NewSyscallError("setsockopt TCP_NODELAY", err)
	}
	if !to.Addr().IsLoopback() {
		if err := keepAlive(fd); err != nil {
			return err
		}
	}
	if from.IsValid() {
		if err := unix.Bind(fd, sockaddr(netip.AddrPortFrom(from, 0))); err != nil {
			return os.NewSyscallError("bind", err)
		}
	}
	if err := unix.Connect(fd, sockaddr(to)); err != nil && err != unix.EINPROGRESS && err != unix.EINTR {
		return os.NewSyscallError("connect", err)
	}
	return nil
}

func sockaddr(a netip.AddrPort) unix.Sockaddr {
	addr := a.Addr().Unmap()
	if addr.Is4() {
		return &unix.SockaddrInet4{Addr: addr.As4(), Port: int(a.Port())}
	}
	return &unix.SockaddrInet6{Addr: addr.As16(), Port: int(a.Port())}
}

func bytesAcked(int) (n uint64, ok bool) { return 0, false }
