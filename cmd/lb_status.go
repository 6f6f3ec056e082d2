package cmd

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/erlmcp/erlmcp/internal/control"
	"github.com/erlmcp/erlmcp/internal/term"
	"github.com/erlmcp/erlmcp/internal/units"
	"github.com/erlmcp/erlmcp/proxy"
)

func newLBStatusCommand(a *app) *cobra.Command {
	var format outputFormat
	cmd := &cobra.Command{
		Use:   "status [--json]",
		Short: "Show what the balancer does",
		Long: `Show the balancer, its nodes and its clients. The exit code is 0 when it serves and no node is down,
else 1. A node in maintenance (disabled, or drained and then down) is meant to be.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, cancel := context.WithTimeout(cmd.Context(), statusTimeout)
			defer cancel()
			s, err := proxy.Connect(a.stateDir()).Stats(ctx)
			switch {
			case errors.Is(err, control.ErrNotRunning):
				s = proxy.Stats{Schema: proxy.StatsSchema, Time: time.Now(), State: proxy.StateStopped}
			case errors.Is(err, context.DeadlineExceeded):
				return hinted(err, "erlmcp lb stop --now ends a balancer that hangs")
			case err != nil:
				return err
			}
			if err := a.print(format, s, func() error { return a.printBalancer(&s) }); err != nil {
				return err
			}
			if s.State != proxy.StateRunning || anyDown(&s) {
				return exitWith(exitFailure)
			}
			return nil
		},
	}
	format.addOutputFlags(cmd)
	return cmd
}

func anyDown(s *proxy.Stats) bool {
	for i := range s.Nodes {
		if s.Nodes[i].State == proxy.NodeDown && !s.Nodes[i].Leaving {
			return true
		}
	}
	return false
}

func (a *app) printBalancer(s *proxy.Stats) error {
	if s.State == proxy.StateStopped {
		a.notef("lb is not running")
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
	return a.balancerNodes(s).Flush()
}

func (a *app) balancerNodes(s *proxy.Stats) *term.Table {
	t := a.stdout.Table("NODE", "STATE", ">FOR", ">CLIENTS", ">MAX", ">WEIGHT", ">TOTAL", ">IN", ">OUT", ">ERRORS", ">CHECK", "ADDRESS", "REASON")
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
		t.Row(n.Name, a.paintState(n.State), shortDuration(s.Time.Sub(n.Since)), n.Connections, n.MaxConnections,
			strconv.FormatFloat(n.Weight, 'g', 3, 64), n.Total, roundBytes(n.BytesIn), roundBytes(n.BytesOut),
			n.ConnectErrors+n.Resets, check, n.Address, reason)
	}
	return t
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
