package cluster

import (
	"cmp"
	"fmt"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/erlmcp/erlmcp/cluster/nodelog"
	"github.com/erlmcp/erlmcp/internal/daemon"
)

// launcher starts processes from one thread that lives as long as it does: the kernel's death
// signal fires when the thread that forked ends, not the process.
type launcher struct {
	jobs     chan func()
	lifeline *daemon.Lifeline
	null     *os.File
	mark     string // in the environment of everything it starts
	cage     *cage  // nil: a node is held together by its process group
	files    int    // soft limit of open files of a process; 0 is what this one was started with

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

// reap reaps a leader that has ended and, as they end, the members of its group that are this
// process's children, and returns the leader's status. With the last of them the number becomes free:
// the lock keeps a new leader from getting it while it still stands for the old group.
func (g *groups) reap(leader int) (status syscall.WaitStatus) {
	g.mu.Lock()
	defer g.mu.Unlock()
	_, _ = syscall.Wait4(leader, &status, 0, nil)
	for !reapMembers(leader) {
		g.mu.Unlock()
		awaitMember(leader)
		g.mu.Lock()
	}
	delete(g.known, leader)
	return status
}

// reapMembers reaps who has ended, and reports whether nobody is left.
func reapMembers(group int) bool {
	for {
		if pid, err := syscall.Wait4(-group, nil, syscall.WNOHANG, nil); pid <= 0 {
			return err == syscall.ECHILD
		}
	}
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

// newLauncher returns a launcher that owns the cage. What it starts has that niceness.
func newLauncher(mark string, cage *cage, files, nice int) (*launcher, error) {
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
		jobs: make(chan func()), lifeline: lifeline, null: null, mark: mark, cage: cage, files: files,
	}
	go onThread(func() {
		giveWay(nice)
		for job := range l.jobs {
			job()
		}
	})
	return l, nil
}

// close ends the thread. Processes that still run are killed by it.
func (l *launcher) close() {
	close(l.jobs)
	l.lifeline.Close()
	l.null.Close()
	l.cage.close()
}

// containment is what holds nodes together.
func (l *launcher) containment() Containment {
	if l.cage != nil {
		return ContainCgroup
	}
	return ContainProcessGroup
}

// process is one life of a node: a process that leads a group, and what it starts.
//
// No signal can reach a stranger that has got the number of a process that ended. A pidfd, where the
// kernel has them, never comes to mean another process. And whatever is sent is sent before the leader
// is reaped, see dead: until then the kernel gives neither its pid nor, as the same number, its group to
// anybody else. Nobody but bury reaps it.
type process struct {
	pid    int // also of the group
	handle handle
	cell   *cell    // nil: none
	marks  []string // in the environment of everything that belongs to this node
	ended  chan syscall.WaitStatus

	asked  chan struct{} // closed when it has been asked to end
	doomed chan struct{} // closed when it is killed

	mu   sync.Mutex // held while a signal is sent, and those channels are closed
	dead bool       // about to be reaped
}

// pipeGrace is how long, after all processes of a node ended, output is waited for that a
// descendant outside of the group may still hold open.
const pipeGrace = 500 * time.Millisecond

// launch executes p in a process group of its own, and in a cgroup if there is a cage, with its output
// going to log. When the process has ended, the rest of its group and cgroup is killed, and what has left
// the group; had it been asked to end, they may take as long as it might have. When all are reaped and the
// log has everything, ended receives the status.
func (l *launcher) launch(p Program, log *nodelog.File) (*process, error) {
	cell, err := l.cage.cell(p.Node)
	if err != nil {
		return nil, err
	}
	out, theirs, err := os.Pipe()
	if err != nil {
		cell.clear()
		return nil, fmt.Errorf("make pipe: %w", err)
	}
	env, lifeline := l.lifeline.Child()
	proc := &process{
		cell: cell, marks: []string{l.mark, p.mark()},
		ended: make(chan syscall.WaitStatus, 1), asked: make(chan struct{}), doomed: make(chan struct{}),
	}
	attr := &syscall.ProcAttr{
		Dir:   cmp.Or(p.Dir, "/"),
		Env:   environment(os.Environ(), append(slices.Clone(p.Env), env, l.mark, p.mark()), p.Unset),
		Files: []uintptr{l.null.Fd(), theirs.Fd(), theirs.Fd(), lifeline.Fd()},
		Sys:   groupAttr(&proc.handle),
	}
	cell.admit(attr.Sys)
	started := make(chan struct{})
	l.jobs <- func() {
		defer close(started)
		proc.pid, err = l.groups.add(func() (int, error) {
			return withFiles(l.files, func() (int, error) { return syscall.ForkExec(p.Path, p.Args, attr) })
		})
	}
	<-started
	theirs.Close()
	if err != nil {
		out.Close()
		cell.clear()
		return nil, fmt.Errorf("%s: %w", p.Path, err)
	}
	pumped := make(chan struct{})
	go func() {
		defer close(pumped)
		log.Pump(out)
	}()
	go func() {
		status := proc.bury(&l.groups)
		cell.clear()
		endOrphans(proc.marks, &l.groups)
		_ = out.SetReadDeadline(time.Now().Add(pipeGrace))
		<-pumped
		out.Close()
		proc.ended <- status
	}()
	return proc, nil
}

// ask asks the process and everything it has started to end. Those that are frozen must be woken to hear it.
func (p *process) ask() {
	p.mu.Lock()
	closeOnce(p.asked)
	p.mu.Unlock()
	_ = p.signalGroup(syscall.SIGTERM) // fails only when it has just ended, which is what is wanted
	p.signalStrays(syscall.SIGTERM)
	_ = p.signalGroup(syscall.SIGCONT)
	p.signalStrays(syscall.SIGCONT)
}

// signalGroup sends sig to the process and everything it has started in its group. Killed, what has left the group
// ends with it.
func (p *process) signalGroup(sig syscall.Signal) error {
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
func (p *process) awaitRest() {
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
func (p *process) bury(g *groups) syscall.WaitStatus {
	awaitDeath(p.pid)
	p.awaitRest()
	p.mu.Lock()
	p.dead = true
	_ = p.handle.signal(p.pid, syscall.SIGKILL, true)
	p.handle.close()
	p.mu.Unlock()
	return g.reap(p.pid)
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
