package cmd

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/erlmcp/erlmcp/cluster"
	"github.com/erlmcp/erlmcp/internal/config"
	"github.com/erlmcp/erlmcp/internal/control"
	"github.com/erlmcp/erlmcp/internal/topology"
)

func newClusterCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "cluster",
		Short: "Run the cluster's nodes",
		Long: `Run the nodes of the configuration's section "cluster" in the background, under a supervisor that
starts them again when they die and keeps their logs. There is one cluster per state directory.`,
	}
	cmd.AddCommand(
		newClusterStartCommand(a), newClusterStopCommand(a), newClusterRestartCommand(a),
		newClusterAddCommand(a), newClusterRemoveCommand(a),
		newClusterStatusCommand(a), newClusterEventsCommand(a), newClusterTailCommand(a),
		newClusterLogsCommand(a), newClusterKillCommand(a),
		newClusterUnitCommand(a), newClusterSuperviseCommand(a),
	)
	return cmd
}

func newClusterStartCommand(a *app) *cobra.Command {
	var nodes int
	var foreground bool
	cmd := &cobra.Command{
		Use:   "start [NODE...] [--nodes N] [--foreground]",
		Short: "Start all nodes, or these",
		Long: `Start all nodes, or the ones you name, and return when each of them answers MCP requests. Nodes that run
stay as they are, and so does the configuration of a running cluster: "cluster restart" puts a new one into
force. The balancer, if one runs, follows. If a node fails, or on Ctrl-C, this command stops again what it
had started.

A start that comes while the cluster is being stopped waits for the end of that; a stop ends a start. What a
killed supervisor has left behind is ended first, not taken over.

With --nodes, the cluster gets that many nodes: the first ones of cluster.nodes, and then more on the ports
after the last one's. A running cluster grows or shrinks, and the balancer follows.

With --foreground, for containers and service managers, the supervisor stays in the foreground. Its log goes
to the standard error, the nodes' output to the standard output as well. SIGTERM or Ctrl-C stops the cluster.`,
		Example: `  erlmcp cluster start
  erlmcp cluster start --nodes 8
  erlmcp cluster start erlmcp2 --timeout 30s
  erlmcp cluster start --foreground`,
		Args:              cobra.ArbitraryArgs,
		ValidArgsFunction: a.completeNodes,
		RunE: func(cmd *cobra.Command, names []string) error {
			if foreground {
				return a.superviseHere(cmd.Context(), names, nodes, cmd.Flags().Changed("nodes"))
			}
			if !cmd.Flags().Changed("nodes") {
				return a.runNodes(cmd.Context(), names)
			}
			if len(names) > 0 {
				return usagef("--nodes starts all nodes: name none")
			}
			if nodes < 1 || nodes > mostNodes {
				return usagef("--nodes: %d is not within 1..%d", nodes, mostNodes)
			}
			return a.startNodes(cmd.Context(), nodes)
		},
	}
	cmd.Flags().IntVar(&nodes, "nodes", 0, "`NUMBER` of nodes the cluster should have")
	cmd.Flags().BoolVar(&foreground, "foreground", false, "stay in the foreground, for containers and service managers")
	return addTimeout(a.addChangeFlags(cmd), "what was started is taken down again; erlmcp cluster logs tells what the nodes waited for")
}

// startNodes starts a cluster of n nodes, or makes the one that runs one of n nodes.
func (a *app) startNodes(ctx context.Context, n int) error {
	c, err := a.config()
	if err != nil {
		return err
	}
	running, err := cluster.Connect(a.stateDir()).Spec(ctx)
	switch {
	case errors.Is(err, control.ErrNotRunning):
		c.Cluster.Nodes, c.Cluster.Resized = topology.Resize(c.Cluster.Nodes, n), true
	case err != nil:
		return err
	default:
		if err := a.resize(ctx, n); err != nil || a.changes.dryRun {
			return err
		}
		c.Cluster.Nodes = topology.Resize(running.Nodes, n)
	}
	return a.runNodes(ctx, nil)
}

// runNodes starts the named nodes, or all, and has the balancer follow.
func (a *app) runNodes(ctx context.Context, names []string) error {
	started, err := a.startCluster(ctx, names)
	if err != nil || len(started) == 0 {
		return err
	}
	_, err = a.haveBalancerFollow(ctx, started)
	return err
}

