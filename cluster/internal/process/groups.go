package process

import (
	"sync"
	"syscall"
)

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
