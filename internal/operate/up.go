package operate

import (
	"context"
	"errors"
	"time"

	"github.com/erlmcp/erlmcp/internal/advice"
	"github.com/erlmcp/erlmcp/internal/control"
	"github.com/erlmcp/erlmcp/internal/tempo"
	"github.com/erlmcp/erlmcp/proxy"
)

// takeDownPatience is longer than a balancer drains by default.
const takeDownPatience = time.Minute

// Up starts what does not run of cluster and balancer, in this order. takeDown stops what Up has started, and nothing
// else, in the opposite order; a context that has ended does not keep it from doing so. After an error nothing is left
// to take down.
func (o *Operator) Up(ctx context.Context) (takeDown func(context.Context) error, err error) {
	spec, err := o.Program.Configured()
	if err != nil {
		return nil, err
	}
	if err := o.Program.Fits(); err != nil {
		return nil, err
	}
	var started []func(context.Context) error
	takeDown = func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), takeDownPatience+spec.StopsWithin())
		defer cancel()
		var errs []error
		for i := len(started) - 1; i >= 0; i-- {
			errs = append(errs, started[i](ctx))
		}
		return errors.Join(errs...)
	}
	steps := []func(context.Context) (func(context.Context) error, error){o.upCluster, o.upBalancer}
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

// upCluster starts the nodes that do not serve, and has a balancer that runs find them; undo stops those, and may be
// there with an error.
func (o *Operator) upCluster(ctx context.Context) (undo func(context.Context) error, err error) {
	started, whole, err := o.start(ctx, nil)
	if err != nil || len(started) == 0 {
		return nil, err
	}
	stopping := started
	if whole {
		stopping = nil // the supervisor too is this order's
	}
	undo = func(ctx context.Context) error { return o.stop(ctx, stopping) }
	return undo, o.awaitFound(ctx, started)
}

// upBalancer starts the balancer unless there is one; undo stops it. One that has just been started by somebody else,
// or is about to end, does not answer yet, or not any more.
func (o *Operator) upBalancer(ctx context.Context) (undo func(context.Context) error, err error) {
	for deadline := time.Now().Add(balancerPatience); ; {
		s, err := o.Balancer.Stats(ctx)
		switch {
		case err == nil && s.State == proxy.StateDraining:
			err = advice.With(&control.RunningError{Name: "lb", PID: s.PID}, "it drains, and takes no new clients: erlmcp lb stop --now ends it")
		case err == nil:
			o.Tell(BalancerRuns{s})
			return nil, nil
		case !errors.Is(err, control.ErrNotRunning):
			return nil, err
		default:
			if err = o.Program.StartBalancer(ctx); err == nil {
				return func(ctx context.Context) error { return o.Program.StopBalancer(ctx, false) }, nil
			}
		}
		if another := o.Program.BalancerRuns() || errors.Is(err, control.ErrRunning); !another || time.Now().After(deadline) {
			return nil, err
		}
		if err := tempo.Pause(ctx, askPause); err != nil {
			return nil, err
		}
	}
}

// Down stops the balancer, drained unless now, and then the cluster. That nothing runs is no error.
func (o *Operator) Down(ctx context.Context, now bool) error {
	err := o.Program.StopBalancer(ctx, now)
	if errors.Is(err, context.Canceled) {
		return err
	}
	return errors.Join(err, o.stop(ctx, nil))
}
