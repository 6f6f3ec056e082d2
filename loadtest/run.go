package loadtest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/charmbracelet/log"

	"github.com/erlmcp/erlmcp/internal/mono"
	"github.com/erlmcp/erlmcp/internal/tempo"
	"github.com/erlmcp/erlmcp/loadtest/internal/bus"
	"github.com/erlmcp/erlmcp/loadtest/internal/fleet"
	"github.com/erlmcp/erlmcp/loadtest/internal/latency"
	"github.com/erlmcp/erlmcp/loadtest/internal/rounded"
	"github.com/erlmcp/erlmcp/loadtest/internal/search"
	"github.com/erlmcp/erlmcp/loadtest/internal/sources"
	"github.com/erlmcp/erlmcp/loadtest/internal/wire"
	"github.com/erlmcp/erlmcp/loadtest/machine"
	"github.com/erlmcp/erlmcp/loadtest/series"
	"github.com/erlmcp/erlmcp/loadtest/system"
)

// The phases of a run, in their order.
const (
	PhasePreflight   series.Phase = "preflight"
	PhaseSettle      series.Phase = "settle" // nodes in slow start are awaited; most runs have none
	PhaseBaseline    series.Phase = "baseline"
	PhaseRamp        series.Phase = "ramp"
	PhaseHold        series.Phase = "hold"
	PhaseSticky      series.Phase = "sticky"
	PhaseRates       series.Phase = "rates"
	PhaseSearch      series.Phase = "search"
	PhaseFailover    series.Phase = "failover"
	PhaseRecovery    series.Phase = "recovery"
	PhaseStickyAfter series.Phase = "sticky_after_failover"
	PhaseClose       series.Phase = "close"
)

// Progress is where a run is.
type Progress struct {
	Phase       series.Phase
	Done, Total int // of whatever the phase counts; Total 0: it does not count
	Unit        string
	Ended       bool // the phase is over, after Took
	Took        time.Duration
	Err         error // why, if it did not end well
	Now         *Now  // nil before there are clients
}

// Now is how a run is at a moment.
type Now struct {
	Since       time.Duration // the start of the run
	Connections int           // verified
	Wanted      int
	Nodes       []NodeNow    // empty if answers name none
	Fault       string       // what the run does to a node, such as "kill erlmcp2"; empty: nothing
	Trial       string       // of a rate, and between which rates the limit is; empty: none
	Last        series.Point // the last second that is over
	Marks       []series.Mark
}

// NodeNow is one node of Now.
type NodeNow struct {
	Name        string
	Connections int
	Share       float64 // that is fair
	Broken      bool    // by the run
}

// Options are what a run needs besides its Spec. Zero fields are fine.
type Options struct {
	System system.System // nil: only the target is known
	// StateDir is where runs remember which source addresses they have used; empty: nowhere. StickyTTL is how
	// long the balancer remembers them.
	StateDir  string
	StickyTTL time.Duration
	Token     string // for remote agents
	Bus       Bus    // by which they join
	Version   string
	Command   []string // that began the run, without secrets
	Log       *log.Logger
	// Progress is called from one goroutine, several times a second and at the end of each phase.
	Progress func(Progress)

	search search.Options // in place of what the plan makes of it, for tests
}

// Run carries out a load test and returns what it measured, also when the run ended early:
// Report.Reason then says why. The error is about runs that did not begin: a *PreflightError, or one
// of the machine. Whatever happens, the agents are gone and a broken node is mended on return.
func Run(ctx context.Context, s Spec, o Options) (*Report, error) {
	if o.System == nil {
		o.System = system.Unknown{}
	}
	if o.Log == nil {
		o.Log = log.New(io.Discard)
	}
	if o.Progress == nil {
		o.Progress = func(Progress) {}
	}
	r := &run{
		spec: s, system: o.System, log: o.Log, progress: o.Progress, used: sources.UsedIn(o.StateDir), stickyTTL: o.StickyTTL, searched: o.search,
		report: Report{
			Schema: Schema, Target: shownTarget(s.Target), Version: o.Version, Command: o.Command, Started: time.Now(), Seed: rand.Uint64(),
			Nodes: []NodeResult{}, // rather [] than null in JSON
		},
	}
	work, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	err := r.prepare(work)
	switch {
	case err != nil && ctx.Err() == nil:
		return nil, err
	case err != nil:
	case r.spec.Driver.closed():
		err = r.closedLoop(work)
	default:
		err = r.execute(work, fail, o)
	}
	switch {
	case ctx.Err() != nil:
		r.report.interrupted, r.report.Reason = true, "interrupted"
	case err != nil:
		r.report.Reason = err.Error()
	}
	for _, l := range r.report.LostAgents {
		r.report.Notes = append(r.report.Notes, l.String())
	}
	r.report.DurationS = rounded.Seconds(time.Since(r.report.Started))
	r.report.Checks, r.report.Verdict = conclude(&s, &r.report)
	r.report.Advice = advise(&r.report)
	return &r.report, nil
}

