package cmd

import (
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/erlmcp/erlmcp/cluster"
	"github.com/erlmcp/erlmcp/cmd/internal/exit"
	"github.com/erlmcp/erlmcp/cmd/internal/systemd"
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
		newUnitCommand(a, &systemd.Cluster), newClusterSuperviseCommand(a),
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
				return a.operator().Start(cmd.Context(), names)
			}
			if len(names) > 0 {
				return exit.Usagef("--nodes starts all nodes: name none")
			}
			if nodes < 1 || nodes > mostNodes {
				return exit.Usagef("--nodes: %d is not within 1..%d", nodes, mostNodes)
			}
			return a.operator().StartSized(cmd.Context(), nodes)
		},
	}
	cmd.Flags().IntVar(&nodes, "nodes", 0, "`NUMBER` of nodes the cluster should have")
	cmd.Flags().BoolVar(&foreground, "foreground", false, "stay in the foreground, for containers and service managers")
	return addTimeout(a.addChangeFlags(cmd), "what was started is taken down again; erlmcp cluster logs tells what the nodes waited for")
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
				return exit.Usagef("--drain-timeout goes with --rolling only")
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
				return exit.Usagef("--hold goes with --signal KILL only")
			}
			if !slices.Contains(signalNames, string(s)) {
				return exit.NotOneOf("--signal", signal, signalNames)
			}
			client := cluster.Connect(a.stateDir())
			done := onNode("kill", args[0], nil)
			if a.changes.dryRun {
				now, err := client.Status(cmd.Context())
				if err != nil {
					return startHint(err, "cluster")
				}
				if _, err := now.Only(args); err != nil {
					return err
				}
				a.would(done, "send SIG%s to %s", s, args[0])
				return nil
			}
			err := client.Kill(cmd.Context(), args[0], s, hold)
			if err != nil {
				return startHint(err, "cluster")
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
