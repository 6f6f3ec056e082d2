package cmd

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/erlmcp/erlmcp/internal/control"
	"github.com/erlmcp/erlmcp/internal/term"
	"github.com/erlmcp/erlmcp/internal/units"
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
				return usagef("%s does not take the argument %q", cmd.CommandPath(), args[0])
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
		return hinted(err, "erlmcp lb stop --now ends a balancer that hangs")
	case err != nil:
		return err
	}
	switch err := a.printNamed(format, s, s.NodeNames(), func() error { return a.printBalancer(&s, format == formatWide) }); {
	case err != nil:
		return err
	case s.State == proxy.StateStopped:
		return exitWith(exitNotRunning)
	case s.State != proxy.StateRunning || anyDown(&s):
		return exitWith(exitFailure)
	}
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

func (a *app) printBalancer(s *proxy.Stats, wide bool) error {
	if s.State == proxy.StateStopped {
		a.noteStopped("lb")
		return nil
	}
	var restarts uint64
	for _, w := range s.Workers {
		restarts += w.Restarts
	}
	row := func(name, format string, args ...any) {
		fmt.Fprintf(a.stdout, "%-10s %s\n", name, fmt.Sprintf(format, args...))
	}
	row("balancer", "%s for %s (pid %d)", a.paintState(s.State), shortDuration(time.Duration(s.UptimeSeconds*float64(time.Second))), s.PID)
	for _, l := range s.Listeners {
		state := ""
		if !l.Up {
			state = a.stdout.Paint(term.Yellow, " draining")
		}
		row(l.Name, "%s%s", l.Address, state)
	}
	row("clients", "%d of %d, %d in all", s.Connections.Active, s.Connections.Max, s.Connections.Total)
	r := &s.Refused
	row("refused", "%d banned, %d rate, %d full, %d without a node, %d for a full worker, %d per source", r.Ban, r.Rate, r.Full, r.NoNode, r.WorkerFull, r.PerSource)
	if c := &s.Cut; *c != (proxy.CutStats{}) {
		row("cut", "%d by draining, %d idle, %d untaken, %d node down, %d node lost, %d client gone, %d gave way", c.Drain, c.Idle, c.Untaken, c.NodeDown, c.NodeLost, c.ClientGone, c.GaveWay)
	}
	h := &s.HTTP
	row("requests", "%d over HTTP, answered %d with 2xx, %d with 4xx, %d with 5xx", h.Requests, h.Responses.Successful, h.Responses.ClientError, h.Responses.ServerError)
	row("limited", "%d throttled, %d messages rejected", s.Throttles, s.Rejects)
	row("sources", "%d of %d, %d banned", s.Sources.Tracked, s.Sources.Capacity, s.Sources.Banned)
	row("workers", "%d, %s", len(s.Workers), count(int(restarts), "restart"))
	if s.Reload != nil && !s.Reload.OK {
		row("reload", "%s at %s", a.stdout.Paint(term.Red, "failed"), s.Reload.At.Format(time.DateTime))
	}
	if f := s.NodesFrom; f != nil && f.Error != "" {
		row("nodes from", "%s: %s", a.stdout.Paint(term.Yellow, "the file is not taken"), f.Error)
	}
	fmt.Fprintln(a.stdout)
	if len(s.Nodes) == 0 {
		fmt.Fprintln(a.stdout, "no nodes yet")
		return nil
	}
	return a.balancerNodes(s, wide).Flush()
}

func (a *app) balancerNodes(s *proxy.Stats, wide bool) *term.Table {
	columns := []string{"NODE", "STATE", ">FOR", ">CLIENTS", ">MAX", ">WEIGHT", ">TOTAL", ">IN", ">OUT", ">ERRORS", ">CHECK", "ADDRESS"}
	if wide {
		columns = append(columns, "TRANSPORTS", ">PENDING", ">REQUESTS", ">MESSAGES", ">RETRIES", ">DISPLACED")
	}
	t := a.stdout.Table(append(columns, "REASON")...)
	for i := range s.Nodes {
		n := &s.Nodes[i]
		check, reason := "-", n.Note
		if n.Check.OK {
			check = roundLatency(time.Duration(n.Check.LatencyUs) * time.Microsecond).String()
		} else {
			reason = n.Check.Error
		}
		if n.Check.Advice != "" {
			reason = n.Check.Advice
		}
		if n.State == proxy.NodeDegraded {
			reason = n.Missing() + ": " + reason
		}
		if n.Leaving {
			reason = "no longer configured"
		}
		row := []any{
			n.Name, a.paintState(n.State), shortDuration(s.Time.Sub(n.Since)), n.Connections, n.MaxConnections,
			strconv.FormatFloat(n.Weight, 'g', 3, 64), n.Total, roundBytes(n.BytesIn), roundBytes(n.BytesOut),
			n.ConnectErrors + n.Resets, check, n.Address,
		}
		if wide {
			row = append(row, a.transports(n), n.Pending, n.Requests, n.Messages, n.Retries, n.Displaced)
		}
		t.Row(append(row, reason)...)
	}
	return t
}

// transports tells of each transport of a node how it is.
func (a *app) transports(n *proxy.NodeStats) string {
	texts := make([]string, len(n.Transports))
	for i, t := range n.Transports {
		texts[i] = t.Name + " " + a.paintState(t.State)
	}
	return orDash(strings.Join(texts, ", "))
}

// roundBytes is a number of bytes in its largest unit of 1024, rounded.
func roundBytes(n uint64) string {
	size, unit := float64(n), "B"
	for _, next := range []string{"KiB", "MiB", "GiB", "TiB"} {
		if size < float64(units.KiB) {
			break
		}
		size, unit = size/float64(units.KiB), next
	}
	if size < 10 && unit != "B" {
		return strconv.FormatFloat(size, 'f', 1, 64) + unit
	}
	return strconv.FormatFloat(size, 'f', 0, 64) + unit
}
