package loadtest

import (
	"slices"
	"testing"

	"github.com/erlmcp/erlmcp/internal/judge"
	"github.com/erlmcp/erlmcp/loadtest/internal/latency"
	"github.com/erlmcp/erlmcp/loadtest/internal/wire"
	"github.com/erlmcp/erlmcp/loadtest/machine"
	"github.com/erlmcp/erlmcp/loadtest/series"
)

// Each transport of a mix is judged by itself: what one of them does not hold fails under its name, and nothing else does.
func TestPartsAreJudgedEach(t *testing.T) {
	mixed := func(change func(*Part)) *Report {
		r := goodReport()
		r.Generator.P99LagUs, r.Generator.MaxLagUs = 1500, 30_000
		for _, name := range []string{"tcp", "http"} {
			p := Part{Name: name, Connections: r.Connections, Nodes: slices.Clone(r.Nodes), Distribution: &Distribution{TargetPerNode: 10, Tolerance: 5, MaxDeviation: 2}}
			l, q := *r.Latency, *r.Requests
			p.Latency, p.Requests = &l, &q
			r.Parts = append(r.Parts, p)
		}
		change(&r.Parts[1])
		return r
	}
	s := Default()
	for name, change := range map[string]func(*Part){
		"":                      func(*Part) {},
		"http/distribution":     func(p *Part) { p.Distribution.MaxDeviation = 9 },
		"http/requests":         func(p *Part) { p.Requests.Answered--; p.Requests.Failed++ },
		"http/latency_variance": func(p *Part) { p.Latency.BetweenNodesCVPercent = 9 },
	} {
		checks, verdict := conclude(&s, mixed(change))
		if (verdict == Pass) != (name == "") {
			t.Errorf("%q: %s", name, verdict)
		}
		for _, c := range checks {
			if (c.Verdict == judge.Fail) != (c.Name == name) {
				t.Errorf("%q: %+v", name, c)
			}
		}
	}
	r := mixed(func(p *Part) { p.Latency.BetweenNodesCVPercent = 9 })
	r.Resources = &series.Resources{Machine: machine.Saturation{Known: true, BusyPercent: 99}}
	if _, verdict := conclude(&s, r); verdict != Inconclusive {
		t.Errorf("latencies of a busy machine: %s", verdict)
	}
	if bare("http/requests") != "requests" || bare("requests") != "requests" {
		t.Error("names of checks")
	}
}

// The latencies of a part are those of its own agents, also when agents of another part were lost.
func TestPartsMeasureTheirOwn(t *testing.T) {
	recorded := latency.New()
	for range 7 {
		recorded.Record(0, 1_000_000)
	}
	m, err := recorded.Message()
	if err != nil {
		t.Fatal(err)
	}
	r := run{facts: facts{aims: make([]aim, 2)}}
	for range r.facts.aims {
		r.report.Parts = append(r.report.Parts, Part{Nodes: []NodeResult{{}}, Nameless: "none is named"})
	}
	own := &wire.Measured{Nodes: map[string]latency.Message{"": m}}
	if err := r.measureParts([]measured{{part: 1, Measured: own}, {part: 1, Measured: own}}); err != nil {
		t.Fatal(err)
	}
	for i, want := range []int64{0, 14} {
		if l := r.report.Parts[i].Latency; l == nil || l.Count != want || r.report.Parts[i].Nodes[0].Latency.Count != want {
			t.Errorf("part %d: %+v, want %d answers", i, l, want)
		}
	}
}
