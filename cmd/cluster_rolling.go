package cmd

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/erlmcp/erlmcp/cluster"
	"github.com/erlmcp/erlmcp/internal/control"
	"github.com/erlmcp/erlmcp/proxy"
)

const (
	rollingPause = 100 * time.Millisecond
	// balancerPatience is how long the balancer may take to see that a node is ready, or has ended.
	balancerPatience = 30 * time.Second
	// requestPatience is how long requests may take that are under way when draining ends.
	requestPatience = 10 * time.Second
)

// roll restarts the named nodes, or all, one after the other: drained at the balancer if one runs, and
// ready and found by the balancer before the next. It ends with the first node that does not come back,
// or when another one is out.
func (a *app) roll(ctx context.Context, names []string, drainTimeout time.Duration) error {
	nodes := cluster.Connect(a.stateDir())
	s, err := nodes.Status(ctx)
	if err != nil {
		return clusterStartHint(err)
	}
	picked, err := s.Only(names)
	if err != nil {
		return err
	}
	for i, n := range picked.Nodes {
		if err := a.othersServe(ctx, n.Name); err != nil {
			return fmt.Errorf("restarted %d of %d nodes: %w", i, len(picked.Nodes), err)
		}
		if err := a.rollOne(ctx, n.Name, drainTimeout); err != nil {
			return fmt.Errorf("restarted %d of %d nodes: %w", i, len(picked.Nodes), err)
		}
		a.notef("restarted %s", n.Name)
	}
	return nil
}

// othersServe reports a node other than this one that does not serve: two must never be out.
func (a *app) othersServe(ctx context.Context, name string) error {
	s, err := cluster.Connect(a.stateDir()).Status(ctx)
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
	return nil
}

// rollOne restarts one node. Whatever comes of it, the balancer gives it clients again when it is up.
func (a *app) rollOne(ctx context.Context, name string, drainTimeout time.Duration) error {
	balanced, err := a.drainNode(ctx, name, drainTimeout)
	if err != nil {
		return errors.Join(err, a.enableNode(name, balanced))
	}
	err = cluster.Connect(a.stateDir()).RestartNodes(ctx, []string{name})
	if err := errors.Join(err, a.enableNode(name, balanced)); err != nil {
		return err
	}
	if !balanced {
		return nil
	}
	return a.awaitCheck(ctx, name, true)
}

// drainNode has the balancer, if one runs and knows the node, give it no new clients, waits until those
// it has are gone, or for the time given, and then has it take nothing more: clients of sessions begin
// new ones, and what is under way comes to its end.
func (a *app) drainNode(ctx context.Context, name string, timeout time.Duration) (balanced bool, err error) {
	balancer := proxy.Connect(a.stateDir())
	s, err := balancer.Stats(ctx)
	if errors.Is(err, control.ErrNotRunning) || err == nil && s.Node(name) == nil {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if _, err := balancer.Drain(ctx, name); err != nil {
		return false, err
	}
	if err := cluster.Connect(a.stateDir()).DrainNodes(ctx, []string{name}); err != nil && !isCode(err, "node_not_running") {
		return true, err
	}
	n, err := a.awaitNode(ctx, name, timeout, func(n *proxy.NodeStats) bool {
		_ = a.stderr.Drawf("%s drains: %s left", name, count(int(n.Connections), "client"))
		return n.Connections == 0
	})
	if err != nil || n == nil {
		return true, err
	}
	if _, err := balancer.Disable(ctx, name); err != nil {
		return true, err
	}
	if err := pause(ctx, rollingPause); err != nil { // a worker may have chosen it just before
		return true, err
	}
	n, err = a.awaitNode(ctx, name, requestPatience, func(n *proxy.NodeStats) bool { return n.Pending == 0 })
	switch {
	case err != nil || n == nil || n.Connections == 0:
	case n.Pending > 0:
		a.notef("%s is stopped with %s left, %s unanswered", name, count(int(n.Connections), "client"), count(int(n.Pending), "request"))
	default:
		a.notef("%s is stopped with %s left", name, count(int(n.Connections), "client"))
	}
	return true, err
}

// enableNode takes drainNode back, even when the command has been interrupted.
func (a *app) enableNode(name string, balanced bool) error {
	if !balanced {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), statusTimeout)
	defer cancel()
	_, err := proxy.Connect(a.stateDir()).Enable(ctx, name)
	if resumed := cluster.Connect(a.stateDir()).ResumeNodes(ctx, []string{name}); !errors.Is(resumed, control.ErrNotRunning) {
		err = errors.Join(err, resumed)
	}
	return err
}

// stopDrained stops nodes without new clients. The balancer gives them clients again when they are back.
func (a *app) stopDrained(ctx context.Context, names []string, timeout time.Duration) error {
	drained := map[string]bool{} // whether the balancer knows it
	var err error
	for _, name := range names {
		if drained[name], err = a.drainNode(ctx, name, timeout); err != nil {
			break
		}
	}
	if err == nil {
		err = a.stopCluster(ctx, names)
	}
	for name, balanced := range drained {
		if err == nil && balanced {
			err = a.awaitCheck(ctx, name, false)
		}
		err = errors.Join(err, a.enableNode(name, balanced))
	}
	return err
}

// awaitCheck returns when the balancer has found a node up, or down, or does not know it any more.
func (a *app) awaitCheck(ctx context.Context, name string, up bool) error {
	n, err := a.awaitNode(ctx, name, balancerPatience, func(n *proxy.NodeStats) bool { return n.Check.Up == up })
	if err == nil && n != nil && n.Check.Up != up {
		err = fmt.Errorf("after %v the balancer still has %s %s", balancerPatience, name, n.State)
	}
	return err
}

// awaitNode asks the balancer about a node until done, or for as long as patience lasts, and returns
// the last it was told: nil if there is no balancer, or none that knows the node.
func (a *app) awaitNode(ctx context.Context, name string, patience time.Duration, done func(*proxy.NodeStats) bool) (*proxy.NodeStats, error) {
	deadline := time.Now().Add(patience)
	for {
		s, err := proxy.Connect(a.stateDir()).Stats(ctx)
		if errors.Is(err, control.ErrNotRunning) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		n := s.Node(name)
		if n == nil || done(n) || time.Now().After(deadline) {
			return n, nil
		}
		if err := pause(ctx, rollingPause); err != nil {
			return nil, err
		}
	}
}

// isCode reports whether err is a refusal of that kind.
func isCode(err error, code string) bool {
	var refusal *control.Error
	return errors.As(err, &refusal) && refusal.Code == code
}

// pause waits, or returns why not.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
