package node

import "golang.org/x/sys/unix"

// keepAlive has the kernel find out which idle clients have vanished. Accepted sockets inherit it from
// their listener. It is a convenience: failures are ignored.
func keepAlive(fd int) {
	const idleSeconds = 300
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1)
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, tcpKeepIdle, idleSeconds)
}
