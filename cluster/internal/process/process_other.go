//go:build !linux

package process

import (
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// handle is empty: a process has no name but its pid.
type handle struct{}

// groupAttr makes a child the leader of a new process group. That it does not outlive this process
// is up to its lifeline.
func groupAttr(*handle) *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

// signal sends to the leader, or to its group. The caller sees to it that the leader is not reaped
// meanwhile.
func (*handle) signal(pid int, sig syscall.Signal, group bool) error {
	if group {
		pid = -pid
	}
	return syscall.Kill(pid, sig)
}

func (*handle) close() {}

// AdoptOrphans does nothing: orphans go to process 1, which reaps them.
func AdoptOrphans() error { return nil }

// awaitMember returns at once: nobody of a group is this process's child, except for its leader, which
// has ended.
func awaitMember(int) {}

// awaitDeath returns when a child has ended, without reaping it.
func awaitDeath(pid int) {
	for !deathSeen(pid) {
		time.Sleep(100 * time.Millisecond) // no descriptors, say
	}
}

// deathSeen waits for the end of a child; it is false when waiting is not possible now.
func deathSeen(pid int) bool {
	queue, err := unix.Kqueue()
	if err != nil {
		return false
	}
	defer unix.Close(queue)
	changes := make([]unix.Kevent_t, 1)
	unix.SetKevent(&changes[0], pid, unix.EVFILT_PROC, unix.EV_ADD)
	changes[0].Fflags = unix.NOTE_EXIT
	events := make([]unix.Kevent_t, 1)
	for {
		n, err := unix.Kevent(queue, changes, events, nil)
		switch {
		case err == unix.EINTR:
		case err == unix.ESRCH: // it has ended already
			return true
		case err != nil || n == 0:
			return false
		case events[0].Flags&unix.EV_ERROR != 0:
			return events[0].Data == int64(unix.ESRCH)
		default:
			return true
		}
	}
}
