package cmd

import (
	"context"
	"errors"
	"time"

	"github.com/spf13/cobra"

	"github.com/erlmcp/erlmcp/cmd/internal/exit"
	"github.com/erlmcp/erlmcp/cmd/internal/show"
	"github.com/erlmcp/erlmcp/internal/control"
	"github.com/erlmcp/erlmcp/proxy"
)

func newLBStatusCommand(a *app) *cobra.Command {
	var format outputFormat
	var watch intervalFlag
	cmd := &cobra.Command{
		Use:   "status [--watch [SECONDS]] [--json]",
		Short: "Show what the balancer does",
		Long: `Show the balancer, its nodes and its clients. The exit code is 0 if it serves and no node is down, 3 if it does
not run, and 1 otherwise. Nodes in maintenance (disabled, or drained and then down) do not count as down. With
--watch, look again and again until Ctrl-C; the exit code is that of the last look.`,
		Example: `  erlmcp lb status
  erlmcp lb status --watch 1
  erlmcp lb status -o wide
  erlmcp lb status -o json`,
		Args: cobra.ArbitraryArgs, // the interval of --watch
		RunE: func(cmd *cobra.Command, args []string) error {
			if args = watch.take(args); len(args) > 0 {
				return exit.Usagef("%s does not take the argument %q", cmd.CommandPath(), args[0])
			}
			return a.watched(cmd.Context(), watch, format, func(ctx context.Context) error { return a.showBalancer(ctx, format) })
		},
	}
	format.addOutputFlags(cmd, formatWide, formatName)
	watch.addWatch(cmd)
	return cmd
}

// showBalancer prints the status of the balancer.
func (a *app) showBalancer(ctx context.Context, format outputFormat) error {
	s, err := a.balancerStats(ctx)
	switch {
	case control.NotRunning(err):
		s = proxy.Stats{Schema: proxy.StatsSchema, Time: time.Now(), State: proxy.StateStopped}
	case errors.Is(err, context.DeadlineExceeded):
		return exit.Hinted(err, "erlmcp lb stop --now ends a balancer that hangs")
	case err != nil:
		return err
	}
	switch err := a.printNamed(format, s, s.NodeNames(), func() error { return a.balancerText(&s, format == formatWide) }); {
	case err != nil:
		return err
	case s.State == proxy.StateStopped:
		return exit.With(exit.NotRunning)
	case s.State != proxy.StateRunning || anyDown(&s):
		return exit.With(exit.Failure)
	}
	return nil
}

func (a *app) balancerText(s *proxy.Stats, wide bool) error {
	if s.State != proxy.StateStopped {
		return show.Balancer(a.stdout, s, wide)
	}
	a.noteStopped("lb")
	return nil
}

func anyDown(s *proxy.Stats) bool {
	for i := range s.Nodes {
		if s.Nodes[i].State == proxy.NodeDown && !s.Nodes[i].Leaving {
			return true
		}
	}
	return false
}
