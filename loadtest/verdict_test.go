package loadtest

import (
	"encoding/json"
	"slices"
	"testing"

	"github.com/erlmcp/erlmcp/internal/judge"
	"github.com/erlmcp/erlmcp/loadtest/internal/latency"
	"github.com/erlmcp/erlmcp/loadtest/machine"
	"github.com/erlmcp/erlmcp/loadtest/series"
	"github.com/erlmcp/erlmcp/loadtest/system"
)

// goodReport is what a run of the default plan measures when all is well.
func goodReport() *Report {
	kernel := 25_001
	r := &Report{
		Plan:        PlanSummary{Connections: 100_000, RampPerSecond: 10_000},
		Connections: &Connections{Target: 100_000, Established: 100_000, Verified: 100_000, RampMs: 10_400},
		Requests:    &Requests{Sent: 300_000, Answered: 300_000},
		Distribution: &Distribution{
			TargetPerNode: 25_000, Tolerance: 500, MaxDeviation: 100,
		},
		Latency:     &LatencyResult{BetweenNodesCVPercent: 1.2, Windows: 60},
		Sticky:      &Sticky{Sampled: 1000, Consistent: 1000},
		StickyAfter: &Sticky{Sampled: 1000, Consistent: 1000},
		Failover: &Failover{
			Node: "erlmcp2", Fault: system.FaultKill, DetectedMs: 40, ReroutedMs: 1100, Restored: true,
			OnNode: 25_000, Displaced: 25_000, Recovered: 25_000,
			Survivors: &Distribution{TargetPerNode: 33_333, Tolerance: 667, MaxDeviation: 200},
		},
		Generator: Generator{Agents: 6, P99LagUs: 150_000, MaxLagUs: 1_500_000, HoldP99LagUs: 1500, HoldMaxLagUs: 30_000},
	}
	for range 4 {
		r.Nodes = append(r.Nodes, NodeResult{Connections: 25_000, KernelConnections: &kernel, KernelBefore: 1})
	}
	return r
}

func TestGoodRunPasses(t *testing.T) {
	s := Default()
	checks, verdict := conclude(&s, goodReport())
	if verdict != Pass || len(checks) != 15 {
		t.Errorf("%s with %d checks", verdict, len(checks))
	}
	for _, c := range checks {
		if c.Verdict != judge.OK || c.Why != "" || c.Want == "" || c.Got == "" {
			t.Errorf("%+v", c)
		}
	}
}

// Every check can fail, and then it is the one that fails.
func TestEachCheckFails(t *testing.T) {
	for _, c := range []struct {
		check     string
		change    func(*Report)
		want, got string
	}{
		{"connections", func(r *Report) { r.Connections.Verified = 99_999 }, "100000", "99999"},
		{"connections", func(r *Report) { r.Connections.Failed = 3 }, "100000", "100000, 3 gave up"},
		{"ramp", func(r *Report) { r.Connections.RampMs = 20_001 }, "≤ 20s", "20s"},
		{"dropped", func(r *Report) { r.Connections.Dropped = 1 }, "0", "1"},
		{"dropped", func(r *Report) {
			r.Connections.Dropped, r.Connections.Losses = 4, map[string]int64{"reset": 1, "closed": 3}
		}, "0", "4 (closed 3, reset 1)"},
		{"distribution", func(r *Report) { r.Distribution.MaxDeviation = 501 }, "25000 ± 500", "± 501"},
		{"kernel_agreement", func(r *Report) { r.Nodes[2].Connections = 24_994 }, "within 5 of the answers", "within 6"},
		{"requests", func(r *Report) { r.Requests.Answered--; r.Requests.Lost++ }, "all answered by the connection's node", "299999 of 300000 (unanswered 1)"},
		{"requests", func(r *Report) { r.Requests.Moved++ }, "all answered by the connection's node", "299999 of 300000 (another node 1)"},
		{"latency_variance", func(r *Report) { r.Latency.BetweenNodesCVPercent = 5.1 }, "≤ 5 %", "5.1 %"},
		{"sticky", func(r *Report) { r.Sticky.Consistent = 999 }, "1000 of 1000", "999"},
		{"sticky_after_failover", func(r *Report) { r.StickyAfter.Consistent = 0 }, "1000 of 1000", "0"},
		{"failover_detected", func(r *Report) { r.Failover.DetectedMs = 5001 }, "≤ 5s", "5s"},
		{"failover_detected", func(r *Report) { r.Failover.DetectedMs = 0 }, "≤ 5s", "never"},
		{"failover_rerouted", func(r *Report) { r.Failover.ReroutedMs = 6000 }, "≤ 5s", "6s"},
		{"failover_rerouted", func(r *Report) { r.Failover.ReroutedMs = 0 }, "≤ 5s", "never"},
		{"failover_rerouted", func(r *Report) { r.Failover.Fault = system.FaultFreeze; r.Failover.ReroutedMs = 8500 }, "≤ 8s", "8.5s"},
		{"failover_recovered", func(r *Report) { r.Failover.Recovered-- }, "25000 of 25000 displaced", "24999 of 25000"},
		{"failover_recovered", func(r *Report) { r.Failover.Displaced--; r.Failover.Recovered-- }, "25000 of 25000 displaced", "24999 of 24999"},
		{"failover_spread", func(r *Report) { r.Failover.Survivors.MaxDeviation = 668 }, "33333 ± 667", "± 668"},
		{"node_restored", func(r *Report) { r.Failover.Restored = false }, "up again", "not up"},
	} {
		s, r := Default(), goodReport()
		r.Generator.P99LagUs, r.Generator.MaxLagUs = 1500, 30_000
		c.change(r)
		checks, verdict := conclude(&s, r)
		if verdict != Fail {
			t.Errorf("%s: %s", c.check, verdict)
		}
		for _, got := range checks {
			if (got.Verdict == judge.OK) == (got.Name == c.check) {
				t.Errorf("%s: %+v", c.check, got)
			}
			if got.Name == c.check && (got.Want != c.want || got.Got != c.got) {
				t.Errorf("%s: want %q, got %q", got.Name, got.Want, got.Got)
			}
		}
	}
}

