package cmd

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/erlmcp/erlmcp/healthcheck"
	"github.com/erlmcp/erlmcp/internal/term"
)

// healthText is a report for people.
func healthText(out *term.Output, r healthcheck.Report) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s  %s\n", r.Time.Format(time.DateTime), paintState(out.Paint, string(r.Status)))
	for _, reason := range r.Reasons {
		fmt.Fprintf(&b, "  %s\n", reason)
	}
	b.WriteString("\n" + healthNodes(out, r.Nodes) + "\n")
	fmt.Fprintf(&b, "load balancer  %s\n", healthBalancer(out.Paint, r.LoadBalancer))
	if r.Cluster != nil {
		fmt.Fprintf(&b, "cluster        %s\n", healthCluster(out.Paint, r.Cluster))
	}
	fmt.Fprintf(&b, "connections    %s\n", healthConnections(r.Connections))
	return b.String()
}

// healthNodes is the table of nodes, with a column for each kind of check.
func healthNodes(out *term.Output, nodes []healthcheck.NodeHealth) string {
	var kinds []string
	seen := make(map[string]bool)
	for _, n := range nodes {
		for _, c := range n.Checks {
			if name := c.Name(); !seen[name] {
				seen[name] = true
				kinds = append(kinds, name)
			}
		}
	}
	titles := []string{"NODE", "STATUS", "BALANCER", ">CONNECTIONS"}
	for _, kind := range kinds {
		titles = append(titles, ">"+strings.ToUpper(kind))
	}
	t := out.Table(titles...)
	for _, n := range nodes {
		row := []any{n.Name, paintState(out.Paint, n.Status), paintState(out.Paint, orDash(n.Balancer)), orUnknown(n.Connections)}
		for _, kind := range kinds {
			row = append(row, checkCell(out.Paint, n.Checks, kind))
		}
		t.Row(row...)
	}
	return t.String()
}

// checkCell is the latency of a check that succeeded, or the cause of its failure.
func checkCell(paint func(term.Style, string) string, checks []healthcheck.Result, kind string) string {
	for _, c := range checks {
		switch {
		case c.Name() != kind:
		case c.OK:
			return roundLatency(c.Latency).String()
		default:
			return paint(term.Red, string(c.Cause))
		}
	}
	return "-"
}

func healthBalancer(paint func(term.Style, string) string, lb healthcheck.LoadBalancer) string {
	if !lb.Running {
		return paintState(paint, "not running")
	}
	parts := []string{lb.Engine}
	if lb.State != "" {
		parts = append(parts, paintState(paint, lb.State))
	}
	if lb.PID != 0 {
		parts = append(parts, fmt.Sprintf("process %d", lb.PID))
	}
	if lb.Clients != nil {
		parts = append(parts, fmt.Sprintf("%d clients", *lb.Clients))
	}
	for _, c := range lb.Checks {
		if c.OK {
			parts = append(parts, fmt.Sprintf("answers in %v", roundLatency(c.Latency)))
		}
	}
	text := strings.Join(parts, ", ")
	if lb.TLS != nil && lb.TLS.OK {
		text += "\n               https: certificate until " + lb.TLS.Detail["expires"]
	}
	for _, l := range lb.Listeners {
		text += fmt.Sprintf("\n               %s %s %s", l.Name, l.Address, paintState(paint, upOrDown(l.Up)))
	}
	return text
}

// healthCluster is what the supervisor says: "running, process 7, 4 nodes ready, each sees all others".
func healthCluster(paint func(term.Style, string) string, c *healthcheck.Cluster) string {
	if c.Error != "" {
		return paintState(paint, "unknown") + ", " + c.Error
	}
	parts := []string{paintState(paint, c.State), fmt.Sprintf("process %d", c.PID)}
	nodes := make(map[string]int) // by state
	restarts, mesh, silent := 0, 0, 0
	for _, n := range c.Nodes {
		nodes[n.State]++
		restarts += n.Restarts
		if n.Mesh {
			mesh++
		}
		if n.Silent {
			silent++
		}
	}
	for _, state := range slices.Sorted(maps.Keys(nodes)) {
		parts = append(parts, fmt.Sprintf("%d %s", nodes[state], paintState(paint, state)))
	}
	if restarts > 0 {
		parts = append(parts, count(restarts, "restart"))
	}
	switch {
	case c.Partitioned:
		parts = append(parts, paint(term.Red, "partitioned"))
	case silent > 0:
		parts = append(parts, count(silent, "node")+" not telling whom it sees")
	case mesh > 1:
		parts = append(parts, "each sees all others")
	}
	return strings.Join(parts, ", ")
}

func healthConnections(c healthcheck.Connections) string {
	if c.Total == nil && c.Error != "" {
		return "unknown: " + c.Error
	}
	text := fmt.Sprintf("%s of %d", orUnknown(c.Total), c.Capacity)
	if c.MaxDeviation != nil {
		text += fmt.Sprintf(", at most %d from an even share", *c.MaxDeviation)
	}
	return text
}
