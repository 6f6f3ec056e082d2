package loadtest

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/erlmcp/erlmcp/internal/judge"
	"github.com/erlmcp/erlmcp/loadtest/internal/fleet"
	"github.com/erlmcp/erlmcp/loadtest/internal/latency"
	"github.com/erlmcp/erlmcp/loadtest/internal/want"
)

// A generator later than this proves nothing of what it has timed. During the hold the latencies are its own. At other times
// it only makes things seem slower than they are, so what passes has passed; what fails may be its fault.
const (
	maxP99Lag = 100 * time.Millisecond
	maxLag    = time.Second
)

const (
	// rampSlack is how much longer than planned a ramp may take.
	rampSlack = 2
	// minRamp is for ramps so short that a single retry would dominate, or a server that takes a second over each session.
	minRamp = 3 * time.Second
	// kernelSlack is how many connections of a node the kernel may count more or fewer than the
	// answers do: the balancer's health checks come and go.
	kernelSlack = 5
)

// conclude turns the measurements of a report into checks and a verdict. It is a function of these and the spec alone.
func conclude(s *Spec, r *Report) (Checks, Verdict) {
	var j judgement
	j.closedLoop(r)
	j.connections(r)
	j.distribution(r)
	if len(r.Parts) == 0 {
		j.latency(s, r)
	}
	j.parts(s, r)
	j.sticky("sticky", r.Sticky)
	j.failover(s, r)
	j.sticky("sticky_after_failover", r.StickyAfter)
	j.search(r)
	j.generator(r)
	j.agents(r)
	j.wants(s, r)
	return Checks(j.List), j.verdict(r)
}

type judgement struct {
	judge.List
	wanted map[int]*want.Outcome // by their place in the list
}

// span is a time in milliseconds that may be so long.
func span(ms float64, limit time.Duration) judge.Numbers {
	return judge.UpTo(ms, float64(limit)/float64(time.Millisecond), "ms")
}

// nameless is why a check is not judged when Report.Nameless says that no answer names a node.
const nameless = "not judged: the answers name no node"

func (j *judgement) connections(r *Report) {
	c := r.Connections
	if c == nil {
		return
	}
	got := fmt.Sprint(c.Verified)
	if c.Failed > 0 {
		got += fmt.Sprintf(", %d gave up", c.Failed) + byCauseText(c.Failures)
	}
	j.Measure("connections", judge.All(c.Verified, c.Target, "connections"), fmt.Sprint(c.Target), got).FailIf(c.Failed > 0)
	planned := time.Duration(float64(c.Target) / r.Plan.RampPerSecond * float64(time.Second))
	limit := max(rampSlack*planned, minRamp)
	j.Measure("ramp", span(c.RampMs, limit), atMost(limit), brief(milliseconds(c.RampMs)))
	j.Measure("dropped", judge.UpTo(c.Dropped, 0, "connections"), "0", fmt.Sprint(c.Dropped)+byCauseText(c.Losses))
}

func (j *judgement) distribution(r *Report) {
	if r.Nameless != "" && r.Connections != nil {
		j.Unjudged("distribution", "equal shares", nameless)
		j.Unjudged("sticky", "all of the sample", nameless)
		j.Unjudged("failover", "clients of a broken node served by others", nameless)
	}
	d := r.Distribution
	if d == nil {
		return
	}
	j.spread("distribution", d, r)
	worst, counted := 0, false
	for _, n := range r.Nodes {
		if n.KernelConnections == nil {
			continue
		}
		counted = true
		worst = max(worst, abs(*n.KernelConnections-n.KernelBefore-n.Connections))
	}
	want := fmt.Sprintf("within %d of the answers", kernelSlack)
	if r.Shared {
		j.Unjudged("kernel_agreement", want, "the balancer shares its connections to nodes among clients over HTTP")
		return
	}
	if counted {
		j.Measure("kernel_agreement", judge.UpTo(worst, kernelSlack, "connections"), want, fmt.Sprintf("within %d", worst))
		return
	}
	j.Unjudged("kernel_agreement", want, "the nodes' sockets are not on this machine, or not known")
}

