package burst

import "syscall"

// attributes have the program die with the thread that started it, and no signal of a terminal reach it.
func attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
}
