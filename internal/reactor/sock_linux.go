package reactor

import (
	"encoding/binary"
	"math"
	"net/netip"
	"os"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The calls below never block, so they are made raw: telling the scheduler
// would cost more than the call. They allocate nothing.

func rawRead(fd int, p []byte) (int, error) {
	n, _, errno := unix.RawSyscall(unix.SYS_READ, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)))
	return result(n, errno)
}

func rawWrite(fd int, p []byte) (int, error) {
	n, _, errno := unix.RawSyscall(unix.SYS_WRITE, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)))
	return result(n, errno)
}

func result(n uintptr, errno unix.Errno) (int, error) {
	switch errno {
	case 0:
		return int(n), nil
	case unix.EAGAIN: // constants of type error, made once
		return 0, errAgain
	case unix.EINTR:
		return 0, errInterrupted
	}
	return 0, errno
}

var (
	errAgain       error = unix.EAGAIN
	errInterrupted error = unix.EINTR
)

func accept(fd int) (int, netip.AddrPort, error) {
	var sa unix.RawSockaddrInet6 // holds either family
	size := uint32(unsafe.Sizeof(sa))
	n, _, errno := unix.RawSyscall6(unix.SYS_ACCEPT4, uintptr(fd), uintptr(unsafe.Pointer(&sa)), uintptr(unsafe.Pointer(&size)),
		unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0, 0)
	conn, err := result(n, errno)
	if err != nil {
		return -1, netip.AddrPort{}, err
	}
	return conn, fromRaw(&sa), nil
}

func fromRaw(sa *unix.RawSockaddrInet6) netip.AddrPort {
	port := binary.BigEndian.Uint16((*[2]byte)(unsafe.Pointer(&sa.Port))[:])
	switch sa.Family {
	case unix.AF_INET:
		v4 := (*unix.RawSockaddrInet4)(unsafe.Pointer(sa))
		return netip.AddrPortFrom(netip.AddrFrom4(v4.Addr), port)
	case unix.AF_INET6:
		return netip.AddrPortFrom(netip.AddrFrom16(sa.Addr).Unmap(), port)
	}
	return netip.AddrPort{}
}

// toRaw fills sa and returns its size. A link-local zone must be numeric or
// empty; node addresses are resolved before they come here.
func toRaw(sa *unix.RawSockaddrInet6, addr netip.Addr, port uint16) uintptr {
	binary.BigEndian.PutUint16((*[2]byte)(unsafe.Pointer(&sa.Port))[:], port)
	if addr.Is4() {
		v4 := (*unix.RawSockaddrInet4)(unsafe.Pointer(sa))
		v4.Family, v4.Addr = unix.AF_INET, addr.As4()
		return unix.SizeofSockaddrInet4
	}
	sa.Family, sa.Addr = unix.AF_INET6, addr.As16()
	return unix.SizeofSockaddrInet6
}

// connect begins a connection and returns its non-blocking socket.
func connect(to netip.AddrPort, from netip.Addr) (int, error) {
	to = netip.AddrPortFrom(to.Addr().Unmap(), to.Port())
	family := unix.AF_INET
	if to.Addr().Is6() {
		family = unix.AF_INET6
	}
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, os.NewSyscallError("socket", err)
	}
	if err := prepare(fd, to.Addr(), from); err != nil {
		closeFD(fd)
		return -1, err
	}
	var sa unix.RawSockaddrInet6
	size := toRaw(&sa, to.Addr(), to.Port())
	_, _, errno := unix.RawSyscall(unix.SYS_CONNECT, uintptr(fd), uintptr(unsafe.Pointer(&sa)), size)
	if errno != 0 && errno != unix.EINPROGRESS && errno != unix.EINTR {
		closeFD(fd)
		return -1, os.NewSyscallError("connect", errno)
	}
	return fd, nil
}

const tcpKeepIdle = unix.TCP_KEEPIDLE

func setUserTimeout(fd int, d time.Duration) {
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(min(d.Milliseconds(), math.MaxInt32)))
}

func prepare(fd int, to, from netip.Addr) error {
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1); err != nil {
		return os.NewSyscallError("setsockopt TCP_NODELAY", err)
	}
	if !to.IsLoopback() {
		if err := keepAlive(fd); err != nil {
			return err
		}
	}
	if !from.IsValid() {
		return nil
	}
	// The port is then chosen by connect, when the whole address pair is
	// known: each source address reaches each destination 28,232 times, not
	// 28,232 times in all.
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1); err != nil {
		return os.NewSyscallError("setsockopt IP_BIND_ADDRESS_NO_PORT", err)
	}
	var sa unix.RawSockaddrInet6
	size := toRaw(&sa, from.Unmap(), 0)
	if _, _, errno := unix.RawSyscall(unix.SYS_BIND, uintptr(fd), uintptr(unsafe.Pointer(&sa)), size); errno != 0 {
		return os.NewSyscallError("bind", errno)
	}
	return nil
}

// bytesAcked counts without the SYN, which the kernel counts.
func bytesAcked(fd int) (n uint64, ok bool) {
	info, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
	if err != nil || info.Bytes_acked == 0 {
		return 0, false
	}
	return info.Bytes_acked - 1, true
}
