package process

import (
	"errors"
	"syscall"

	"golang.org/x/sys/unix"
)

// handle names a child and its group beyond their number, which may come to mean another process
// once the child has been reaped: a pidfd made together with the child, -1 on kernels before 5.2.
type handle struct{ fd int }

// groupAttr makes a child the leader of a new process group that the kernel kills when the thread
// that forked it ends, and h its handle.
func groupAttr(h *handle) *syscall.SysProcAttr {
	h.fd = -1
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL, PidFD: &h.fd}
}

// signal sends to the leader, or to its group, which can be told by a pidfd since Linux 6.9. Where the
// kernel or a filter of system calls has none of it, the pid must do: the caller sees to it that the
// leader is not reaped meanwhile.
func (h *handle) signal(pid int, sig syscall.Signal, group bool) error {
	flags, number := 0, pid
	if group {
		flags, number = unix.PIDFD_SIGNAL_PROCESS_GROUP, -pid
	}
	err := error(unix.EBADF)
	if h.fd >= 0 {
		err = unix.PidfdSendSignal(h.fd, sig, nil, flags)
	}
	if err == nil || errors.Is(err, unix.ESRCH) {
		return err
	}
	return syscall.Kill(number, sig)
}

func (h *handle) close() {
	if h.fd >= 0 {
		_ = unix.Close(h.fd)
		h.fd = -1
	}
}

// AdoptOrphans makes the children of processes that died this process's own, so that their end can be
// waited for: a port is free only when its last holder is gone.
func AdoptOrphans() error {
	return unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
}

// awaitDeath returns when a child has ended, without reaping it.
func awaitDeath(pid int) { waitNoReap(unix.P_PID, pid) }

// awaitMember returns when a child that belongs to the group has ended, or there is none, without
// reaping it.
func awaitMember(group int) { waitNoReap(unix.P_PGID, group) }

func waitNoReap(kind, id int) {
	for unix.Waitid(kind, id, nil, unix.WEXITED|unix.WNOWAIT, nil) == unix.EINTR {
	}
}
