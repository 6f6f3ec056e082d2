package cluster

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// groupAttr makes a child the leader of a new process group that the kernel kills when the thread
// that forked it ends.
func groupAttr() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// adoptOrphans makes the children of nodes that died this process's own, so that their end can be
// waited for: a port is free only when its last holder is gone.
func adoptOrphans() error {
	return unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
}

// awaitDeath returns when a child has ended, without reaping it.
func awaitDeath(pid int) {
	for unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil) == unix.EINTR {
	}
}
