package loadtest

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// A generator later than this proves nothing. During the hold it voids the run: the latencies are
// its own. At other times it only makes things seem slower than they are, so what passes has passed;
// what fails may be its fault.
const (
	maxP99Lag = 100 * time.Millisecond
	maxLag    = time.Second
)

const (
	// maxDetection is how long the balancer may believe in a node that is gone.
	maxDetection = 5 * time.Second
	// rampSlack is how much longer than planned a ramp may take.
	rampSlack = 2
	// minRamp is for ramps so short that a single retry would dominate.
	minRamp = 2 * time.Second
	// kernelSlack is how many connections of a node the kernel may count more or fewer than the
	// answers do: the balancer's health checks come and go.
	kernelSlack = 5
)

// judge turns the measurements of a report into checks and a verdict. It is a function of the
// report and the spec alone; a report that says Interrupted stays so.
func judge(s *Spec, r *Report) ([]Check, Verdict) {
	j := judgement{checks: []Check{}}
	j.connections(r)
	j.distribution(r)
	j.latency(s, r)
	j.sticky("sticky", r.Sticky)
	j.failover(s, r)
	j.sticky("sticky_after_failover", r.StickyAfter)
	j.generator(r)
	return j.checks, j.verdict(r)
}

type judgement struct{ checks []Check }

func (j *judgement) add(c Check) { j.checks = append(j.checks, c) }

// check judges by the numbers, which the texts say.
func (j *judgement) check(name string, n Numbers, want, got string) {
	j.add(Check{Name: name, Pass: n.within(), Want: want, Got: got, Numbers: n})
}

// unjudged is a check that passes because there is nothing to judge it by.
func (j *judgement) unjudged(name, want, why string) {
	j.add(Check{Name: name, Pass: true, Want: want, Got: "-", Note: why})
}

// number is one that a check is about.
type number interface{ ~int | ~int64 | ~float64 }

// upTo is a number that may be so high.
func upTo[N number](got, limit N, unit string) Numbers {
	return Numbers{GotValue: new(float64(got)), WantMax: new(float64(limit)), Unit: unit}
}

// all is a number that should be as high as another.
func all[N number](got, of N, unit string) Numbers {
	return Numbers{GotValue: new(float64(got)), WantMin: new(float64(of)), Unit: unit}
}

// span is a time in milliseconds that may be so long.
func span(ms float64, limit time.Duration) Numbers {
	return upTo(ms, float64(limit)/float64(time.Millisecond), "ms")
}

// event is the span until something happens; 0 is never.
func event(ms float64, limit time.Duration) Numbers {
	n := span(ms, limit)
	if ms <= 0 {
		n.GotValue = nil
	}
	return n
}

func (n Numbers) within() bool {
	return n.GotValue != nil && (n.WantMin == nil || *n.GotValue >= *n.WantMin) && (n.WantMax == nil || *n.GotValue <= *n.WantMax)
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
	j.add(Check{
		Name: "connections", Pass: c.Verified == c.Target && c.Failed == 0, Want: fmt.Sprint(c.Target), Got: got,
		Numbers: all(c.Verified, c.Target, "connections"),
	})
	planned := time.Duration(float64(c.Target) / r.Plan.RampPerSecond * float64(time.Second))
	limit := max(rampSlack*planned, minRamp)
	j.check("ramp", span(c.RampMs, limit), atMost(limit), brief(milliseconds(c.RampMs)))
	j.check("dropped", upTo(c.Dropped, 0, "connections"), "0", fmt.Sprint(c.Dropped)+byCauseText(c.Losses))
}

func (j *judgement) distribution(r *Report) {
	if r.Nameless != "" && r.Connections != nil {
		j.unjudged("distribution", "equal shares", nameless)
		j.unjudged("sticky", "all of the sample", nameless)
		j.unjudged("failover", "clients of a broken node served by others", nameless)
	}
	d := r.Distribution
	if d == nil {
		return
	}
	j.spread("distribution", d, &r.Plan)
	worst, counted := 0, false
	for _, n := range r.Nodes {
		if n.KernelConnections == nil {
			continue
		}
		counted = true
		worst = max(worst, abs(*n.KernelConnections-n.KernelBefore-n.Connections))
	}
	want := fmt.Sprintf("within %d of the answers", kernelSlack)
	if counted {
		j.check("kernel_agreement", upTo(worst, kernelSlack, "connections"), want, fmt.Sprintf("within %d", worst))
		return
	}
	j.unjudged("kernel_agreement", want, "the nodes' sockets are not on this machine, or not known")
}

// spread judges how even a distribution is. Clients of one address stay together on a sticky balancer: where they are more
// than a node may be off, an uneven spread is the load test's own doing.
func (j *judgement) spread(name string, d *Distribution, p *PlanSummary) {
	n := upTo(d.MaxDeviation, d.Tolerance, "connections")
	c := Check{
		Name: name, Pass: n.within(), Numbers: n,
		Want: fmt.Sprintf("%d ± %d", d.TargetPerNode, d.Tolerance), Got: fmt.Sprintf("± %d", d.MaxDeviation),
	}
	switch {
	case c.Pass || p.ConnectionsPerSource <= d.Tolerance:
	case p.Sources <= 1:
		c.Pass, c.Note = true, "not judged: all clients have one address"
	default:
		c.Pass, c.Note = true, fmt.Sprintf("not judged: up to %d clients have one address", p.ConnectionsPerSource)
	}
	j.add(c)
}

