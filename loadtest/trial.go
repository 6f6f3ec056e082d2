package loadtest

import (
	"context"
	"fmt"
	"maps"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/erlmcp/erlmcp/loadtest/internal/ask"
	"github.com/erlmcp/erlmcp/loadtest/internal/fleet"
	"github.com/erlmcp/erlmcp/loadtest/internal/latency"
	"github.com/erlmcp/erlmcp/loadtest/internal/search"
	"github.com/erlmcp/erlmcp/loadtest/internal/wire"
	"github.com/erlmcp/erlmcp/loadtest/machine"
)

// trial is what came of requests at one rate.
type trial struct {
	rate    float64
	length  time.Duration
	batches []search.Batch // second by second
	latency Quantiles

	// What may have spoilt it, of its own time.
	lag     *hdrhistogram.Histogram // how late the agents were, microseconds
	machine machine.Saturation
	local   int64 // connections that this machine could not open
	lost    int   // agents

	spoiled string // why it says nothing about the system; empty: it does
}

// trials are those under way in a run, and what they have cost.
type trials struct {
	begun atomic.Int64
	now   atomic.Pointer[string] // for people; nil: none is under way
	// Connections lost at rates that may have been too high.
	dropped int
	losses  map[string]int64
}

func (t *trials) gauge(wire.Counts) (int, int, string) { return int(t.begun.Load()), 0, "trials" }

// text is what is tried now.
func (t *trials) text() string {
	if now := t.now.Load(); now != nil {
		return *now
	}
	return ""
}

// without are the connections lost in a run, and why, except for those that trials have cost.
func (t *trials) without(n wire.Counts) (dropped int, losses map[string]int64) {
	losses = maps.Clone(n.Losses)
	for cause := range losses {
		if losses[cause] -= t.losses[cause]; losses[cause] <= 0 {
			delete(losses, cause)
		}
	}
	return max(n.Dropped-t.dropped, 0), losses
}

// carryOut carries out the trials of a plan. limits are those whose slow answers are counted.
func (r *run) carryOut(ctx context.Context, p search.Plan, limits search.Limits, bounds func() string, report func(*trial)) error {
	r.trials.begun.Store(0)
	defer r.trials.now.Store(nil)
	before := r.fleet.Parts()
	defer func() {
		old, n := r.fleet.Since(before)
		r.trials.dropped += n.Dropped - old.Dropped
		if r.trials.losses == nil {
			r.trials.losses = make(map[string]int64)
		}
		for cause, lost := range n.Losses {
			r.trials.losses[cause] += lost - old.Losses[cause]
		}
	}()
	for {
		rate, length, done := p.Next()
		if done {
			return nil
		}
		now := fmt.Sprintf("trial %d: %s for %s", r.trials.begun.Add(1), rateText(rate), length)
		if b := bounds(); b != "" {
			now += "; " + b
		}
		r.trials.now.Store(&now)
		t, err := r.try(ctx, rate, length, limits)
		if err != nil {
			return err
		}
		report(t)
	}
}

// try sends requests at a rate, and returns when all have ended.
func (r *run) try(ctx context.Context, rate float64, length time.Duration, limits search.Limits) (*trial, error) {
	t := &trial{rate: rate, length: length}
	before, lost, busy := r.fleet.Parts(), len(r.fleet.Losses()), machine.ReadLoad()
	shares, at := r.fleet.Left(r.plan.shares), lead()
	connections := 0
	for _, s := range shares {
		connections += s.Connections
	}
	above := make([]int64, len(limits))
	for i, l := range limits {
		above[i] = l.Above.Microseconds()
	}
	_, err := r.fleet.Tell(ctx, shares, func(i int, s fleet.Share) wire.Order {
		return wire.Order{
			Kind: wire.OrderPing, At: at + stagger(i, rate), Rate: rate * float64(s.Connections) / float64(connections),
			Ping: &wire.PingOrder{For: length, Record: true, Limits: above},
		}
	})
	if err != nil {
		return nil, err
	}
	end := at + int64(length) + stagger(len(shares), rate) + int64(leadTime)
	if _, err := r.fleet.Until(ctx, end, func(n wire.Counts) bool { return n.Requests.UnderWay() == 0 }); err != nil {
		return nil, err
	}
	var load machine.Load
	load.Add(machine.ReadLoad(), busy)
	t.machine, t.lost = load.Saturation(), len(r.fleet.Losses())-lost
	old, n := r.fleet.Since(before)
	cause := ask.CauseLocal.String()
	t.local = n.Failures[cause] - old.Failures[cause] + n.Losses[cause] - old.Losses[cause]
	all, err := r.measured(ctx)
	if err != nil {
		return nil, err
	}
	err = t.take(all)
	return t, err
}

