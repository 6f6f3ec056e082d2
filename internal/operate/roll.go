package operate

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/erlmcp/erlmcp/cluster"
	"github.com/erlmcp/erlmcp/internal/advice"
	"github.com/erlmcp/erlmcp/proxy"
)

// Roll restarts the named nodes, or all, one after the other: drained at the balancer if one runs, and
// ready and found by the balancer before the next. It ends with the first node that does not come back,
// or when another one is out.
func (o *Operator) Roll(ctx context.Context, names []string, drainTimeout time.Duration) error {
	s, err := o.Cluster.Status(ctx)
	if err != nil {
		return startFirst(err)
	}
	picked, err := s.Only(names)
	if err != nil {
		return err
	}
	for i, n := range picked.Nodes {
		if err := o.othersServe(ctx, n.Name); err != nil {
			return fmt.Errorf("restarted %d of %d nodes: %w", i, len(picked.Nodes), err)
		}
		if err := o.rollOne(ctx, n.Name, drainTimeout); err != nil {
			return fmt.Errorf("restarted %d of %d nodes: %w", i, len(picked.Nodes), err)
		}
		o.Tell(Change{Action: Restart, Names: []string{n.Name}})
	}
	return nil
}

// othersServe reports a node other than this one that does not serve: two must never be out.
func (o *Operator) othersServe(ctx context.Context, name string) error {
	s, err := o.Cluster.Status(ctx)
	if err != nil {
		return err
	}
	for _, n := range s.Nodes {
		if n.Name != name && !n.State.Serves() {
			text := string(n.State)
			if n.Reason != "" {
				text += ": " + n.Reason
			}
			return fmt.Errorf("%s cannot be taken out while %s is (%s)", name, n.Name, text)
		}
	}
	return o.othersBalanced(ctx, name, s.Nodes)
}

// othersBalanced reports a node other than this one that the balancer, if one runs, gives no clients: because
// it has found it down and does not find it again, or because an operator wants it so.
func (o *Operator) othersBalanced(ctx context.Context, name string, nodes []cluster.NodeStatus) error {
	var others []string
	for _, n := range nodes {
		if n.Name != name {
			others = append(others, n.Name)
		}
	}
	out, err := o.awaitNodes(ctx, others, balancerPatience, func(n *proxy.NodeStats) bool { return !failing(n) })
	if err == nil && len(out) == 0 {
		out, err = o.awaitNodes(ctx, others, 0, func(n *proxy.NodeStats) bool { return n.State == proxy.NodeUp })
	}
	switch {
	case err != nil || len(out) == 0:
		return err
	case failing(out[0]):
		return fmt.Errorf("%s cannot be taken out while %s is (%s at the balancer: %s)", name, out[0].Name, out[0].State, out[0].Check.Error)
	}
	return advice.With(fmt.Errorf("%s cannot be taken out while %s is (%s at the balancer)", name, out[0].Name, out[0].State),
		"erlmcp lb enable "+out[0].Name)
}

// failing reports that the checks, and not an operator, keep clients from a node.
func failing(n *proxy.NodeStats) bool {
	return n.State == proxy.NodeDown || n.State == proxy.NodeSilent
}

// rollOne restarts one node. Whatever comes of it, the balancer gives it clients again when it is up.
func (o *Operator) rollOne(ctx context.Context, name string, drainTimeout time.Duration) error {
	balanced, err := o.drain(ctx, []string{name}, drainTimeout)
	if err == nil {
		err = o.Cluster.RestartNodes(ctx, []string{name})
	}
	if err := errors.Join(err, o.restore(balanced)); err != nil {
		return err
	}
	return o.awaitCheck(ctx, balancedNames(balanced), true)
}
