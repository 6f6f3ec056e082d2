//go:build !linux

package process

import "syscall"

// alone reports whether nobody but the leader, which has ended, is left in the group.
func (p *Process) alone() bool { return syscall.Kill(-p.pid, 0) != nil }

// signalStrays does nothing: what has left the group cannot be told.
func (p *Process) signalStrays(syscall.Signal) {}
