// Package system is what a load test sees and does beside the data path: the balancer and the cluster that it asks, and the
// faults that it makes.
package system

import (
	"context"
	"errors"
	"time"
)

// System is what a run can see and do beside the data path: the balancer's and the cluster's doors
// of control. A run works without any of it, and measures less.
type System interface {
	// Observe asks everybody who can be asked.
	Observe(ctx context.Context) (Observation, error)
	// Break does to a node what the fault means and returns when it is done. Mend undoes it and
	// returns when the node answers again.
	Break(ctx context.Context, node string, f Fault) error
	Mend(ctx context.Context, node string, f Fault) error
}

// Observation is the state of a system. The zero Observation knows nothing.
type Observation struct {
	Balancer *BalancerView // nil: cannot be asked
	Nodes    []NodeView    // in their configured order
	CanBreak bool          // the nodes are under a cluster's control

	// Listeners are those for clients, such as "tcp 127.0.0.1:8000", of the balancer that runs on this machine.
	Listeners []string
	// Elsewhere are the listeners for clients, such as "tcp 127.0.0.1:8000", of a balancer that runs on this machine
	// and does not listen on the target.
	Elsewhere []string
}

// BalancerView is what the balancer says of itself.
type BalancerView struct {
	PIDs        []int // master and workers
	Connections int   // of clients, now
	Max         int
	Workers     []int // how many each worker may hold; empty: not known
	MaxWorkers  int   // how many there may be; 0: as many as there are
	Limits      Limits
}

// Limits are what the balancer allows one source. 0 is no limit.
type Limits struct {
	ConnectionsPerSecond int
	MessagesPerSecond    int
	MaxPerSource         int // connections at a time
}

// NodeView is what is known of one node.
type NodeView struct {
	Name    string
	Address string // host:port where clients of the target's transport end
	PID     int    // its process group; 0: not on this machine, or not known
	// What the balancer thinks of it; all zero when there is none to ask.
	Up     bool
	Silent bool      // it says nothing, and keeps its sessions and calls meanwhile
	Since  time.Time // of the last change of Up
	Max    int       // connections it gets at most; 0: no limit
	Slow   bool      // it came up lately and gets less than its share yet
	// Passing are the connections of the balancer to Address on which a request is under way, or awaited: no client holds them.
	Passing int
	// Ways are all addresses where clients of one transport or another end, and PassingAll is Passing over all of them.
	Ways       []string
	PassingAll int
}

// Node finds a node by name.
func (o *Observation) Node(name string) *NodeView {
	for i := range o.Nodes {
		if o.Nodes[i].Name == name {
			return &o.Nodes[i]
		}
	}
	return nil
}

// Serving lists the nodes that get connections.
func (o *Observation) Serving() []string {
	var names []string
	for _, n := range o.Nodes {
		if n.Up || o.Balancer == nil {
			names = append(names, n.Name)
		}
	}
	return names
}

// Slow lists the nodes that get less than their share yet.
func (o *Observation) Slow() []string {
	var names []string
	for _, n := range o.Nodes {
		if n.Up && n.Slow {
			names = append(names, n.Name)
		}
	}
	return names
}

// ErrCannotBreak is what Unknown says.
var ErrCannotBreak = errors.New("the cluster is not under control of this machine")

// Unknown is a system of which only the target is known.
type Unknown struct{}

// Observe implements System.
func (Unknown) Observe(context.Context) (Observation, error) { return Observation{}, nil }

// Break implements System.
func (Unknown) Break(context.Context, string, Fault) error { return ErrCannotBreak }

// Mend implements System.
func (Unknown) Mend(context.Context, string, Fault) error { return ErrCannotBreak }
