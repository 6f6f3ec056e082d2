// Package reporttest makes reports as runs would, from simulated noise: latencies that drift, with peaks and long tails.
package reporttest

import (
	"cmp"
	"fmt"
	"math"
	"math/rand/v2"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/erlmcp/erlmcp/internal/judge"
	"github.com/erlmcp/erlmcp/loadtest"
	"github.com/erlmcp/erlmcp/loadtest/machine"
	"github.com/erlmcp/erlmcp/loadtest/series"
	"github.com/erlmcp/erlmcp/loadtest/system"
)

// Run is what is simulated.
type Run struct {
	Seed        uint64
	Nodes       int
	Hold        int           // seconds
	Added       time.Duration // to each latency
	Connections int
	NoSeries    bool
	Answers     int     // in the histograms; zero is 40,000
	Between     float64 // how runs differ from each other, as the deviation of a logarithm; zero is 0.04
}

// simulation has the state of a run's noise.
type simulation struct {
	Run
	random *rand.Rand
	drift  float64 // of the logarithm of latency, of a second
	load   float64 // of the CPU
	run    float64 // how this run differs from others like it
	points []series.Point
	at     float64
}

// Simulate makes a report. The same run makes the same one.
func (o Run) Simulate() *loadtest.Report {
	s := &simulation{Run: o, random: rand.New(rand.NewPCG(o.Seed, 1))} //nolint:gosec // it shall repeat
	s.run = cmp.Or(o.Between, 0.04) * s.random.NormFloat64()
	r := &loadtest.Report{
		Schema: loadtest.Schema, Verdict: loadtest.Pass, Target: "http://127.0.0.1:8080/mcp", Driver: "socket", Version: "v0.1.0",
		Command: []string{"erlmcp", "loadtest", "--mix", "tcp=70,http=30", fmt.Sprint(o.Connections), fmt.Sprint(o.Hold), "--up", "--report", "reports/monday"},
		Host:    machine.Host{OS: "linux", Kernel: "6.8.0", Arch: "amd64", CPU: "AMD EPYC 7763", CPUs: 2, MemoryBytes: 24 << 30, Descriptors: 20000},
		Started: time.Date(2026, 11, 2, 9, 30, 0, 0, time.UTC), DurationS: float64(o.Hold) + 21.4,
		Plan: loadtest.PlanSummary{Connections: o.Connections, HoldS: float64(o.Hold), Agents: 2, Sources: o.Connections/100 + 1, ConnectionsPerSource: 100,
			SourceAddresses: "127.1.0.1 to 127.1.3.232", RampPerSecond: float64(o.Connections) / 8, PingsPerSecond: 2000},
		Phases: []loadtest.PhaseTime{{Name: loadtest.PhasePreflight, TookS: 0.2}, {Name: loadtest.PhaseBaseline, TookS: 1}, {Name: loadtest.PhaseRamp, TookS: 8},
			{Name: loadtest.PhaseHold, TookS: float64(o.Hold)}, {Name: loadtest.PhaseFailover, TookS: 4}, {Name: loadtest.PhaseRecovery, TookS: 6}},
		Baseline:  &loadtest.Quantiles{Count: 1000, Min: 90, Mean: 162.2, P50: 151, P90: 212, P99: 380, P999: 900, Max: 1205},
		Generator: loadtest.Generator{Agents: 2, P99LagUs: 410, MaxLagUs: 3100, HoldP99LagUs: 205, HoldMaxLagUs: 1900},
	}
	s.nodes(r)
	s.series(r)
	s.rest(r)
	return r
}

// nodes fills in the latencies of each.
func (s *simulation) nodes(r *loadtest.Report) {
	all := hdrhistogram.New(1, 60_000_000, 3)
	for n := range s.Nodes {
		h := hdrhistogram.New(1, 60_000_000, 3)
		for range cmp.Or(s.Answers, 40_000) / s.Nodes {
			_ = h.RecordValue(s.latency(1 + 0.05*float64(n%5)))
		}
		all.Merge(h)
		kernel := s.Connections / s.Nodes
		text, _ := h.EncodeV2()
		name := fmt.Sprintf("erlmcp%d", n+1)
		r.Nodes = append(r.Nodes, loadtest.NodeResult{Name: name, Connections: kernel, KernelConnections: &kernel, Latency: Quantiles(h), Stddev: h.StdDev(), Histogram: string(text)})
		r.Straight = append(r.Straight, loadtest.NodeLatency{Name: name, Latency: loadtest.Quantiles{Count: 200, Min: 60, Mean: 98.5, P50: 92, P90: 130, P99: 260, P999: 400, Max: 410}})
	}
	text, _ := all.EncodeV2()
	r.Steps = []loadtest.StepResult{{Name: "tools/call echo", Latency: Quantiles(all), Histogram: string(text)}}
}

