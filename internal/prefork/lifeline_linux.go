package prefork

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// spawnAttr makes the kernel kill a copy when the thread that forked it dies.
func spawnAttr(apart bool) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setsid: apart}
}

// dieWithParent asks for the same from within the copy: exec drops the request of the parent when
// the binary has file capabilities, as it has where it may bind low ports.
func dieWithParent() {
	_ = unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(syscall.SIGKILL), 0, 0, 0)
}
