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
	balanced, err := a.drain(ctx, []string{name}, drainTimeout)
	if err == nil {
		err = cluster.Connect(a.stateDir()).RestartNodes(ctx, []string{name})
	}
	if err := errors.Join(err, a.enable(balanced)); err != nil {
		return err
	}
	return a.awaitCheck(ctx, balanced, true)
}

// stopDrained stops nodes, or with no names the cluster, without new clients. The balancer gives them
// clients again when they are back.
func (a *app) stopDrained(ctx context.Context, names []string, timeout time.Duration) error {
	draining := names
	if len(names) == 0 {
		s, err := cluster.Connect(a.stateDir()).Status(ctx)
		if err != nil && !errors.Is(err, control.ErrNotRunning) {
			return err
		}
		for _, n := range s.Nodes {
			draining = append(draining, n.Name)
		}
	}
	balanced, err := a.drain(ctx, draining, timeout)
	if err == nil {
		err = a.stopCluster(ctx, names)
	}
	if err == nil {
		err = a.awaitCheck(ctx, balanced, false)
	}
	return errors.Join(err, a.enable(balanced))
}

// drain has the balancer, if one runs, give these nodes no new clients, waits until those they have are
// gone, or for the time given, and then has it give them nothing more: clients of sessions begin new
// ones, and what is under way comes to its end. It returns the nodes that the balancer knows, and that
// are to be enabled again, whatever the error.
func (a *app) drain(ctx context.Context, names []string, timeout time.Duration) (balanced []string, err error) {
	balancer := proxy.Connect(a.stateDir())
	s, err := balancer.Stats(ctx)
	if errors.Is(err, control.ErrNotRunning) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		if s.Node(name) == nil {
			continue
		}
		balanced = append(balanced, name)
		if _, err := balancer.Drain(ctx, name); err != nil {
			return balanced, err
		}
		if err := cluster.Connect(a.stateDir()).DrainNodes(ctx, []string{name}); err != nil && !isCode(err, "node_not_running") {
			return balanced, err
		}
	}
	_, err = a.awaitNodes(ctx, balanced, timeout, func(n *proxy.NodeStats) bool {
		_ = a.stderr.Drawf("%s drains: %s left", n.Name, count(int(n.Connections), "client"))
		return n.Connections == 0
	})
	if err != nil {
		return balanced, err
	}
	for _, name := range balanced {
		if _, err := balancer.Disable(ctx, name); err != nil {
			return balanced, err
		}
	}
	return balanced, a.awaitRequests(ctx, balanced)
}

// awaitRequests waits until disabled nodes have answered what was under way, and says which clients
// they have left then.
func (a *app) awaitRequests(ctx context.Context, names []string) error {
	if len(names) == 0 {
		return nil
	}
	if err := pause(ctx, rollingPause); err != nil { // a worker may have chosen one of them just before
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

// enable takes drain back, even when the command has been interrupted.
func (a *app) enable(balanced []string) (err error) {
	ctx, cancel := context.WithTimeout(context.Background(), statusTimeout)
	defer cancel()
	for _, name := range balanced {
		if _, e := proxy.Connect(a.stateDir()).Enable(ctx, name); !errors.Is(e, control.ErrNotRunning) {
			err = errors.Join(err, e)
		}
		if e := cluster.Connect(a.stateDir()).ResumeNodes(ctx, []string{name}); !errors.Is(e, control.ErrNotRunning) {
			err = errors.Join(err, e)
		}
	}
	return err
}

// awaitCheck returns when the balancer has found these nodes up, or down, or does not know them any more.
func (a *app) awaitCheck(ctx context.Context, names []string, up bool) error {
	wrong, err := a.awaitNodes(ctx, names, balancerPatience, func(n *proxy.NodeStats) bool { return n.Check.Up == up })
	for _, n := range wrong {
		err = errors.Join(err, fmt.Errorf("after %v the balancer still has %s %s", balancerPatience, n.Name, n.State))
	}
	return err
}

// awaitNodes asks the balancer about nodes until each is done, for as long as patience lasts, and returns
// those that are not. A node that the balancer does not know is done, and all are if none runs.
func (a *app) awaitNodes(ctx context.Context, names []string, patience time.Duration, done func(*proxy.NodeStats) bool) (left []*proxy.NodeStats, err error) {
	for deadline := time.Now().Add(patience); len(names) > 0; {
		s, err := proxy.Connect(a.stateDir()).Stats(ctx)
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
		if err := pause(ctx, rollingPause); err != nil {
			return nil, err
		}
	}
	return left, nil
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
