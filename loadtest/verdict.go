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
// report and the spec alone.
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

func (j *judgement) check(name string, pass bool, want, got string) {
	j.checks = append(j.checks, Check{Name: name, Pass: pass, Want: want, Got: got})
}

// unjudged is a check that passes because there is nothing to judge it by.
func (j *judgement) unjudged(name, want, why string) {
	j.checks = append(j.checks, Check{Name: name, Pass: true, Want: want, Got: "-", Note: why})
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
	j.check("connections", c.Verified == c.Target && c.Failed == 0, fmt.Sprint(c.Target), got)
	planned := time.Duration(float64(c.Target) / r.Plan.RampPerSecond * float64(time.Second))
	limit := max(rampSlack*planned, minRamp)
	took := milliseconds(c.RampMs)
	j.check("ramp", took <= limit, atMost(limit), brief(took))
	j.check("dropped", c.Dropped == 0, "0", fmt.Sprint(c.Dropped)+byCauseText(c.Losses))
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
		j.check("kernel_agreement", worst <= kernelSlack, want, fmt.Sprintf("within %d", worst))
		return
	}
	j.unjudged("kernel_agreement", want, "the nodes' sockets are not on this machine, or not known")
}

// spread judges how even a distribution is. Clients of one address stay together on a sticky balancer: where they are more
// than a node may be off, an uneven spread is the load test's own doing.
func (j *judgement) spread(name string, d *Distribution, p *PlanSummary) {
	c := Check{
		Name: name, Pass: d.MaxDeviation <= d.Tolerance,
		Want: fmt.Sprintf("%d ± %d", d.TargetPerNode, d.Tolerance), Got: fmt.Sprintf("± %d", d.MaxDeviation),
	}
	switch {
	case c.Pass || p.ConnectionsPerSource <= d.Tolerance:
	case p.Sources <= 1:
		c.Pass, c.Note = true, "not judged: all clients have one address"
	default:
		c.Pass, c.Note = true, fmt.Sprintf("not judged: up to %d clients have one address", p.ConnectionsPerSource)
	}
	j.checks = append(j.checks, c)
}

func (j *judgement) latency(s *Spec, r *Report) {
	if q := r.Requests; q != nil {
		want, wrong := "all answered by the connection's node", q.Failed+q.Lost+q.Moved
		if r.Nameless != "" {
			want = "all answered"
		}
		if q.Sent == 0 {
			j.unjudged("requests", want, "none was due")
		} else {
			j.check("requests", wrong == 0, want, fmt.Sprintf("%d of %d", q.Answered-q.Moved, q.Sent))
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
	got := fmt.Sprintf("%.1f %%", l.BetweenNodesCVPercent)
	switch {
	case len(r.Nodes) < 2:
		j.unjudged("latency_variance", want, "there is one node only")
	case l.Windows < minWindows:
		j.checks = append(j.checks, Check{
			Name: "latency_variance", Pass: true, Want: want, Got: got,
			Note: fmt.Sprintf("not judged: %d of at least %d seconds with %d answers a node", l.Windows, minWindows, minPerWindow),
		})
	default:
		j.check("latency_variance", l.BetweenNodesCVPercent <= s.MaxLatencyCVPercent, want, got)
	}
}

func (j *judgement) sticky(name string, s *Sticky) {
	switch {
	case s == nil:
	case s.Sampled == 0:
		j.unjudged(name, "all of the sample", "no client had a node that it could meet again")
	default:
		j.check(name, s.Consistent == s.Sampled, fmt.Sprintf("%d of %d", s.Sampled, s.Sampled), fmt.Sprint(s.Consistent))
	}
}

func (j *judgement) failover(s *Spec, r *Report) {
	f := r.Failover
	if f == nil {
		return
	}
	limit := s.failoverLimit(f.Fault)
	j.check("failover_detected", f.DetectedMs > 0 && milliseconds(f.DetectedMs) <= maxDetection, atMost(maxDetection), since(f.DetectedMs))
	if f.OnNode == 0 {
		j.unjudged("failover_rerouted", atMost(limit), "the node had no clients")
	} else {
		j.check("failover_rerouted", f.ReroutedMs > 0 && milliseconds(f.ReroutedMs) <= limit, atMost(limit), since(f.ReroutedMs))
	}
	j.check("failover_recovered", f.Displaced == f.OnNode && f.Recovered == f.OnNode,
		fmt.Sprintf("%d of %d displaced", f.OnNode, f.OnNode), fmt.Sprintf("%d of %d", f.Recovered, f.Displaced))
	if f.Survivors != nil {
		j.spread("failover_spread", f.Survivors, &r.Plan)
	}
	j.check("node_restored", f.Restored, "up again", map[bool]string{true: "up again", false: "not up"}[f.Restored])
}

func (j *judgement) generator(r *Report) {
	g := &r.Generator
	if g.HoldMaxLagUs == 0 {
		return
	}
	j.check("generator_lag", !late(g.HoldP99LagUs, g.HoldMaxLagUs),
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