// What the texts say is there as numbers too, for programs.
func TestChecksCarryNumbers(t *testing.T) {
	found := func(change func(*Report), name string) string {
		s, r := Default(), goodReport()
		change(r)
		checks, _ := conclude(&s, r)
		for _, c := range checks {
			if c.Verdict == judge.OK && c.Unit != "" && !c.Within() {
				t.Errorf("%+v passes, and its numbers do not", c)
			}
			if c.Name == name {
				text, err := json.Marshal(c.Numbers)
				if err != nil {
					t.Fatal(err)
				}
				return string(text)
			}
		}
		return "no check"
	}
	for _, c := range []struct {
		check  string
		change func(*Report)
		want   string
	}{
		{"connections", func(r *Report) { r.Connections.Verified = 99_999 }, `{"got_value":99999,"want_min":100000,"unit":"connections"}`},
		{"ramp", func(*Report) {}, `{"got_value":10400,"want_max":20000,"unit":"ms"}`},
		{"dropped", func(*Report) {}, `{"got_value":0,"want_max":0,"unit":"connections"}`},
		{"distribution", func(*Report) {}, `{"got_value":100,"want_max":500,"unit":"connections"}`},
		{"distribution", func(r *Report) {
			r.Distribution.MaxDeviation, r.Plan.Sources, r.Plan.ConnectionsPerSource = 900, 1, 100_000
		}, `{"got_value":900,"want_max":500,"unit":"connections"}`},
		{"kernel_agreement", func(r *Report) { r.Nodes[2].Connections = 24_994 }, `{"got_value":6,"want_max":5,"unit":"connections"}`},
		{"requests", func(r *Report) { r.Requests.Moved++ }, `{"got_value":299999,"want_min":300000,"unit":"requests"}`},
		{"requests", func(r *Report) { *r.Requests = Requests{} }, `{}`},
		{"latency_variance", func(*Report) {}, `{"got_value":1.2,"want_max":5,"unit":"percent"}`},
		{"latency_variance", func(r *Report) { r.Latency.Windows = latency.MinWindows - 1 }, `{"got_value":1.2,"want_max":5,"unit":"percent"}`},
		{"sticky", func(r *Report) { r.Sticky.Consistent = 0 }, `{"got_value":0,"want_min":1000,"unit":"clients"}`},
		{"failover_detected", func(*Report) {}, `{"got_value":40,"want_max":5000,"unit":"ms"}`},
		{"failover_detected", func(r *Report) { r.Failover.DetectedMs = 0 }, `{"want_max":5000,"unit":"ms"}`},
		{"failover_rerouted", func(r *Report) { r.Failover.Fault = system.FaultFreeze }, `{"got_value":1100,"want_max":8000,"unit":"ms"}`},
		{"failover_recovered", func(r *Report) { r.Failover.Recovered-- }, `{"got_value":24999,"want_min":25000,"unit":"clients"}`},
		{"failover_spread", func(*Report) {}, `{"got_value":200,"want_max":667,"unit":"connections"}`},
		{"node_restored", func(*Report) {}, `{}`},
		{"generator_lag", func(*Report) {}, `{"got_value":30,"want_max":1000,"unit":"ms"}`},
		{"generator_lag", func(r *Report) { r.Generator.HoldP99LagUs = 100_001 }, `{"got_value":100.001,"want_max":100,"unit":"ms"}`},
	} {
		if got := found(c.change, c.check); got != c.want {
			t.Errorf("%s: %s, want %s", c.check, got, c.want)
		}
	}
}