// shownTarget is a target without its query, which may be a secret.
func shownTarget(text string) string {
	shown, _, _ := strings.Cut(text, "?")
	return shown
}

// run is the coordinator at work. One goroutine has it, except that the phase's ticker reads fleet.
type run struct {
	spec     Spec
	system   system.System
	log      *log.Logger
	progress func(Progress)
	report   Report

	used      sources.Used
	stickyTTL time.Duration

	facts    facts
	closed   closedLoop // of drivers that run one
	fault    system.Fault
	plan     *plan
	fleet    *fleet.Fleet
	recorder *series.Recorder
	fallen   atomic.Pointer[string] // the node that a fault holds down; nil: none
	memory   int64                  // bytes available before the ramp
	kernel   map[string]int         // connections of the nodes before the ramp
	searched search.Options         // as Options have it
	trials   trials
	ramped   fleet.Parts // what the agents counted at the end of the ramp
}

// prepare is the preflight.
func (r *run) prepare(ctx context.Context) error {
	return r.phase(ctx, PhasePreflight, nil, func(ctx context.Context) (err error) {
		if r.facts, err = gather(ctx, &r.spec, r.system); err != nil {
			return err
		}
		f := &r.facts
		r.report.Host = machine.Describe(f.host.Descriptors)
		if r.spec.Driver.closed() {
			return r.prepareClosed(ctx)
		}
		if r.fault = r.spec.Failover; r.fault == system.FaultAuto {
			r.fault = system.FaultNone
			if !r.spec.triesRates() && f.seen.CanBreak && len(f.seen.Serving()) > 1 && f.names() {
				r.fault = system.FaultKill
			}
		}
		// The plan as it will be if every agent is like one here; it is made again when they joined.
		offers := alike(&r.spec, localAgents(&r.spec, f)+r.spec.RemoteAgents)
		r.report.Nameless, r.report.Driver = f.nameless(), f.drivers()
		r.report.PerRequest = f.any((*aim).perRequest)
		r.report.Shared = f.seen.Balancer != nil && !f.all((*aim).holds)
		f.sources = r.used.Turn(f.sources)
		p, planError := makePlan(&r.spec, f.sources, r.limits(), offers)
		if p != nil {
			p.suit(f, r.limits())
			f.usedBefore = r.used.Recent(f.sources.Slice(0, p.common), r.stickyTTL)
		}
		x := subject{spec: &r.spec, facts: f, fault: r.fault, plan: p, planError: planError}
		if r.fault == system.FaultCut {
			x.cutError = system.CannotCut(ctx)
		}
		r.report.Preflight = Requirements(x.preflight())
		if len(x.Failed()) > 0 {
			return &PreflightError{x.List, f.trouble != nil && f.trouble.Unreachable()}
		}
		return nil
	})
}

func (r *run) limits() system.Limits {
	if b := r.facts.seen.Balancer; b != nil {
		return b.Limits
	}
	return system.Limits{}
}

// execute does everything after the preflight.
func (r *run) execute(ctx context.Context, fail func(error), o Options) (err error) {
	remote := r.spec.RemoteAgents
	defer r.mend()
	r.fleet, err = fleet.Start(ctx, localAgents(&r.spec, &r.facts), remote, func(e bus.Events) (bus.Door, error) {
		return o.Bus.open(r.spec.Listen, o.Token, remote, e)
	}, r.log, fail)
	if err != nil {
		return err
	}
	if remote > 0 {
		r.log.Info("agents of other machines can join", "awaited", remote, "command", "erlmcp loadtest agent "+r.fleet.Door.Flags())
	}
	defer r.fleet.Dismiss()
	if err := r.assemble(ctx); err != nil {
		return err
	}
	go r.listen(ctx)
	r.recorder = series.Record(ctx, r.report.Started, r.fleet.Counts, r.processes())
	defer func() { r.report.Series = r.recorder.Stop() }()
	defer r.sums()
	r.noteSources()
	defer r.noteSources()

	baseline := baselineSourcesOf(&r.facts, r.plan)
	steps := []struct {
		phase series.Phase
		skip  bool
		gauge gauge
		do    func(context.Context) error
	}{
		{PhaseSettle, len(r.facts.seen.Slow()) == 0, nil, r.settle},
		{PhaseBaseline, false, nil, func(ctx context.Context) error { return r.measureBefore(ctx, baseline) }},
		{PhaseRamp, false, r.verifiedGauge, r.ramp},
		{PhaseHold, false, r.answeredGauge, r.hold},
		{PhaseSticky, r.spec.StickySample == 0 || !r.facts.names() || !r.sticks(), stickyGauge, func(ctx context.Context) error { return r.sticky(ctx, &r.report.Sticky) }},
		{PhaseRates, r.spec.Rates == "", r.trials.gauge, r.tryRates},
		{PhaseSearch, r.spec.FindLimit == "", r.trials.gauge, r.search},
		{PhaseFailover, r.fault == system.FaultNone, failoverGauge, r.failover},
		{PhaseRecovery, r.fault == system.FaultNone, nil, r.recovery},
		{PhaseStickyAfter, r.fault == system.FaultNone || r.spec.StickySample == 0 || !r.sticks(), stickyGauge,
			func(ctx context.Context) error { return r.sticky(ctx, &r.report.StickyAfter) }},
		{PhaseClose, false, r.openGauge, r.close},
	}
	for _, step := range steps {
		if step.skip {
			continue
		}
		if err := r.phase(ctx, step.phase, step.gauge, step.do); err != nil {
			return fmt.Errorf("%s: %w", step.phase, err)
		}
	}
	return nil
}

