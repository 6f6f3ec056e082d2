package loadtest

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/erlmcp/erlmcp/internal/judge"
	"github.com/erlmcp/erlmcp/loadtest/internal/rounded"
	"github.com/erlmcp/erlmcp/loadtest/internal/search"
)

// searchLoad is the part of what the balancer allows a source that a search uses at most: the rest is room for a schedule that
// catches up.
const searchLoad = 0.8

// search looks for the highest rate at which the limits of the spec hold.
func (r *run) search(ctx context.Context) error {
	limits, err := search.ParseLimits(r.spec.FindLimit)
	if err != nil {
		return err
	}
	o := r.searchOptions(limits)
	s := search.New(o)
	var tried []*trial
	begun := time.Now()
	keep := func() { r.report.Search = r.searchResult(s.Result(), tried, o.Max, time.Since(begun)) }
	keep()
	defer keep()
	return r.carryOut(ctx, s, limits, func() string { return boundsText(s.Result()) }, func(t *trial) {
		t.spoiled = t.excuses(limits)
		tried = append(tried, t)
		s.Report(search.Trial{Batches: t.batches, Spoiled: t.spoiled})
		last := s.Result().Trials[len(tried)-1]
		if last.Held {
			last.Why = "" // what is left to chance is no reason
		}
		r.log.Info("tried", "rate", rateText(t.rate), "held", last.Held, "why", last.Why)
	})
}

// searchOptions are where the search begins and where it ends.
func (r *run) searchOptions(limits search.Limits) search.Options {
	o := r.searched
	o.Limits = limits
	if o.Max == 0 {
		o.Max = r.balancersMost()
	}
	if o.Start == 0 {
		o.Start = min(r.plan.pingRate, max(float64(r.plan.connections)/10, 100))
	}
	return o
}

// balancersMost is the rate that the balancer's limits leave the sources of the run; 0: any.
func (r *run) balancersMost() float64 {
	return searchLoad * float64(r.plan.sources*r.limits().MessagesPerSecond)
}

// searchResult is what a search says, as the report has it.
func (r *run) searchResult(found search.Result, tried []*trial, most float64, took time.Duration) *Search {
	s := &Search{
		Limit: r.spec.FindLimit, RatePerSecond: rounded.Tenth(found.Rate), FailedPerSecond: rounded.Tenth(found.Failed),
		ConfidencePercent: math.Round(1e4*found.Confidence) / 100, EstimatePerSecond: rounded.Tenth(found.Estimate),
		Reason: found.Reason, Inconclusive: found.Inconclusive, TookS: rounded.Seconds(took), Trials: []Trial{},
	}
	if most > 0 && most == r.balancersMost() && found.Rate >= most {
		s.Reason = fmt.Sprintf("the limits of the balancer per source are the limit, not the system: %s are what %d sources may send that have "+
			"%d messages a second each (lb.limits.messages_per_second; more sources: --source-ips, --connections-per-source)",
			rateText(most), r.plan.sources, r.limits().MessagesPerSecond)
	}
	for i, t := range found.Trials {
		if t.Held {
			t.Why = "" // as above
		}
		s.Trials = append(s.Trials, Trial{
			RatePerSecond: rounded.Tenth(t.Rate), GotPerSecond: rounded.Tenth(t.Got), Purpose: t.Purpose, LengthS: rounded.Seconds(t.Length), Held: t.Held, Why: t.Why,
			Latency: tried[i].latency, ErrorsPercent: percent3(t.Failed),
		})
	}
	return s
}

// boundsText is between which rates the limit is.
func boundsText(found search.Result) string {
	switch {
	case found.Rate > 0 && found.Failed > 0:
		return fmt.Sprintf("%s holds, %s does not", rateText(found.Rate), rateText(found.Failed))
	case found.Rate > 0:
		return rateText(found.Rate) + " holds"
	case found.Failed > 0:
		return rateText(found.Failed) + " does not hold"
	}
	return ""
}

// tryRates tries the rates of the spec, one after the other.
func (r *run) tryRates(ctx context.Context) error {
	rates, err := search.ParseRates(r.spec.Rates)
	if err != nil {
		return err
	}
	steps := search.NewSteps(rates, r.spec.Duration)
	return r.carryOut(ctx, steps, nil, func() string { return "" }, func(t *trial) {
		got, failed := t.sums()
		step := RateStep{
			Name: fmt.Sprintf("%.10g", t.rate), RatePerSecond: t.rate, GotPerSecond: rounded.Tenth(got), LengthS: rounded.Seconds(t.length), Latency: t.latency,
			ErrorsPercent: percent3(failed), Why: t.obstacle(),
		}
		r.report.Rates = append(r.report.Rates, step)
		r.log.Info("tried", "rate", rateText(t.rate), "answers", rateText(got))
		steps.Report(search.Trial{})
	})
}

// search is whether a rate was found, and which.
func (j *judgement) search(r *Report) {
	s := r.Search
	if s == nil {
		return
	}
	got := "no rate holds"
	switch {
	case s.RatePerSecond > 0 && s.FailedPerSecond > 0:
		got = fmt.Sprintf("held at %s, not at %s", rateText(s.RatePerSecond), rateText(s.FailedPerSecond))
	case s.RatePerSecond > 0:
		got = "held at " + rateText(s.RatePerSecond)
	}
	if s.Reason != "" {
		got += ": " + s.Reason
	}
	j.Measure("search", judge.Numbers{GotValue: &s.RatePerSecond, Unit: "per_second"}, s.Limit, got).FailIf(s.RatePerSecond == 0 || s.Inconclusive)
}

// trialSpoils are those of the rates that were tried.
func trialSpoils(r *Report) (list []spoil) {
	if s := r.Search; s != nil && s.Inconclusive {
		list = append(list, spoil{why: s.Reason, checks: []string{"search"}, figures: []string{"search."},
			try: "the search for a rate has found no limit of the system: use an idle machine or put the load on others (--remote-agents), and see in the " +
				"report what each trial says"})
	}
	for _, step := range r.Rates {
		if step.Why != "" {
			list = append(list, spoil{why: step.Why, figures: []string{"rates." + step.Name + "."},
				try: "at " + rateText(step.RatePerSecond) + " " + step.Why + ": use an idle machine, or put the load on other machines (--remote-agents)"})
		}
	}
	return list
}

func rateText(rate float64) string { return fmt.Sprintf("%.4g/s", rate) }

// percent3 is a share in percent, to three digits behind the point.
func percent3(share float64) float64 { return math.Round(1e5*share) / 1e3 }
