package cmd

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/erlmcp/erlmcp/cluster"
	"github.com/erlmcp/erlmcp/internal/control"
	"github.com/erlmcp/erlmcp/internal/term"
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
	switch err := a.printNamed(format, s, s.Names(), func() error { return a.printClusterStatus(s, format == formatWide) }); {
	case err != nil:
		return err
	case s.State == cluster.PhaseStopped:
		return exitWith(exitNotRunning)
	case !s.Healthy():
		return exitWith(exitFailure)
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

func (a *app) printClusterStatus(s cluster.Status, wide bool) error {
	columns := []string{"NODE", "STATE", ">PID", ">FOR", ">RESTARTS", "TCP", "HTTP", "SSE"}
	distributed := slices.ContainsFunc(s.Nodes, func(n cluster.NodeStatus) bool { return n.Distribution != nil })
	if distributed {
		columns = append(columns, ">SEES")
	}
	if wide {
		columns = append(columns, "LOG")
	}
	t := a.stdout.Table(append(columns, "REASON")...)
	for _, n := range s.Nodes {
		pid, age := "-", "-"
		if n.PID != 0 {
			pid = fmt.Sprint(n.PID)
		}
		if !n.Since.IsZero() {
			age = shortDuration(s.Time.Sub(n.Since))
		}
		row := []any{
			n.Name, a.stdout.Paint(stateStyle(n.State), string(n.State)), pid, age, n.Restarts,
			orDash(n.TCP), orDash(n.HTTP), orDash(n.SSE),
		}
		if distributed {
			row = append(row, sees(n.Distribution))
		}
		if wide {
			row = append(row, n.Log)
		}
		t.Row(append(row, n.Reason)...)
	}
	if err := t.Flush(); err != nil {
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

// sees is how many other nodes a node is connected to.
func sees(d *cluster.Distribution) string {
	switch {
	case d == nil:
		return "-"
	case d.Sees == nil:
		return "?"
	}
	return fmt.Sprint(len(d.Sees))
}

// shortDuration is d in its two largest units: "12s", "3m12s", "5h3m", "2d5h".
func shortDuration(d time.Duration) string {
	d = max(d, 0).Round(time.Second)
	if days := d / (24 * time.Hour); days > 0 {
		return fmt.Sprintf("%dd%dh", days, d%(24*time.Hour)/time.Hour)
	}
	if d >= time.Hour {
		return strings.TrimSuffix(d.Truncate(time.Minute).String(), "0s")
	}
	return d.String()
}

func stateStyle(s cluster.State) term.Style {
	switch {
	case s == cluster.StateReady:
		return term.Green
	case s == cluster.StateCrashLoop:
		return term.Red
	case slices.Contains([]cluster.State{cluster.StateStopped, cluster.StateHeld}, s):
		return term.Dim
	}
	return term.Yellow
}