// assemble waits for the agents and divides the work.
func (r *run) assemble(ctx context.Context) error {
	offers, err := r.fleet.Assemble(ctx)
	if err != nil {
		return err
	}
	f := &r.facts
	r.plan, err = makePlan(&r.spec, f.sources, r.limits(), offers)
	if err != nil {
		return err
	}
	p := r.plan
	p.suit(f, r.limits())
	r.fleet.Begin(p.shares, r.report.Started)
	r.report.Plan = PlanSummary{
		Connections: p.connections, HoldS: rounded.Seconds(r.spec.Duration), Agents: len(p.shares), Sources: p.sources,
		ConnectionsPerSource: p.perSource, RampPerSecond: p.rampRate, PingsPerSecond: p.pingRate,
	}
	if p.common > 0 {
		taken := f.sources.Slice(0, p.common)
		r.report.Plan.SourceAddresses, r.report.Plan.SourcesUsedBefore = taken.String(), r.used.Recent(taken, r.stickyTTL)
	}
	r.report.Generator.Agents = len(p.shares)
	return nil
}

// tell gives all agents the same order.
func (r *run) tell(ctx context.Context, o wire.Order) ([]fleet.Answer, error) {
	return r.fleet.Tell(ctx, r.plan.shares, func(int, fleet.Share) wire.Order { return o })
}

// noteSources has the next run take other sources than this one, which is done twice: a run can be killed,
// and a balancer remembers sources from when it saw them last.
func (r *run) noteSources() {
	taken := r.plan.common
	if b := baselineSourcesOf(&r.facts, r.plan); b.First.IsValid() {
		taken += b.Count
	}
	if err := r.used.Note(r.facts.sources.Slice(0, taken)); err != nil {
		r.log.Warn("the next load test may use the same source addresses", "err", err)
	}
}

// listen gives agents up that fall silent.
func (r *run) listen(ctx context.Context) {
	for range tempo.Every(ctx, time.Second) {
		r.fleet.GiveUpSilent()
	}
}

// gauge says how far a phase is, from the sum of all agents.
type gauge func(wire.Counts) (done, total int, unit string)

const progressInterval = 200 * time.Millisecond

// phase carries out one phase and shows how it goes.
func (r *run) phase(ctx context.Context, name series.Phase, g gauge, do func(context.Context) error) error {
	begun := time.Now()
	show := func(p Progress) {
		if p.Phase = name; g != nil {
			p.Done, p.Total, p.Unit = g(r.fleet.Counts())
		}
		p.Now = r.now()
		r.progress(p)
	}
	if r.recorder != nil {
		r.recorder.Enter(name)
	}
	show(Progress{Took: time.Since(begun)})
	ended := make(chan error, 1)
	go func() { ended <- do(ctx) }()
	every := time.NewTicker(progressInterval)
	defer every.Stop()
	for {
		select {
		case <-every.C:
			show(Progress{Took: time.Since(begun)})
		case err := <-ended:
			if cause := context.Cause(ctx); err != nil && cause != nil {
				err = cause // rather than what it led to
			}
			took := time.Since(begun)
			r.report.Phases = append(r.report.Phases, PhaseTime{name, rounded.Seconds(took)})
			show(Progress{Ended: true, Took: took, Err: err})
			return err
		}
	}
}

