//go:build !linux

package burst

import "syscall"

// attributes have no signal of a terminal reach the program.
func attributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
