package loadtest

import (
	"testing"

	"github.com/erlmcp/erlmcp/loadtest/internal/fleet"
)

// A verdict without an agent is about what is left.
func TestVerdictOfLosses(t *testing.T) {
	s := Default()
	report := func() *Report {
		return &Report{
			Plan: PlanSummary{Connections: 100, RampPerSecond: 1000}, Generator: Generator{Agents: 4},
			Connections: &Connections{Target: 75, Verified: 75}, Nodes: []NodeResult{{Name: "a", Connections: 40, KernelConnections: new(65)}, {Name: "b", Connections: 35}},
			Distribution: &Distribution{TargetPerNode: 38, Tolerance: 1, MaxDeviation: 3},
			LostAgents:   []fleet.Loss{{Agent: "remote1", Host: "h", PID: 7, AtS: 3, Why: "why", Connections: 25}},
		}
	}
	r := report()
	if checks, v := conclude(&s, r); v != Pass {
		t.Errorf("%s %+v", v, checks)
	}
	r.Parts = []Part{{Name: "http", Connections: r.Connections, Nodes: r.Nodes, Distribution: r.Distribution}} // of a mix
	if checks, v := conclude(&s, r); v != Pass {
		t.Errorf("%s %+v", v, checks)
	}
	r.LostAgents = nil
	if checks, v := conclude(&s, r); v != Fail {
		t.Errorf("%s %+v", v, checks)
	}
	r = report()
	r.Connections.Dropped = 1
	if checks, v := conclude(&s, r); v != Fail {
		t.Errorf("%s %+v", v, checks)
	}
	r = report()
	r.Reason, r.LostAgents[0].Connections = "60 of 100 connections were lost", 60
	if checks, v := conclude(&s, r); v != Inconclusive {
		t.Errorf("%s %+v", v, checks)
	}
}
