//go:build !linux

package cluster

import "syscall"

// alone reports whether nobody but the leader, which has ended, is left in the group.
func (p *process) alone() bool { return syscall.Kill(-p.pid, 0) != nil }

// signalStrays does nothing: what has left the group cannot be told.
func (p *process) signalStrays(syscall.Signal) {}
