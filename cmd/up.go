package cmd

import "github.com/spf13/cobra"

func newUpCommand(a *app) *cobra.Command {
	var foreground bool
	cmd := &cobra.Command{
		Use:   "up [--foreground]",
		Short: "Start the cluster and the balancer in the background",
		Long: `Start the nodes, then the balancer, and return when clients are served. Whatever runs already stays as it
is, even with another configuration. If a step fails, or on Ctrl-C, this command stops again what it had
started. "erlmcp down" stops everything.

With --foreground, as in a container, it stays until SIGTERM or Ctrl-C, prints all logs, and then stops
what it has started. It ends with 1 if the cluster or the balancer ends by itself. SIGHUP reloads the
balancer's configuration, like "erlmcp lb reload".`,
		Example: `  erlmcp up
  erlmcp up --timeout 2m && erlmcp health
  erlmcp up --foreground`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if foreground {
				return a.upHere(cmd.Context())
			}
			if _, err := a.operator().Up(cmd.Context()); err != nil || a.changes.dryRun {
				return err
			}
			return a.tellWhere(cmd.Context())
		},
	}
	cmd.Flags().BoolVar(&foreground, "foreground", false, "stay in the foreground, for containers and service managers")
	return addTimeout(a.addChangeFlags(cmd), "what was started is taken down again; erlmcp config paths tells where the logs are")
}
