package cluster

import (
	"slices"
	"sync"
	"time"
)

// register publishes the status of all nodes, in the order of the cluster, and what has happened to
// them. Each entry has one writer, that node's machine.
type register struct {
	mu      sync.Mutex
	nodes   []NodeStatus
	history history
	changed chan struct{} // closed, and replaced, by every change
}

func newRegister() *register { return &register{changed: make(chan struct{})} }

// set publishes the status of a node; the first one adds the node.
func (r *register) set(s NodeStatus) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var before NodeStatus
	i := r.indexLocked(s.Name)
	if i < 0 {
		r.nodes = append(r.nodes, s)
	} else {
		before, r.nodes[i] = r.nodes[i], s
	}
	if before.State != s.State || before.Reason != s.Reason {
		r.history.add(Event{
			Time: time.Now(), Node: s.Name, From: before.State, State: s.State,
			Reason: s.Reason, PID: s.PID, Restarts: s.Restarts,
		})
	}
	r.changedLocked()
}

// remove forgets a node.
func (r *register) remove(name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	i := r.indexLocked(name)
	if i < 0 {
		return
	}
	r.history.add(Event{Time: time.Now(), Node: name, From: r.nodes[i].State, Reason: "removed", Restarts: r.nodes[i].Restarts})
	r.nodes = slices.Delete(r.nodes, i, i+1)
	r.changedLocked()
}

func (r *register) indexLocked(name string) int {
	return slices.IndexFunc(r.nodes, func(n NodeStatus) bool { return n.Name == name })
}

func (r *register) changedLocked() {
	close(r.changed)
	r.changed = make(chan struct{})
}

// snapshot returns a copy of all entries, and a channel that is closed when one differs.
func (r *register) snapshot() ([]NodeStatus, <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.nodes), r.changed
}

// eventsSince returns the events after that one, and a channel that is closed when there may be more.
func (r *register) eventsSince(sequence uint64) ([]Event, <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.history.since(sequence), r.changed
}
