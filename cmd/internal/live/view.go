package live

import (
	"fmt"
	"strings"
	"time"

	"github.com/erlmcp/erlmcp/cmd/internal/show"
	"github.com/erlmcp/erlmcp/healthcheck"
	"github.com/erlmcp/erlmcp/internal/term"
)

// text is the view: head, reasons, balancer, nodes, events and a line of keys, as many lines as fit.
func (m *model) text() string {
	head := m.head()
	keys := m.paint(term.Dim, "q quit")
	room := m.height - 1 // of the keys
	lines := head[:min(len(head), max(room, 0))]
	if left := room - len(lines); m.report != nil && left >= 3 {
		lines = append(lines, m.eventLines(left)...)
	}
	for len(lines) < room {
		lines = append(lines, "")
	}
	lines = append(lines, keys)
	for i, line := range lines {
		lines[i] = strings.TrimRight(term.Cut(term.Escape(line, true), m.width), " ")
	}
	return strings.Join(lines, "\n")
}

const maxReasons = 4

// head is all above the events.
func (m *model) head() []string {
	r := m.report
	if r == nil {
		return []string{m.paint(term.Bold, "erlmcp health"), "", "asking nodes and balancer ..."}
	}
	lines := []string{fmt.Sprintf("%s %s  %s  %s  %s", show.StateAs(m.paint, string(r.Status), "●"), m.paint(term.Bold, "erlmcp health"), m.state(string(r.Status)),
		r.Time.Format(time.DateTime), m.paint(term.Dim, fmt.Sprintf("round %d, every %v", m.rounds, m.interval)))}
	for i, reason := range r.Reasons {
		if i == maxReasons-1 && len(r.Reasons) > maxReasons {
			lines = append(lines, fmt.Sprintf("  and %d more", len(r.Reasons)-i))
			break
		}
		lines = append(lines, "  "+reason)
	}
	lines = append(lines, "", "balancer     "+m.balancer(&r.LoadBalancer))
	if r.Cluster != nil {
		lines = append(lines, "cluster      "+show.HealthCluster(m.paint, r.Cluster))
	}
	lines = append(lines, "connections  "+show.HealthConnections(r.Connections), "")
	return append(lines, m.nodeLines()...)
}

// balancer is a line.
func (m *model) balancer(lb *healthcheck.LoadBalancer) string {
	if !lb.Running {
		text := m.state("not running")
		if lb.Error != "" {
			text += ", " + lb.Error
		}
		return text
	}
	parts := []string{lb.Engine}
	if lb.State != "" {
		parts = append(parts, m.state(lb.State))
	}
	if lb.Clients != nil {
		parts = append(parts, fmt.Sprintf("%d clients", *lb.Clients))
	}
	if lb.Rate != nil {
		parts = append(parts, number(*lb.Rate)+"/s new")
	}
	for _, c := range lb.Checks {
		if c.OK {
			parts = append(parts, fmt.Sprintf("answers in %v", show.Latency(c.Latency)))
		} else {
			parts = append(parts, m.paint(term.Red, c.Error))
		}
	}
	return strings.Join(parts, ", ")
}

// column is one of the table of nodes. Cells are cut to its width and those of numbers stand at the
// right.
type column struct {
	title  string
	width  int
	narrow int // its width in a window that is narrow
	right  bool
	from   int // columns of the window from which on there is room for it
	cell   func(m *model, i int) string
}

// narrowWindow is how many columns a window has at most that is narrow.
const narrowWindow = 79

// nodeColumns leaves the bar, which takes what is left, to nodeLines.
var nodeColumns = []column{
	{"NODE", 12, 10, false, 0, func(m *model, i int) string { return m.report.Nodes[i].Name }},
	{"STATE", 11, 8, false, 0, func(m *model, i int) string { return m.state(nodeState(&m.report.Nodes[i])) }},
	{"CONNS", 7, 6, true, 0, func(m *model, i int) string { return show.OrUnknown(m.report.Nodes[i].Connections) }},
	{"TARGET", 7, 6, true, 46, func(m *model, i int) string { return fmt.Sprintf("%.0f", m.report.Share(i)) }},
	{"", 0, 0, false, 56, nil}, // the bar
	{"NEW/S", 7, 6, true, 70, func(m *model, i int) string { return rateCell(m.report.Nodes[i].ConnectRate) }},
	{"LATENCY", 8, 8, true, 38, (*model).latencyCell},
	{"", 16, 16, false, 100, (*model).sparkCell},
	{"AVAIL", 7, 7, true, 80, (*model).availabilityCell},
	{"FLAPS", 5, 5, true, 110, func(m *model, i int) string { return fmt.Sprint(m.report.Nodes[i].Statistics.Flaps) }},
}