// latency is one answer's, in microseconds: log-normal, with a long tail.
func (s *simulation) latency(factor float64) int64 {
	v := 380 * factor * math.Exp(s.run+0.35*s.random.NormFloat64())
	if s.random.Float64() < 0.012 {
		v *= math.Pow(s.random.Float64()+1e-6, -0.55) * 3
	}
	return min(int64(v), 2_000_000) + s.Added.Microseconds()
}

// Quantiles are those of a histogram.
func Quantiles(h *hdrhistogram.Histogram) loadtest.Quantiles {
	return loadtest.Quantiles{
		Count: h.TotalCount(), Min: h.Min(), Mean: h.Mean(), P50: h.ValueAtQuantile(50), P90: h.ValueAtQuantile(90),
		P99: h.ValueAtQuantile(99), P999: h.ValueAtQuantile(99.9), Max: h.Max(),
	}
}

// second adds a point. held is how many connections there are, and out which node is not there.
func (s *simulation) second(phase series.Phase, held float64, out int) {
	s.at++
	s.drift = 0.8*s.drift + 0.05*s.random.NormFloat64()
	s.load = 0.7*s.load + 0.03*s.random.NormFloat64()
	peak := 0.0
	if s.random.Float64() < 0.05 {
		peak = 300 * math.Pow(s.random.Float64()+1e-3, -0.6)
	}
	share := held / float64(s.Connections)
	added := float64(s.Added.Microseconds())
	mean := 420*math.Exp(s.run+s.drift) + peak/4 + added
	p99 := int64(1900*math.Exp(1.5*s.run+1.4*s.drift+0.18*s.random.NormFloat64()) + 3*peak + added)
	p := series.Point{
		AtS: s.at, Phase: phase, Connections: int(held), Answers: 2000*share + 12*s.random.NormFloat64()*share, Nodes: make(map[string]int),
		NodesMeanUs: make(map[string]float64), PartsMeanUs: map[string]float64{"tcp": 0.9 * mean, "http": 1.3 * mean}, BalancerRSS: new(int64(float64(60<<20) + share*float64(s.Connections)*5200 + 1e5*s.random.NormFloat64())),
		BalancerCPU: new(38 * share * math.Exp(s.run+s.load)), NodesCPU: new(52 * share * math.Exp(s.run+s.load)), AgentsCPU: new(29 * share * math.Exp(s.load)),
	}
	if held > 0 {
		p.MeanUs, p.P50Us, p.P99Us = &mean, new(int64(310*math.Exp(s.run+0.7*s.drift)+added)), &p99
	}
	up := float64(s.Nodes)
	if out >= 0 {
		up--
	}
	for n := range s.Nodes {
		name := fmt.Sprintf("erlmcp%d", n+1)
		if n == out {
			p.Nodes[name] = 0
			continue
		}
		p.Nodes[name] = int(held/up + share*2*s.random.NormFloat64())
		if held > 0 {
			p.NodesMeanUs[name] = mean * (1 + 0.05*float64(n%5)) * math.Exp(0.03*s.random.NormFloat64())
		}
	}
	s.points = append(s.points, p)
}

