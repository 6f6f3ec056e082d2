package cmd

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/erlmcp/erlmcp/cluster"
	"github.com/erlmcp/erlmcp/internal/control"
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
	balanced, err := a.drain(ctx, []string{name}, drainTimeout)
	if err == nil {
		err = cluster.Connect(a.stateDir()).RestartNodes(ctx, []string{name})
	}
	if err := errors.Join(err, a.restore(balanced)); err != nil {
		return err
	}
	return a.awaitCheck(ctx, balanced, true)
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
