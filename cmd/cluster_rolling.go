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
	return a.awaitState(ctx, name, proxy.NodeUp)
}

// drainNode has the balancer, if one runs and knows the node, give it no new clients, and waits until
// those it has are gone, or for the time given.
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
	deadline := time.Now().Add(timeout)
	for {
		s, err := balancer.Stats(ctx)
		if err != nil {
			return true, err
		}
		n := s.Node(name)
		if n == nil || n.Connections == 0 {
			return true, nil
		}
		if time.Now().After(deadline) {
			a.notef("%s is stopped with %s left", name, count(int(n.Connections), "client"))
			return true, nil
		}
		_ = a.stderr.Drawf("%s drains: %s left", name, count(int(n.Connections), "client"))
		if err := pause(ctx, rollingPause); err != nil {
			return true, err
		}
	}
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
			err = a.awaitState(ctx, name, proxy.NodeMaintenance)
		}
		err = errors.Join(err, a.enableNode(name, balanced))
	}
	return err
}

// awaitState returns when a node is in that state at the balancer, or no longer known there.
func (a *app) awaitState(ctx context.Context, name, state string) error {
	deadline := time.Now().Add(balancerPatience)
	for {
		s, err := proxy.Connect(a.stateDir()).Stats(ctx)
		if errors.Is(err, control.ErrNotRunning) {
			return nil
		}
		if err != nil {
			return err
		}
		n := s.Node(name)
		if n == nil || n.State == state {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("after %v the balancer still has %s %s, not %s", balancerPatience, name, n.State, state)
		}
		if err := pause(ctx, rollingPause); err != nil {
			return err
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
