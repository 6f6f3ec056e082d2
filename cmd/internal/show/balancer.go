package show

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/erlmcp/erlmcp/internal/term"
	"github.com/erlmcp/erlmcp/proxy"
)

// Balancer prints the status of a balancer that runs.
func Balancer(out *term.Output, s *proxy.Stats, wide bool) error {
	var restarts uint64
	for _, w := range s.Workers {
		restarts += w.Restarts
	}
	row := func(name, format string, args ...any) {
		fmt.Fprintf(out, "%-10s %s\n", name, fmt.Sprintf(format, args...))
	}
	row("balancer", "%s for %s (pid %d)", State(out.Paint, s.State), Duration(time.Duration(s.UptimeSeconds*float64(time.Second))), s.PID)
	for _, l := range s.Listeners {
		state := ""
		if !l.Up {
			state = out.Paint(term.Yellow, " draining")
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
	row("workers", "%d, %s", len(s.Workers), Count(int(restarts), "restart"))
	if s.Reload != nil && !s.Reload.OK {
		row("reload", "%s at %s", out.Paint(term.Red, "failed"), s.Reload.At.Format(time.DateTime))
	}
	if f := s.NodesFrom; f != nil && f.Error != "" {
		row("nodes from", "%s: %s", out.Paint(term.Yellow, "the file is not taken"), f.Error)
	}
	fmt.Fprintln(out)
	if len(s.Nodes) == 0 {
		fmt.Fprintln(out, "no nodes yet")
		return nil
	}
	return balancerNodes(out, s, wide).Flush()
}

func balancerNodes(out *term.Output, s *proxy.Stats, wide bool) *term.Table {
	columns := []string{"NODE", "STATE", ">FOR", ">CLIENTS", ">MAX", ">WEIGHT", ">TOTAL", ">IN", ">OUT", ">ERRORS", ">CHECK", "ADDRESS"}
	if wide {
		columns = append(columns, "TRANSPORTS", ">PENDING", ">REQUESTS", ">MESSAGES", ">RETRIES", ">DISPLACED")
	}
	t := out.Table(append(columns, "REASON")...)
	for i := range s.Nodes {
		n := &s.Nodes[i]
		check, reason := "-", n.Note
		if n.Check.OK {
			check = Latency(time.Duration(n.Check.LatencyUs) * time.Microsecond).String()
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
			n.Name, State(out.Paint, n.State), Duration(s.Time.Sub(n.Since)), n.Connections, n.MaxConnections,
			strconv.FormatFloat(n.Weight, 'g', 3, 64), n.Total, roundBytes(n.BytesIn), roundBytes(n.BytesOut),
			n.ConnectErrors + n.Resets, check, n.Address,
		}
		if wide {
			row = append(row, transports(out, n), n.Pending, n.Requests, n.Messages, n.Retries, n.Displaced)
		}
		t.Row(append(row, reason)...)
	}
	return t
}

// transports tells of each transport of a node how it is.
func transports(out *term.Output, n *proxy.NodeStats) string {
	texts := make([]string, len(n.Transports))
	for i, t := range n.Transports {
		texts[i] = t.Name + " " + State(out.Paint, t.State)
	}
	return OrDash(strings.Join(texts, ", "))
}
