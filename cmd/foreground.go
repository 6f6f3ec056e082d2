package cmd

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/erlmcp/erlmcp/cluster"
	"github.com/erlmcp/erlmcp/cluster/nodelog"
	"github.com/erlmcp/erlmcp/cmd/internal/exit"
	"github.com/erlmcp/erlmcp/cmd/internal/show"
	"github.com/erlmcp/erlmcp/internal/config"
	"github.com/erlmcp/erlmcp/internal/control"
	"github.com/erlmcp/erlmcp/internal/daemon"
	"github.com/erlmcp/erlmcp/internal/operate"
	"github.com/erlmcp/erlmcp/internal/topology"
	"github.com/erlmcp/erlmcp/proxy"
)

// staysHere refuses flags that make no sense for what stays in the foreground.
func (a *app) staysHere(ctx context.Context) error {
	_, limited := ctx.Deadline()
	if limited || a.changes.dryRun || a.changes.format != "table" {
		return exit.Usagef("--foreground goes without --dry-run, --output and --timeout")
	}
	return nil
}

// superviseHere runs the supervisor of "cluster start" in this process, and prints what the nodes write.
func (a *app) superviseHere(ctx context.Context, names []string, nodes int, resize bool) (err error) {
	defer func() {
		if err != nil {
			daemon.Fail(err) // who waits for a restart in place is told why there is none
		}
	}()
	if err := a.staysHere(ctx); err != nil {
		return err
	}
	if resize && (nodes < 1 || nodes > mostNodes) {
		return exit.Usagef("--nodes: %d is not within 1..%d", nodes, mostNodes)
	}
	resized := func(c *config.Config, err error) (*config.Config, error) {
		if err == nil && resize {
			c.Cluster.Nodes, c.Cluster.Resized = topology.Resize(c.Cluster.Nodes, nodes), true
		}
		return c, err
	}
	c, err := resized(a.config())
	if err != nil {
		return err
	}
	if err := operate.Known(c.Cluster.Nodes, names); err != nil {
		return err
	}
	pid, running, err := control.Running(a.stateDir(), "cluster")
	if err != nil {
		return err
	}
	if running && pid != os.Getpid() { // this process has the lock when it has become this program anew
		return exit.Hinted(&control.RunningError{Name: "cluster", PID: pid}, "erlmcp cluster stop ends it; --state-dir runs another one beside it")
	}
	logs, err := cluster.NodeLogs(ctx, a.stateDir(), a.clusterSpec(c), nil)
	if err != nil {
		return err
	}
	defer a.followLogs(ctx, logs)()
	return a.supervise(ctx, a.clusterSpec(c), names, func() (*config.Config, error) { return resized(a.loadConfig()) })
}

// followLogs prints what is written to logs from now on, until stop is called, which returns when all is printed.
func (a *app) followLogs(ctx context.Context, logs []nodelog.Log) (stop func()) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx)) // what is said at the end counts too
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		var names []string
		for _, l := range logs {
			names = append(names, l.Node)
		}
		o := nodelog.TailOptions{Logs: func(context.Context) ([]nodelog.Log, error) { return logs, nil }, Follow: true}
		if err := nodelog.Tail(ctx, o, show.Lines(a.stdout, names)); err != nil && ctx.Err() == nil {
			a.warnf("logs are no longer shown: %v", err)
		}
	}()
	return func() {
		cancel()
		<-ended
	}
}

// watchPause is between two looks whether what runs in the background still does.
const watchPause = 250 * time.Millisecond

// upHere starts cluster and balancer, as "up" does, and stays with them: until ctx ends, or one of them does.
func (a *app) upHere(ctx context.Context) error {
	if err := a.staysHere(ctx); err != nil {
		return err
	}
	c, err := a.config()
	if err != nil {
		return err
	}
	logs, err := cluster.NodeLogs(ctx, a.stateDir(), a.clusterSpec(c), nil)
	if err != nil {
		return err
	}
	logs = append(logs, nodelog.Log{Node: "cluster", Path: a.daemonLog("cluster")},
		nodelog.Log{Node: "lb", Path: a.daemonLog("lb")})
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	defer signal.Stop(hangups)
	defer a.followLogs(ctx, logs)()
	k, err := a.startKeeper(ctx)
	if err != nil {
		return err
	}
	if err = a.tellWhere(ctx); err == nil || ctx.Err() != nil { // to be told to end is no failure from here on
		err = a.stayWith(ctx, hangups)
	}
	return errors.Join(err, keeperSaid(k.TakeDown()))
}

// stayWith returns when ctx ends, or with what does not run any more.
func (a *app) stayWith(ctx context.Context, hangups <-chan os.Signal) error {
	tick := time.NewTicker(watchPause)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-hangups:
			if _, err := proxy.Connect(a.stateDir()).Reload(ctx); err != nil && ctx.Err() == nil {
				a.warnf("not reloaded: %v", err)
			}
		case <-tick.C:
			for _, name := range []string{"lb", "cluster"} {
				if _, runs, err := control.Running(a.stateDir(), name); err == nil && !runs && ctx.Err() == nil {
					return exit.Hinted(exit.Failf("%s has ended", name), "its log is above; erlmcp up starts it again")
				}
			}
		}
	}
}
