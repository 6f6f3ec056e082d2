package cmd

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/erlmcp/erlmcp/cluster"
	"github.com/erlmcp/erlmcp/internal/config"
	"github.com/erlmcp/erlmcp/internal/control"
	"github.com/erlmcp/erlmcp/internal/topology"
	"github.com/erlmcp/erlmcp/proxy"
)

// mostNodes is what --nodes takes.
const mostNodes = 256

func newClusterAddCommand(a *app) *cobra.Command {
	var host string
	var tcp, http, sse int
	cmd := &cobra.Command{
		Use:   "add [NODE] [--host HOST] [--tcp PORT] [--http PORT] [--sse PORT]",
		Short: "Add a node to the running cluster",
		Long: `Start one more node. The balancer, if one runs, sends clients to it. What you leave out follows from the
last node: the next number, the same host, the next ports. The cluster keeps the node until it is stopped;
to keep it for longer, add it to cluster.nodes.`,
		Example: `  erlmcp cluster add
  erlmcp cluster add east --tcp 9011 --http 9111`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			client := cluster.Connect(a.stateDir())
			running, err := client.Spec(ctx)
			if err != nil {
				return clusterStartHint(err)
			}
			nodes := topology.Resize(running.Nodes, len(running.Nodes)+1)
			n := &nodes[len(nodes)-1]
			if len(args) > 0 {
				n.Name = args[0]
			}
			if host != "" {
				n.Host = host
			}
			for name, port := range map[string]struct{ given, node *int }{"tcp": {&tcp, &n.TCP}, "http": {&http, &n.HTTP}, "sse": {&sse, &n.SSE}} {
				if cmd.Flags().Changed(name) {
					*port.node = *port.given
				}
			}
			return a.addNodes(ctx, nodes[len(nodes)-1:])
		},
	}
	cmd.Flags().StringVar(&host, "host", "", "`HOST` the node listens on")
	cmd.Flags().IntVar(&tcp, "tcp", 0, "`PORT` for newline-delimited JSON-RPC, 0 for none")
	cmd.Flags().IntVar(&http, "http", 0, "`PORT` for Streamable HTTP, 0 for none")
	cmd.Flags().IntVar(&sse, "sse", 0, "`PORT` for the legacy transport, 0 for none")
	return addTimeout(a.addChangeFlags(cmd), "erlmcp cluster status shows whether the node is there")
}

func newClusterRemoveCommand(a *app) *cobra.Command {
	var drainTimeout time.Duration
	cmd := &cobra.Command{
		Use:   "remove NODE...",
		Short: "Stop nodes and take them out of the running cluster",
		Long: `Stop nodes and forget them. The balancer, if one runs, first gives them no new clients, and waits for their
clients for at most --drain-timeout. They come back with the next start unless you change cluster.nodes.`,
		Example:           "  erlmcp cluster remove erlmcp4 --drain-timeout 1m",
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: a.completeNodes,
		RunE: func(cmd *cobra.Command, names []string) error {
			return a.removeNodes(cmd.Context(), names, drainTimeout)
		},
	}
	addDrainTimeout(cmd, &drainTimeout, "")
	return addTimeout(a.addChangeFlags(cmd), "erlmcp cluster status shows which nodes are left")
}

// drainDefault is how long clients have to leave a node that is about to be stopped.
const drainDefault = 10 * time.Second

// addDrainTimeout gives a command the flag --drain-timeout; with says what it belongs to.
func addDrainTimeout(cmd *cobra.Command, timeout *time.Duration, with string) {
	cmd.Flags().DurationVar(timeout, "drain-timeout", drainDefault, with+"`TIME` that the balancer's clients have to leave a node")
}

