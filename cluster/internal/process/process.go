package process

import (
	"fmt"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Process is one life of a program: a process that leads a group, and what it starts.
//
// No signal can reach a stranger that has got the number of a process that ended. A pidfd, where the
// kernel has them, never comes to mean another process. And whatever is sent is sent before the leader
// is reaped, see dead: until then the kernel gives neither its pid nor, as the same number, its group to
// anybody else. Nobody but bury reaps it.
type Process struct {
	pid    int // also of the group
	handle handle
	cell   *cell    // nil: none
	marks  []string // in the environment of everything that belongs to this process
	ended  chan Status

	asked  chan struct{} // closed when it has been asked to end
	doomed chan struct{} // closed when it is killed

	mu   sync.Mutex // held while a signal is sent, and those channels are closed
	dead bool       // about to be reaped
}

// PID is the number of the process, and of its group.
func (p *Process) PID() int { return p.pid }

// Ended receives once how the process ended, when all it started has ended too and all it printed has been read.
func (p *Process) Ended() <-chan Status { return p.ended }

// Terminate asks the process and everything it has started to end. Those that are frozen must be woken to hear it.
func (p *Process) Terminate() {
	p.mu.Lock()
	closeOnce(p.asked)
	p.mu.Unlock()
	_ = p.Signal(syscall.SIGTERM) // fails only when it has just ended, which is what is wanted
	p.signalStrays(syscall.SIGTERM)
	_ = p.Signal(syscall.SIGCONT)
	p.signalStrays(syscall.SIGCONT)
}

// Signal sends sig to the process and everything it has started in its group. Killed, what has left the group
// ends with it. The error is [os.ErrProcessDone] when it has ended.
func (p *Process) Signal(sig syscall.Signal) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.dead {
		return os.ErrProcessDone
	}
	if sig == syscall.SIGKILL {
		closeOnce(p.doomed)
	}
	return p.handle.signal(p.pid, sig, true)
}

// closeOnce closes a channel that others close too, under the same lock.
func closeOnce(c chan struct{}) {
	select {
	case <-c:
	default:
		close(c)
	}
}

const (
	firstRestPause = 2 * time.Millisecond
	longRestPause  = 100 * time.Millisecond
)

// awaitRest waits, when a process that was asked to end has ended, for what it had started and has been asked as
// well, until that is killed.
func (p *Process) awaitRest() {
	select {
	case <-p.asked:
	default:
		return
	}
	for pause := firstRestPause; !p.alone(); pause = min(2*pause, longRestPause) {
		select {
		case <-time.After(pause):
		case <-p.doomed:
			return
		}
	}
}

// bury waits for the end of the process, kills what it leaves behind in its group, reaps them all,
// and returns the process's own status.
func (p *Process) bury(g *groups) Status {
	awaitDeath(p.pid)
	p.awaitRest()
	p.mu.Lock()
	p.dead = true
	_ = p.handle.signal(p.pid, syscall.SIGKILL, true)
	p.handle.close()
	p.mu.Unlock()
	return Status(g.reap(p.pid))
}

// Status is how a process ended.
type Status syscall.WaitStatus

// String says it in words: "exited with status 1".
func (s Status) String() string {
	status := syscall.WaitStatus(s)
	if status.Signaled() {
		return "was killed by " + unix.SignalName(status.Signal())
	}
	return fmt.Sprintf("exited with status %d", status.ExitStatus())
}
