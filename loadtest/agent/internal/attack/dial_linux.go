package attack

import (
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// prepare is called on a socket before it is bound. Its port is then chosen by connect, when the whole address pair is known:
// each source address reaches each destination 28,232 times, not 28,232 times in all.
func prepare(_, _ string, raw syscall.RawConn) error {
	var failed error
	err := raw.Control(func(fd uintptr) {
		failed = os.NewSyscallError("setsockopt IP_BIND_ADDRESS_NO_PORT", unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1))
	})
	if err != nil {
		return err
	}
	return failed
}
