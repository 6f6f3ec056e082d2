package cmd

import (
	"context"
	"regexp"
	"time"

	"github.com/spf13/cobra"

	"github.com/erlmcp/erlmcp/cluster"
	"github.com/erlmcp/erlmcp/cluster/nodelog"
	"github.com/erlmcp/erlmcp/cmd/internal/encode"
	"github.com/erlmcp/erlmcp/cmd/internal/exit"
	"github.com/erlmcp/erlmcp/cmd/internal/show"
	"github.com/erlmcp/erlmcp/internal/logtime"
)

// newClusterTailCommand follows what the nodes write, as tail -f does with files.
func newClusterTailCommand(a *app) *cobra.Command {
	cmd := a.newLogsCommand(true)
	cmd.Use = "tail [NODE...] [-n LINES] [--since TIME] [--grep PATTERN] [--json] [-f | --no-follow]"
	cmd.Short = "Print the nodes' logs as they grow"
	cmd.Long = `Print the last lines of the logs of all nodes, or of the ones you name, and follow them until Ctrl-C. With
--no-follow, or --follow=false, end after these lines. "cluster logs" does the same with the habits of kubectl: it
prints all lines, and follows with -f only.

` + logsHelp
	cmd.Example = `  erlmcp cluster tail
  erlmcp cluster tail erlmcp2 --since 5m --grep error --no-follow`
	return cmd
}

// newClusterLogsCommand prints what the nodes have written.
func newClusterLogsCommand(a *app) *cobra.Command {
	cmd := a.newLogsCommand(false)
	cmd.Use = "logs [NODE...] [-f] [--tail LINES] [--since TIME] [--grep PATTERN] [--json]"
	cmd.Short = "Print the nodes' logs"
	cmd.Long = `Print the logs of all nodes, or of the ones you name: all lines, or the last ones with --tail. With -f, follow
them until Ctrl-C. "cluster tail" is the same with other defaults.

` + logsHelp
	cmd.Example = `  erlmcp cluster logs erlmcp2
  erlmcp cluster logs -f --tail 20
  erlmcp cluster logs --since 1h -o json`
	return cmd
}

const logsHelp = `It keeps working while nodes restart, come and go, while logs rotate, and while nothing runs. On a terminal,
control characters of nodes are shown as numbers, except for colours; elsewhere every byte stays as it is.

With --since or --grep and without --lines, all lines count, not only the last ones. TIME is a span (5m, 1h30m,
2d, 1w), a time of today (12:00), a date with or without a time, "today" or "yesterday". The age of a line comes
from the time that loggers write into it, as text or JSON. A line without a time is at least as old as the next
one that has one; an indented line belongs to the one before it. Lines whose age nobody can tell are printed,
and so is everything that comes from now on.

With --json, each line is one object: "node", and "entry" for a line that is itself a JSON object, or
"line" for any other. "cluster events" has what happened to the nodes themselves.`

// newLogsCommand is a command that prints the nodes' logs, and by default either the last lines and what follows, or
// all there are.
func (a *app) newLogsCommand(followed bool) *cobra.Command {
	var lines int
	var follow, noFollow bool
	var since, grep string
	var format outputFormat
	cmd := &cobra.Command{
		Args:              cobra.ArbitraryArgs,
		ValidArgsFunction: a.completeNodes,
		RunE: func(cmd *cobra.Command, names []string) error {
			flags := cmd.Flags()
			bounded := flags.Changed("lines") || flags.Changed("tail")
			if lines < 0 && flags.Changed("lines") {
				return exit.Usagef("--lines: %d is negative", lines)
			}
			if noFollow && follow && flags.Changed("follow") {
				return exit.Usagef("--follow and --no-follow contradict each other")
			}
			filter, err := tailFilter(since, grep, time.Now())
			if err != nil {
				return err
			}
			if lines < 0 || !bounded && (!followed || since+grep != "") {
				lines = nodelog.AllLines
			}
			c, err := a.config()
			if err != nil {
				return err
			}
			known := names
			if len(known) == 0 {
				known = c.NodeNames()
			}
			print := show.Lines(a.stdout, known)
			if format == "json" {
				print = encode.Lines(a.stdout)
			}
			return nodelog.Tail(cmd.Context(), nodelog.TailOptions{
				Logs: func(ctx context.Context) ([]nodelog.Log, error) {
					return cluster.NodeLogs(ctx, a.stateDir(), a.clusterSpec(c), names)
				},
				Lines: lines, Follow: follow && !noFollow, Filter: filter,
			}, print)
		},
	}
	cmd.Flags().BoolVarP(&follow, "follow", "f", followed, "follow the logs until Ctrl-C")
	cmd.Flags().BoolVar(&noFollow, "no-follow", false, "do not follow")
	cmd.Flags().IntVarP(&lines, "lines", "n", 10, "print the last `LINES` of each log first")
	cmd.Flags().IntVar(&lines, "tail", 10, "the same as --lines; -1 is all")
	if !followed {
		cmd.Flags().Lookup("lines").DefValue = "all"
		cmd.Flags().Lookup("tail").DefValue = "all"
		_ = cmd.Flags().MarkHidden("no-follow") // it is the default
	} else {
		_ = cmd.Flags().MarkHidden("tail")
	}
	cmd.Flags().StringVar(&since, "since", "", "leave out lines before `TIME`: 5m, 2d, 12:00, yesterday, 2026-01-31, 2026-01-31T12:00:00Z")
	cmd.Flags().StringVar(&grep, "grep", "", "leave out lines that do not match `PATTERN`, a regular expression")
	format.addFormats(cmd, "table", "json")
	return cmd
}

// tailFilter reads the flags --since and --grep.
func tailFilter(since, grep string, now time.Time) (f nodelog.Filter, err error) {
	if since != "" {
		if f.Since, err = logtime.Since(since, now); err != nil {
			return f, exit.Usagef("--since: %q %v", since, err)
		}
	}
	if grep != "" {
		if f.Match, err = regexp.Compile(grep); err != nil {
			return f, exit.Usagef("--grep: %v", err)
		}
	}
	return f, nil
}
