package operate

import (
	"context"
	"errors"
	"time"

	"github.com/erlmcp/erlmcp/cluster"
	"github.com/erlmcp/erlmcp/internal/control"
	"github.com/erlmcp/erlmcp/internal/topology"
)

// Start starts the named nodes, or all, and has the balancer follow.
func (o *Operator) Start(ctx context.Context, names []string) error {
	started, _, err := o.start(ctx, names)
	if err != nil || len(started) == 0 {
		return err
	}
	_, err = o.follow(ctx, started)
	return err
}

// start returns the names of the nodes that it has started, and whether their supervisor has been as well. A cluster that
// runs with other nodes than configured stays as it is: all are its nodes then.
func (o *Operator) start(ctx context.Context, names []string) (started []string, whole bool, err error) {
	spec, err := o.Program.Configured()
	if err != nil {
		return nil, false, err
	}
	before, err := o.Cluster.Status(ctx)
	if unlessGone(err) != nil {
		return nil, false, err
	}
	if before.PID == 0 {
		if err := o.Program.NodesFit(); err != nil {
			return nil, false, err
		}
	}
	if o.DryRun {
		if err := cluster.Check(*spec); err != nil {
			return nil, false, err
		}
		nodes := spec.Nodes
		if running, err := o.Cluster.Spec(ctx); err == nil {
			nodes = running.Nodes
		}
		return nil, false, o.wouldStart(nodes, before, names)
	}
	begin := time.Now()
	if err := o.Program.StartNodes(ctx, names); err != nil {
		return nil, false, err
	}
	after := o.started(ctx, spec)
	if len(names) == 0 {
		names = after.Names()
	}
	started = o.leaveRunning(names, func(name string) bool {
		pid := servesIn(before, name)
		return pid != 0 && pid == servesIn(after, name)
	})
	if len(started) > 0 {
		o.Tell(Change{Action: Start, Names: started, Took: time.Since(begin)})
	}
	return started, before.PID == 0 || after.PID != 0 && after.PID != before.PID, nil
}

// started is what the supervisor says of a cluster that was started just now: it is up, even if it is stopped again.
func (o *Operator) started(ctx context.Context, spec *cluster.Spec) cluster.Status {
	s, err := o.Cluster.Status(ctx)
	if err != nil {
		s = cluster.Offline("", *spec)
	}
	return s
}

// leaveRunning tells which of the nodes run already, and returns the others.
func (o *Operator) leaveRunning(names []string, runs func(name string) bool) (others []string) {
	var running []string
	for _, name := range names {
		if runs(name) {
			running = append(running, name)
		} else {
			others = append(others, name)
		}
	}
	if len(running) > 0 {
		o.Tell(AlreadyRunning{running})
	}
	return others
}

// wouldStart tells which of the names a start would start: of all nodes if there are none.
func (o *Operator) wouldStart(nodes []topology.Node, now cluster.Status, names []string) error {
	if err := Known(nodes, names); err != nil {
		return err
	}
	if len(names) == 0 {
		names = topology.Names(nodes)
	}
	starts := o.leaveRunning(names, func(name string) bool { return servesIn(now, name) != 0 })
	if len(starts) > 0 {
		o.would(Change{Action: Start, Names: starts})
	}
	return nil
}

// stop stops the named nodes, or the cluster, with the clients they have. That nothing runs is no error.
func (o *Operator) stop(ctx context.Context, names []string) error {
	if o.DryRun {
		return o.wouldStop(ctx, Change{Action: Stop}, names)
	}
	running, err := o.Cluster.Spec(ctx)
	stopped := Change{Action: Stop, Names: names}
	if len(names) == 0 {
		stopped = Change{
			Action: Stop, Names: topology.Names(running.Nodes), Whole: true,
			LeavesEPMD: err == nil && running.Runtime == cluster.RuntimeErlang,
		}
		err = o.Cluster.Shutdown(ctx)
	} else {
		err = o.Cluster.StopNodes(ctx, names)
	}
	if control.NotRunning(err) {
		return o.nothingRuns(names)
	}
	if err == nil {
		o.Tell(stopped)
	}
	return err
}

// nothingRuns tells it, if the names are those of nodes at all.
func (o *Operator) nothingRuns(names []string) error {
	if len(names) > 0 {
		spec, err := o.Program.Configured()
		if err != nil {
			return err
		}
		if err := Known(spec.Nodes, names); err != nil {
			return err
		}
	}
	o.Tell(NotRunning{})
	return nil
}

// wouldStop tells which nodes a change of them, or of all, would stop.
func (o *Operator) wouldStop(ctx context.Context, c Change, names []string) error {
	s, err := o.Cluster.Status(ctx)
	if errors.Is(err, control.ErrNotRunning) {
		return o.nothingRuns(names)
	}
	if err != nil {
		return err
	}
	if s, err = s.Only(names); err != nil {
		return err
	}
	c.Whole = len(names) == 0
	for _, n := range s.Nodes {
		if n.PID != 0 {
			c.Names = append(c.Names, n.Name)
		}
	}
	o.would(c)
	return nil
}

// Restart stops and starts the named nodes one by one, or all that there is at once. What does not run is started.
func (o *Operator) Restart(ctx context.Context, names []string) error {
	if len(names) > 0 {
		err := o.Cluster.RestartNodes(ctx, names)
		if errors.Is(err, control.ErrNotRunning) {
			return o.Start(ctx, names)
		}
		if err == nil {
			o.Tell(Change{Action: Restart, Names: names})
		}
		return err
	}
	started, err := o.restartAll(ctx)
	if err != nil {
		return err
	}
	return o.awaitFound(ctx, started)
}

// awaitFound has the balancer follow, and returns when it has found these nodes up.
func (o *Operator) awaitFound(ctx context.Context, started []string) error {
	found, err := o.follow(ctx, started)
	if err != nil {
		return err
	}
	return o.awaitCheck(ctx, found, true)
}

// restartAll stops everything and starts it again, in place where somebody else looks after the supervisor, and returns
// the names of the nodes. Without a cluster it starts one.
func (o *Operator) restartAll(ctx context.Context) (started []string, err error) {
	spec, err := o.Program.Configured() // before anything is stopped
	if err != nil {
		return nil, err
	}
	inPlace, err := o.Program.PrepareRestart(ctx)
	switch {
	case unlessGone(err) != nil:
		return nil, err
	case inPlace:
		begin := time.Now()
		if err := o.Program.RestartInPlace(ctx); err != nil {
			return nil, err
		}
		after := o.started(ctx, spec)
		o.Tell(RestartedInPlace{after.Names(), after.PID, time.Since(begin)})
		return after.Names(), nil
	}
	if err := o.Program.NodesFit(); err != nil {
		return nil, err
	}
	if err := o.stop(ctx, nil); err != nil {
		return nil, err
	}
	started, _, err = o.start(ctx, nil)
	return started, err
}

// PlanRestart tells what a restart would do, if it would begin.
func (o *Operator) PlanRestart(ctx context.Context, names []string, rolling bool) error {
	spec, err := o.Program.Configured()
	if err != nil {
		return err
	}
	if err := cluster.Check(*spec); err != nil {
		return err
	}
	if _, err := o.Cluster.Status(ctx); errors.Is(err, control.ErrNotRunning) {
		if rolling {
			return startFirst(err)
		}
		return o.wouldStart(spec.Nodes, cluster.Status{}, names)
	}
	c := Change{Action: Restart}
	if rolling {
		c.By = OneByOne
	}
	return o.wouldStop(ctx, c, names)
}
