package cmd

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/erlmcp/erlmcp/cmd/internal/exit"
	"github.com/erlmcp/erlmcp/cmd/internal/show"
	"github.com/erlmcp/erlmcp/internal/tempo"
	"github.com/erlmcp/erlmcp/internal/topology"
	"github.com/erlmcp/erlmcp/proxy"
)

func newLBDrainCommand(a *app) *cobra.Command {
	var wait bool
	cmd := &cobra.Command{
		Use:   "drain NODE [--wait [--timeout TIME]]",
		Short: "Give a node no new clients",
		Long: `Give a node no new clients, until "lb enable". Its clients and MCP sessions stay; new TCP connections go
elsewhere. A drained node that goes down counts as in maintenance.

With --wait, the command returns when the node has no clients left. After --timeout it gives up with exit
code 1; the node goes on draining.`,
		Example: `  erlmcp lb drain erlmcp2
  erlmcp lb drain erlmcp2 --wait --timeout 5m`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeNodes,
		RunE: func(cmd *cobra.Command, args []string) error {
			if cmd.Flags().Changed("timeout") && !wait {
				return exit.Usagef("--timeout is for --wait")
			}
			return a.orderNode(cmd.Context(), "drain", args[0], proxy.Connect(a.stateDir()).Drain, func(n proxy.NodeStats) error {
				if wait {
					return a.awaitEmpty(cmd.Context(), n)
				}
				a.did(onNode("drain", n.Name, n), "%s drains: %s left", n.Name, show.Count(int(n.Connections), "client"))
				return nil
			})
		},
	}
	cmd.Flags().BoolVar(&wait, "wait", false, "return when it has no clients left")
	return addTimeout(a.addChangeFlags(cmd), "it goes on draining; erlmcp lb disable NODE gives it nothing more, erlmcp lb enable NODE takes the order back")
}

// orderNode orders the balancer to do something with a node, and tells what has come of it; with --dry-run, what it would
// meet.
func (a *app) orderNode(ctx context.Context, action, name string, order func(context.Context, string) (proxy.NodeStats, error), tell func(proxy.NodeStats) error) error {
	if a.changes.dryRun {
		n, err := a.balancerNode(ctx, name)
		if err == nil {
			a.would(onNode(action, n.Name, n), "%s %s, which is %s with %s", action, n.Name, n.State, show.Count(int(n.Connections), "client"))
		}
		return err
	}
	n, err := order(ctx, name)
	if err != nil {
		return startHint(err, "lb")
	}
	return tell(n)
}

// balancerNode finds a node of the balancer that runs.
func (a *app) balancerNode(ctx context.Context, name string) (*proxy.NodeStats, error) {
	s, err := a.balancerStats(ctx)
	if err != nil {
		return nil, startHint(err, "lb")
	}
	if n := s.Node(name); n != nil {
		return n, nil
	}
	return nil, &topology.UnknownError{Name: name, Nodes: s.NodeNames()}
}

func newLBDisableCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "disable NODE",
		Short: "Give a node nothing more, not even requests of its sessions",
		Long: `Put a node into maintenance: it gets nothing more, until "lb enable". Requests under way are answered. TCP
connections, event streams and WebSockets stay until one side closes them. Requests of its MCP sessions get
404, so that clients begin new sessions on other nodes. To lose fewer sessions, run "lb drain --wait" first.`,
		Example:           "  erlmcp lb disable erlmcp2",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeNodes,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.orderNode(cmd.Context(), "disable", args[0], proxy.Connect(a.stateDir()).Disable, func(n proxy.NodeStats) error {
				a.did(onNode("disable", n.Name, n), "%s is disabled: %s and %s left", n.Name, show.Count(int(n.Connections), "connection"), show.Count(int(n.Pending), "request"))
				return nil
			})
		},
	}
	return a.addChangeFlags(cmd)
}

// awaitEmpty waits until a node has no clients and says so.
func (a *app) awaitEmpty(ctx context.Context, n proxy.NodeStats) error {
	client := proxy.Connect(a.stateDir())
	for n.Connections > 0 {
		_ = a.stderr.Drawf("%s drains: %s left", n.Name, show.Count(int(n.Connections), "client"))
		if err := tempo.Pause(ctx, 200*time.Millisecond); err != nil {
			return err
		}
		s, err := client.Stats(ctx)
		if err != nil {
			return err
		}
		now := s.Node(n.Name)
		if now == nil {
			return fmt.Errorf("%s is no longer one of the balancer's nodes", n.Name)
		}
		n = *now
	}
	if err := a.stderr.Erase(); err != nil {
		return err
	}
	a.did(onNode("drain", n.Name, n), "%s is drained", n.Name)
	return nil
}

func newLBEnableCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "enable NODE",
		Short: "Give a drained or disabled node clients again",
		Long: `Put a drained or disabled node back into service. It gets clients again as soon as its checks find it up, few
at first if lb.slow_start is set.`,
		Example:           "  erlmcp lb enable erlmcp2",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeNodes,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.orderNode(cmd.Context(), "enable", args[0], proxy.Connect(a.stateDir()).Enable, func(n proxy.NodeStats) error {
				a.did(onNode("enable", n.Name, n), "%s is enabled and %s", n.Name, n.State)
				return nil
			})
		},
	}
	return a.addChangeFlags(cmd)
}
