package loadtest

import (
	"strings"
	"testing"

	"github.com/erlmcp/erlmcp/internal/judge"
	"github.com/erlmcp/erlmcp/loadtest/machine"
	"github.com/erlmcp/erlmcp/loadtest/series"
)

// A want decides the verdict; lateness of the load test spoils those of times, of the phase in which it was late, and no others.
func TestWantsDecide(t *testing.T) {
	slow := func(r *Report) { r.Latency.Count, r.Latency.P99 = 1000, 80_000 }
	lateHold := func(r *Report) { slow(r); r.Generator.HoldP99LagUs = 200_000 }
	for _, c := range []struct {
		want    string
		change  func(*Report)
		verdict Verdict
		got     string // of the line
		why     string
	}{
		{"latency.p99<=100ms", slow, Pass, "80ms", ""},
		{"latency.p99<=50ms", slow, Fail, "80ms", ""},
		{"latency.p99<=50ms", func(*Report) {}, Fail, "-", "not judged: count is 0"},
		{"latency.p99<=50ms", lateHold, Inconclusive, "80ms", "not judged: the load test was late in sending"},
		{"latency.p99<=100ms", lateHold, Inconclusive, "80ms", ""},
		{"connections.attempts>=1", lateHold, Fail, "0", ""},
		{"errors<=0.1%", func(r *Report) { lateHold(r); r.Requests.Failed = 3000 }, Fail, "1 %", ""},
		{"failover.rerouted<=1s", func(r *Report) { r.Generator.P99LagUs = 200_000 }, Inconclusive, "1.1s (failover.rerouted_ms)", "not judged: the load test was late"},
		{"failover.rerouted<=1s", func(r *Report) { r.Generator.P99LagUs, r.Generator.MaxLagUs = 0, 0 }, Fail, "1.1s (failover.rerouted_ms)", ""},
		{"latency.p99<=50ms", func(r *Report) {
			slow(r)
			r.Resources = &series.Resources{Machine: machine.Saturation{Known: true, BusyPercent: 99}}
		}, Inconclusive, "80ms", "not judged: the processors"},
		{"checks.sticky.got_value=1000", func(*Report) {}, Pass, "1000 clients", ""},
		{"search.rate>=1000/s", func(r *Report) { r.Search = &Search{RatePerSecond: 500, Inconclusive: true, Reason: "it was late"} }, Inconclusive, "500/s (search.rate_per_second)", "not judged: it was late"},
		{"search.rate>=1000/s", func(r *Report) { r.Search = &Search{RatePerSecond: 500, FailedPerSecond: 510} }, Fail, "500/s (search.rate_per_second)", ""},
		{"rates.500.latency.p99<=1ms", func(r *Report) {
			r.Rates = []RateStep{{Name: "500", RatePerSecond: 500, Why: "it was late", Latency: Quantiles{Count: 1, P99: 5000}}}
		}, Inconclusive, "5ms (rates.500.latency_us.p99)", "not judged: it was late"},
	} {
		s, r := Default(), goodReport()
		s.Want = []string{c.want}
		c.change(r)
		checks, verdict := conclude(&s, r)
		r.Checks, r.Verdict = checks, verdict
		line := checks[len(checks)-1]
		if line.Name != "want" || line.Want != c.want || line.Got != c.got || !strings.HasPrefix(line.Why, c.why) || verdict != c.verdict {
			t.Errorf("%s: %s: %+v", c.want, verdict, line)
		}
		if (line.Verdict == judge.Fail) != (verdict == Fail) {
			t.Errorf("%s: %s: %+v", c.want, verdict, line)
		}
		if verdict == Inconclusive && len(advise(r)) == 0 {
			t.Errorf("%s: no advice", c.want)
		}
	}
	s := Default()
	s.Want = []string{"nodes.*.latency.p99<=1s", "errors<=1%,latency.p99<=1s"}
	checks, _ := conclude(&s, goodReport())
	if n := len(checks) - 15; n != 6 { // four nodes
		t.Errorf("%d wants", n)
	}
}