// nodeLines is the table of nodes, with the columns there is room for.
func (m *model) nodeLines() []string {
	var columns []column
	bar := -1
	left := m.width
	for _, c := range nodeColumns {
		if m.width < c.from {
			continue
		}
		if c.cell == nil {
			bar = len(columns)
		}
		if m.width <= narrowWindow {
			c.width = c.narrow
		}
		columns = append(columns, c)
		left -= c.width + 2
	}
	if bar >= 0 {
		columns[bar].width = min(max(left+2, 4), 48)
		full := m.largest()
		columns[bar].cell = func(m *model, i int) string { return m.bar(i, full, columns[bar].width) }
	}
	lines := make([]string, 0, 1+len(m.report.Nodes))
	for i := -1; i < len(m.report.Nodes); i++ {
		cells := make([]string, len(columns))
		for j, c := range columns {
			text := m.paint(term.Bold, c.title)
			if i >= 0 {
				text = c.cell(m, i)
			}
			if c.right {
				cells[j] = term.PadLeft(text, c.width)
			} else {
				cells[j] = term.Pad(text, c.width)
			}
		}
		lines = append(lines, strings.Join(cells, "  "))
	}
	return lines
}

// largest is what a full bar stands for: a tenth more than any node has or should have, so that the
// marks of the targets have something beyond them.
func (m *model) largest() float64 {
	largest := 0.0
	for i := range m.report.Nodes {
		largest = max(largest, m.report.Share(i))
		if n := m.report.Nodes[i].Connections; n != nil {
			largest = max(largest, float64(*n))
		}
	}
	return largest * 1.1
}

// bar shows the connections of a node and, as "│", its target.
func (m *model) bar(i int, full float64, columns int) string {
	value := 0.0
	if n := m.report.Nodes[i].Connections; n != nil {
		value = float64(*n)
	}
	cells := []rune(term.Bar(value, full, columns))
	style := term.Green
	if m.report.Nodes[i].Status != healthcheck.NodeUp {
		style = term.Red
	}
	share := m.report.Share(i)
	if share == 0 || full == 0 {
		return m.paint(style, string(cells))
	}
	mark := min(int(share/full*float64(columns)+0.5), columns-1)
	if mark == 0 && value > 0 && columns > 1 {
		mark = 1 // the least of bars is still to be seen
	}
	return m.paint(style, string(cells[:mark])) + m.paint(term.Bold, "│") + m.paint(style, string(cells[mark+1:]))
}

func (m *model) latencyCell(i int) string {
	n := &m.report.Nodes[i]
	if latency, ok := n.Latency(); ok {
		return show.Latency(latency).String()
	}
	for _, c := range n.Checks {
		if !c.OK {
			return m.paint(term.Red, string(c.Cause))
		}
	}
	return "-"
}

func (m *model) sparkCell(i int) string {
	return m.paint(term.Cyan, term.Sparkline(m.latencies[m.report.Nodes[i].Name], 16))
}

func (m *model) availabilityCell(i int) string {
	s := m.report.Nodes[i].Statistics
	if s.Rounds == 0 {
		return "-"
	}
	text := fmt.Sprintf("%.4g%%", s.AvailabilityPercent)
	if s.AvailabilityPercent < 100 {
		return m.paint(term.Yellow, text)
	}
	return text
}

// eventLines are the newest events, in no more than room lines.
func (m *model) eventLines(room int) []string {
	lines := []string{"", m.paint(term.Bold, "EVENTS")}
	events := m.events[max(len(m.events)-(room-len(lines)), 0):]
	if len(events) == 0 {
		return append(lines, m.paint(term.Dim, "none since "+m.begun.Format(time.TimeOnly)))
	}
	for _, e := range events {
		line := fmt.Sprintf("%s  %s  %s → %s", e.Time.Format(time.TimeOnly), term.Pad(e.Subject, 13), m.state(e.From), m.state(e.To))
		if e.Reason != "" {
			line += m.paint(term.Dim, "  "+e.Reason)
		}
		lines = append(lines, line)
	}
	return lines
}

// state paints a state by how good it is.
func (m *model) state(state string) string { return show.State(m.paint, state) }

// nodeState is the node's own state, or that of the balancer for it where this says more.
func nodeState(n *healthcheck.NodeHealth) string {
	if n.Status == healthcheck.NodeUp && n.Balancer != "" {
		return n.Balancer
	}
	return n.Status
}

func rateCell(perSecond *float64) string {
	if perSecond == nil {
		return "-"
	}
	return number(*perSecond)
}

// number has three digits, and no exponent.
func number(x float64) string {
	if x >= 100 {
		return fmt.Sprintf("%.0f", x)
	}
	return fmt.Sprintf("%.3g", x)
}
