package cmd

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/erlmcp/erlmcp/cluster"
	"github.com/erlmcp/erlmcp/internal/control"
	"github.com/erlmcp/erlmcp/proxy"
)

const (
	askPause = 100 * time.Millisecond // between two questions to the balancer
	// balancerPatience is how long the balancer may take to see that a node is ready, or has ended.
	balancerPatience = 30 * time.Second
	// requestPatience is how long requests may take that are under way when draining ends.
	requestPatience = 10 * time.Second
)

// stopDrained stops nodes, or with no names the cluster, without new clients. The balancer gives them
// clients again when they are back.
func (a *app) stopDrained(ctx context.Context, names []string, timeout time.Duration) error {
	if a.changes.dryRun {
		return a.wouldStop(ctx, "stop", "drain and stop", names)
	}
	var draining []string
	if s, err := a.supervisorStatus(ctx); err == nil { // else to stop them tells why
		if s, err = s.Only(names); err != nil {
			return err
		}
		for _, n := range s.Nodes {
			draining = append(draining, n.Name)
		}
	}
	balanced, err := a.drain(ctx, draining, timeout)
	drained := err == nil
	if !drained && ctx.Err() == nil { // to stop matters more
		a.warnf("stopping without draining: %v", err)
		err = nil
	}
	if err == nil {
		err = a.stopCluster(ctx, names)
	}
	if err == nil && drained {
		err = a.awaitCheck(ctx, balancedNames(balanced), false)
	}
	return errors.Join(err, a.restore(balanced))
}

// balancedNode is a node that drain has taken out of service.
type balancedNode struct {
	name  string
	state string // at the balancer before, see restore
}

func balancedNames(nodes []balancedNode) []string {
	names := make([]string, len(nodes))
	for i, n := range nodes {
		names[i] = n.name
	}
	return names
}

// drain has the balancer, if one runs, give these nodes no new clients, waits until those they have are
// gone, or for the time given, and then has it give them nothing more: clients of sessions begin new
// ones, and what is under way comes to its end. It returns the nodes that serve and that the balancer
// knows, which are to be restored, whatever the error.
func (a *app) drain(ctx context.Context, names []string, timeout time.Duration) (balanced []balancedNode, err error) {
	balancer := proxy.Connect(a.stateDir())
	s, err := a.balancerStats(ctx)
	if errors.Is(err, control.ErrNotRunning) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	nodes, err := a.supervisorStatus(ctx)
	if errors.Is(err, control.ErrNotRunning) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	for _, n := range nodes.Nodes {
		seen := s.Node(n.Name)
		if seen == nil || !n.State.Serves() || !slices.Contains(names, n.Name) {
			continue
		}
		before := seen.State
		if n.State == cluster.StateDraining { // by a command like this one, not for an operator
			before = proxy.NodeUp
		}
		balanced = append(balanced, balancedNode{n.Name, before})
		if before != proxy.NodeMaintenance { // which is more than draining
			if err := a.order(ctx, balancer.Drain, n.Name); err != nil {
				return balanced, err
			}
		}
		if err := a.announceDrain(ctx, n.Name); err != nil {
			return balanced, err
		}
	}
	draining := balancedNames(balanced)
	_, err = a.awaitNodes(ctx, draining, timeout, func(n *proxy.NodeStats) bool {
		_ = a.stderr.Drawf("%s drains: %s left", n.Name, count(int(n.Connections), "client"))
		return n.Connections == 0
	})
	if err != nil {
		return balanced, err
	}
	for _, name := range draining {
		if err := a.order(ctx, balancer.Disable, name); err != nil {
			return balanced, err
		}
	}
	return balanced, a.awaitRequests(ctx, draining)
}

