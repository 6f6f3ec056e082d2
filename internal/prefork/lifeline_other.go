//go:build !linux

package prefork

import "syscall"

// Without a death signal only the end of the control stream tells a copy that its parent has gone.

func spawnAttr() *syscall.SysProcAttr { return nil }

func dieWithParent() {}
