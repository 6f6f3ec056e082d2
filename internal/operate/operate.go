// Package operate carries out what an operator orders of a cluster and the balancer before it: to start, stop and
// restart nodes, one by one or all, to add and remove them, and to bring up and take down all of it. It drains what it
// stops, and has the balancer follow. It asks by interfaces, and tells what happens by values.
package operate

import (
	"context"
	"errors"
	"time"

	"github.com/erlmcp/erlmcp/cluster"
	"github.com/erlmcp/erlmcp/internal/advice"
	"github.com/erlmcp/erlmcp/internal/control"
	"github.com/erlmcp/erlmcp/internal/topology"
	"github.com/erlmcp/erlmcp/proxy"
)

// Operator has orders for one state directory. An order of names is about these nodes, without names about all.
type Operator struct {
	Cluster  Cluster
	Balancer Balancer
	Program  Program
	DryRun   bool        // tell what would change, and change nothing
	Tell     func(Event) // what happens, as it happens
}

// Cluster is what is asked of the supervisor: see cluster.Client.
type Cluster interface {
	Status(context.Context) (cluster.Status, error)
	Spec(context.Context) (cluster.Spec, error)
	AddNodes(context.Context, []topology.Node) error
	RemoveNodes(context.Context, []string) error
	StopNodes(context.Context, []string) error
	RestartNodes(context.Context, []string) error
	DrainNodes(context.Context, []string) error
	ResumeNodes(context.Context, []string) error
	Shutdown(context.Context) error
}

// Balancer is what is asked of the balancer: see proxy.Client.
type Balancer interface {
	Stats(context.Context) (proxy.Stats, error)
	Drain(ctx context.Context, node string) (proxy.NodeStats, error)
	Disable(ctx context.Context, node string) (proxy.NodeStats, error)
	Enable(ctx context.Context, node string) (proxy.NodeStats, error)
	Reload(context.Context) (proxy.Reloaded, error)
}

// Program starts what does not run, as it is configured.
type Program interface {
	// Configured is the cluster; what is changed in it is what is started.
	Configured() (*cluster.Spec, error)
	// NodesFit and Fits report what keeps nodes from starting here, or whatever does not run of nodes and balancer.
	NodesFit() error
	Fits() error
	// StartNodes, PrepareRestart and RestartInPlace are those of package cluster.
	StartNodes(ctx context.Context, names []string) error
	PrepareRestart(context.Context) (inPlace bool, err error)
	RestartInPlace(context.Context) error
	// StartBalancer and StopBalancer tell by themselves what they do. That no balancer runs is no error of a stop.
	StartBalancer(context.Context) error
	StopBalancer(ctx context.Context, now bool) error
	// BalancerRuns reports whether there is one, even if it does not answer.
	BalancerRuns() bool
}

// Event is something that an order tells: one of the types of this file.
type Event any

// Change is what an order has done, or would do.
type Change struct {
	Action  Action
	Planned bool     // by Operator.DryRun
	Names   []string // nodes
	Whole   bool     // all of the cluster, its supervisor too
	By      Way      // how nodes are stopped, where that is planned

	Took       time.Duration   // of a start
	LeavesEPMD bool            // the cluster is stopped, and epmd runs on
	Reloaded   *proxy.Reloaded // the balancer follows
}

// Action is what is done to nodes, or to the balancer.
type Action string

// The actions.
const (
	Start   Action = "start"
	Stop    Action = "stop"
	Restart Action = "restart"
	Add     Action = "add"
	Remove  Action = "remove"
	Follow  Action = "reload" // the balancer finds the nodes where they are
)

// Way is how nodes are taken out of service.
type Way int

// The ways.
const (
	AtOnce Way = iota
	Drained
	OneByOne // and drained
)

type (
	// AlreadyRunning are nodes that a start finds running.
	AlreadyRunning struct{ Names []string }
	// NotRunning tells a stop that there is no cluster.
	NotRunning struct{}
	// BalancerRuns tells a start that there is a balancer.
	BalancerRuns struct{ Stats proxy.Stats }
	// RestartedInPlace is a cluster whose supervisor is the process it was.
	RestartedInPlace struct {
		Names []string
		PID   int
		Took  time.Duration
	}
	// Draining is a node that has clients left.
	Draining struct {
		Name    string
		Clients int
	}
	// Cut is a node that is stopped in spite of clients, and of requests that it has not answered.
	Cut struct {
		Name              string
		Clients, Requests int
	}
	// Undrained is why nodes are stopped without having been drained.
	Undrained struct{ Err error }
	// Misplaced is a node that the balancer's own configuration has at an address where it does not listen.
	Misplaced struct{ Name, Address string }
)

const (
	askPause = 100 * time.Millisecond // between two questions to the balancer
	// balancerPatience is how long the balancer may take to see that a node is ready, or has ended.
	balancerPatience = 30 * time.Second
	// requestPatience is how long requests may take that are under way when draining ends.
	requestPatience = 10 * time.Second
	// answerPatience is how long a balancer may take to answer; a client of the cluster has its own patience.
	answerPatience = 5 * time.Second
)

// DrainTimeout is how long clients have to leave a node that is about to be stopped, unless said.
const DrainTimeout = 10 * time.Second

// Stats asks the balancer, which must answer soon.
func (o *Operator) Stats(ctx context.Context) (proxy.Stats, error) {
	ctx, cancel := context.WithTimeout(ctx, answerPatience)
	defer cancel()
	return o.Balancer.Stats(ctx)
}

// would tells, with DryRun, a change that is about to be made, and reports that it is not to be.
func (o *Operator) would(c Change) bool {
	if o.DryRun {
		c.Planned = true
		o.Tell(c)
	}
	return o.DryRun
}

// unlessGone is an error, but not that no daemon runs.
func unlessGone(err error) error {
	if errors.Is(err, control.ErrNotRunning) {
		return nil
	}
	return err
}

// startFirst tells what to do when there is no cluster to talk to.
func startFirst(err error) error {
	if control.NotRunning(err) {
		return advice.With(err, "erlmcp cluster start")
	}
	return err
}
