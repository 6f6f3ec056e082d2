package loadtest

import (
	"slices"
	"strings"
	"testing"

	"github.com/erlmcp/erlmcp/loadtest/internal/want"
)

// Each figure of a report can be asked for by its name, and by that without units where that means one figure only.
func TestEveryFigureCanBeWanted(t *testing.T) {
	schema := want.Of[Report]()
	paths := schema.Paths()
	for _, path := range paths {
		if w, err := schema.Parse(path + ">=0"); err != nil || w.Path() != path {
			t.Errorf("%s: %q, %v", path, w.Path(), err)
		}
	}
	for short, path := range map[string]string{
		"nodes.a.latency.p99": "nodes.a.latency_us.p99", "failover.rerouted": "failover.rerouted_ms",
		"failover.restored": "failover.restored_ms", "latency.p999": "latency.p999", "latency.stddev": "latency.stddev",
		"latency.between_nodes_cv": "latency.between_nodes_cv_percent", "baseline_latency.p50": "baseline_latency_us.p50",
		"checks.ramp.want_max": "checks.ramp.want_max", "generator.hold_p99_lag": "generator.hold_p99_lag_us",
		"setup_latency.tls.p99": "setup_latency_us.tls.p99", "errors": "errors", "rate": "rate", "parts.http.errors": "parts.http.errors",
		"resources.machine_memory": "resources.machine_memory_bytes", "plan.ramp": "plan.ramp_per_second", "search.rate": "search.rate_per_second",
	} {
		if w, err := schema.Parse(short + ">=0"); err != nil || w.Path() != path {
			t.Errorf("%s: %q, %v", short, w.Path(), err)
		}
	}
	// Durations have units: what is named as one would be compared with plain numbers otherwise.
	for _, path := range paths {
		last := path[strings.LastIndexByte(path, '.')+1:]
		if slices.Contains([]string{"min", "mean", "p50", "p90", "p99", "p999", "max", "stddev"}, last) {
			if _, err := schema.Parse(path + "<=1ms"); err != nil {
				t.Error(err)
			}
		}
	}
}

// A run that measured nothing satisfies no want, and one that did is judged by what it measured.
func TestWantsOfAReport(t *testing.T) {
	wants, err := want.Of[Report]().ParseAll("latency.between_nodes_cv<=1.5%,failover.rerouted<=1h,errors<=0%")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		report *Report
		ok     bool
	}{{goodReport(), true}, {&Report{}, false}} {
		outcomes, err := wants.Check(c.report)
		if err != nil || len(outcomes) != 3 {
			t.Fatal(outcomes, err)
		}
		for _, o := range outcomes {
			if o.OK != c.ok || (o.Why == "") != c.ok {
				t.Errorf("%+v", o)
			}
		}
	}
}
