//go:build !linux

package prefork

import "syscall"

// Without a death signal only the end of the control stream tells a copy that its parent has gone.

func spawnAttr(apart bool) *syscall.SysProcAttr { return &syscall.SysProcAttr{Setsid: apart} }

func dieWithParent() {}