// now is how the run is at this moment.
func (r *run) now() *Now {
	if r.recorder == nil || r.fleet == nil {
		return nil
	}
	n, wanted := r.fleet.Counts(), r.fleet.Connections()
	now := &Now{Since: time.Since(r.report.Started), Connections: n.Verified, Wanted: wanted}
	now.Last, now.Marks = r.recorder.Lately()
	now.Trial = r.trials.text()
	broken := r.fallen.Load()
	if broken != nil {
		now.Fault = fmt.Sprintf("%s %s", r.fault, *broken)
	}
	if !r.facts.names() {
		return now
	}
	names := r.nodeNames(n)
	serving := len(names)
	if broken != nil && slices.Contains(names, *broken) {
		serving--
	}
	for _, name := range names {
		node := NodeNow{Name: name, Connections: n.Nodes[name], Broken: broken != nil && name == *broken}
		if !node.Broken && serving > 0 {
			node.Share = float64(wanted) / float64(serving)
		}
		now.Nodes = append(now.Nodes, node)
	}
	return now
}

// measureBefore notes what the system is like without load.
func (r *run) measureBefore(ctx context.Context, from sources.Range) (err error) {
	if r.report.Baseline, r.report.Straight, err = measureBaseline(ctx, &r.facts, from); err != nil {
		return err
	}
	r.memory = machine.MemoryAvailable()
	r.kernel, err = r.kernelCounts(ctx)
	return err
}

// baselineSourcesOf are sources that the run does not use, if there are any.
func baselineSourcesOf(f *facts, p *plan) sources.Range {
	if free := f.sources.Count - p.common; f.sources.First.IsValid() && free > 0 {
		return f.sources.Slice(p.common, p.common+min(free, baselineSources))
	}
	return sources.KernelsChoice
}

// close ends all connections in an orderly way and asks how late the agents were.
func (r *run) close(ctx context.Context) error {
	all, err := r.measured(ctx)
	if err != nil {
		return err
	}
	lag, err := mergeLag(all, func(m measured) latency.Message { return m.Lag })
	if err != nil {
		return err
	}
	g := &r.report.Generator
	g.P99LagUs, g.MaxLagUs = lag.ValueAtQuantile(99), lag.Max()
	r.sums()
	_, err = r.fleet.Tell(ctx, r.plan.shares, func(_ int, s fleet.Share) wire.Order {
		return wire.Order{Kind: wire.OrderClose, Rate: r.plan.rampRate * r.plan.fraction(s)} // as fast as they came
	})
	if err != nil {
		return err
	}
	limited, cancel := context.WithTimeoutCause(ctx, closePatience+milliseconds(1000*float64(r.plan.connections)/r.plan.rampRate), errors.New("connections are still open"))
	defer cancel()
	_, err = r.fleet.Until(limited, 0, func(n wire.Counts) bool { return n.Open == 0 })
	return err
}

const closePatience = time.Minute

// sums brings the totals of the report up to date.
func (r *run) sums() {
	if c := r.report.Connections; c != nil {
		n := r.fleet.Counts()
		c.Dropped, c.Losses = r.trials.without(n)
		if n.Sessions != (wire.SessionCounts{}) {
			r.report.Sessions = &Sessions{Begun: n.Sessions.Begun, Ended: n.Sessions.Ended, Lost: n.Sessions.Lost}
		}
	}
	r.report.LostAgents = r.fleet.Losses()
}

// mend undoes a fault that the run could not undo in its course.
func (r *run) mend() {
	fallen := r.fallen.Swap(nil)
	if fallen == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), mendPatience)
	defer cancel()
	if err := r.system.Mend(ctx, *fallen, r.fault); err != nil {
		r.log.Error("a node is still down after the load test", "node", *fallen, "fault", r.fault, "err", err)
	}
}

const mendPatience = 30 * time.Second

func (r *run) verifiedGauge(n wire.Counts) (int, int, string) {
	return n.Verified, r.fleet.Connections(), "connections"
}

func (r *run) openGauge(n wire.Counts) (int, int, string) {
	all := r.fleet.Connections()
	return all - n.Open, all, "closed"
}

func (r *run) answeredGauge(n wire.Counts) (int, int, string) {
	return int(n.Requests.Answered), int(r.plan.pingRate * r.spec.Duration.Seconds()), "answers"
}

func stickyGauge(n wire.Counts) (int, int, string) {
	return n.Sticky.Consistent + n.Sticky.Moved, n.Sticky.Sampled, "clients"
}

func failoverGauge(n wire.Counts) (int, int, string) { return n.Recovered, n.Displaced, "clients" }

// lead is how far ahead a start is set, so that every agent has its order by then.
func lead() int64 { return mono.Now() + int64(leadTime) }

const leadTime = 150 * time.Millisecond