// take adds up what the agents have measured.
func (t *trial) take(all []measured) error {
	nodes, err := merge(all, byNode)
	if err != nil {
		return err
	}
	t.latency = quantiles(histogramOf(nodes))
	if t.lag, err = mergeLag(all, ofHold); err != nil {
		return err
	}
	var windows latency.Windows
	for _, m := range all {
		windows = windows.Plus(m.Windows)
	}
	for _, c := range windows[:min(len(windows), int(t.length.Seconds()))] {
		t.batches = append(t.batches, search.Batch{Due: c.Due, Failed: c.Failed, Slow: c.Slow})
	}
	return nil
}

// sums are the good answers a second, and the share of requests that had none.
func (t *trial) sums() (got, failed float64) {
	due, bad := int64(0), int64(0)
	for _, b := range t.batches {
		due, bad = due+b.Due, bad+b.Failed
	}
	if due == 0 {
		return 0, 0
	}
	return float64(due-bad) / t.length.Seconds(), float64(bad) / float64(due)
}

// obstacle is what of the load test or of its machine kept the trial from being what it was to be.
func (t *trial) obstacle() string {
	switch p99, most := t.lag.ValueAtQuantile(99), t.lag.Max(); {
	case t.lost > 0:
		return "a load agent was lost"
	case t.local > 0:
		return fmt.Sprintf("%d times the load test's machine had no descriptor, port or address left", t.local)
	case late(p99, most):
		return fmt.Sprintf("the load test was late in sending: p99 %s, max %s", brief(microseconds(p99)), brief(microseconds(most)))
	}
	return t.machine.Spoilt()
}

const (
	// lateForErrors is from when on being late may be why requests are refused: those that were held up come all at once.
	lateForErrors = 50 * time.Millisecond
	// lateEffect is how many requests may break a limit for each one that was late: those behind it wait, too.
	lateEffect = 10
)

// excuses is why a trial says nothing about the limits. Whatever makes a system seem slower than it is counts only where a limit
// is broken: what holds in spite of it holds.
func (t *trial) excuses(limits search.Limits) string {
	switch {
	case t.lost > 0:
		return t.obstacle()
	case !t.breaks(limits):
		return ""
	}
	if why := t.obstacle(); why != "" {
		return why
	}
	for i, l := range limits {
		excess := t.breaking(limits, i) - l.Share
		if bound := tolerated(l); excess > 0 && excess <= lateEffect*t.lateShare(bound) {
			return fmt.Sprintf("the load test was late in sending: %.2g %% of the requests by more than %s", 100*t.lateShare(bound), brief(bound))
		}
	}
	return ""
}

// tolerated is how late a request may be sent for its answer to say something about a limit.
func tolerated(l search.Limit) time.Duration {
	if l.Above > 0 {
		return l.Above / 2
	}
	return lateForErrors
}

// breaks reports whether any limit looks broken.
func (t *trial) breaks(limits search.Limits) bool {
	for i, l := range limits {
		if t.breaking(limits, i) > l.Share {
			return true
		}
	}
	return false
}

// breaking is the share of the requests that break a limit.
func (t *trial) breaking(limits search.Limits, i int) float64 {
	due, bad := int64(0), int64(0)
	for _, b := range t.batches {
		due += b.Due
		bad += b.Breaking(limits, i)
	}
	return float64(bad) / float64(max(due, 1))
}

// lateShare is the share of what was due that was later than so much.
func (t *trial) lateShare(bound time.Duration) float64 {
	later := int64(0)
	for _, bar := range t.lag.Distribution() {
		if bar.From > bound.Microseconds() {
			later += bar.Count
		}
	}
	return float64(later) / float64(max(t.lag.TotalCount(), 1))
}
