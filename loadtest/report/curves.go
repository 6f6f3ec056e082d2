package report

import (
	"maps"
	"math"
	"slices"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/erlmcp/erlmcp/loadtest"
	"github.com/erlmcp/erlmcp/loadtest/report/internal/chart"
)

// percentiles is the axis of percentile curves: each step is one nine more.
var percentiles = chart.Axis{Label: "percentile of the answers", Kind: chart.Nines, Print: func(nines float64) string {
	names := []string{"0 %", "90 %", "99 %", "99.9 %", "99.99 %", "99.999 %", "99.9999 %", "99.99999 %", "99.999999 %", "99.9999999 %"}
	if n := int(math.Round(nines)); n >= 0 && n < len(names) {
		return names[n]
	}
	return ""
}}

// curve is a distribution as a line over nines. Without a histogram it goes through the percentiles that are known.
func curve(name string, q loadtest.Quantiles, h *hdrhistogram.Histogram) chart.Line {
	l := chart.Line{Name: name}
	add := func(quantile float64, value int64) {
		if value > 0 {
			l.X, l.Y = append(l.X, -math.Log10(1-quantile)), append(l.Y, float64(value))
		}
	}
	if h != nil && h.TotalCount() > 0 {
		n := float64(h.TotalCount())
		for nines := 0.0; nines <= math.Log10(n); nines += 0.04 {
			quantile := 1 - math.Pow(10, -nines)
			add(quantile, h.ValueAtQuantile(100*quantile))
		}
		if n > 1 {
			add(1-1/n, h.Max())
		}
		return l
	}
	if q.Count == 0 || q.P50 == 0 {
		return l
	}
	add(0, q.Min)
	for _, p := range []struct {
		quantile float64
		value    int64
	}{{0.5, q.P50}, {0.9, q.P90}, {0.99, q.P99}, {0.999, q.P999}} {
		if 1-p.quantile >= 1/float64(q.Count) {
			add(p.quantile, p.value)
		}
	}
	if last := 1 - 1/float64(q.Count); len(l.X) > 0 && -math.Log10(1-last) > l.X[len(l.X)-1] {
		add(last, q.Max)
	}
	return l
}

// curves are the percentile curves by node, transport, step and stage.
func curves(r *loadtest.Report) (drawn []*chart.Drawing) {
	draw := func(note string, lines []chart.Line) {
		c := chart.Chart{
			Title: "Latency by percentile", Note: note, X: percentiles,
			Y: chart.Axis{Label: "latency", Kind: chart.Log, Print: duration}, Lines: lines,
		}
		if d := c.Draw(); d != nil {
			drawn = append(drawn, d)
		}
	}
	var nodes, parts, steps, stages []chart.Line
	for _, n := range r.Nodes {
		h, _ := histogram(n.Histogram) // one that cannot be read draws no line
		l := curve(nodeName(n.Name), n.Latency, h)
		l.Marked = r.Failover != nil && r.Failover.Node == n.Name
		nodes = append(nodes, l)
	}
	draw("of each node", nodes)
	for _, p := range r.Parts {
		q, h := together(p.Nodes)
		parts = append(parts, curve(p.Name, q, h))
	}
	draw("of each transport", parts)
	for _, s := range r.Steps {
		h, _ := histogram(s.Histogram)
		steps = append(steps, curve(s.Name, s.Latency, h))
	}
	draw("of each step", steps)
	for _, stage := range slices.Sorted(maps.Keys(r.Setup)) {
		stages = append(stages, curve(stageName(stage), r.Setup[stage], nil))
	}
	draw("of each stage of the set-up", stages)
	return drawn
}

// stageName says what a stage of the set-up is.
func stageName(stage string) string {
	names := map[string]string{"connect": "connect (TCP)", "tls": "TLS handshake", "session": "session (initialize)", "first_event": "first event"}
	if name, ok := names[stage]; ok {
		return name
	}
	return stage
}

const quantileTitles = "|>Answers|>Mean|>p50|>p90|>p99|>p99.9|>Max"

// latencyTables are those of nodes, transports, steps, the set-up, and what the balancer costs.
func latencyTables(r *loadtest.Report) (all []*Table) {
	add := func(t *Table) {
		if t.orNil() != nil {
			all = append(all, t)
		}
	}
	nodes := NewTable("By node", "Latency by node", "Node|>Connections|>By the kernel"+quantileTitles+"|>Std. deviation")
	for _, n := range r.Nodes {
		kernel, deviation := "–", "–"
		if n.KernelConnections != nil {
			kernel = count(*n.KernelConnections)
		}
		if n.Stddev > 0 {
			deviation = duration(n.Stddev)
		}
		nodes.Row(append(append([]string{nodeName(n.Name), count(n.Connections), kernel}, quantileCells(n.Latency)...), deviation)...)
	}
	if d := r.Distribution; d != nil {
		nodes.Note = "Each node should have " + count(d.TargetPerNode) + " connections, give or take " + count(d.Tolerance) + "."
	}
	if l := r.Latency; l != nil && l.Windows > 0 {
		nodes.Note += " Their means differ by " + Print(l.BetweenNodesCVPercent, Percent) + " (coefficient of variation)."
	}
	add(nodes)
	parts := NewTable("By transport", "Latency by transport", "Transport|Driver"+quantileTitles)
	for _, p := range r.Parts {
		q, _ := together(p.Nodes)
		parts.Row(append([]string{p.Name, p.Driver}, quantileCells(q)...)...)
	}
	add(parts)
	steps := NewTable("By step of the script", "Latency by step", "Step"+quantileTitles)
	for _, s := range r.Steps {
		steps.Row(append([]string{s.Name}, quantileCells(s.Latency)...)...)
	}
	add(steps)
	setup := NewTable("Set-up of connections", "Latency of the set-up", "Stage"+quantileTitles)
	for _, stage := range slices.Sorted(maps.Keys(r.Setup)) {
		setup.Row(append([]string{stageName(stage)}, quantileCells(r.Setup[stage])...)...)
	}
	add(setup)
	idle := NewTable("Without load", "Latency without load", "Way"+quantileTitles)
	if r.Baseline != nil {
		idle.Row(append([]string{"through the balancer"}, quantileCells(*r.Baseline)...)...)
	}
	for _, n := range r.Straight {
		idle.Row(append([]string{"straight at " + n.Name}, quantileCells(n.Latency)...)...)
	}
	if len(r.Straight) > 0 {
		idle.Note = "The difference is what the balancer costs."
	}
	add(idle)
	return all
}