func (j *judgement) latency(s *Spec, r *Report) {
	if q := r.Requests; q != nil {
		want := "all answered by the connection's node"
		if r.Nameless != "" {
			want = "all answered"
		}
		if q.Sent == 0 {
			j.unjudged("requests", want, "none was due")
		} else {
			j.add(Check{
				Name: "requests", Pass: q.Failed+q.Lost+q.Moved == 0, Want: want,
				Got: fmt.Sprintf("%d of %d", q.Answered-q.Moved, q.Sent), Numbers: all(q.Answered-q.Moved, q.Sent, "requests"),
			})
		}
	}
	l := r.Latency
	want := fmt.Sprintf("≤ %g %%", s.MaxLatencyCVPercent)
	if r.Nameless != "" && r.Requests != nil {
		j.unjudged("latency_variance", want, nameless)
	}
	if l == nil {
		return
	}
	got, n := fmt.Sprintf("%.1f %%", l.BetweenNodesCVPercent), upTo(l.BetweenNodesCVPercent, s.MaxLatencyCVPercent, "percent")
	switch {
	case len(r.Nodes) < 2:
		j.unjudged("latency_variance", want, "there is one node only")
	case l.Windows < minWindows:
		j.add(Check{
			Name: "latency_variance", Pass: true, Want: want, Got: got, Numbers: n,
			Note: fmt.Sprintf("not judged: %d of at least %d seconds with %d answers a node", l.Windows, minWindows, minPerWindow),
		})
	default:
		j.check("latency_variance", n, want, got)
	}
}

func (j *judgement) sticky(name string, s *Sticky) {
	switch {
	case s == nil:
	case s.Sampled == 0:
		j.unjudged(name, "all of the sample", "no client had a node that it could meet again")
	default:
		j.check(name, all(s.Consistent, s.Sampled, "clients"), fmt.Sprintf("%d of %d", s.Sampled, s.Sampled), fmt.Sprint(s.Consistent))
	}
}

func (j *judgement) failover(s *Spec, r *Report) {
	f := r.Failover
	if f == nil {
		return
	}
	limit := s.failoverLimit(f.Fault)
	j.check("failover_detected", event(f.DetectedMs, maxDetection), atMost(maxDetection), since(f.DetectedMs))
	if f.OnNode == 0 {
		j.unjudged("failover_rerouted", atMost(limit), "the node had no clients")
	} else {
		j.check("failover_rerouted", event(f.ReroutedMs, limit), atMost(limit), since(f.ReroutedMs))
	}
	j.add(Check{
		Name: "failover_recovered", Pass: f.Displaced == f.OnNode && f.Recovered == f.OnNode, Numbers: all(f.Recovered, f.OnNode, "clients"),
		Want: fmt.Sprintf("%d of %d displaced", f.OnNode, f.OnNode), Got: fmt.Sprintf("%d of %d", f.Recovered, f.Displaced),
	})
	if f.Survivors != nil {
		j.spread("failover_spread", f.Survivors, &r.Plan)
	}
	j.add(Check{
		Name: "node_restored", Pass: f.Restored, Want: "up again",
		Got: map[bool]string{true: "up again", false: "not up"}[f.Restored],
	})
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
	j.check("generator_lag", n,
		fmt.Sprintf("p99 %s, max %s", atMost(maxP99Lag), atMost(maxLag)),
		fmt.Sprintf("p99 %s, max %s", brief(microseconds(g.HoldP99LagUs)), brief(microseconds(g.HoldMaxLagUs))))
}

func late(p99Us, maxUs int64) bool {
	return microseconds(p99Us) > maxP99Lag || microseconds(maxUs) > maxLag
}

func (j *judgement) verdict(r *Report) Verdict {
	g := &r.Generator
	passed := !slices.ContainsFunc(j.checks, func(c Check) bool { return !c.Pass })
	switch {
	case r.Verdict == Interrupted:
		return Interrupted
	case r.Reason != "":
		return Fail
	case passed:
		return Pass
	case late(g.HoldP99LagUs, g.HoldMaxLagUs) || late(g.P99LagUs, g.MaxLagUs):
		return Inconclusive
	default:
		return Fail
	}
}

// spreadOf compares the connections of some nodes with their fair share of total.
func spreadOf(s *Spec, total int, nodes []string, connections map[string]int) *Distribution {
	if len(nodes) == 0 {
		return nil
	}
	fair := float64(total) / float64(len(nodes))
	d := &Distribution{TargetPerNode: int(fair + 0.5), Tolerance: tolerance(s.TolerancePercent, fair)}
	for _, name := range nodes {
		d.MaxDeviation = max(d.MaxDeviation, abs(connections[name]-d.TargetPerNode))
	}
	return d
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

func milliseconds(ms float64) time.Duration { return time.Duration(ms * float64(time.Millisecond)) }

func microseconds(us int64) time.Duration { return time.Duration(us) * time.Microsecond }

func atMost(d time.Duration) string { return "≤ " + brief(d) }

// since prints a time that has come, or that has not.
func since(ms float64) string {
	if ms == 0 {
		return "never"
	}
	return brief(milliseconds(ms))
}

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
