package cmd

import "github.com/spf13/cobra"

func newDownCommand(a *app) *cobra.Command {
	var now bool
	cmd := &cobra.Command{
		Use:   "down [--now]",
		Short: "Stop the balancer and the cluster",
		Long: `Stop the balancer, then the nodes and their supervisor. The balancer first waits for its clients, at most
for lb.timeouts.drain. If nothing runs, that is no error.`,
		Example: `  erlmcp down
  erlmcp down --now`,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.operator().Down(cmd.Context(), now) },
	}
	cmd.Flags().BoolVar(&now, "now", false, "cut all connections instead of draining")
	return addTimeout(a.addChangeFlags(cmd), "what was begun goes on; erlmcp down --now does not wait for clients")
}
