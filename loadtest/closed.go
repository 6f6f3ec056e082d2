package loadtest

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/erlmcp/erlmcp/internal/advice"
	"github.com/erlmcp/erlmcp/internal/judge"
	"github.com/erlmcp/erlmcp/internal/mcp"
	"github.com/erlmcp/erlmcp/internal/mono"
	"github.com/erlmcp/erlmcp/loadtest/internal/burst"
	"github.com/erlmcp/erlmcp/loadtest/internal/target"
	"github.com/erlmcp/erlmcp/loadtest/internal/wire"
	"github.com/erlmcp/erlmcp/loadtest/series"
	"github.com/erlmcp/erlmcp/loadtest/system"
)

// Drivers that run a closed loop are one process beside this one: there are no agents, no clients that could be counted, and
// no schedule. What they do is one phase.

// closed reports whether each connection waits for its answer before it asks again.
func (d Driver) closed() bool {
	return slices.Contains([]Driver{DriverBurst, DriverHey, DriverWrk, DriverAB}, d)
}

// number stands in the request where each one has another id: in a session, two under way must not have the same one. It is
// one that JSON carries without loss.
const number = 1_234_567_890_123_456

// jobOf is what a driver is to do, but for the session.
func jobOf(s *Spec, a *aim) (burst.Job, error) {
	j := burst.Job{Endpoint: a.to, Connections: s.Connections, Duration: s.Duration, Timeout: s.RequestTimeout}
	if a.sessions() {
		j.Number = fmt.Sprint(number)
	}
	if n := len(a.work.Steps); n > 1 {
		return j, advice.With(fmt.Errorf("the driver %s asks one request again and again, the scenario has %d steps", a.driver, n), "--driver vegeta or socket asks all of them")
	}
	script, err := a.work.Compile()
	if err != nil {
		return j, err
	}
	line, about := script.As(0).AppendStep(nil, script.Next(), number)
	j.Body = line[:len(line)-1]
	if a.who.Era == mcp.StatelessEra {
		j.Header = []target.Field{{Name: mcp.HeaderProtocolVersion, Value: mcp.Version20260728}, {Name: mcp.HeaderMethod, Value: about.Method}}
		if about.Name != "" {
			j.Header = append(j.Header, target.Field{Name: mcp.HeaderName, Value: about.HeaderName()})
		}
	}
	return j, nil
}

// choose finds the driver, which fits the job.
func choose(ctx context.Context, d Driver, j *burst.Job) (burst.Driver, burst.Program, error) {
	if d == DriverBurst {
		return burst.Auto(ctx, j)
	}
	for _, known := range burst.Drivers() {
		if known.Name() != string(d) {
			continue
		}
		if err := known.Fits(j); err != nil {
			return nil, burst.Program{}, err
		}
		p, err := known.Find(ctx)
		return known, p, err
	}
	return nil, burst.Program{}, fmt.Errorf("there is no driver %s", d)
}

// closedLoop is a job with its driver.
type closedLoop struct {
	job     burst.Job
	driver  burst.Driver
	program burst.Program
}

// arrange finds out whether the job can be done.
func (c *closedLoop) arrange(ctx context.Context, s *Spec, a *aim) (err error) {
	if c.job, err = jobOf(s, a); err != nil {
		return err
	}
	c.driver, c.program, err = choose(ctx, a.driver, &c.job)
	return err
}

// closed judges whether a closed loop can run.
func (x *subject) closed(c *closedLoop, err error) judge.List {
	x.target()
	if x.facts.trouble != nil {
		return x.List
	}
	if err != nil {
		hint, _ := advice.Of(err)
		x.Need("driver", false, err.Error(), "a driver that can do it", hint).Misuse()
		return x.List
	}
	x.Need("driver", true, strings.TrimSpace(c.driver.Name()+" "+c.program.Version), "a driver that can do it", "")
	x.balancer()
	x.nodes()
	return x.List
}

