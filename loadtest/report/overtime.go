package report

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/erlmcp/erlmcp/loadtest"
	"github.com/erlmcp/erlmcp/loadtest/report/internal/chart"
	"github.com/erlmcp/erlmcp/loadtest/series"
)

// seconds is the axis of charts over time.
var seconds = chart.Axis{Label: "time since the start (s)", Kind: chart.Span, Print: digits}

// course has the columns of a report's points.
type course struct {
	points []series.Point
	at     []float64
}

// column is a value of each point; NaN where there is none.
func (s *course) column(of func(*series.Point) float64) []float64 {
	v := make([]float64, len(s.points))
	for i := range s.points {
		v[i] = of(&s.points[i])
	}
	return v
}

// line is one of a chart.
func (s *course) line(name string, of func(*series.Point) float64) chart.Line {
	return chart.Line{Name: name, X: s.at, Y: s.column(of)}
}

// known adds a line for which there is a value at all.
func (s *course) known(lines []chart.Line, name string, of func(*series.Point) float64) []chart.Line {
	l := s.line(name, of)
	if slices.ContainsFunc(l.Y, func(v float64) bool { return !math.IsNaN(v) }) {
		return append(lines, l)
	}
	return lines
}

// keysOf are the keys of a map of the points: those of known in their order, and then others.
func keysOf[V any](s *course, of func(*series.Point) map[string]V, known ...string) (keys []string) {
	all := make(map[string]bool)
	for i := range s.points {
		for k := range of(&s.points[i]) {
			all[k] = true
		}
	}
	for _, k := range known {
		if all[k] {
			keys = append(keys, k)
		}
		delete(all, k)
	}
	return append(keys, slices.Sorted(maps.Keys(all))...)
}

func orNaN[T int64 | float64](v *T) float64 {
	if v == nil {
		return math.NaN()
	}
	return float64(*v)
}

// entry is that of a map, NaN if it has none.
func entry[V int | int64 | float64](m map[string]V, k string) float64 {
	if v, ok := m[k]; ok {
		return float64(v)
	}
	return math.NaN()
}

