package loadtest

import (
	"strings"
	"testing"
)

// Each check that fails comes with advice, and a good run with none.
func TestAdvice(t *testing.T) {
	for _, c := range []struct {
		change func(*Report)
		want   string
	}{
		{func(r *Report) {
			r.Connections.Failed, r.Connections.Failures = 2, map[string]int64{"rate": 9, "reset": 1}
		}, "lb.limits"},
		{func(r *Report) {
			r.Connections.Failed, r.Connections.Failures = 2, map[string]int64{"unavailable": 9}
		}, "lb.max_connections"},
		{func(r *Report) { r.Connections.Failed, r.Connections.Failures = 2, map[string]int64{"local": 9} }, "erlmcp doctor"},
		{func(r *Report) {
			r.Connections.Dropped, r.Connections.Losses = 2, map[string]int64{"timeout": 2}
		}, "request_timeout"},
		{func(r *Report) { r.Connections.Dropped = 1 }, "lb.log"},
		{func(r *Report) { r.Connections.RampMs = 90_000 }, "--ramp-rate"},
		{func(r *Report) { r.Distribution.MaxDeviation = 900 }, "erlmcp lb status"},
		{func(r *Report) { r.Distribution.MaxDeviation, r.Plan.SourcesUsedBefore = 900, 5 }, "earlier load test"},
		{func(r *Report) { r.Nodes[2].Connections = 0 }, "nobody else uses them"},
		{func(r *Report) { r.Requests.Lost++ }, "erlmcp health"},
		{func(r *Report) { r.Latency.BetweenNodesCVPercent = 50 }, "erlmcp health"},
		{func(r *Report) { r.Sticky.Consistent = 0 }, "lb.sticky.tcp"},
		{func(r *Report) { r.StickyAfter.Consistent = 0 }, "lb.sticky.tcp"},
		{func(r *Report) { r.Failover.DetectedMs = 0 }, "lb.checks"},
		{func(r *Report) { r.Failover.ReroutedMs = 0 }, "lb.checks"},
		{func(r *Report) { r.Failover.Recovered = 0 }, "lb.checks"},
		{func(r *Report) { r.Failover.Survivors.MaxDeviation = 9000 }, "erlmcp lb status"},
		{func(r *Report) { r.Failover.Restored = false }, "erlmcp cluster tail erlmcp2"},
		{func(r *Report) { r.Reason = "hold: lost an agent" }, "erlmcp health"},
		{func(r *Report) { r.Generator.HoldMaxLagUs = 2_000_000 }, "the load test itself was late"},
	} {
		s, r := Default(), goodReport()
		r.Generator.P99LagUs, r.Generator.MaxLagUs = 1500, 30_000
		c.change(r)
		r.Checks, r.Verdict = conclude(&s, r)
		if got := advise(r); len(got) == 0 || !strings.Contains(strings.Join(got, "\n"), c.want) {
			t.Errorf("want %s, got %q", c.want, got)
		}
	}
	s, r := Default(), goodReport()
	r.Checks, r.Verdict = conclude(&s, r)
	if got := advise(r); got != nil {
		t.Errorf("a good run gets the advice %q", got)
	}
	r.Verdict, r.Reason = Interrupted, "interrupted"
	if got := advise(r); got != nil {
		t.Errorf("an interrupted run gets the advice %q", got)
	}
}