// awaitRequests waits until disabled nodes have answered what was under way, and says which clients
// they have left then.
func (a *app) awaitRequests(ctx context.Context, names []string) error {
	if len(names) == 0 {
		return nil
	}
	if err := pause(ctx, askPause); err != nil { // a worker may have chosen one of them just before
		return err
	}
	if _, err := a.awaitNodes(ctx, names, requestPatience, func(n *proxy.NodeStats) bool { return n.Pending == 0 }); err != nil {
		return err
	}
	left, err := a.awaitNodes(ctx, names, 0, func(n *proxy.NodeStats) bool { return n.Connections == 0 })
	for _, n := range left {
		text := fmt.Sprintf("%s is stopped with %s left", n.Name, count(int(n.Connections), "client"))
		if n.Pending > 0 {
			text += fmt.Sprintf(", %s unanswered", count(int(n.Pending), "request"))
		}
		a.notef("%s", text)
	}
	return err
}

// restore takes drain back, even when the command has been interrupted: what an operator had drained or
// disabled before stays so.
func (a *app) restore(balanced []balancedNode) (err error) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*statusTimeout)
	defer cancel()
	balancer := proxy.Connect(a.stateDir())
	for _, n := range balanced {
		again := balancer.Enable
		switch n.state {
		case proxy.NodeDraining:
			again = balancer.Drain
		case proxy.NodeMaintenance:
			again = balancer.Disable
		}
		if e := a.order(ctx, again, n.name); !errors.Is(e, control.ErrNotRunning) {
			err = errors.Join(err, e)
		}
		if e := cluster.Connect(a.stateDir()).ResumeNodes(ctx, []string{n.name}); !errors.Is(e, control.ErrNotRunning) {
			err = errors.Join(err, e)
		}
	}
	return err
}

// awaitCheck returns when the balancer has found these nodes up, or down, or does not know them any more.
func (a *app) awaitCheck(ctx context.Context, names []string, up bool) error {
	wrong, err := a.awaitNodes(ctx, names, balancerPatience, func(n *proxy.NodeStats) bool { return n.Check.Up == up })
	for _, n := range wrong {
		text := n.State
		if !n.Check.OK {
			text += ": " + n.Check.Error
		}
		err = errors.Join(err, fmt.Errorf("after %v the balancer still has %s %s", balancerPatience, n.Name, text))
	}
	return err
}

// awaitNodes asks the balancer about nodes until each is done, for as long as patience lasts, and returns
// those that are not. A node that the balancer does not know is done, and all are if none runs.
func (a *app) awaitNodes(ctx context.Context, names []string, patience time.Duration, done func(*proxy.NodeStats) bool) (left []*proxy.NodeStats, err error) {
	for deadline := time.Now().Add(patience); len(names) > 0; {
		s, err := a.balancerStats(ctx)
		if errors.Is(err, control.ErrNotRunning) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		left = left[:0]
		for _, name := range names {
			if n := s.Node(name); n != nil && !done(n) {
				left = append(left, n)
			}
		}
		if len(left) == 0 || time.Now().After(deadline) {
			break
		}
		if err := pause(ctx, askPause); err != nil {
			return nil, err
		}
	}
	return left, nil
}

// announceDrain has the supervisor show what happens.
func (a *app) announceDrain(ctx context.Context, name string) error {
	ctx, cancel := context.WithTimeout(ctx, statusTimeout)
	defer cancel()
	err := cluster.Connect(a.stateDir()).DrainNodes(ctx, []string{name})
	if isCode(err, "node_not_running") {
		return nil
	}
	return err
}

// order has the balancer, which must answer soon, do something with a node.
func (a *app) order(ctx context.Context, do func(context.Context, string) (proxy.NodeStats, error), name string) error {
	ctx, cancel := context.WithTimeout(ctx, statusTimeout)
	defer cancel()
	_, err := do(ctx, name)
	return err
}

// supervisorStatus asks the supervisor, which must answer soon.
func (a *app) supervisorStatus(ctx context.Context) (cluster.Status, error) {
	ctx, cancel := context.WithTimeout(ctx, statusTimeout)
	defer cancel()
	return cluster.Connect(a.stateDir()).Status(ctx)
}

// balancerStats asks the balancer, which must answer soon.
func (a *app) balancerStats(ctx context.Context) (proxy.Stats, error) {
	ctx, cancel := context.WithTimeout(ctx, statusTimeout)
	defer cancel()
	return proxy.Connect(a.stateDir()).Stats(ctx)
}
