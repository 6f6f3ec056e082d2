package cmd

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/erlmcp/erlmcp/cluster"
	"github.com/erlmcp/erlmcp/cmd/internal/exit"
	"github.com/erlmcp/erlmcp/cmd/internal/show"
	"github.com/erlmcp/erlmcp/internal/control"
)

func newClusterStatusCommand(a *app) *cobra.Command {
	var format outputFormat
	var watch intervalFlag
	cmd := &cobra.Command{
		Use:   "status [NODE...] [--watch [SECONDS]] [--json]",
		Short: "Show the nodes and what they do",
		Long: `Show all nodes, or the ones you name. The exit code is 0 if all of them are ready, 3 if no supervisor runs,
and 1 otherwise. With --watch, look again and again until Ctrl-C; the exit code is that of the last look.

States: stopped; starting (runs, has not answered yet); ready; degraded (serves, but does not see
another node that does); backoff (died, will be started again); crashloop (the same, many times in
a row); stopping; held (killed with --hold).

SEES is how many of the others a node is connected to, if the nodes know each other; --json has their names.
-o wide shows where each node's log is.`,
		Example: `  erlmcp cluster status
  erlmcp cluster status --watch 1
  erlmcp cluster status -o wide
  erlmcp cluster status -o json`,
		Args:              cobra.ArbitraryArgs,
		ValidArgsFunction: a.completeNodes,
		RunE: func(cmd *cobra.Command, names []string) error {
			names = watch.take(names)
			return a.watched(cmd.Context(), watch, format, func(ctx context.Context) error {
				return a.showCluster(ctx, names, format)
			})
		},
	}
	format.addOutputFlags(cmd, formatWide, formatName)
	watch.addWatch(cmd)
	return cmd
}

// showCluster prints the status of the named nodes, or of all.
func (a *app) showCluster(ctx context.Context, names []string, format outputFormat) error {
	s, err := a.clusterStatus(ctx, names)
	if err != nil {
		return err
	}
	switch err := a.printNamed(format, s, s.Names(), func() error { return a.clusterText(s, format == formatWide) }); {
	case err != nil:
		return err
	case s.State == cluster.PhaseStopped:
		return exit.With(exit.NotRunning)
	case !s.Healthy():
		return exit.With(exit.Failure)
	}
	return nil
}

// clusterStatus asks the supervisor, or makes up what it would say of nodes that do not run.
func (a *app) clusterStatus(ctx context.Context, names []string) (cluster.Status, error) {
	s, err := cluster.Connect(a.stateDir()).Status(ctx)
	switch {
	case control.NotRunning(err):
		c, err := a.config()
		if err != nil {
			return s, err
		}
		s = cluster.Offline(a.stateDir(), a.clusterSpec(c))
	case err != nil:
		return s, err
	}
	return s.Only(names)
}

func (a *app) clusterText(s cluster.Status, wide bool) error {
	if err := show.Cluster(a.stdout, s, wide); err != nil {
		return err
	}
	for _, n := range s.Nodes {
		if n.LogLost > 0 {
			a.warnf("%d bytes of %s could not be written", n.LogLost, n.Log)
		}
	}
	if s.State == cluster.PhaseStopped {
		a.noteStopped("cluster")
	}
	return nil
}
