package cluster

import (
	"cmp"
	"fmt"
	"os"
	"runtime"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/erlmcp/erlmcp/internal/daemon"
)

// launcher starts processes from one thread that lives as long as it does: the kernel's death
// signal fires when the thread that forked ends, not the process.
type launcher struct {
	jobs     chan func()
	lifeline *daemon.Lifeline
	null     *os.File
	mark     string // in the environment of everything it starts

	groups groups // of what runs
}

// groups are process groups whose leaders are waited for by their own goroutines. Its lock is held
// while a leader comes into being, so that nobody else reaps one that is not known yet.
type groups struct {
	mu    sync.Mutex
	known map[int]bool
}

// add has start make a leader.
func (g *groups) add(start func() (pid int, err error)) (pid int, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if pid, err = start(); err == nil {
		if g.known == nil {
			g.known = map[int]bool{}
		}
		g.known[pid] = true
	}
	return pid, err
}

// remove forgets a group whose leader has been reaped.
func (g *groups) remove(pid int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.known, pid)
}

// hold calls do while no group comes or goes.
func (g *groups) hold(do func(known map[int]bool)) {
	g.mu.Lock()
	defer g.mu.Unlock()
	do(g.known)
}

// clusterMark is the entry in the environment that tells whose a process is, whatever becomes of its
// parents.
func clusterMark(stateDir string) string { return "ERLMCP_SUPERVISED_BY=" + stateDir }

func newLauncher(mark string) (*launcher, error) {
	lifeline, err := daemon.NewLifeline()
	if err != nil {
		return nil, err
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		lifeline.Close()
		return nil, err
	}
	l := &launcher{
		jobs: make(chan func()), lifeline: lifeline, null: null, mark: mark,
	}
	go func() {
		runtime.LockOSThread()
		for job := range l.jobs {
			job()
		}
	}()
	return l, nil
}

// close ends the thread. Processes that still run are killed by it.
func (l *launcher) close() {
	close(l.jobs)
	l.lifeline.Close()
	l.null.Close()
}

// process is one life of a node: a process that leads a group, and what it starts.
type process struct {
	pid   int // also of the group
	ended chan syscall.WaitStatus

	mu   sync.Mutex
	dead bool // about to be reaped: the pid may soon be another's
}

// pipeGrace is how long, after all processes of a node ended, output is waited for that a
// descendant outside of the group may still hold open.
const pipeGrace = 500 * time.Millisecond

// launch executes p in a process group of its own, with its output going to log. When the process
// has ended, the rest of its group is killed, and what has left the group, and when all are reaped and
// the log has everything, ended receives the status.
func (l *launcher) launch(p Program, log *logFile) (*process, error) {
	out, theirs, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("make pipe: %w", err)
	}
	env, lifeline := l.lifeline.Child()
	attr := &syscall.ProcAttr{
		Dir:   cmp.Or(p.Dir, "/"),
		Env:   environment(os.Environ(), append(slices.Clone(p.Env), env, l.mark, p.mark()), p.Unset),
		Files: []uintptr{l.null.Fd(), theirs.Fd(), theirs.Fd(), lifeline.Fd()},
		Sys:   groupAttr(),
	}
	started := make(chan int)
	l.jobs <- func() {
		var pid int
		pid, err = l.groups.add(func() (int, error) { return syscall.ForkExec(p.Path, p.Args, attr) })
		started <- pid
	}
	pid := <-started
	theirs.Close()
	if err != nil {
		out.Close()
		return nil, fmt.Errorf("%s: %w", p.Path, err)
	}
	proc := &process{pid: pid, ended: make(chan syscall.WaitStatus, 1)}
	pumped := make(chan struct{})
	go func() {
		defer close(pumped)
		pump(out, log)
	}()
	go func() {
		status := proc.bury()
		l.groups.remove(pid)
		endOrphans([]string{l.mark, p.mark()}, &l.groups)
		_ = out.SetReadDeadline(time.Now().Add(pipeGrace))
		<-pumped
		out.Close()
		proc.ended <- status
	}()
	return proc, nil
}

// signal sends sig to the process.
func (p *process) signal(sig syscall.Signal) error { return p.send(p.pid, sig) }

// signalGroup sends sig to the process and everything it has started.
func (p *process) signalGroup(sig syscall.Signal) error { return p.send(-p.pid, sig) }

func (p *process) send(to int, sig syscall.Signal) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.dead {
		return os.ErrProcessDone
	}
	return syscall.Kill(to, sig)
}

// bury waits for the end of the process, kills what it leaves behind in its group, reaps them all,
// and returns the process's own status.
func (p *process) bury() (status syscall.WaitStatus) {
	awaitDeath(p.pid)
	p.mu.Lock()
	p.dead = true
	p.mu.Unlock()
	// Until the leader is reaped, its pid can be no other process's, nor the group's number another
	// group's.
	_ = syscall.Kill(-p.pid, syscall.SIGKILL)
	for {
		var ws syscall.WaitStatus
		pid, err := syscall.Wait4(-p.pid, &ws, 0, nil)
		switch {
		case err == syscall.EINTR:
		case err != nil: // ECHILD: nobody is left
			return status
		case pid == p.pid:
			status = ws
		}
	}
}

// describe says in words how a process ended.
func describe(ws syscall.WaitStatus) string {
	switch {
	case ws.Signaled():
		return "was killed by " + signalName(ws.Signal())
	default:
		return fmt.Sprintf("exited with status %d", ws.ExitStatus())
	}
}