// overTime are the charts over time, and what their marks mean.
func overTime(r *loadtest.Report) (drawn []*chart.Drawing, meaning []moment) {
	if r.Series == nil || len(r.Series.Points) == 0 {
		return nil, nil
	}
	s := &course{points: r.Series.Points}
	s.at = s.column(func(p *series.Point) float64 { return p.AtS })
	var marks []chart.Mark
	for i, m := range r.Series.Marks {
		marks = append(marks, chart.Mark{At: m.AtS, Number: i + 1, Text: m.Text})
		meaning = append(meaning, moment{i + 1, fmt.Sprintf("%.1f s", m.AtS), m.Text})
	}
	bands := phases(s)
	draw := func(c chart.Chart) {
		c.X, c.Marks, c.Bands, c.Medians = seconds, marks, bands, true
		if len(c.Lines) > 1 {
			c.Note = strings.TrimPrefix(c.Note+", with the median", ", ")
		}
		if d := c.Draw(); d != nil {
			drawn = append(drawn, d)
		}
	}

	var nodeNames, partNames []string
	for _, n := range r.Nodes {
		nodeNames = append(nodeNames, n.Name)
	}
	for _, p := range r.Parts {
		partNames = append(partNames, p.Name)
	}
	nodes := keysOf(s, func(p *series.Point) map[string]int { return p.Nodes }, nodeNames...)
	total := func(p *series.Point) float64 { return float64(p.Connections) }
	connections := chart.Chart{Title: "Connections", Note: "of each node", Y: chart.Axis{Label: "connections", Print: digits}}
	for _, n := range nodes {
		l := s.line(n, func(p *series.Point) float64 {
			if p.Nodes == nil {
				return math.NaN()
			}
			return float64(p.Nodes[n])
		})
		l.Marked = r.Failover != nil && r.Failover.Node == n
		connections.Lines = append(connections.Lines, l)
	}
	if len(nodes) == 0 {
		connections.Note, connections.Lines = "of all nodes", []chart.Line{s.line("", total)}
	}
	draw(connections)
	if ramp := rampOf(s); len(ramp.at) > 2 {
		c := chart.Chart{Title: "Ramp", Note: "connections that have answered", Y: chart.Axis{Label: "connections", Print: digits}, Lines: []chart.Line{ramp.line("verified", total)}, X: seconds, Marks: marks}
		if d := c.Draw(); d != nil {
			drawn = append(drawn, d)
		}
	}
	latency := chart.Chart{Title: "Latency", Note: "of each second's answers", Y: chart.Axis{Label: "latency", Kind: chart.Log, Print: duration}}
	latency.Lines = s.known(latency.Lines, "mean", func(p *series.Point) float64 { return orNaN(p.MeanUs) })
	latency.Lines = s.known(latency.Lines, "p99", func(p *series.Point) float64 { return orNaN(p.P99Us) })
	draw(latency)
	for _, by := range []struct {
		what  string
		known []string
		of    func(*series.Point) map[string]float64
	}{
		{"node", nodeNames, func(p *series.Point) map[string]float64 { return p.NodesMeanUs }},
		{"transport", partNames, func(p *series.Point) map[string]float64 { return p.PartsMeanUs }},
	} {
		c := chart.Chart{Title: "Mean latency", Note: "of each " + by.what, Y: chart.Axis{Label: "latency", Kind: chart.Log, Print: duration}}
		for _, name := range keysOf(s, by.of, by.known...) {
			l := s.line(name, func(p *series.Point) float64 { return entry(by.of(p), name) })
			l.Marked = r.Failover != nil && r.Failover.Node == name
			c.Lines = append(c.Lines, l)
		}
		draw(c)
	}
	draw(chart.Chart{
		Title: "Answers and errors", Note: "per second", Y: chart.Axis{Label: "per second", Print: digits},
		Lines: []chart.Line{
			s.line("answers", func(p *series.Point) float64 { return p.Answers }),
			s.line("errors", func(p *series.Point) float64 { return p.Errors }),
		},
	})
	causes := chart.Chart{Title: "Errors by cause", Note: "in each interval", Y: chart.Axis{Label: "errors", Print: digits}}
	for _, cause := range keysOf(s, func(p *series.Point) map[string]int64 { return p.ByCause }) {
		causes.Lines = append(causes.Lines, s.line(cause, func(p *series.Point) float64 { return float64(p.ByCause[cause]) }))
	}
	draw(causes)
	cpu := chart.Chart{Title: "CPU", Note: "100 % is one core", Y: chart.Axis{Label: "CPU (%)", Print: digits}}
	cpu.Lines = s.known(cpu.Lines, "balancer", func(p *series.Point) float64 { return orNaN(p.BalancerCPU) })
	cpu.Lines = s.known(cpu.Lines, "nodes", func(p *series.Point) float64 { return orNaN(p.NodesCPU) })
	cpu.Lines = s.known(cpu.Lines, "agents", func(p *series.Point) float64 { return orNaN(p.AgentsCPU) })
	draw(cpu)
	memory := chart.Chart{Title: "Memory of the balancer", Y: chart.Axis{Label: "resident (MiB)", Print: digits}}
	memory.Lines = s.known(memory.Lines, "", func(p *series.Point) float64 { return orNaN(p.BalancerRSS) / (1 << 20) })
	draw(memory)
	return drawn, meaning
}

// phases are the stretches of one phase each.
func phases(s *course) (bands []chart.Band) {
	for i, p := range s.points {
		name := strings.ReplaceAll(string(p.Phase), "_", " ")
		if n := len(bands); n > 0 {
			if bands[n-1].Text == name {
				bands[n-1].To = s.at[i]
				continue
			}
			bands = append(bands, chart.Band{From: bands[n-1].To, To: s.at[i], Text: name})
			continue
		}
		bands = append(bands, chart.Band{From: s.at[i], To: s.at[i], Text: name})
	}
	return bands
}

// rampOf is the part of a series in which connections are opened.
func rampOf(s *course) *course {
	part := new(course)
	for i, p := range s.points {
		if p.Phase == loadtest.PhaseRamp {
			part.points, part.at = append(part.points, p), append(part.at, s.at[i])
		}
	}
	return part
}
