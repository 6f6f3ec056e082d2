package prefork

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"

	"github.com/erlmcp/erlmcp/internal/sockdiag"
	"golang.org/x/sys/unix"
)

// lingering is how long an address in use is tried again: the sockets of a process that was just
// killed are closed by the kernel at its leisure, tens of thousands take a while.
const lingering = time.Second

// InUseError says that somebody else listens on Addr. It unwraps to syscall.EADDRINUSE.
type InUseError struct {
	Addr    string
	PID     int    // 0 when the process cannot be told: it has gone or belongs to another user
	Process string // its short name, "" likewise
}

func (e *InUseError) Error() string {
	switch {
	case e.PID == 0:
		return e.Addr + " is in use by another process"
	case e.Process == "":
		return fmt.Sprintf("%s is in use by process %d", e.Addr, e.PID)
	default:
		return fmt.Sprintf("%s is in use by %s (pid %d)", e.Addr, e.Process, e.PID)
	}
}

func (e *InUseError) Unwrap() error { return syscall.EADDRINUSE }

// Listen opens the TCP address addr ("host:port"; port 0 = any one free port) once for each of n
// copies, with the kernel's longest accept queue. On Linux these are n SO_REUSEPORT sockets over
// which the kernel spreads connections by hash; elsewhere one socket n times.
//
// The caller keeps the files open while the copies live: a copy that dies then loses no connection
// that was not accepted yet, and its replacement gets the same socket. The sockets do not block and
// are not known to this process's own poller, which would otherwise wake up for every connection a
// copy accepts; hand them to copies, see [Child.FD].
//
// The error is an *[InUseError] when somebody else listens on addr already (sharing a port through
// SO_REUSEPORT would go unnoticed), and [ErrLimit] for n < 1.
func Listen(addr string, n int) ([]*os.File, error) {
	if n < 1 {
		return nil, fmt.Errorf("listen on %s: %w", addr, ErrLimit)
	}
	if _, _, err := net.SplitHostPort(addr); err != nil { // net.Listen takes "" for ":0"
		return nil, fmt.Errorf("listen on %q: %w", addr, err)
	}
	files, err := listenCopies(addr, n)
	for start := time.Now(); errors.Is(err, syscall.EADDRINUSE) && time.Since(start) < lingering; {
		time.Sleep(lingering / 20)
		files, err = listenCopies(addr, n)
	}
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, inUse(addr, err)
	}
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", addr, cause(err))
	}
	return files, nil
}

// inUse names the process that keeps us from addr. err is what net.Listen said: it knows to what
// addr was resolved.
func inUse(addr string, err error) error {
	e := &InUseError{Addr: addr}
	var op *net.OpError
	if errors.As(err, &op) {
		if tcp, ok := op.Addr.(*net.TCPAddr); ok {
			ap := tcp.AddrPort()
			if !ap.Addr().IsValid() {
				ap = netip.AddrPortFrom(netip.IPv6Unspecified(), ap.Port())
			}
			e.PID, e.Process, _ = sockdiag.Listener(ap)
		}
	}
	return e
}

// cause strips the words of net.OpError that repeat ours: "listen tcp 127.0.0.1:80: bind: …".
func cause(err error) error {
	var op *net.OpError
	if errors.As(err, &op) {
		return op.Err
	}
	return err
}

// listenTCP opens one listener. Multipath TCP is off: its sockets cost more and are no use on a
// server that hands plain sockets to its copies.
func listenTCP(addr string, lc net.ListenConfig) (*net.TCPListener, error) {
	lc.SetMultipathTCP(false)
	l, err := lc.Listen(context.Background(), "tcp", addr)
	if err != nil {
		return nil, err
	}
	return l.(*net.TCPListener), nil
}

// detach returns another descriptor of a listener's socket, not known to the poller.
func detach(l *net.TCPListener) (*os.File, error) {
	fd, err := Duplicate(l)
	if err != nil {
		return nil, err
	}
	return unpolled(fd, "tcp "+l.Addr().String())
}

// Duplicate returns a further descriptor of a file or socket, which the runtime's poller does not know. It is taken
// without (*os.File).Fd, which would make a socket block, for everybody.
func Duplicate(of syscall.Conn) (fd int, err error) {
	raw, err := of.SyscallConn()
	if err != nil {
		return -1, err
	}
	var failed error
	err = raw.Control(func(own uintptr) { fd, failed = unix.FcntlInt(own, unix.F_DUPFD_CLOEXEC, 0) })
	return fd, errors.Join(err, failed)
}

// unpolled makes an os.File of a socket. os.NewFile gives descriptors that do not block to the
// poller, so it is called while this one would.
func unpolled(fd int, name string) (*os.File, error) {
	err := unix.SetNonblock(fd, false)
	f := os.NewFile(uintptr(fd), name)
	if err = errors.Join(err, unix.SetNonblock(fd, true)); err != nil {
		_ = f.Close()
		return nil, err
	}
	return f, nil
}

func closeAll(files []*os.File) {
	for _, f := range files {
		_ = f.Close()
	}
}
