package cmd

import (
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/erlmcp/erlmcp/cluster"
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
		Long: `Start all nodes, or these, and return when each of them answers MCP. Nodes that run already stay
as they are, and a cluster that runs with another configuration keeps it: "cluster restart" applies the
present one. The balancer, if one runs, follows. When a node fails, or on Ctrl-C, what was started is taken down again. A start that comes
while the cluster is being stopped waits for that; a stop ends a start. What a supervisor that was
killed has left behind is ended first, not taken over.

With --nodes, the cluster has that many: the first ones of cluster.nodes, or more on the ports after
the last one's. One that runs grows or shrinks, and the balancer follows.

With --foreground, the supervisor stays in the foreground, as suits containers and service managers: it logs to the
standard error, the nodes' logs go to the standard output as well, and SIGTERM or Ctrl-C stops the cluster.`,
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
				return a.operator().Start(cmd.Context(), names)
			}
			if len(names) > 0 {
				return usagef("--nodes starts all nodes: name none")
			}
			if nodes < 1 || nodes > mostNodes {
				return usagef("--nodes: %d is not within 1..%d", nodes, mostNodes)
			}
			return a.operator().StartSized(cmd.Context(), nodes)
		},
	}
	cmd.Flags().IntVar(&nodes, "nodes", 0, "`NUMBER` of nodes the cluster is to have")
	cmd.Flags().BoolVar(&foreground, "foreground", false, "stay in the foreground, for containers and service managers")
	return addTimeout(a.addChangeFlags(cmd), "what was started is taken down again; erlmcp cluster logs tells what the nodes waited for")
}

func newClusterStopCommand(a *app) *cobra.Command {
	var drainTimeout time.Duration
	cmd := &cobra.Command{
		Use:   "stop [NODE...]",
		Short: "Stop the cluster, or these nodes",
		Long: `Stop the nodes gracefully, all at once: each finishes what it was asked, and has cluster.stop_timeout
before it is killed. Without NODE the supervisor ends as well. That nothing runs is no error.

The balancer, if one runs, gives the nodes no new clients first, and waits for those they have, at most
for --drain-timeout. Then requests of sessions are answered 404, and requests under way have ten
seconds.`,
		Example: `  erlmcp cluster stop
  erlmcp cluster stop erlmcp2 --drain-timeout 1m`,
		Args:              cobra.ArbitraryArgs,
		ValidArgsFunction: a.completeNodes,
		RunE: func(cmd *cobra.Command, names []string) error {
			return a.operator().StopDrained(cmd.Context(), names, drainTimeout)
		},
	}
	addDrainTimeout(cmd, &drainTimeout, "")
	return addTimeout(a.addChangeFlags(cmd), "what was begun goes on; erlmcp cluster status shows how far it is")
}

func newClusterRestartCommand(a *app) *cobra.Command {
	var rolling bool
	var drainTimeout time.Duration
	cmd := &cobra.Command{
		Use:   "restart [NODE...] [--rolling]",
		Short: "Restart the cluster, or these nodes one by one",
		Long: `Without NODE: stop everything and start it again, with the configuration and the program as they
are now; the balancer, if one runs, follows to where the nodes are then. Nothing is stopped unless all that a start
needs is there. A supervisor that a service manager or a container looks after stays the process that it is, and
reads its own configuration anew. With NODE: stop and start these nodes one by one, each ready before the next is stopped,
with the configuration the cluster runs with. On Ctrl-C the node whose turn it is comes back, and the
others stay as they are.

With --rolling: all nodes, or these, one by one, and never while another one is out. The balancer, if
one runs, gives a node no new clients. When it has none left, or after --drain-timeout, it gets nothing
more: requests of its sessions are answered 404, so that their clients begin new ones elsewhere, and
those under way have ten seconds. Then it is stopped. The next one's turn comes when the balancer has
found it again. A node that does not come back ends it. What "lb drain" and "lb disable" have taken out
of service stays out, and counts as out.`,
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
			switch o := a.operator(); {
			case a.changes.dryRun:
				return o.PlanRestart(ctx, names, rolling)
			case rolling:
				return o.Roll(ctx, names, drainTimeout)
			default:
				return o.Restart(ctx, names)
			}
		},
	}
	cmd.Flags().BoolVar(&rolling, "rolling", false, "one node at a time, drained at the balancer first")
	addDrainTimeout(cmd, &drainTimeout, "with --rolling: ")
	return addTimeout(a.addChangeFlags(cmd), "erlmcp cluster status shows which nodes are back")
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

// clusterStartHint tells what to do when there is no cluster to talk to.
func clusterStartHint(err error) error {
	if notRunning(err) {
		return hinted(err, "erlmcp cluster start")
	}
	return err
}
