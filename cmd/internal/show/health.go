package show

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/erlmcp/erlmcp/healthcheck"
	"github.com/erlmcp/erlmcp/internal/term"
)

// Health is a report for people.
func Health(out *term.Output, r healthcheck.Report) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s  %s\n", r.Time.Format(time.DateTime), State(out.Paint, string(r.Status)))
	for _, reason := range r.Reasons {
		fmt.Fprintf(&b, "  %s\n", reason)
	}
	b.WriteString("\n" + healthNodes(out, r.Nodes) + "\n")
	fmt.Fprintf(&b, "load balancer  %s\n", healthBalancer(out.Paint, r.LoadBalancer))
	if r.Cluster != nil {
		fmt.Fprintf(&b, "cluster        %s\n", HealthCluster(out.Paint, r.Cluster))
	}
	fmt.Fprintf(&b, "connections    %s\n", HealthConnections(r.Connections))
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
		row := []any{n.Name, State(out.Paint, n.Status), State(out.Paint, OrDash(n.Balancer)), OrUnknown(n.Connections)}
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
			return Latency(c.Latency).String()
		default:
			return paint(term.Red, string(c.Cause))
		}
	}
	return "-"
}

func healthBalancer(paint func(term.Style, string) string, lb healthcheck.LoadBalancer) string {
	if !lb.Running {
		return State(paint, "not running")
	}
	parts := []string{lb.Engine}
	if lb.State != "" {
		parts = append(parts, State(paint, lb.State))
	}
	if lb.PID != 0 {
		parts = append(parts, fmt.Sprintf("process %d", lb.PID))
	}
	if lb.Clients != nil {
		parts = append(parts, fmt.Sprintf("%d clients", *lb.Clients))
	}
	for _, c := range lb.Checks {
		if c.OK {
			parts = append(parts, fmt.Sprintf("answers in %v", Latency(c.Latency)))
		}
	}
	text := strings.Join(parts, ", ")
	if lb.TLS != nil && lb.TLS.OK {
		text += "\n               https: certificate until " + lb.TLS.Detail["expires"]
	}
	for _, l := range lb.Listeners {
		text += fmt.Sprintf("\n               %s %s %s", l.Name, l.Address, State(paint, upOrDown(l.Up)))
	}
	return text
}

// HealthCluster is what the supervisor says: "running, process 7, 4 nodes ready, each sees all others".
func HealthCluster(paint func(term.Style, string) string, c *healthcheck.Cluster) string {
	if c.Error != "" {
		return State(paint, "unknown") + ", " + c.Error
	}
	parts := []string{State(paint, c.State), fmt.Sprintf("process %d", c.PID)}
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
		parts = append(parts, fmt.Sprintf("%d %s", nodes[state], State(paint, state)))
	}
	if restarts > 0 {
		parts = append(parts, Count(restarts, "restart"))
	}
	switch {
	case c.Partitioned:
		parts = append(parts, paint(term.Red, "partitioned"))
	case silent > 0:
		parts = append(parts, Count(silent, "node")+" not telling whom it sees")
	case mesh > 1:
		parts = append(parts, "each sees all others")
	}
	return strings.Join(parts, ", ")
}

// HealthConnections is how many connections there are, and how evenly they are spread.
func HealthConnections(c healthcheck.Connections) string {
	if c.Total == nil && c.Error != "" {
		return "unknown: " + c.Error
	}
	text := fmt.Sprintf("%s of %d", OrUnknown(c.Total), c.Capacity)
	if c.MaxDeviation != nil {
		text += fmt.Sprintf(", at most %d from an even share", *c.MaxDeviation)
	}
	return text
}
