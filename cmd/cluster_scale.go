package cmd

import (
	"time"

	"github.com/spf13/cobra"

	"github.com/erlmcp/erlmcp/internal/operate"
	"github.com/erlmcp/erlmcp/internal/topology"
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
			return a.operator().Add(cmd.Context(), func(n *topology.Node) {
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
			})
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
			return a.operator().Remove(cmd.Context(), names, drainTimeout)
		},
	}
	addDrainTimeout(cmd, &drainTimeout, "")
	return addTimeout(a.addChangeFlags(cmd), "erlmcp cluster status shows which nodes are left")
}

// addDrainTimeout gives a command the flag --drain-timeout; with says what it belongs to.
func addDrainTimeout(cmd *cobra.Command, timeout *time.Duration, with string) {
	cmd.Flags().DurationVar(timeout, "drain-timeout", operate.DrainTimeout, with+"`TIME` that the balancer's clients have to leave a node")
}
