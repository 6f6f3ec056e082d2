package prefork

import (
	"errors"
	"net"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// listenCopies opens n sockets that share addr. The first one is bound without SO_REUSEPORT: that
// fails when anybody else listens there, whatever options he has set, and on whichever of a
// wildcard and a specific address (connections in TIME_WAIT do not matter, SO_REUSEADDR is set).
// Only when the address is ours may others join, so there is no moment between a look and the bind
// in which a stranger could slip in.
func listenCopies(addr string, n int) (files []*os.File, err error) {
	defer func() {
		if err != nil {
			closeAll(files)
			files = nil
		}
	}()
	for i := range n {
		var lc net.ListenConfig
		if i > 0 {
			lc.Control = reusePort
		}
		l, err := listenTCP(addr, lc)
		if err != nil {
			return files, err
		}
		addr = l.Addr().String() // the port, if it was 0, and the one address of a name
		f, err := detach(l)
		_ = l.Close()
		if err != nil {
			return files, err
		}
		files = append(files, f)
		if i == 0 && n > 1 {
			if err := unix.SetsockoptInt(int(f.Fd()), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1); err != nil {
				return files, os.NewSyscallError("setsockopt", err)
			}
		}
	}
	return files, nil
}

func reusePort(_, _ string, c syscall.RawConn) error {
	var err error
	ctlErr := c.Control(func(fd uintptr) {
		err = os.NewSyscallError("setsockopt", unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1))
	})
	return errors.Join(ctlErr, err)
}
