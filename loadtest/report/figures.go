package report

import (
	"maps"
	"math"
	"slices"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/erlmcp/erlmcp/loadtest"
	"github.com/erlmcp/erlmcp/loadtest/series"
)

// Better says which way a figure should go.
type Better int

// The ways. Neither is for what the run set out to do, or counts alone.
const (
	Neither Better = iota
	Lower
	Higher
)

// The units of figures. A count has none.
const (
	Micros    = "us"
	Millis    = "ms"
	Seconds   = "s"
	Bytes     = "bytes"
	Percent   = "percent"
	PerSecond = "per_second"
)

// Figure is one number of a report.
type Figure struct {
	Group  string  `json:"group,omitempty"` // node, transport, step, stage, rate, straight, cause; empty: of the whole run
	Of     string  `json:"of,omitempty"`    // which one of the group
	Name   string  `json:"name"`            // such as latency.p99
	Value  float64 `json:"value"`
	Unit   string  `json:"unit,omitempty"`
	Better Better  `json:"-"`
}

// Path is the name by which expressions know the figure: latency.p99, node.erlmcp1.latency.p99.
func (f Figure) Path() string {
	if f.Group == "" {
		return f.Name
	}
	return f.Group + "." + f.Of + "." + f.Name
}

// list collects the figures of a report.
type list struct {
	figures   []Figure
	group, of string
}

func (l *list) add(name string, value float64, unit string, better Better) {
	if !math.IsNaN(value) && !math.IsInf(value, 0) {
		l.figures = append(l.figures, Figure{l.group, l.of, name, value, unit, better})
	}
}

// within has do add figures of one of a group.
func (l *list) within(group, of string, do func()) {
	before, beforeOf := l.group, l.of
	l.group, l.of = group, of
	do()
	l.group, l.of = before, beforeOf
}

// Figures are all numbers of a report, in the order of its parts. What was not measured is missing.
func Figures(r *loadtest.Report) []Figure {
	var l list
	l.add("connections.target", float64(r.Plan.Connections), "", Neither)
	held := holdSeconds(r)
	l.outcome(r.Connections, r.Nodes, r.Distribution, r.Latency, r.Requests, r.Sticky, held)
	if b := r.Baseline; b != nil {
		l.quantiles("baseline", *b)
	}
	if s := r.StickyAfter; s != nil && s.Sampled > 0 {
		l.add("sticky_after_failover.consistent", 100*float64(s.Consistent)/float64(s.Sampled), Percent, Higher)
	}
	l.failover(r.Failover)
	l.resources(r.Resources)
	if r.Generator.Agents > 0 {
		l.add("lag.p99", float64(r.Generator.HoldP99LagUs), Micros, Neither)
		l.add("lag.max", float64(r.Generator.HoldMaxLagUs), Micros, Neither)
	}
	if s := r.Sessions; s != nil {
		l.add("sessions.begun", float64(s.Begun), "", Neither)
		l.add("sessions.ended", float64(s.Ended), "", Neither)
		l.add("sessions.lost", float64(s.Lost), "", Lower)
	}
	if s := r.Search; s != nil {
		l.add("search.rate", s.RatePerSecond, PerSecond, Higher)
		l.add("search.estimate", s.EstimatePerSecond, PerSecond, Neither)
	}
	for _, s := range r.Rates {
		l.within("rate", s.Name, func() {
			l.add("answers", s.GotPerSecond, PerSecond, Higher)
			l.add("errors", s.ErrorsPercent, Percent, Lower)
			l.quantiles("latency", s.Latency)
		})
	}
	for _, stage := range slices.Sorted(maps.Keys(r.Setup)) {
		l.within("stage", stage, func() { l.quantiles("setup", r.Setup[stage]) })
	}
	for _, p := range r.Parts {
		l.within("transport", p.Name, func() {
			l.outcome(p.Connections, p.Nodes, p.Distribution, p.Latency, p.Requests, p.Sticky, held)
		})
	}
	for _, s := range r.Steps {
		l.within("step", s.Name, func() { l.quantiles("latency", s.Latency) })
	}
	for _, n := range r.Nodes {
		if n.Name == "" {
			continue
		}
		l.within("node", n.Name, func() {
			l.add("connections", float64(n.Connections), "", Neither)
			l.quantiles("latency", n.Latency)
			if n.Stddev > 0 {
				l.add("latency.stddev", n.Stddev, Micros, Lower)
			}
		})
	}
	for _, n := range r.Straight {
		l.within("straight", n.Name, func() { l.quantiles("latency", n.Latency) })
	}
	if q := r.Requests; q != nil {
		for _, cause := range slices.Sorted(maps.Keys(q.Causes)) {
			l.within("cause", cause, func() { l.add("requests.failed", float64(q.Causes[cause]), "", Lower) })
		}
	}
	return l.figures
}

