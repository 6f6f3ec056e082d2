package cmd

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/erlmcp/erlmcp/cluster"
	"github.com/erlmcp/erlmcp/internal/term"
)

// printCluster is the table of nodes.
func printCluster(out *term.Output, s cluster.Status, wide bool) error {
	columns := []string{"NODE", "STATE", ">PID", ">FOR", ">RESTARTS", "TCP", "HTTP", "SSE"}
	distributed := slices.ContainsFunc(s.Nodes, func(n cluster.NodeStatus) bool { return n.Distribution != nil })
	if distributed {
		columns = append(columns, ">SEES")
	}
	if wide {
		columns = append(columns, "LOG")
	}
	t := out.Table(append(columns, "REASON")...)
	for _, n := range s.Nodes {
		pid, age := "-", "-"
		if n.PID != 0 {
			pid = fmt.Sprint(n.PID)
		}
		if !n.Since.IsZero() {
			age = shortDuration(s.Time.Sub(n.Since))
		}
		row := []any{
			n.Name, out.Paint(stateStyle(n.State), string(n.State)), pid, age, n.Restarts,
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
	return t.Flush()
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

// printEvent prints an event for people.
func printEvent(out *term.Output, e cluster.Event) error {
	text := orDash(string(e.From)) + " → " + out.Paint(stateStyle(e.State), cmp.Or(string(e.State), "removed"))
	if e.Reason != "" {
		text += "  " + e.Reason
	}
	_, err := fmt.Fprintf(out, "%s  %s  %s\n", e.Time.Local().Format(time.DateTime), e.Node, text)
	return err
}