// spread judges how even a distribution is. Clients of one address stay together on a sticky balancer: where they are more
// than a node may be off, an uneven spread is the load test's own doing.
func (j *judgement) spread(name string, d *Distribution, r *Report) {
	p := &r.Plan
	c := j.Measure(name, judge.UpTo(d.MaxDeviation, d.Tolerance, "connections"),
		fmt.Sprintf("%d ± %d", d.TargetPerNode, d.Tolerance), fmt.Sprintf("± %d", d.MaxDeviation))
	switch {
	case c.Verdict == judge.OK:
	case r.PerRequest:
		c.Excuse("not judged: a node is chosen for each request, the quicker ones get more")
	case p.ConnectionsPerSource <= d.Tolerance:
	case p.Sources <= 1:
		c.Excuse("not judged: all clients have one address")
	default:
		c.Excuse(fmt.Sprintf("not judged: up to %d clients have one address", p.ConnectionsPerSource))
	}
}

func (j *judgement) latency(s *Spec, r *Report) {
	if q := r.Requests; q != nil {
		want := "all answered by the connection's node"
		moved := q.Moved
		if r.Nameless != "" || r.PerRequest || Driver(r.Driver).closed() {
			want, moved = "all answered", 0
		}
		if q.Sent == 0 {
			j.Unjudged("requests", want, "none was due")
		} else {
			j.Measure("requests", judge.All(q.Answered-moved, q.Sent, "requests"), want, fmt.Sprintf("%d of %d%s", q.Answered-moved, q.Sent, byCauseText(q.causes(moved)))).
				FailIf(q.Failed+q.Lost+moved > 0)
		}
	}
	l := r.Latency
	want := fmt.Sprintf("≤ %g %%", s.MaxLatencyCVPercent)
	if r.Nameless != "" && r.Requests != nil {
		j.Unjudged("latency_variance", want, nameless)
	}
	if l == nil || r.Nameless != "" {
		return
	}
	if len(r.Nodes) < 2 {
		j.Unjudged("latency_variance", want, "there is one node only")
		return
	}
	c := j.Measure("latency_variance", judge.UpTo(l.BetweenNodesCVPercent, s.MaxLatencyCVPercent, "percent"), want, fmt.Sprintf("%.1f %%", l.BetweenNodesCVPercent))
	switch noise := meanNoise(r.Nodes); {
	case l.Windows < latency.MinWindows:
		c.Excuse(fmt.Sprintf("not judged: %d of at least %d seconds with %d answers a node", l.Windows, latency.MinWindows, latency.MinPerWindow))
	case c.Verdict == judge.Fail && 2*noise > s.MaxLatencyCVPercent:
		c.Excuse(fmt.Sprintf("not judged: with so few answers a node, whose latencies differ so much, means differ by %.1f %% by chance", noise))
	}
}

// meanNoise is by how much, in per cent, the mean latency of a node is off by chance: its standard error, of the worst node.
func meanNoise(nodes []NodeResult) (worst float64) {
	for _, n := range nodes {
		if n.Latency.Count > 0 && n.Latency.Mean > 0 {
			worst = max(worst, 100*n.Stddev/n.Latency.Mean/math.Sqrt(float64(n.Latency.Count)))
		}
	}
	return worst
}

func (j *judgement) sticky(name string, s *Sticky) {
	switch {
	case s == nil:
	case s.Sampled == 0:
		j.Unjudged(name, "all of the sample", "no client had a node that it could meet again")
	default:
		j.Measure(name, judge.All(s.Consistent, s.Sampled, "clients"), fmt.Sprintf("%d of %d", s.Sampled, s.Sampled), fmt.Sprint(s.Consistent))
	}
}

