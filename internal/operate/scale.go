package operate

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/erlmcp/erlmcp/cluster"
	"github.com/erlmcp/erlmcp/internal/advice"
	"github.com/erlmcp/erlmcp/internal/control"
	"github.com/erlmcp/erlmcp/internal/topology"
	"github.com/erlmcp/erlmcp/proxy"
)

// Add adds a node to the cluster that runs: the one that follows from its last, as the caller changes it.
func (o *Operator) Add(ctx context.Context, change func(*topology.Node)) error {
	running, err := o.Cluster.Spec(ctx)
	if err != nil {
		return startFirst(err)
	}
	added := topology.Resize(running.Nodes, len(running.Nodes)+1)[len(running.Nodes):]
	change(&added[0])
	return o.add(ctx, running.Nodes, added)
}

// add adds nodes to those that run.
func (o *Operator) add(ctx context.Context, running, nodes []topology.Node) error {
	added := Change{Action: Add, Names: topology.Names(nodes)}
	if o.DryRun {
		if err := topology.Validate(append(running, nodes...)); err != nil {
			return &control.Error{Message: err.Error(), Exit: misuse}
		}
		o.would(added)
		return nil
	}
	if err := o.Cluster.AddNodes(ctx, nodes); err != nil {
		return err
	}
	o.Tell(added)
	if err := o.tellBalancer(ctx); err != nil {
		return err
	}
	for _, n := range nodes { // one of that name may have been drained, to be removed
		_, err := o.Balancer.Enable(ctx, n.Name)
		var unknown *control.Error // the balancer has nodes of its own
		if errors.Is(err, control.ErrNotRunning) || errors.As(err, &unknown) && unknown.ExitCode() == misuse {
			return nil
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// misuse is the exit code of an order that makes no sense.
const misuse = 2

// Remove drains and stops nodes of the cluster that runs, which then has them no more.
func (o *Operator) Remove(ctx context.Context, names []string, drainTimeout time.Duration) error {
	running, err := o.Cluster.Spec(ctx)
	if err != nil {
		return startFirst(err)
	}
	if err := Known(running.Nodes, names); err != nil {
		return err
	}
	removed := Change{Action: Remove, Names: names}
	if o.would(removed) {
		return nil
	}
	balanced, err := o.drain(ctx, names, drainTimeout)
	if err == nil {
		err = o.Cluster.RemoveNodes(ctx, names)
	}
	if err != nil { // they stay, or some of them
		return errors.Join(err, o.restore(balanced))
	}
	o.Tell(removed)
	return o.tellBalancer(ctx)
}

// StartSized starts a cluster of n nodes, or makes the one that runs one of n nodes.
func (o *Operator) StartSized(ctx context.Context, n int) error {
	configured, err := o.Program.Configured()
	if err != nil {
		return err
	}
	running, err := o.Cluster.Spec(ctx)
	switch {
	case errors.Is(err, control.ErrNotRunning):
		configured.Nodes, configured.Resized = topology.Resize(configured.Nodes, n), true
	case err != nil:
		return err
	default:
		configured.Nodes = topology.Resize(running.Nodes, n)
		switch now := len(running.Nodes); {
		case n > now:
			err = o.add(ctx, running.Nodes, configured.Nodes[now:])
		case n < now:
			err = o.Remove(ctx, topology.Names(running.Nodes[n:]), DrainTimeout)
		}
		if err != nil || o.DryRun {
			return err
		}
	}
	return o.Start(ctx, nil)
}

// tellBalancer has the balancer, if one runs, read again which nodes there are.
func (o *Operator) tellBalancer(ctx context.Context) error {
	_, err := o.Balancer.Reload(ctx)
	return unlessGone(err)
}

// RunningNodes are those that a balancer is to have by now which has those of the cluster: of the one that runs, with the
// weights that are configured, which the balancer alone uses. nil says that the supervisor does not answer.
func (o *Operator) RunningNodes(ctx context.Context, configured []topology.Node) []topology.Node {
	running, err := o.Cluster.Spec(ctx)
	switch {
	case errors.Is(err, control.ErrNotRunning):
		return configured
	case err != nil:
		return nil
	}
	for i := range running.Nodes {
		n := &running.Nodes[i]
		if configured, err := topology.Find(configured, n.Name); err == nil {
			n.Weight = configured.Weight
		}
	}
	return running.Nodes
}

// follow has the balancer, if one runs, find the nodes where they are now, after an order that may have started them
// elsewhere. It returns those of the names that the balancer has to find now: not the ones that its own configuration
// has at another place, which it tells.
func (o *Operator) follow(ctx context.Context, names []string) (found []string, err error) {
	limited, cancel := context.WithTimeout(ctx, balancerPatience)
	defer cancel()
	r, err := o.Balancer.Reload(limited)
	if errors.Is(err, control.ErrNotRunning) {
		return nil, nil
	}
	if err != nil {
		if s, e := o.Stats(ctx); errors.Is(e, control.ErrNotRunning) || e == nil && s.State != proxy.StateRunning {
			return nil, nil // it is about to end
		}
		return nil, advice.With(fmt.Errorf("lb does not follow the nodes: %w", err), "erlmcp lb reload, when that is put right")
	}
	if len(r.Changed) > 0 {
		o.Tell(Change{Action: Follow, Reloaded: &r})
	}
	running, err := o.Cluster.Spec(ctx)
	if err != nil {
		return nil, nil // it has just been stopped
	}
	s, err := o.Stats(ctx)
	if err != nil {
		return nil, unlessGone(err)
	}
	for _, name := range names {
		n, err := topology.Find(running.Nodes, name)
		seen := s.Node(name)
		if err != nil || seen == nil {
			continue
		}
		if listensOn(n, seen.Address) {
			found = append(found, name)
		} else {
			o.Tell(Misplaced{name, seen.Address})
		}
	}
	return found, nil
}

// listensOn reports whether a node has the port of an address.
func listensOn(n topology.Node, address string) bool {
	_, port, err := net.SplitHostPort(address)
	return err != nil || slices.ContainsFunc(n.Ports(), func(p topology.Port) bool { return strings.HasSuffix(p.Address, ":"+port) })
}

// Known reports the first of the names that no node has.
func Known(nodes []topology.Node, names []string) error {
	for _, name := range names {
		if _, err := topology.Find(nodes, name); err != nil {
			return err
		}
	}
	return nil
}

// servesIn is the pid of a node, 0 if it does not serve.
func servesIn(s cluster.Status, name string) int {
	for _, n := range s.Nodes {
		if n.Name == name && n.State.Serves() {
			return n.PID
		}
	}
	return 0
}
