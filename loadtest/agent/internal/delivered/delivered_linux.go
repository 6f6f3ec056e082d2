// Package delivered knows what has become of bytes that were written to a socket.
package delivered

import "golang.org/x/sys/unix"

// All reports whether the other side's kernel has all that was written to a connection, as far as can be told. Where the other
// side has ended its stream, this says what it had by then: its FIN acknowledged that much, and to what comes after one that
// was a close the answer is a reset.
func All(fd int) bool {
	waiting, err := unix.IoctlGetInt(fd, unix.SIOCOUTQ)
	return err != nil || waiting == 0
}
