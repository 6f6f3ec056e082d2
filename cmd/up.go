package cmd

import (
	"context"
	"errors"
	"time"

	"github.com/spf13/cobra"

	"github.com/erlmcp/erlmcp/cluster"
	"github.com/erlmcp/erlmcp/internal/config"
	"github.com/erlmcp/erlmcp/internal/control"
	"github.com/erlmcp/erlmcp/proxy"
)

func newUpCommand(a *app) *cobra.Command {
	var foreground bool
	cmd := &cobra.Command{
		Use:   "up [--foreground]",
		Short: "Start the cluster and the balancer in the background",
		Long: `Start the nodes, then the balancer, and return when clients are served. Whatever runs already stays as it
is, even with another configuration. If a step fails, or on Ctrl-C, this command stops again what it had
started. "erlmcp down" stops everything.

With --foreground, as in a container, it stays until SIGTERM or Ctrl-C, prints all logs, and then stops
what it has started. It ends with 1 if the cluster or the balancer ends by itself. SIGHUP reloads the
balancer's configuration, like "erlmcp lb reload".`,
		Example: `  erlmcp up
  erlmcp up --timeout 2m && erlmcp health
  erlmcp up --foreground`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if foreground {
				return a.upHere(cmd.Context())
			}
			if _, err := a.bringUp(cmd.Context()); err != nil || a.changes.dryRun {
				return err
			}
			return a.tellWhere(cmd.Context())
		},
	}
	cmd.Flags().BoolVar(&foreground, "foreground", false, "stay in the foreground, for containers and service managers")
	return addTimeout(a.addChangeFlags(cmd), "what was started is taken down again; erlmcp config paths tells where the logs are")
}

// takeDownTimeout bounds taking down what was started, longer than a balancer drains by default and nodes may take.
func takeDownTimeout(c *config.Config) time.Duration { return time.Minute + c.Cluster.StopsWithin() }

// bringUp starts what does not run of cluster and balancer, in this order. takeDown stops what bringUp
// has started, and nothing else, in the opposite order; a context that has ended does not keep it
// from doing so. After an error nothing is left to take down.
func (a *app) bringUp(ctx context.Context) (takeDown func(context.Context) error, err error) {
	c, err := a.config()
	if err != nil {
		return nil, err
	}
	if err := a.wouldFit(c); err != nil {
		return nil, err
	}
	var started []func(context.Context) error
	takeDown = func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), takeDownTimeout(c))
		defer cancel()
		var errs []error
		for i := len(started) - 1; i >= 0; i-- {
			errs = append(errs, started[i](ctx))
		}
		return errors.Join(errs...)
	}
	steps := []func(context.Context) (func(context.Context) error, error){a.bringUpCluster, a.bringUpBalancer}
	for _, step := range steps {
		undo, err := step(ctx)
		if undo != nil {
			started = append(started, undo)
		}
		if err != nil {
			return nil, errors.Join(err, takeDown(ctx))
		}
	}
	return takeDown, nil
}

// bringUpCluster starts the nodes that do not serve, and has a balancer that runs find them; undo stops
// those, and may be there with an error.
func (a *app) bringUpCluster(ctx context.Context) (undo func(context.Context) error, err error) {
	client := cluster.Connect(a.stateDir())
	before, err := client.Status(ctx)
	if err != nil && !errors.Is(err, control.ErrNotRunning) {
		return nil, err
	}
	started, err := a.startCluster(ctx, nil)
	if err != nil {
		return nil, err
	}
	if len(started) == 0 {
		return nil, nil
	}
	stopping := started
	if after, err := client.Status(ctx); before.PID == 0 || err == nil && after.PID != before.PID {
		stopping = nil // all of it: the supervisor too is this command's
	}
	undo = func(ctx context.Context) error { return a.stopCluster(ctx, stopping) }
	found, err := a.haveBalancerFollow(ctx, started)
	if err != nil {
		return undo, err
	}
	return undo, a.awaitCheck(ctx, found, true)
}

// bringUpBalancer starts the balancer unless there is one; undo stops it. One that has just been started
// by somebody else, or is about to end, does not answer yet, or not any more.
func (a *app) bringUpBalancer(ctx context.Context) (undo func(context.Context) error, err error) {
	for deadline := time.Now().Add(balancerPatience); ; {
		s, err := proxy.Connect(a.stateDir()).Stats(ctx)
		switch {
		case err == nil && s.State == proxy.StateDraining:
			err = hinted(&control.RunningError{Name: "lb", PID: s.PID}, "it drains, and takes no new clients: erlmcp lb stop --now ends it")
		case err == nil:
			a.notef("already running: lb (pid %d)", s.PID)
			a.warnOfNoNode(ctx, &s)
			return nil, nil
		case !errors.Is(err, control.ErrNotRunning):
			return nil, err
		default:
			if err = a.startBalancer(ctx, nil); err == nil {
				return func(ctx context.Context) error { return a.stopBalancer(ctx, false) }, nil
			}
		}
		_, there, _ := control.Running(a.stateDir(), "lb")
		if another := there || errors.Is(err, control.ErrRunning); !another || time.Now().After(deadline) {
			return nil, err
		}
		if err := pause(ctx, askPause); err != nil {
			return nil, err
		}
	}
}
