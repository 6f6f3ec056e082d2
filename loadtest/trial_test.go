package loadtest

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/erlmcp/erlmcp/internal/judge"
	"github.com/erlmcp/erlmcp/loadtest/internal/latency"
	"github.com/erlmcp/erlmcp/loadtest/internal/search"
	"github.com/erlmcp/erlmcp/loadtest/internal/wire"
	"github.com/erlmcp/erlmcp/loadtest/machine"
	"github.com/erlmcp/erlmcp/loadtest/system"
)

// What keeps a trial from saying anything does so only where a limit is broken that it may have broken.
func TestTrialExcuses(t *testing.T) {
	limits, err := search.ParseLimits("p99<=50ms,errors<=1%")
	if err != nil {
		t.Fatal(err)
	}
	of := func(failed, slow int64, lags ...time.Duration) *trial {
		tr := &trial{rate: 1000, length: 10 * time.Second, lag: latency.NewHistogram()}
		for range 10 {
			tr.batches = append(tr.batches, search.Batch{Due: 1000, Failed: failed, Slow: []int64{slow, 0}})
		}
		for range 10_000 - len(lags) {
			latency.Record(tr.lag, int64(time.Millisecond))
		}
		for _, l := range lags {
			latency.Record(tr.lag, int64(l))
		}
		return tr
	}
	busy := func(t *trial) *trial {
		t.machine = machine.Saturation{Known: true, BusyPercent: 99.5}
		return t
	}
	stall := slices.Repeat([]time.Duration{60 * time.Millisecond}, 60)
	for what, c := range map[string]struct {
		trial *trial
		why   string
	}{
		"all is well":                        {of(0, 0), ""},
		"broken by the system":               {of(0, 20), ""},
		"refused by the system":              {of(20, 0), ""},
		"held on a busy machine":             {busy(of(0, 5)), ""},
		"broken on a busy machine":           {busy(of(0, 20)), "the processors of this machine"},
		"held in spite of a stall":           {of(0, 5, stall...), ""},
		"broken after a stall":               {of(0, 20, stall...), "the load test was late in sending: 0.6 % of the requests by more than 25ms"},
		"refused after a stall":              {of(20, 0, stall...), "the load test was late in sending: 0.6 % of the requests by more than"},
		"broken far more than by the stall":  {of(0, 300, stall...), ""},
		"refused far more than by the stall": {of(300, 0, stall...), ""},
		"late half of the time":              {of(0, 300, slices.Repeat(stall, 100)[:5000]...), "the load test was late in sending: 50 %"},
		"later":                              {of(0, 300, slices.Repeat([]time.Duration{200 * time.Millisecond}, 500)...), "the load test was late in sending: p99 200ms, max 200ms"},
	} {
		if why := c.trial.excuses(limits); !strings.HasPrefix(why, c.why) || (why == "") != (c.why == "") {
			t.Errorf("%s: %q", what, why)
		}
	}
	lost, local := of(0, 0), of(20, 0)
	lost.lost, local.local = 1, 3
	if lost.excuses(limits) == "" || !strings.HasPrefix(local.excuses(limits), "3 times") {
		t.Errorf("%q, %q", lost.excuses(limits), local.excuses(limits))
	}
}

// Connections that were lost at rates beyond the limit are not the run's.
func TestLossesOfTrials(t *testing.T) {
	tr := trials{dropped: 3, losses: map[string]int64{"timeout": 3}}
	n := wire.Counts{Dropped: 5, Losses: map[string]int64{"timeout": 3, "reset": 2}}
	dropped, losses := tr.without(n)
	if dropped, losses := tr.without(wire.Counts{}); dropped != 0 || len(losses) != 0 { // they were those of an agent that was lost
		t.Errorf("%d, %v", dropped, losses)
	}
	if dropped != 2 || !maps.Equal(losses, map[string]int64{"reset": 2}) || n.Losses["timeout"] != 3 {
		t.Errorf("%d, %v", dropped, losses)
	}
}

func TestSearchIsJudged(t *testing.T) {
	for _, c := range []struct {
		search  Search
		verdict Verdict
		got     string
	}{
		{Search{RatePerSecond: 990, FailedPerSecond: 1015}, Pass, "held at 990/s, not at 1015/s"},
		{Search{RatePerSecond: 4000, Reason: "4000/s is the highest rate that was asked for"}, Pass, "held at 4000/s: 4000/s is the highest rate that was asked for"},
		{Search{FailedPerSecond: 10, Reason: "no rate holds, down to 10/s"}, Fail, "no rate holds: no rate holds, down to 10/s"},
		{Search{RatePerSecond: 500, Inconclusive: true, Reason: "the generator is the limit at 1000/s: late"}, Inconclusive, "held at 500/s: the generator is the limit at 1000/s: late"},
	} {
		s, r := Default(), goodReport()
		c.search.Limit = "p99<=50ms"
		r.Search = &c.search
		r.Checks, r.Verdict = conclude(&s, r)
		i := slices.IndexFunc(r.Checks, func(c judge.Result) bool { return c.Name == "search" })
		if i < 0 || r.Checks[i].Got != c.got || r.Checks[i].Want != "p99<=50ms" || r.Verdict != c.verdict {
			t.Errorf("%s: %+v", r.Verdict, r.Checks)
		}
		if (r.Verdict == Pass) != (len(advise(r)) == 0) {
			t.Errorf("%q", advise(r))
		}
	}
}

// The most that is tried is what the balancer leaves the sources, and then the result says so.
func TestBalancersLimitsBoundTheSearch(t *testing.T) {
	r := &run{plan: &plan{connections: 2000, sources: 20, pingRate: 500}, spec: Spec{FindLimit: "p99<=50ms"}}
	r.facts.seen.Balancer = &system.BalancerView{Limits: system.Limits{MessagesPerSecond: 100}}
	o := r.searchOptions(nil)
	if o.Max != 1600 || o.Start != 200 {
		t.Errorf("%+v", o)
	}
	s := r.searchResult(search.Result{Rate: 1600, Estimate: 1600, Confidence: 0.95}, nil, o.Max, time.Minute)
	if !strings.Contains(s.Reason, "the limits of the balancer per source are the limit, not the system: 1600/s are what 20 sources") || s.ConfidencePercent != 95 || s.TookS != 60 {
		t.Errorf("%+v", s)
	}
	if s := r.searchResult(search.Result{Rate: 800, Failed: 820}, nil, o.Max, 0); s.Reason != "" {
		t.Errorf("%+v", s)
	}
	r.facts.seen.Balancer = nil
	r.plan.connections, r.plan.pingRate = 10, 50
	if o := r.searchOptions(nil); o.Max != 0 || o.Start != 50 {
		t.Errorf("%+v", o)
	}
}