// They are keys of the check itself.
func TestNumbersAreBesideTheirText(t *testing.T) {
	s, r := Default(), goodReport()
	checks, _ := conclude(&s, r)
	text, err := json.Marshal(checks[2:3])
	if want := `[{"name":"dropped","pass":true,"want":"0","got":"0","got_value":0,"want_max":0,"unit":"connections"}]`; err != nil || string(text) != want {
		t.Errorf("%s, %v", text, err)
	}
}

func TestUnjudgedChecksInJSON(t *testing.T) {
	var l judge.List
	l.Unjudged("a", "2", "why not")
	l.Need("b", false, "1", "2", "")
	text, err := json.Marshal(Checks(l))
	want := `[{"name":"a","pass":true,"want":"2","got":"-","note":"why not"},{"name":"b","pass":false,"want":"2","got":"1"}]`
	if err != nil || string(text) != want {
		t.Errorf("%s, %v", text, err)
	}
	if text, err := json.Marshal(Report{}.Checks); err != nil || string(text) != "[]" {
		t.Errorf("no checks: %s, %v", text, err)
	}
}

func TestVerdicts(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*Report)
		want   Verdict
	}{
		{"a generator late in the hold voids a good run", func(r *Report) { r.Generator.HoldMaxLagUs = 1_000_001 }, Inconclusive},
		{"and so does one that is often late", func(r *Report) { r.Generator.HoldP99LagUs = 100_001 }, Inconclusive},
		{"what a late generator saw fail may be its own fault", func(r *Report) { r.Failover.ReroutedMs = 6000 }, Inconclusive},
		{"what one in time saw fail is not", func(r *Report) {
			r.Generator.P99LagUs, r.Generator.MaxLagUs = 1500, 30_000
			r.Failover.ReroutedMs = 6000
		}, Fail},
		{"a late generator spreads no connections", func(r *Report) { r.Distribution.MaxDeviation = 900 }, Fail},
		{"a busy machine spoils latencies", func(r *Report) {
			r.Latency.BetweenNodesCVPercent, r.Resources = 9, &series.Resources{Machine: machine.Saturation{Known: true, BusyPercent: 99.5}}
		}, Inconclusive},
		{"and nothing else", func(r *Report) {
			r.Connections.Dropped, r.Resources = 9, &series.Resources{Machine: machine.Saturation{Known: true, BusyPercent: 99.5}}
		}, Fail},
		{"a machine that is used is not busy", func(r *Report) {
			r.Latency.BetweenNodesCVPercent, r.Resources = 9, &series.Resources{Machine: machine.Saturation{Known: true, BusyPercent: 80}}
		}, Fail},
		{"ports that the generator lacks are not the system's", func(r *Report) {
			r.Connections.Verified, r.Connections.Failed, r.Connections.Failures = 90_000, 10_000, map[string]int64{"local": 80_000}
		}, Inconclusive},
		{"what else failed is", func(r *Report) {
			r.Connections.Dropped, r.Connections.Failures = 3, map[string]int64{"local": 80_000}
		}, Fail},
		{"few answers that differ much compare no nodes", func(r *Report) {
			r.Latency.BetweenNodesCVPercent = 6
			r.Nodes[0].Latency, r.Nodes[0].Stddev = Quantiles{Count: 400, Mean: 1000}, 2000
		}, Pass},
		{"many do", func(r *Report) {
			r.Latency.BetweenNodesCVPercent = 6
			r.Nodes[0].Latency, r.Nodes[0].Stddev = Quantiles{Count: 40_000, Mean: 1000}, 2000
		}, Fail},
		{"a run that ended early fails", func(r *Report) { r.Reason = "lost an agent" }, Fail},
		{"late or not", func(r *Report) { r.Reason = "lost an agent"; r.Generator.HoldMaxLagUs = 1_000_001 }, Fail},
		{"unless the user ended it", func(r *Report) { r.Reason, r.interrupted = "interrupted", true }, Interrupted},
		{"freeze has its own limit", func(r *Report) { r.Failover.Fault = system.FaultFreeze; r.Failover.ReroutedMs = 7500 }, Pass},
		{"parts that were not planned are not judged", func(r *Report) { r.Failover, r.Sticky, r.StickyAfter = nil, nil, nil }, Pass},
	} {
		s, r := Default(), goodReport()
		c.change(r)
		if _, verdict := conclude(&s, r); verdict != c.want {
			t.Errorf("%s: %s, want %s", c.name, verdict, c.want)
		}
	}
}