// prepareClosed is the preflight of a closed loop.
func (r *run) prepareClosed(ctx context.Context) (err error) {
	f := &r.facts
	if f.trouble == nil {
		if err = r.closed.arrange(ctx, &r.spec, &f.aims[0]); err == nil {
			r.report.Driver = r.closed.driver.Name()
		}
	}
	x := subject{spec: &r.spec, facts: f, fault: system.FaultNone}
	r.report.Preflight = Requirements(x.closed(&r.closed, err))
	if len(x.Failed()) > 0 {
		return &PreflightError{x.List, f.trouble != nil && f.trouble.Unreachable()}
	}
	return ctx.Err()
}

// closedLoop has the driver do its job, after a look at the system without load.
func (r *run) closedLoop(ctx context.Context) error {
	r.recorder = series.Record(ctx, r.report.Started, func() wire.Counts { return wire.Counts{At: mono.Now()} }, r.processes())
	defer func() { r.report.Series = r.recorder.Stop() }()
	if err := r.phase(ctx, PhaseBaseline, nil, func(ctx context.Context) error { return r.measureBefore(ctx, baselineSourcesOf(&r.facts, &plan{})) }); err != nil {
		return fmt.Errorf("%s: %w", PhaseBaseline, err)
	}
	if err := r.phase(ctx, PhaseHold, nil, r.burst); err != nil {
		return fmt.Errorf("%s: %w", PhaseHold, err)
	}
	return nil
}

func (r *run) burst(ctx context.Context) error {
	c, a := &r.closed, &r.facts.aims[0]
	job := c.job
	if a.sessions() {
		header, end, err := burst.OpenSession(ctx, a.to)
		if err != nil {
			return err
		}
		defer func() {
			if err := end(context.WithoutCancel(ctx)); err != nil {
				r.log.Warn("the session of the load test is not ended", "err", err)
			}
		}()
		job.Header = slices.Concat(job.Header, header)
	}
	r.recorder.Measure(r.memory)
	result, err := c.driver.Run(ctx, job)
	r.report.Resources = r.recorder.Measured()
	if err != nil {
		return err
	}
	r.take(result)
	return nil
}

// take puts into the report what the driver has measured.
func (r *run) take(b burst.Result) {
	failed := int64(0)
	for _, n := range b.Errors {
		failed += n
	}
	r.report.Requests = &Requests{Sent: max(b.Requests, b.Answered+failed), Answered: b.Answered, Failed: failed, Causes: b.Errors}
	l := &b.Latency
	r.report.Latency = &LatencyResult{Quantiles: Quantiles{
		Count: l.Count, Min: l.Min, Mean: l.Mean, P50: l.P50, P90: l.P90, P99: l.P99, P999: l.P999, Max: l.Max,
	}}
	r.report.Plan = PlanSummary{Connections: r.spec.Connections, HoldS: b.Took.Seconds(), Sources: 1, ConnectionsPerSource: r.spec.Connections}
	r.report.Nodes = nil
	for _, name := range slices.Sorted(maps.Keys(b.Nodes)) {
		r.report.Nodes = append(r.report.Nodes, NodeResult{Name: name, Latency: Quantiles{Count: b.Nodes[name]}})
	}
	if len(r.report.Nodes) == 0 {
		r.report.Nodes = []NodeResult{{Latency: r.report.Latency.Quantiles}}
	}
	r.report.Nodes[0].Histogram = l.Histogram
	r.report.Notes = slices.Concat(r.report.Notes, r.closed.driver.Tells().Notes, b.Notes)
	if r.report.Resources != nil {
		use := &r.report.Resources.Agents
		use.Processes, use.RSSBytes, use.CPUPercent = 1, b.Process.RSSBytes, series.PercentOf(b.Process.CPU, b.Took)
	}
}

// closedLoop says what is not judged of one.
func (j *judgement) closedLoop(r *Report) {
	if !Driver(r.Driver).closed() {
		return
	}
	why := "not judged: " + r.Driver + " holds no clients that could be counted"
	for _, name := range []string{"connections", "distribution", "sticky", "failover"} {
		j.Unjudged(name, "-", why)
	}
}
