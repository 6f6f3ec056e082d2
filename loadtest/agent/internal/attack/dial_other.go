//go:build !linux

package attack

import "syscall"

// prepare is called on a socket before it is bound.
func prepare(_, _ string, _ syscall.RawConn) error { return nil }