func (j *judgement) generator(r *Report) {
	g := &r.Generator
	if g.HoldMaxLagUs == 0 {
		return
	}
	// The number is the one that is nearer to its limit, or further beyond it.
	n := span(float64(g.HoldP99LagUs)/1000, maxP99Lag)
	if most := span(float64(g.HoldMaxLagUs)/1000, maxLag); *most.GotValue / *most.WantMax > *n.GotValue / *n.WantMax {
		n = most
	}
	j.Measure("generator_lag", n,
		fmt.Sprintf("p99 %s, max %s", atMost(maxP99Lag), atMost(maxLag)),
		fmt.Sprintf("p99 %s, max %s", brief(microseconds(g.HoldP99LagUs)), brief(microseconds(g.HoldMaxLagUs))))
}

func late(p99Us, maxUs int64) bool {
	return microseconds(p99Us) > maxP99Lag || microseconds(maxUs) > maxLag
}

func (j *judgement) verdict(r *Report) Verdict {
	voided := j.void(spoils(r))
	failed := slices.DeleteFunc(j.Failed(), func(c judge.Result) bool { return c.Name == "generator_lag" })
	switch {
	case r.interrupted:
		return Interrupted
	case fleet.TooFew(r.Plan.Connections, r.void()):
		return Inconclusive
	case r.Reason != "" || len(failed) > 0:
		return Fail
	case voided:
		return Inconclusive
	default:
		return Pass
	}
}

// byChance is how far, in standard deviations, a node may be from its share of what is spread by chance: one run in a thousand
// has a node beyond that.
const byChance = 3.5

// uncountedPercent is how far a node may be from its share of what the balancer does not count: it goes by requests under way,
// of which a quicker node has fewer.
const uncountedPercent = 20

// spreadOf compares the connections of some nodes with their fair share of total.
//
// chance says that nobody counts what is spread, such as sessions that are no connections: then each goes to any node.
func spreadOf(s *Spec, total int, nodes []string, connections map[string]int, chance bool) *Distribution {
	if len(nodes) == 0 {
		return nil
	}
	fair := float64(total) / float64(len(nodes))
	d := &Distribution{TargetPerNode: int(fair + 0.5), Tolerance: tolerance(s.TolerancePercent, fair)}
	if chance {
		d.Tolerance = max(d.Tolerance, int(byChance*math.Sqrt(fair)+0.5), tolerance(uncountedPercent, fair))
	}
	for _, name := range nodes {
		d.MaxDeviation = max(d.MaxDeviation, abs(connections[name]-d.TargetPerNode))
	}
	return d
}

// causes are all why requests do not count, by cause; so many were answered by the wrong node.
func (q *Requests) causes(moved int64) map[string]int64 {
	all := maps.Clone(q.Causes)
	for cause, n := range map[string]int64{"unanswered": q.Lost, "another node": moved} {
		if n > 0 {
			if all == nil {
				all = make(map[string]int64)
			}
			all[cause] = n
		}
	}
	return all
}

// byCauseText is " (closed 3, reset 1)".
func byCauseText(n map[string]int64) string {
	var parts []string
	for _, cause := range slices.Sorted(maps.Keys(n)) {
		parts = append(parts, fmt.Sprintf("%s %d", cause, n[cause]))
	}
	if len(parts) == 0 {
		return ""
	}
	return " (" + strings.Join(parts, ", ") + ")"
}

func ms(ns int64) float64 { return float64(ns/int64(10*time.Microsecond)) / 100 }

func milliseconds(ms float64) time.Duration { return time.Duration(ms * float64(time.Millisecond)) }

func microseconds(us int64) time.Duration { return time.Duration(us) * time.Microsecond }

func atMost(d time.Duration) string { return "≤ " + brief(d) }

// brief prints a duration with three significant digits.
func brief(d time.Duration) string {
	unit := time.Duration(1)
	for d/unit >= 1000 {
		unit *= 10
	}
	return d.Round(unit).String()
}

func abs(n int) int {
	if n < 0 {
		return -n
	}
	return n
}