func (a *app) addNodes(ctx context.Context, nodes []topology.Node) error {
	added := onNodes("add", topology.Names(nodes))
	if a.changes.dryRun {
		running, err := cluster.Connect(a.stateDir()).Spec(ctx)
		if err != nil {
			return clusterStartHint(err)
		}
		if err := topology.Validate(append(running.Nodes, nodes...)); err != nil {
			return withCode(exitUsage, err)
		}
		a.would(added, "add %s", strings.Join(added.Names, ", "))
		return nil
	}
	if err := cluster.Connect(a.stateDir()).AddNodes(ctx, nodes); err != nil {
		return err
	}
	a.did(added, "added %s", strings.Join(added.Names, ", "))
	if err := a.tellBalancer(ctx); err != nil {
		return err
	}
	for _, n := range nodes { // one of that name may have been drained, to be removed
		_, err := proxy.Connect(a.stateDir()).Enable(ctx, n.Name)
		var unknown *control.Error // the balancer has nodes of its own
		if errors.Is(err, control.ErrNotRunning) || errors.As(err, &unknown) && unknown.ExitCode() == exitUsage {
			return nil
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (a *app) removeNodes(ctx context.Context, names []string, drainTimeout time.Duration) error {
	client := cluster.Connect(a.stateDir())
	running, err := client.Spec(ctx)
	if err != nil {
		return clusterStartHint(err)
	}
	if err := allKnown(running.Nodes, names); err != nil {
		return err
	}
	if a.would(onNodes("remove", names), "drain, stop and remove %s", strings.Join(names, ", ")) {
		return nil
	}
	balanced, err := a.drain(ctx, names, drainTimeout)
	if err == nil {
		err = client.RemoveNodes(ctx, names)
	}
	if err != nil { // they stay, or some of them
		return errors.Join(err, a.restore(balanced))
	}
	a.did(onNodes("remove", names), "removed %s", strings.Join(names, ", "))
	return a.tellBalancer(ctx)
}

// tellBalancer has the balancer, if one runs, read again which nodes there are.
func (a *app) tellBalancer(ctx context.Context) error {
	_, err := proxy.Connect(a.stateDir()).Reload(ctx)
	if errors.Is(err, control.ErrNotRunning) {
		return nil
	}
	return err
}

// resize makes the running cluster one of n nodes.
func (a *app) resize(ctx context.Context, n int) error {
	running, err := cluster.Connect(a.stateDir()).Spec(ctx)
	if err != nil {
		return err
	}
	now := len(running.Nodes)
	switch {
	case n > now:
		return a.addNodes(ctx, topology.Resize(running.Nodes, n)[now:])
	case n < now:
		return a.removeNodes(ctx, topology.Names(running.Nodes[n:]), drainDefault)
	}
	return nil
}

// followCluster gives the balancer the nodes of the cluster that runs, which may be others than configured, or
// elsewhere, unless the balancer's configuration names its own.
func (a *app) followCluster(ctx context.Context, c *config.Config) {
	if nodes := a.runningNodes(ctx, c); nodes != nil {
		c.LB.Nodes = nodes
	}
}

// runningNodes are those that the balancer is to have by now: of the cluster that runs, with the weights that
// are configured, which the balancer alone uses. nil is told when the supervisor does not answer, and when
// the balancer's configuration names its own.
func (a *app) runningNodes(ctx context.Context, c *config.Config) []topology.Node {
	if c.Origin("lb.nodes").Name != "cluster.nodes" {
		return nil
	}
	running, err := cluster.Connect(a.stateDir()).Spec(ctx)
	switch {
	case errors.Is(err, control.ErrNotRunning):
		return c.Cluster.Nodes
	case err != nil:
		return nil
	}
	for i := range running.Nodes {
		n := &running.Nodes[i]
		if configured, err := topology.Find(c.Cluster.Nodes, n.Name); err == nil {
			n.Weight = configured.Weight
		}
	}
	return running.Nodes
}

// haveBalancerFollow has the balancer, if one runs, find the nodes where they are now, after a command that may
// have started them elsewhere. It says what that changed, and returns those of the names that the balancer
// has to find now: not the ones that its own configuration has at another place, of which it warns.
func (a *app) haveBalancerFollow(ctx context.Context, names []string) (found []string, err error) {
	limited, cancel := context.WithTimeout(ctx, balancerPatience)
	defer cancel()
	r, err := proxy.Connect(a.stateDir()).Reload(limited)
	if errors.Is(err, control.ErrNotRunning) {
		return nil, nil
	}
	if err != nil {
		if s, e := a.balancerStats(ctx); errors.Is(e, control.ErrNotRunning) || e == nil && s.State != proxy.StateRunning {
			return nil, nil // it is about to end
		}
		return nil, hinted(fmt.Errorf("lb does not follow the nodes: %w", err), "erlmcp lb reload, when that is put right")
	}
	if len(r.Changed) > 0 {
		a.did(change{Action: "reload", Kind: "lb", Detail: r}, "lb follows: reloaded %s", strings.Join(r.Changed, ", "))
	}
	running, err := cluster.Connect(a.stateDir()).Spec(ctx)
	if err != nil {
		return nil, nil // it has just been stopped
	}
	s, err := a.balancerStats(ctx)
	if errors.Is(err, control.ErrNotRunning) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		n, err := topology.Find(running.Nodes, name)
		seen := s.Node(name)
		if err != nil || seen == nil {
			continue
		}
		if listensOn(n, seen.Address) {
			found = append(found, name)
		} else {
			a.warnf("lb has %s at %s, where it does not listen: change lb.nodes, then erlmcp lb reload", name, seen.Address)
		}
	}
	return found, nil
}

// listensOn reports whether a node has the port of an address.
func listensOn(n topology.Node, address string) bool {
	_, port, err := net.SplitHostPort(address)
	return err != nil || slices.ContainsFunc(n.Ports(), func(p topology.Port) bool { return strings.HasSuffix(p.Address, ":"+port) })
}
