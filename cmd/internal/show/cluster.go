package show

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/erlmcp/erlmcp/cluster"
	"github.com/erlmcp/erlmcp/internal/term"
)

// Cluster is the table of nodes.
func Cluster(out *term.Output, s cluster.Status, wide bool) error {
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
			age = Duration(s.Time.Sub(n.Since))
		}
		row := []any{
			n.Name, out.Paint(NodeStyle(n.State), string(n.State)), pid, age, n.Restarts,
			OrDash(n.TCP), OrDash(n.HTTP), OrDash(n.SSE),
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

// Event prints an event for people.
func Event(out *term.Output, e cluster.Event) error {
	text := OrDash(string(e.From)) + " → " + out.Paint(NodeStyle(e.State), cmp.Or(string(e.State), "removed"))
	if e.Reason != "" {
		text += "  " + e.Reason
	}
	_, err := fmt.Fprintf(out, "%s  %s  %s\n", e.Time.Local().Format(time.DateTime), e.Node, text)
	return err
}
