package cluster

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"reflect"
	"slices"
	"time"

	"github.com/erlmcp/erlmcp/internal/control"
	"github.com/erlmcp/erlmcp/internal/daemon"
	"github.com/erlmcp/erlmcp/internal/tempo"
	"github.com/erlmcp/erlmcp/internal/topology"
)

// Options say what Start starts.
type Options struct {
	StateDir string
	Spec     Spec
	Names    []string // nodes to start; none means all
	Args     []string // global flags for the supervisor and for nodes that are this program
	LogFile  string   // of the supervisor; "" is SupervisorLog

	Progress func(NodeStatus)    // told, from one goroutine, each node's status and its changes; may be nil
	Note     func(remark string) // told what is odd but no error; may be nil

	waits bool // has said that it waits for a supervisor to end
}

const (
	startPause = 20 * time.Millisecond
	// supervisorPatience is what a supervisor may take besides the time its nodes have to start.
	supervisorPatience = 30 * time.Second
	// killPatience exceeds what a supervisor takes to kill nodes that do not end when they are told to, and what
	// they leave behind.
	killPatience = 15 * time.Second
)

// StartsWithin is how long a supervisor may take until its first nodes are ready, or it has given up.
func (s *Spec) StartsWithin() time.Duration { return s.pace().startTimeout + supervisorPatience }

// StopsWithin is how long a supervisor may take to end: its nodes stop together.
func (s *Spec) StopsWithin() time.Duration { return s.pace().stopGrace + killPatience }

// Start starts the cluster in the background, or what is missing of a cluster that runs, and
// returns when the nodes are ready. When it fails, or ctx ends, what it started is taken down
// again.
func Start(ctx context.Context, o Options) error {
	if err := o.check(); err != nil {
		return err
	}
	return o.watched(ctx, func() error { return o.untilSettled(ctx) })
}

// untilSettled launches or joins until no supervisor comes or goes in between. One may take its time to end, since
// its nodes do, but none takes that long to be up.
func (o *Options) untilSettled(ctx context.Context) error {
	for began := time.Now(); ; {
		err := o.launchOrJoin(ctx)
		if !errors.Is(err, errAgain) {
			return err
		}
		between := new(control.NoSocketError)
		switch isBetween := errors.As(err, &between); {
		case !isBetween:
			began = time.Now()
		case time.Since(began) > supervisorPatience:
			return between
		}
		if err := tempo.Pause(ctx, startPause); err != nil {
			return err
		}
	}
}

// errAgain says that a supervisor came or went in the meantime.
var errAgain = errors.New("try again")

// Check reports why a cluster cannot be started, as far as that can be told without trying.
func Check(spec Spec) error {
	if err := spec.Validate(); err != nil {
		return err
	}
	if err := checkOpenFiles(spec.OpenFiles); err != nil {
		return err
	}
	_, err := runtimeOf(spec, "", nil)
	return err
}

func (o *Options) check() error {
	if err := Check(o.Spec); err != nil {
		return err
	}
	// The supervisor has another working directory.
	paths := []*string{&o.Spec.Logs.Dir}
	switch o.Spec.Runtime {
	case RuntimeErlang:
		paths = append(paths, &o.Spec.Erlang.Root, &o.Spec.Erlang.CookieFile)
	case RuntimeCommand:
		paths = append(paths, &o.Spec.Command.Dir)
	}
	for _, path := range paths {
		if *path == "" {
			continue
		}
		absolute, err := filepath.Abs(*path)
		if err != nil {
			return fmt.Errorf("%s: %w", *path, err)
		}
		*path = absolute
	}
	return nil
}

func (o *Options) launchOrJoin(ctx context.Context) error {
	if _, running, err := control.Running(o.StateDir, daemonName); err != nil {
		return err
	} else if running {
		return o.join(ctx)
	}
	if _, err := pick(o.Spec.Nodes, o.Names); err != nil {
		return err
	}
	err := o.launch(ctx)
	if _, running, _ := control.Running(o.StateDir, daemonName); err != nil && running && ctx.Err() == nil {
		return errAgain // another start was faster
	}
	return err
}

// launch starts a supervisor.
func (o *Options) launch(ctx context.Context) error {
	spec, err := json.Marshal(o.Spec)
	if err != nil {
		return fmt.Errorf("start cluster: %w", err)
	}
	_, err = daemon.Start(ctx, daemon.Options{
		Args:    slices.Concat([]string{"cluster", "supervise", "--spec-from-stdin"}, o.Args, o.Names),
		Input:   spec,
		LogFile: cmp.Or(o.LogFile, SupervisorLog(o.StateDir)),
		Timeout: o.Spec.StartsWithin(),
		// Were it killed before its nodes have ended, their children would be left.
		Grace: o.Spec.StopsWithin(),
	})
	return err
}

// SupervisorLog is the file that the supervisor of a state directory logs to if it is told no other one.
func SupervisorLog(stateDir string) string { return filepath.Join(stateDir, daemonName+".log") }

// join lets the supervisor that runs start what is missing.
func (o *Options) join(ctx context.Context) error {
	client := Connect(o.StateDir)
	spec, err := client.Spec(ctx)
	if err == nil {
		if !reflect.DeepEqual(normal(spec), normal(o.Spec)) && o.Note != nil {
			o.Note("the cluster runs with another configuration; `erlmcp cluster restart` applies this one")
		}
		err = client.StartNodes(ctx, o.Names)
	}
	switch {
	case errors.Is(err, control.ErrNotRunning): // not up yet, or gone
		return errors.Join(errAgain, err)
	case control.Refused(err, codeStopping):
		o.awaitEnd()
		return errAgain
	}
	return err
}

// awaitEnd says, once, that the start has to wait until the cluster's last supervisor has ended.
func (o *Options) awaitEnd() {
	if o.Note != nil && !o.waits {
		o.Note("the cluster is being stopped; it is started when that is done")
	}
	o.waits = true
}

// normal makes specs equal that mean the same.
func normal(s Spec) Spec {
	s.Resized = false
	s.Erlang.Args = append([]string{}, s.Erlang.Args...)
	s.Command.Argv = append([]string{}, s.Command.Argv...)
	s.Command.Env = append([]string{}, s.Command.Env...)
	s.Nodes = append([]topology.Node{}, s.Nodes...)
	return s
}

// watch reports progress until ctx ends, from whichever supervisor there is.
func (o *Options) watch(ctx context.Context) {
	if o.Progress == nil {
		return
	}
	client := Connect(o.StateDir)
	for ctx.Err() == nil {
		_ = client.Watch(ctx, o.Progress)
		_ = tempo.Pause(ctx, startPause)
	}
}

// conclude reports the nodes as they are in the end; watching may have missed that.
func (o *Options) conclude(ctx context.Context) {
	if o.Progress == nil {
		return
	}
	s, err := Connect(o.StateDir).Status(ctx)
	if err != nil {
		return
	}
	for _, n := range s.Nodes {
		o.Progress(n)
	}
}