func TestChecksThatCannotBeJudgedSaySo(t *testing.T) {
	for _, c := range []struct {
		check  string
		change func(*Report)
	}{
		{"latency_variance", func(r *Report) { r.Latency.Windows = latency.MinWindows - 1; r.Latency.BetweenNodesCVPercent = 50 }},
		{"latency_variance", func(r *Report) { r.Nodes = r.Nodes[:1] }},
		{"failover_rerouted", func(r *Report) { *r.Failover = Failover{DetectedMs: 1, Restored: true} }},
		{"failover_recovered", func(r *Report) {
			*r.Failover = Failover{Fault: system.FaultFreeze, DetectedMs: 1, Restored: true, OnNode: 9, Silent: true}
		}},
		{"failover_requests", func(r *Report) {
			*r.Failover = Failover{Fault: system.FaultDrain, Restored: true, OnNode: 9, Displaced: 9, Recovered: 9, RequestsLost: 9}
		}},
		{"requests", func(r *Report) { *r.Requests = Requests{} }},
		{"sticky", func(r *Report) { *r.Sticky = Sticky{} }},
		{"sticky_after_failover", func(r *Report) { *r.StickyAfter = Sticky{} }},
		{"kernel_agreement", func(r *Report) {
			for i := range r.Nodes {
				r.Nodes[i].KernelConnections = nil
			}
		}},
	} {
		s, r := Default(), goodReport()
		c.change(r)
		checks, verdict := conclude(&s, r)
		if verdict != Pass {
			t.Errorf("%s: %s", c.check, verdict)
		}
		for _, got := range checks {
			if (got.Why != "") != (got.Name == c.check) {
				t.Errorf("%+v", got)
			}
		}
	}
}

func TestSpread(t *testing.T) {
	s := Default()
	nodes := []string{"a", "b", "c", "d"}
	d := spreadOf(&s, 1000, nodes, map[string]int{"a": 253, "b": 251, "c": 496}, false)
	if *d != (Distribution{TargetPerNode: 250, Tolerance: 5, MaxDeviation: 250}) {
		t.Errorf("%+v: a node without connections counts", d)
	}
	if spreadOf(&s, 0, nil, nil, false) != nil {
		t.Error("a spread over no nodes")
	}
}

func TestChosenBlindly(t *testing.T) {
	p := &PlanSummary{Connections: 400, RampPerSecond: 400}
	for ramp, want := range map[float64]int{900: 0, 1000: 0, 1010: 4, 1250: 18, 9000: 35} {
		if got := chosenBlindly(p, &Connections{RampMs: ramp}, 4); got != want {
			t.Errorf("a ramp of %g ms: %d, want %d", ramp, got, want)
		}
	}
}

// Clients of one address stay together on a sticky balancer: that they are not spread is no failure of it.
func TestUnevenForLackOfAddresses(t *testing.T) {
	for _, c := range []struct {
		sources, perSource, off int
		note                    string
		verdict                 Verdict
	}{
		{1, 200, 150, "not judged: all clients have one address", Pass},
		{4, 50, 30, "not judged: up to 50 clients have one address", Pass},
		{200, 1, 30, "", Fail},
		{1, 200, 2, "", Pass},
	} {
		s, r := Default(), goodReport()
		r.Generator = Generator{}
		r.Plan.Sources, r.Plan.ConnectionsPerSource = c.sources, c.perSource
		r.Distribution = &Distribution{TargetPerNode: 50, Tolerance: 5, MaxDeviation: c.off}
		r.Failover.Survivors = &Distribution{TargetPerNode: 66, Tolerance: 5, MaxDeviation: c.off}
		checks, verdict := conclude(&s, r)
		if verdict != c.verdict {
			t.Errorf("%+v: %s", c, verdict)
		}
		for _, check := range checks {
			if (check.Name == "distribution" || check.Name == "failover_spread") && check.Why != c.note {
				t.Errorf("%+v: %+v", c, check)
			}
		}
	}
}

// A run whose answers name no node has latencies, but nothing to compare.
func TestNamelessLatencyIsNotCompared(t *testing.T) {
	s, r := Default(), goodReport()
	r.Nameless, r.Nodes, r.Distribution = "no tool says it", []NodeResult{{Connections: 100}}, nil
	r.Latency = &LatencyResult{Quantiles: Quantiles{Count: 1000, P99: 5000}}
	checks, _ := conclude(&s, r)
	var whys []string
	for _, c := range checks {
		if c.Name == "latency_variance" {
			whys = append(whys, c.Why)
		}
	}
	if !slices.Equal(whys, []string{nameless}) {
		t.Errorf("%q", whys)
	}
}