// outcome adds what a run and each transport of it have.
func (l *list) outcome(c *loadtest.Connections, nodes []loadtest.NodeResult, d *loadtest.Distribution, between *loadtest.LatencyResult,
	q *loadtest.Requests, s *loadtest.Sticky, held float64,
) {
	if c != nil {
		l.add("connections.established", float64(c.Established), "", Higher)
		l.add("connections.verified", float64(c.Verified), "", Higher)
		l.add("connections.failed", float64(c.Failed), "", Lower)
		l.add("connections.dropped", float64(c.Dropped), "", Lower)
		l.add("ramp.time", c.RampMs, Millis, Lower)
		l.add("ramp.rate", 1000*float64(c.Verified)/c.RampMs, PerSecond, Higher)
	}
	if q != nil {
		l.add("requests.sent", float64(q.Sent), "", Neither)
		l.add("requests.answered", float64(q.Answered), "", Neither)
		l.add("requests.failed", float64(q.Failed), "", Lower)
		l.add("requests.lost", float64(q.Lost), "", Lower)
		l.add("requests.moved", float64(q.Moved), "", Lower)
		l.add("rate", float64(q.Answered)/held, PerSecond, Higher)
		l.add("errors", 100*float64(q.Failed+q.Lost)/float64(q.Sent), Percent, Lower)
	}
	if all, h := together(nodes); all.Count > 0 {
		l.quantiles("latency", all)
		if h != nil {
			l.add("latency.stddev", h.StdDev(), Micros, Lower)
		}
	}
	if between != nil && between.Windows > 0 {
		l.add("latency.between_nodes", between.BetweenNodesCVPercent, Percent, Lower)
	}
	if d != nil {
		l.add("distribution.deviation", float64(d.MaxDeviation), "", Lower)
	}
	if s != nil && s.Sampled > 0 {
		l.add("sticky.consistent", 100*float64(s.Consistent)/float64(s.Sampled), Percent, Higher)
	}
}

// quantiles adds those that are known: percentiles of several nodes together are not, without their histograms.
func (l *list) quantiles(of string, q loadtest.Quantiles) {
	if q.Count == 0 {
		return
	}
	l.add(of+".count", float64(q.Count), "", Neither)
	l.add(of+".min", float64(q.Min), Micros, Lower)
	l.add(of+".mean", q.Mean, Micros, Lower)
	if q.P50 > 0 {
		l.add(of+".p50", float64(q.P50), Micros, Lower)
		l.add(of+".p90", float64(q.P90), Micros, Lower)
		l.add(of+".p99", float64(q.P99), Micros, Lower)
		l.add(of+".p999", float64(q.P999), Micros, Lower)
	}
	l.add(of+".max", float64(q.Max), Micros, Lower)
}

func (l *list) failover(f *loadtest.Failover) {
	if f == nil {
		return
	}
	if f.DetectedMs > 0 { // 0 is never
		l.add("failover.detected", f.DetectedMs, Millis, Lower)
	}
	if f.ReroutedMs > 0 {
		l.add("failover.rerouted", f.ReroutedMs, Millis, Lower)
	}
	if f.Restored {
		l.add("failover.restored", f.RestoredMs, Millis, Lower)
	}
	l.add("failover.displaced", float64(f.Displaced), "", Neither)
	l.add("failover.recovered", float64(f.Recovered), "", Neither)
	l.add("failover.requests_lost", float64(f.RequestsLost), "", Lower)
}

// processes are the parts of the system that resources are told of.
func processes(r *series.Resources) []struct {
	Name string
	series.ProcessUse
} {
	return []struct {
		Name string
		series.ProcessUse
	}{{"balancer", r.Balancer}, {"nodes", r.Nodes}, {"agents", r.Agents}, {"coordinator", r.Coordinator}}
}

func (l *list) resources(r *series.Resources) {
	if r == nil {
		return
	}
	for _, p := range processes(r) {
		if p.Processes > 0 {
			l.add("cpu."+p.Name, p.CPUPercent, Percent, Lower)
			l.add("memory."+p.Name, float64(p.RSSBytes), Bytes, Lower)
			l.add("descriptors."+p.Name, float64(p.Descriptors), "", Neither)
		}
	}
	l.add("memory.machine", float64(r.MemoryBytes), Bytes, Lower)
}

// holdSeconds is how long requests were sent, as it was, or else as it was planned.
func holdSeconds(r *loadtest.Report) float64 {
	for _, p := range r.Phases {
		if p.Name == loadtest.PhaseHold && p.TookS > 0 {
			return p.TookS
		}
	}
	return r.Plan.HoldS
}

// together is the latency of all nodes. Without the histogram of each, which it returns merged, percentiles are not known.
func together(nodes []loadtest.NodeResult) (loadtest.Quantiles, *hdrhistogram.Histogram) {
	var all loadtest.Quantiles
	var merged *hdrhistogram.Histogram
	whole, answering := true, 0
	sum := 0.0
	for _, n := range nodes {
		q := n.Latency
		if q.Count == 0 {
			continue
		}
		answering++
		if all.Count == 0 {
			all = q
		}
		all.Min, all.Max = min(all.Min, q.Min), max(all.Max, q.Max)
		if answering > 1 {
			all.Count += q.Count
		}
		sum += q.Mean * float64(q.Count)
		h, err := histogram(n.Histogram)
		if err != nil || h == nil {
			whole = false
			continue
		}
		if merged == nil {
			merged = h
		} else {
			merged.Merge(h)
		}
	}
	switch {
	case answering == 0:
		return loadtest.Quantiles{}, nil
	case whole:
		all.P50, all.P90 = merged.ValueAtQuantile(50), merged.ValueAtQuantile(90)
		all.P99, all.P999 = merged.ValueAtQuantile(99), merged.ValueAtQuantile(99.9)
	case answering > 1:
		all.P50, all.P90, all.P99, all.P999 = 0, 0, 0, 0
	}
	if !whole {
		merged = nil
	}
	all.Mean = sum / float64(all.Count)
	return all, merged
}