func (s *simulation) series(r *loadtest.Report) {
	full := float64(s.Connections)
	s.second(loadtest.PhaseBaseline, 0, -1)
	for i := range 8 {
		s.second(loadtest.PhaseRamp, full*float64(i+1)/8, -1)
	}
	for range s.Hold {
		s.second(loadtest.PhaseHold, full, -1)
	}
	if s.Nodes > 1 {
		const out = 1
		fault := s.at
		for i := range 4 {
			lost := full / float64(s.Nodes) * max(0, 0.6-0.3*float64(i))
			s.second(loadtest.PhaseFailover, full-lost, out)
			p := &s.points[len(s.points)-1]
			if i < 2 {
				p.Errors = 40 - 25*float64(i)
				p.ByCause = map[string]int64{"connection reset": int64(30 - 20*i), "timeout": 10}
			}
		}
		for range 6 {
			s.second(loadtest.PhaseRecovery, full, out)
		}
		r.Series = &series.Series{Marks: []series.Mark{
			{AtS: 9, Text: "all connections are held"}, {AtS: fault + 0.1, Text: "kill erlmcp2"}, {AtS: fault + 0.14, Text: "the balancer marked erlmcp2 down"},
			{AtS: fault + 2.2, Text: "the last displaced client was answered by another node"}, {AtS: fault + 9.6, Text: "erlmcp2 is up again"},
		}}
	} else {
		r.Series = new(series.Series)
	}
	r.Series.IntervalS, r.Series.Points = 1, s.points
	if s.NoSeries {
		r.Series = nil
	}
}

// rest fills in what is about the whole run.
func (s *simulation) rest(r *loadtest.Report) {
	n, sent := s.Connections, int64(2000*s.Hold)
	noisy := func(v, sigma float64) float64 { return v * math.Exp(s.run+sigma*s.random.NormFloat64()) }
	r.Connections = &loadtest.Connections{Target: n, Established: n, Verified: n, RampMs: noisy(7800, 0.02), Attempts: int64(n + 12), Failures: map[string]int64{"connection refused": 9, "timeout": 3}}
	r.Distribution = &loadtest.Distribution{TargetPerNode: n / s.Nodes, Tolerance: max(n/s.Nodes/50, 1), MaxDeviation: 1}
	r.Latency = &loadtest.LatencyResult{BetweenNodesCVPercent: noisy(2.1, 0.1), Windows: s.Hold}
	r.Requests = &loadtest.Requests{Sent: sent, Answered: sent - 7, Failed: 7, Causes: map[string]int64{"429": 5, "error of a tool": 2}}
	r.Sticky = &loadtest.Sticky{Sampled: 1000, Consistent: 1000}
	r.Sessions = &loadtest.Sessions{Begun: int64(n) * 3 / 10, Ended: int64(n) * 3 / 10}
	us := s.Added.Microseconds()
	r.Setup = map[string]loadtest.Quantiles{
		"connect": {Count: int64(n), Min: 40, Mean: noisy(130, 0.05), P50: 110, P90: 190, P99: int64(noisy(700, 0.1)), P999: 2100, Max: 5200},
		"session": {Count: int64(n) * 3 / 10, Min: 300 + us, Mean: noisy(820, 0.05) + float64(us), P50: 760 + us, P90: 1300 + us, P99: int64(noisy(4200, 0.1)) + us, P999: 9100 + us, Max: 15_200 + us},
	}
	r.Resources = &series.Resources{
		Balancer:    series.ProcessUse{Processes: 3, RSSBytes: int64(noisy(120<<20, 0.01)), CPUPercent: noisy(38, 0.02), Descriptors: 2*n + 90},
		Nodes:       series.ProcessUse{Processes: s.Nodes, RSSBytes: int64(noisy(210<<20, 0.01)), CPUPercent: noisy(52, 0.02), Descriptors: n + 60},
		Agents:      series.ProcessUse{Processes: 2, RSSBytes: int64(noisy(44<<20, 0.01)), CPUPercent: noisy(29, 0.02), Descriptors: n + 20},
		Coordinator: series.ProcessUse{Processes: 1, RSSBytes: 31 << 20, CPUPercent: 2.1, Descriptors: 40}, MemoryBytes: 512 << 20,
	}
	r.Checks = loadtest.Checks{
		{Name: "connections", Worst: judge.Fail, Want: fmt.Sprint(n), Got: fmt.Sprint(n), Numbers: judge.All(n, n, "connections")},
		{Name: "dropped", Worst: judge.Fail, Want: "0", Got: "0", Numbers: judge.UpTo(0, 0, "connections")},
		{Name: "distribution", Worst: judge.Fail, Want: "within 2 %", Got: "within 1 connection"},
		{Name: "latency_variance", Worst: judge.Fail, Want: "≤ 5 %", Got: "2.1 %"},
		{Name: "sticky", Worst: judge.Fail, Want: "1000 of 1000", Got: "1000 of 1000"},
	}
	if s.Nodes > 1 {
		k := n / s.Nodes
		r.Failover = &loadtest.Failover{
			Node: "erlmcp2", Fault: system.FaultKill, DetectedMs: noisy(41, 0.1), DetectedBy: "balancer", ReroutedMs: noisy(2140, 0.05), RestoredMs: noisy(3350, 0.05), Restored: true,
			OnNode: k, Displaced: k, Recovered: k, RequestsLost: 55, Survivors: &loadtest.Distribution{TargetPerNode: n / (s.Nodes - 1), Tolerance: 7, MaxDeviation: 2},
		}
		r.Checks = append(r.Checks, judge.Result{Name: "failover_detected", Worst: judge.Fail, Want: "≤ 1s", Got: "41ms"}, judge.Result{Name: "failover_rerouted", Worst: judge.Fail, Want: "≤ 5s", Got: "2.1s"})
		half := len(r.Nodes) / 2
		r.Parts = []loadtest.Part{
			{Name: "tcp", Target: "127.0.0.1:8000", Driver: "socket", Nodes: r.Nodes[:half], Connections: &loadtest.Connections{Target: n * 7 / 10, Verified: n * 7 / 10, RampMs: 6000}},
			{Name: "http", Target: "http://127.0.0.1:8080/mcp", Driver: "vegeta", Nodes: r.Nodes[half:], Connections: &loadtest.Connections{Target: n * 3 / 10, Verified: n * 3 / 10, RampMs: 6000}},
		}
	}
	r.Checks = append(r.Checks, judge.Result{Name: "sessions", Worst: judge.Fail, Verdict: judge.Unjudged, Want: "none lost", Got: "-", Why: "the script ends no session"})
	r.Preflight = loadtest.Requirements{{Name: "memory", Worst: judge.Fail, Got: "20480 MiB available", Want: "240 MiB"},
		{Name: "rate_limits", Worst: judge.Warn, Verdict: judge.Warn, Got: "1000 connections/s", Want: "1250/s", Fix: "give the clients more addresses (--source-ips)"}}
	r.Notes = []string{"The machine was busy with other work for 1 of " + fmt.Sprint(s.Hold) + " seconds; nothing is void."}
}

