package sockdiag

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// receiveBytes holds the largest datagram of a netlink dump: the kernel never makes one larger than
// 32 KiB, whatever is offered.
const receiveBytes = 32 << 10

func count(ctx context.Context, t *tally) error {
	each := func(s socket) { t.add(s.local) }
	for servers := range slices.Chunk(distinct(t.servers), maxFilter) {
		if err := dump(ctx, 1<<stateEstab, servers, each); err != nil {
			return err
		}
	}
	return nil
}

// distinct keeps a socket from being told twice when a filter has to be cut in parts: each server
// address is asked for once, and an address whose port is asked for on all addresses not at all.
func distinct(servers []netip.AddrPort) []netip.AddrPort {
	whole := make(map[uint16]bool)
	for _, s := range servers {
		if !s.Addr().IsValid() {
			whole[s.Port()] = true
		}
	}
	seen := make(map[netip.AddrPort]bool, len(servers))
	var out []netip.AddrPort
	for _, s := range servers {
		if seen[s] || s.Addr().IsValid() && whole[s.Port()] {
			continue
		}
		seen[s] = true
		out = append(out, s)
	}
	return out
}

// dump calls each for every TCP socket, of either family, that is in one of the states and belongs
// to one of the servers.
func dump(ctx context.Context, states uint32, servers []netip.AddrPort, each func(socket)) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_SOCK_DIAG)
	if err != nil {
		return unsupported(os.NewSyscallError("socket", err))
	}
	f := os.NewFile(uintptr(fd), "sock_diag")
	defer f.Close()
	defer context.AfterFunc(ctx, func() { _ = f.SetReadDeadline(time.Unix(1, 0)) })()

	program := compileFilter(servers)
	buf := make([]byte, receiveBytes)
	told := false
	whole := appendWholeRequest(nil, states, program)
	if _, err := f.Write(whole); err != nil {
		return err
	}
	err = receive(ctx, f, buf, func(s socket) { told = true; each(s) })
	var refused unix.Errno
	if told || !errors.As(err, &refused) {
		return err
	}
	// An imitation of Linux may not know the older request.
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
		if _, err := f.Write(appendRequest(nil, family, states, program)); err != nil {
			return err
		}
		if err := receive(ctx, f, buf, each); err != nil {
			return unsupported(err)
		}
	}
	return nil
}

// receive reads one dump to its end.
func receive(ctx context.Context, f *os.File, buf []byte, each func(socket)) error {
	conn, err := f.SyscallConn()
	if err != nil {
		return err
	}
	for {
		var n int
		var failed error
		err := conn.Read(func(fd uintptr) bool {
			for failed = unix.EINTR; failed == unix.EINTR; {
				n, _, failed = unix.Recvfrom(int(fd), buf, unix.MSG_TRUNC)
			}
			return failed != unix.EAGAIN
		})
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			return context.Cause(ctx)
		case err != nil:
			return err
		case failed != nil:
			return os.NewSyscallError("recvfrom", failed)
		case n > len(buf):
			return fmt.Errorf("%w: datagram of %d bytes", errMalformed, n)
		}
		if done, err := parse(buf[:n], each); done || err != nil {
			return err
		}
	}
}

// unsupported marks the errors of kernels that have no socket diagnosis, or none for TCP.
func unsupported(err error) error {
	for _, errno := range []unix.Errno{unix.ENOENT, unix.EAFNOSUPPORT, unix.EPROTONOSUPPORT, unix.EOPNOTSUPP} {
		if errors.Is(err, errno) {
			return fmt.Errorf("this kernel has no TCP socket diagnosis (tcp_diag): %w (%w)", err, errors.ErrUnsupported)
		}
	}
	return err
}