// startCluster starts the named nodes, or all, says what it did, and returns the names of those it started. A
// cluster that runs with other nodes than configured stays as it is: all are its nodes then.
func (a *app) startCluster(ctx context.Context, names []string) (started []string, err error) {
	c, err := a.config()
	if err != nil {
		return nil, err
	}
	before, err := cluster.Connect(a.stateDir()).Status(ctx)
	if err != nil && !errors.Is(err, control.ErrNotRunning) {
		return nil, err
	}
	if before.PID == 0 {
		if err := fit(c, nodesNeed); err != nil {
			return nil, err
		}
	}
	o, err := a.clusterOptions(c, names)
	if err != nil {
		return nil, err
	}
	if a.changes.dryRun {
		if err := cluster.Check(c.Cluster); err != nil {
			return nil, err
		}
		nodes := c.Cluster.Nodes
		if running, err := cluster.Connect(a.stateDir()).Spec(ctx); err == nil {
			nodes = running.Nodes
		}
		return nil, a.wouldStart(nodes, before, names)
	}
	begin := time.Now()
	if err := cluster.Start(ctx, o); err != nil {
		return nil, err
	}
	if err := a.stderr.Erase(); err != nil {
		return nil, err
	}
	after := a.startedCluster(ctx, o.Spec)
	if len(names) == 0 {
		names = after.Names()
	}
	started = a.leaveRunning(names, func(name string) bool {
		pid := servesIn(before, name)
		return pid != 0 && pid == servesIn(after, name)
	})
	if len(started) > 0 {
		a.did(onNodes("start", started), "started %s in %v", strings.Join(started, ", "), time.Since(begin).Round(10*time.Millisecond))
	}
	return started, nil
}

// startedCluster is what the supervisor says of a cluster that was started just now.
func (a *app) startedCluster(ctx context.Context, spec cluster.Spec) cluster.Status {
	s, err := cluster.Connect(a.stateDir()).Status(ctx)
	if err != nil { // it is up, even if it is stopped again just now
		s = cluster.Offline(a.stateDir(), spec)
	}
	return s
}

// leaveRunning tells which of the nodes run already, and returns the others.
func (a *app) leaveRunning(names []string, runs func(name string) bool) (others []string) {
	var running []string
	for _, name := range names {
		if runs(name) {
			running = append(running, name)
		} else {
			others = append(others, name)
		}
	}
	if len(running) > 0 {
		a.notef("already running: %s", strings.Join(running, ", "))
	}
	return others
}