// Search is what a search for a rate found.
func Search() *loadtest.Search {
	s := &loadtest.Search{Limit: "latency.p99<=50ms", RatePerSecond: 1003, FailedPerSecond: 1031, ConfidencePercent: 95, EstimatePerSecond: 1012, TookS: 190}
	for i, rate := range []float64{250, 500, 1000, 2000, 1500, 1250, 1125, 1062, 1031, 1003} {
		held := rate <= 1003
		p99 := int64(2000 + 20*rate)
		why := ""
		if !held {
			p99, why = int64(60_000+300*(rate-1000)), "latency.p99 above 50 ms"
		}
		s.Trials = append(s.Trials, loadtest.Trial{RatePerSecond: rate, GotPerSecond: min(rate, 1010+float64(i)), Purpose: "narrow", LengthS: 11, Held: held, Why: why,
			Latency: loadtest.Quantiles{Count: int64(rate) * 5, Min: 100, Mean: 900, P50: 700, P90: 1500, P99: p99, P999: 2 * p99, Max: 3 * p99}})
	}
	return s
}

// Rates is what came of rates that were tried.
func Rates() (steps []loadtest.RateStep) {
	for _, rate := range []float64{500, 1000, 2000} {
		got := min(rate, 1010)
		p99 := int64(1000 + rate)
		steps = append(steps, loadtest.RateStep{Name: fmt.Sprint(rate), RatePerSecond: rate, GotPerSecond: got, LengthS: 10,
			ErrorsPercent: 100 * (rate - got) / rate, Latency: loadtest.Quantiles{Count: int64(10 * got), Min: 100, Mean: 900, P50: 700, P90: 1500, P99: p99, P999: 2 * p99, Max: 3 * p99}})
	}
	return steps
}
