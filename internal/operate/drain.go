package operate

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/erlmcp/erlmcp/cluster"
	"github.com/erlmcp/erlmcp/internal/control"
	"github.com/erlmcp/erlmcp/internal/tempo"
	"github.com/erlmcp/erlmcp/proxy"
)

// StopDrained stops nodes, or with no names the cluster, without new clients. The balancer gives them
// clients again when they are back.
func (o *Operator) StopDrained(ctx context.Context, names []string, timeout time.Duration) error {
	if o.DryRun {
		return o.wouldStop(ctx, Change{Action: Stop, By: Drained}, names)
	}
	var draining []string
	if s, err := o.Cluster.Status(ctx); err == nil { // else to stop them tells why
		if s, err = s.Only(names); err != nil {
			return err
		}
		draining = s.Names()
	}
	balanced, err := o.drain(ctx, draining, timeout)
	drained := err == nil
	if !drained && ctx.Err() == nil { // to stop matters more
		o.Tell(Undrained{err})
		err = nil
	}
	if err == nil {
		err = o.stop(ctx, names)
	}
	if err == nil && drained {
		err = o.awaitCheck(ctx, balancedNames(balanced), false)
	}
	return errors.Join(err, o.restore(balanced))
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
func (o *Operator) drain(ctx context.Context, names []string, timeout time.Duration) (balanced []balancedNode, err error) {
	var nodes cluster.Status
	s, err := o.Stats(ctx)
	if err == nil {
		nodes, err = o.Cluster.Status(ctx)
	}
	if err != nil {
		return nil, unlessGone(err)
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
			if err := o.order(ctx, o.Balancer.Drain, n.Name); err != nil {
				return balanced, err
			}
		}
		if err := o.announceDrain(ctx, n.Name); err != nil {
			return balanced, err
		}
	}
	draining := balancedNames(balanced)
	_, err = o.awaitNodes(ctx, draining, timeout, func(n *proxy.NodeStats) bool {
		o.Tell(Draining{n.Name, int(n.Connections)})
		return n.Connections == 0
	})
	if err != nil {
		return balanced, err
	}
	for _, name := range draining {
		if err := o.order(ctx, o.Balancer.Disable, name); err != nil {
			return balanced, err
		}
	}
	return balanced, o.awaitRequests(ctx, draining)
}

// awaitRequests waits until disabled nodes have answered what was under way, and says which clients
// they have left then.
func (o *Operator) awaitRequests(ctx context.Context, names []string) error {
	if len(names) == 0 {
		return nil
	}
	if err := tempo.Pause(ctx, askPause); err != nil { // a worker may have chosen one of them just before
		return err
	}
	if _, err := o.awaitNodes(ctx, names, requestPatience, func(n *proxy.NodeStats) bool { return n.Pending == 0 }); err != nil {
		return err
	}
	left, err := o.awaitNodes(ctx, names, 0, func(n *proxy.NodeStats) bool { return n.Connections == 0 })
	for _, n := range left {
		o.Tell(Cut{n.Name, int(n.Connections), int(n.Pending)})
	}
	return err
}

// restore takes drain back, even when the command has been interrupted: what an operator had drained or
// disabled before stays so.
func (o *Operator) restore(balanced []balancedNode) (err error) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*answerPatience)
	defer cancel()
	for _, n := range balanced {
		again := o.Balancer.Enable
		switch n.state {
		case proxy.NodeDraining:
			again = o.Balancer.Drain
		case proxy.NodeMaintenance:
			again = o.Balancer.Disable
		}
		err = errors.Join(err, unlessGone(o.order(ctx, again, n.name)), unlessGone(o.Cluster.ResumeNodes(ctx, []string{n.name})))
	}
	return err
}

// awaitCheck returns when the balancer has found these nodes up, or down, or does not know them any more.
func (o *Operator) awaitCheck(ctx context.Context, names []string, up bool) error {
	wrong, err := o.awaitNodes(ctx, names, balancerPatience, func(n *proxy.NodeStats) bool { return n.Check.Up == up })
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
func (o *Operator) awaitNodes(ctx context.Context, names []string, patience time.Duration, done func(*proxy.NodeStats) bool) (left []*proxy.NodeStats, err error) {
	for deadline := time.Now().Add(patience); len(names) > 0; {
		s, err := o.Stats(ctx)
		if err != nil {
			return nil, unlessGone(err)
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
		if err := tempo.Pause(ctx, askPause); err != nil {
			return nil, err
		}
	}
	return left, nil
}

// announceDrain has the supervisor show what happens.
func (o *Operator) announceDrain(ctx context.Context, name string) error {
	err := o.Cluster.DrainNodes(ctx, []string{name})
	if control.Refused(err, "node_not_running") {
		return nil
	}
	return err
}

// order has the balancer, which must answer soon, do something with a node.
func (o *Operator) order(ctx context.Context, do func(context.Context, string) (proxy.NodeStats, error), name string) error {
	ctx, cancel := context.WithTimeout(ctx, answerPatience)
	defer cancel()
	_, err := do(ctx, name)
	return err
}