// clusterOptions are what starts the configured cluster, or these nodes of it.
func (a *app) clusterOptions(c *config.Config, names []string) (cluster.Options, error) {
	args, err := a.globalArgs()
	return cluster.Options{
		StateDir: a.stateDir(), Spec: a.clusterSpec(c), Names: names, Args: args, LogFile: a.daemonLog("cluster"),
		Note:     func(text string) { a.notef("note: %s", text) },
		Progress: a.nodeProgress("starting"),
	}, err
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

// nodeProgress draws which nodes are ready while work goes on.
func (a *app) nodeProgress(doing string) func(cluster.NodeStatus) {
	var mu sync.Mutex
	var order []string
	states := map[string]cluster.State{}
	return func(n cluster.NodeStatus) {
		mu.Lock()
		defer mu.Unlock()
		if _, known := states[n.Name]; !known {
			order = append(order, n.Name)
		}
		states[n.Name] = n.State
		line := doing
		for _, name := range order {
			line += "  " + name + " " + a.stderr.Paint(stateStyle(states[name]), string(states[name]))
		}
		_ = a.stderr.Draw(line)
	}
}

func newClusterStopCommand(a *app) *cobra.Command {
	var drainTimeout time.Duration
	cmd := &cobra.Command{
		Use:   "stop [NODE...]",
		Short: "Stop the cluster, or these nodes",
		Long: `Stop all nodes, or the ones you name, all at once. Each finishes what it was asked, and is killed after
cluster.stop_timeout. Without NODE, the supervisor ends as well. If nothing runs, that is no error.

The balancer, if one runs, first gives the nodes no new clients, and waits until their clients have left, at
most for --drain-timeout. Then requests of their sessions get 404, and requests under way have ten seconds.`,
		Example: `  erlmcp cluster stop
  erlmcp cluster stop erlmcp2 --drain-timeout 1m`,
		Args:              cobra.ArbitraryArgs,
		ValidArgsFunction: a.completeNodes,
		RunE: func(cmd *cobra.Command, names []string) error {
			return a.stopDrained(cmd.Context(), names, drainTimeout)
		},
	}
	addDrainTimeout(cmd, &drainTimeout, "")
	return addTimeout(a.addChangeFlags(cmd), "what was begun goes on; erlmcp cluster status shows how far it is")
}

// stopCluster stops the named nodes, or the cluster, and says what it did.
func (a *app) stopCluster(ctx context.Context, names []string) error {
	if a.changes.dryRun {
		return a.wouldStop(ctx, "stop", "stop", names)
	}
	running, err := cluster.Connect(a.stateDir()).Spec(ctx)
	stopped := change{Action: "stop", Kind: "cluster", Names: topology.Names(running.Nodes)}
	leavesEPMD := err == nil && running.Runtime == cluster.RuntimeErlang && len(names) == 0
	if len(names) == 0 {
		err = cluster.Stop(ctx, a.stateDir())
	} else {
		err = cluster.Connect(a.stateDir()).StopNodes(ctx, names)
	}
	switch {
	case between(err):
		return err
	case errors.Is(err, control.ErrNotRunning):
		if err := a.knownNodes(names); err != nil {
			return err
		}
		a.notef("cluster is not running")
	case err != nil:
		return err
	case leavesEPMD:
		a.did(stopped, "cluster stopped; epmd, which all Erlang nodes of this machine share, is left as it is")
	case len(names) == 0:
		a.did(stopped, "cluster stopped")
	default:
		a.did(onNodes("stop", names), "stopped %s", strings.Join(names, ", "))
	}
	return nil
}

// knownNodes checks names against the configuration.
func (a *app) knownNodes(names []string) error {
	if len(names) == 0 {
		return nil
	}
	c, err := a.config()
	if err != nil {
		return err
	}
	return allKnown(c.Cluster.Nodes, names)
}

// allKnown reports the first of the names that no node has.
func allKnown(nodes []topology.Node, names []string) error {
	for _, name := range names {
		if _, err := topology.Find(nodes, name); err != nil {
			return err
		}
	}
	return nil
}

func newClusterRestartCommand(a *app) *cobra.Command {
	var rolling bool
	var drainTimeout time.Duration
	cmd := &cobra.Command{
		Use:   "restart [NODE...] [--rolling]",
		Short: "Restart the cluster, or these nodes one by one",
		Long: `Without NODE: stop everything and start it again, with the configuration and the program as they are now.
The balancer, if one runs, follows. Nothing is stopped before everything that a start needs has been checked.
A supervisor in the foreground, as under systemd or in a container, restarts in place: it stays the same
process and reads its own configuration again.

With NODE: stop and start these nodes one by one, with the configuration the cluster runs with. Each is ready
before the next one stops. On Ctrl-C, the node whose turn it is comes back, and the others stay as they are.

With --rolling: restart all nodes, or these, one by one, and never while another one is out.

  1. The balancer, if one runs, gives the node no new clients.
  2. When the node has no clients left, or after --drain-timeout, it gets nothing more. Requests of its
     sessions get 404, so that clients begin new ones elsewhere. Requests under way have ten seconds.
  3. The node stops and starts. The next one follows when the balancer has found it again.

A node that does not come back ends the roll. Nodes that "lb drain" or "lb disable" took out stay out, and
count as out.`,
		Example: `  erlmcp cluster restart
  erlmcp cluster restart --rolling --drain-timeout 1m
  erlmcp cluster restart erlmcp2`,
		Args:              cobra.ArbitraryArgs,
		ValidArgsFunction: a.completeNodes,
		RunE: func(cmd *cobra.Command, names []string) error {
			ctx := cmd.Context()
			if cmd.Flags().Changed("drain-timeout") && !rolling {
				return usagef("--drain-timeout goes with --rolling only")
			}
			if a.changes.dryRun {
				return a.wouldRestart(ctx, names, rolling)
			}
			if rolling {
				return a.roll(ctx, names, drainTimeout)
			}
			if len(names) > 0 {
				err := cluster.Connect(a.stateDir()).RestartNodes(ctx, names)
				if errors.Is(err, control.ErrNotRunning) {
					return a.runNodes(ctx, names)
				}
				if err == nil {
					a.did(onNodes("restart", names), "restarted %s", strings.Join(names, ", "))
				}
				return err
			}
			started, err := a.restartCluster(ctx)
			if err != nil {
				return err
			}
			found, err := a.haveBalancerFollow(ctx, started)
			if err != nil {
				return err
			}
			return a.awaitCheck(ctx, found, true)
		},
	}
	cmd.Flags().BoolVar(&rolling, "rolling", false, "one node at a time, drained at the balancer first")
	addDrainTimeout(cmd, &drainTimeout, "with --rolling: ")
	return addTimeout(a.addChangeFlags(cmd), "erlmcp cluster status shows which nodes are back")
}

// restartCluster stops everything and starts it again, in place where somebody else looks after the supervisor, says what
// it did, and returns the names of the nodes. Without a cluster it starts one.
func (a *app) restartCluster(ctx context.Context) (started []string, err error) {
	c, err := a.config() // before anything is stopped
	if err != nil {
		return nil, err
	}
	o, err := a.clusterOptions(c, nil)
	if err != nil {
		return nil, err
	}
	inPlace, err := cluster.PrepareRestart(ctx, o)
	switch {
	case err != nil && !errors.Is(err, control.ErrNotRunning):
		return nil, err
	case inPlace:
		return a.restartInPlace(ctx, o)
	}
	if err := fit(c, nodesNeed); err != nil {
		return nil, err
	}
	if err := a.stopCluster(ctx, nil); err != nil {
		return nil, err
	}
	return a.startCluster(ctx, nil)
}

// restartInPlace is restartCluster for a supervisor that stays.
func (a *app) restartInPlace(ctx context.Context, o cluster.Options) (started []string, err error) {
	begin := time.Now()
	if err := cluster.RestartInPlace(ctx, o); err != nil {
		return nil, err
	}
	if err := a.stderr.Erase(); err != nil {
		return nil, err
	}
	after := a.startedCluster(ctx, o.Spec)
	started = after.Names()
	a.notef("restarted %s in %v, in place (pid %d)", strings.Join(started, ", "), time.Since(begin).Round(10*time.Millisecond), after.PID)
	return started, nil
}

func newClusterKillCommand(a *app) *cobra.Command {
	var signal string
	var hold bool
	cmd := &cobra.Command{
		Use:   "kill NODE [--signal KILL|STOP|CONT] [--hold]",
		Short: "Kill, freeze or wake a node, to see what happens",
		Long: `Send a signal to all processes of a node. KILL ends it at once, and the supervisor starts it
again unless --hold keeps it down until "cluster start". STOP freezes it: its connections stay open
and nothing is answered. CONT lets it go on.`,
		Example: `  erlmcp cluster kill erlmcp2
  erlmcp cluster kill erlmcp2 --signal STOP`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeNodes,
		RunE: func(cmd *cobra.Command, args []string) error {
			s := cluster.Signal(strings.TrimPrefix(strings.ToUpper(signal), "SIG"))
			if hold && s != cluster.SignalKill {
				return usagef("--hold goes with --signal KILL only")
			}
			if !slices.Contains(signalNames, string(s)) {
				return notOneOf("--signal", signal, signalNames)
			}
			client := cluster.Connect(a.stateDir())
			done := onNodes("kill", []string{args[0]})
			if a.changes.dryRun {
				now, err := client.Status(cmd.Context())
				if err != nil {
					return clusterStartHint(err)
				}
				if _, err := now.Only(args); err != nil {
					return err
				}
				a.would(done, "send SIG%s to %s", s, args[0])
				return nil
			}
			err := client.Kill(cmd.Context(), args[0], s, hold)
			if err != nil {
				return clusterStartHint(err)
			}
			a.did(done, "sent SIG%s to %s", s, args[0])
			return nil
		},
	}
	cmd.Flags().StringVar(&signal, "signal", string(cluster.SignalKill), "`SIGNAL` to send: KILL, STOP or CONT")
	cmd.Flags().BoolVar(&hold, "hold", false, "keep the killed node down")
	_ = cmd.RegisterFlagCompletionFunc("signal",
		cobra.FixedCompletions(signalNames, cobra.ShellCompDirectiveNoFileComp))
	return a.addChangeFlags(cmd)
}

// signalNames are those that "cluster kill" sends.
var signalNames = []string{"KILL", "STOP", "CONT"}

// wouldRestart says, for --dry-run, what a restart would do, if it would begin.
func (a *app) wouldRestart(ctx context.Context, names []string, rolling bool) error {
	doing := "stop and start"
	if rolling {
		doing = "drain, stop and start, one by one,"
	}
	c, err := a.config()
	if err != nil {
		return err
	}
	if err := cluster.Check(c.Cluster); err != nil {
		return err
	}
	if _, err := a.supervisorStatus(ctx); errors.Is(err, control.ErrNotRunning) {
		if rolling {
			return clusterStartHint(err)
		}
		return a.wouldStart(c.Cluster.Nodes, cluster.Status{}, names)
	}
	return a.wouldStop(ctx, "restart", doing, names)
}

// clusterStartHint tells what to do when there is no cluster to talk to.
func clusterStartHint(err error) error {
	if notRunning(err) {
		return hinted(err, "erlmcp cluster start")
	}
	return err
}
