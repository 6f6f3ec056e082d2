package process

import (
	"slices"
	"syscall"

	"github.com/erlmcp/erlmcp/internal/pidfd"
)

// rest are the processes that live and belong to this one, except for its leader: those of its group
// and, as strays, of its cgroup or with its marks in their environment.
func (p *Process) rest() (members, strays []procEntry) {
	inside := p.cell.members()
	for _, e := range processes() {
		switch {
		case e.dead || e.pid == p.pid || e.shared():
		case e.group == p.pid:
			members = append(members, e)
		case slices.Contains(inside, e.pid) || e.marked(p.marks):
			strays = append(strays, e)
		}
	}
	return members, strays
}

// alone reports whether nobody but the leader is left.
func (p *Process) alone() bool {
	members, strays := p.rest()
	return len(members)+len(strays) == 0
}

// signalStrays sends sig to what has left the group.
func (p *Process) signalStrays(sig syscall.Signal) {
	_, strays := p.rest()
	for _, e := range strays {
		_ = pidfd.Signal(e.pid, sig, func() bool { return pidfd.Began(e.pid) == e.began })
	}
}
