package loadtest

import (
	"context"
	"fmt"
	"maps"
	"math"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/erlmcp/erlmcp/internal/proc"
	"github.com/erlmcp/erlmcp/internal/tempo"
	"github.com/erlmcp/erlmcp/loadtest/internal/fleet"
	"github.com/erlmcp/erlmcp/loadtest/internal/latency"
	"github.com/erlmcp/erlmcp/loadtest/internal/natural"
	"github.com/erlmcp/erlmcp/loadtest/internal/rounded"
	"github.com/erlmcp/erlmcp/loadtest/internal/wire"
	"github.com/erlmcp/erlmcp/loadtest/internal/work"
	"github.com/erlmcp/erlmcp/loadtest/series"
	"github.com/erlmcp/erlmcp/loadtest/system"
)

// settle waits until every node gets its share: the spread over nodes of which one is in slow start
// says nothing.
func (r *run) settle(ctx context.Context) error {
	slow := r.facts.seen.Slow()
	r.log.Info("waiting for nodes in slow start", "nodes", slow, "at_most", settlePatience)
	limited, cancel := context.WithTimeoutCause(ctx, settlePatience,
		fmt.Errorf("in slow start for longer than %s: %s", settlePatience, strings.Join(slow, ", ")))
	defer cancel()
	return r.observe(limited, func(o *system.Observation) bool {
		slow = o.Slow()
		return len(slow) == 0
	})
}

// settlePatience is longer than slow starts usually take.
const settlePatience = 5 * time.Minute

// ramp opens all connections: first one of every source, then the rest. A balancer that keeps sources
// on their nodes chooses with the first, and could not choose well while some sources are far ahead
// of others.
func (r *run) ramp(ctx context.Context) error {
	p := r.plan
	planned := time.Duration(float64(p.connections) / p.rampRate * float64(time.Second))
	// Each client gives up by itself; this is for agents that do not say so.
	patience := rampSlack*planned + 2*p.patience.GivesUpAfter(r.spec.RequestTimeout)
	limited, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("not over after %s", brief(patience)))
	defer cancel()
	limited, stall := context.WithCancelCause(limited)
	defer stall(nil)
	go r.watchForStall(limited, stall)
	begin := lead()
	n, err := r.openAll(limited, begin)
	c := &Connections{
		Target: r.fleet.Connections(), Established: n.Open, Verified: n.Verified, Failed: n.Failed,
		Attempts: n.Attempts, Failures: n.Failures,
	}
	if n.LastVerified > 0 {
		c.RampMs = ms(n.LastVerified - begin)
	}
	r.report.Connections, r.ramped = c, r.fleet.Parts()
	if err == nil && n.Verified == 0 {
		err = fmt.Errorf("no connection was verified: %v", n.Failures)
	}
	if err != nil {
		return err
	}
	return r.countNodes(ctx, n)
}

// watchForStall ends a ramp in which nobody is served for twice as long as a client waits for its first
// answer. Those who had been served before never give up by themselves.
func (r *run) watchForStall(ctx context.Context, stall context.CancelCauseFunc) {
	patience := 2 * r.spec.RequestTimeout
	last, since := int64(0), time.Now()
	for range tempo.Every(ctx, time.Second) {
		n := r.fleet.Counts()
		if n.LastVerified != last {
			last, since = n.LastVerified, time.Now()
		}
		if time.Since(since) >= patience {
			stall(fmt.Errorf("nobody was served for %s; %d clients are%s", brief(patience), n.Verified, byCauseText(n.Failures)))
			return
		}
	}
}

// openAll returns the counts when every client is verified or has given up, or those of the moment
// with an error.
func (r *run) openAll(ctx context.Context, begin int64) (wire.Counts, error) {
	p := r.plan
	_, err := r.fleet.Tell(ctx, p.shares, func(i int, s fleet.Share) wire.Order {
		open := r.facts.aims[s.Part].open(s)
		open.Timeout, open.Patience = r.spec.RequestTimeout, p.patience
		open.Work.Share = work.Share{Index: i, Of: len(p.shares), FirstClient: s.First, Seed: r.report.Seed}
		return wire.Order{Kind: wire.OrderOpen, At: begin + stagger(i, p.rampRate), Rate: p.rampRate * p.fraction(s), Open: open}
	})
	if err != nil {
		return r.fleet.Counts(), err
	}
	first := 0
	n, err := r.fleet.Until(ctx, 0, func(n wire.Counts) bool {
		first = 0
		for _, s := range r.fleet.ThereLocked(p.shares) {
			first += min(s.Connections, s.Sources.Count)
		}
		return n.Verified+n.Failed == first
	})
	if err != nil || first == r.fleet.Connections() || n.Verified == 0 {
		return n, err
	}
	at := lead()
	_, err = r.fleet.Tell(ctx, p.shares, func(i int, _ fleet.Share) wire.Order {
		return wire.Order{Kind: wire.OrderRest, At: at + stagger(i, p.rampRate)}
	})
	if err != nil {
		return n, err
	}
	return r.fleet.Until(ctx, 0, func(n wire.Counts) bool { return n.Verified+n.Failed == r.fleet.ConnectionsLocked() })
}

// stagger spreads the agents' first steps so that together they keep the pace of rate.
func stagger(i int, rate float64) int64 {
	return int64(float64(i) / rate * float64(time.Second))
}

// countNodes notes how the connections are spread, by the answers and by the kernel.
func (r *run) countNodes(ctx context.Context, n wire.Counts) error {
	kernel, err := r.kernelAtRest(ctx, n)
	if err != nil {
		return err
	}
	r.withoutLost()
	if !r.facts.names() { // all are one
		r.report.Nodes = []NodeResult{{Connections: n.Verified}}
		return nil
	}
	names := r.nodeNames(n)
	nodes := make([]NodeResult, len(names))
	for i, name := range names {
		nodes[i] = NodeResult{Name: name, Connections: n.Nodes[name], KernelBefore: r.kernel[name]}
		if k, ok := kernel[name]; ok && !r.report.Shared { // what is shared comes and goes
			nodes[i].KernelConnections = &k
		}
	}
	r.report.Nodes = nodes
	if r.report.PerRequest { // the answers are what is spread
		return nil
	}
	d := spreadOf(&r.spec, r.fleet.Connections(), names, n.Nodes, r.report.Shared)
	if d != nil && r.report.Connections != nil && !r.facts.all((*aim).counted) {
		d.Tolerance = max(d.Tolerance, chosenBlindly(&r.report.Plan, r.report.Connections, len(names)))
	}
	r.report.Distribution = d
	return nil
}

// chosenBlindly is how many clients a node may be away from its share since a balancer of HTTP counts requests and streams: of
// those amid their handshakes it sees nothing, or a request too many, and spreads as many by chance. How many these were, the
// time tells that the ramp took beyond its plan.
func chosenBlindly(p *PlanSummary, c *Connections, nodes int) int {
	beyond := c.RampMs/1000 - float64(p.Connections)/p.RampPerSecond
	amid := min(p.RampPerSecond*max(beyond, 0), float64(p.Connections))
	return int(byChance*math.Sqrt(amid/float64(nodes)) + 0.5)
}

// nodeNames are the nodes that serve, in their configured order, and others that answered.
func (r *run) nodeNames(n wire.Counts) []string {
	names := r.facts.seen.Serving()
	known := len(names)
	for name := range n.Nodes {
		if r.facts.seen.Node(name) == nil {
			names = append(names, name)
		}
	}
	natural.Sort(names[known:])
	return names
}

// hold sends requests for a while and measures their latency.
func (r *run) hold(ctx context.Context) error {
	r.recorder.Measure(r.memory)
	err := r.load(ctx)
	r.report.Resources = r.recorder.Measured()
	if err != nil {
		return err
	}
	if err := r.countNodes(ctx, r.fleet.Counts()); err != nil {
		return err
	}
	return r.collect(ctx)
}

// load returns when every request of the hold has ended.
func (r *run) load(ctx context.Context) error {
	begun := r.fleet.Parts()
	at := lead()
	if err := r.ping(ctx, at, r.plan.pingRate, r.spec.Duration, true); err != nil {
		return err
	}
	end := at + int64(r.spec.Duration) + int64(leadTime)
	if _, err := r.fleet.Until(ctx, end, func(n wire.Counts) bool { return n.Requests.UnderWay() == 0 }); err != nil {
		return err
	}
	r.report.Requests = requestsBetween(r.fleet.Since(begun))
	r.countParts(begun)
	return nil
}

// ping has every agent send its part of rate requests per second.
func (r *run) ping(ctx context.Context, at int64, rate float64, length time.Duration, count bool) error {
	p := r.plan
	_, err := r.fleet.Tell(ctx, p.shares, func(i int, s fleet.Share) wire.Order {
		return wire.Order{
			Kind: wire.OrderPing, At: at + stagger(i, rate), Rate: rate * p.fraction(s),
			Ping: &wire.PingOrder{For: length, Record: count},
		}
	})
	return err
}

func requestsBetween(before, after wire.Counts) *Requests {
	n := after.Requests.Minus(before.Requests)
	causes := maps.Clone(after.Refused)
	for cause, n := range before.Refused {
		if causes[cause] -= n; causes[cause] == 0 {
			delete(causes, cause)
		}
	}
	return &Requests{Sent: n.Sent, Answered: n.Answered, Failed: n.Failed, Lost: n.Lost, Moved: after.Moved - before.Moved, Causes: causes}
}

// collect merges what the agents measured during the hold.
func (r *run) collect(ctx context.Context) error {
	all, err := r.measured(ctx)
	if err != nil {
		return err
	}
	lag, err := mergeLag(all, ofHold)
	if err != nil {
		return err
	}
	g := &r.report.Generator
	g.HoldP99LagUs, g.HoldMaxLagUs = lag.ValueAtQuantile(99), lag.Max()
	nodes, err := merge(all, byNode)
	if err != nil {
		return err
	}
	if r.report.Latency, err = latencyOf(r.report.Nodes, nodes, r.facts.names()); err != nil {
		return err
	}
	if r.report.PerRequest && r.facts.names() {
		r.report.Distribution = spreadOfAnswers(&r.spec, r.report.Nodes)
	}
	if err := r.measureParts(all); err != nil {
		return err
	}
	return r.collectSteps(all)
}

// latencyOf puts into results of nodes what was recorded of each, and compares them if answers name them.
func latencyOf(results []NodeResult, recorded map[string]*latency.Recording, named bool) (_ *LatencyResult, err error) {
	all := histogramOf(recorded)
	var compared []*latency.Recording
	for i := range results {
		n := &results[i]
		if l := recorded[n.Name]; l != nil {
			n.Latency, n.Stddev = quantiles(l.Histogram), rounded.Tenth(l.Histogram.StdDev())
			if n.Histogram, err = l.Encoded(); err != nil {
				return nil, err
			}
			compared = append(compared, l)
		}
	}
	result := &LatencyResult{Quantiles: quantiles(all), Stddev: rounded.Tenth(all.StdDev())}
	if named {
		cv, windows := latency.BetweenNodesCV(compared)
		result.BetweenNodesCVPercent, result.Windows = rounded.Tenth(cv), windows
	}
	return result, nil
}

// spreadOfAnswers compares how many answers each node has given.
func spreadOfAnswers(s *Spec, nodes []NodeResult) *Distribution {
	names, answers, total := make([]string, len(nodes)), make(map[string]int), 0
	for i, n := range nodes {
		names[i] = n.Name
		answers[n.Name] = int(n.Latency.Count)
		total += int(n.Latency.Count)
	}
	return spreadOf(s, total, names, answers, true)
}

// collectSteps merges what the agents measured by step, and of what connections waited for.
func (r *run) collectSteps(all []measured) error {
	steps, err := merge(all, func(m measured) map[string]latency.Message { return m.Steps })
	if err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(steps)) {
		l := steps[name]
		result := StepResult{Name: name, Latency: quantiles(l.Histogram)}
		if result.Histogram, err = l.Encoded(); err != nil {
			return err
		}
		r.report.Steps = append(r.report.Steps, result)
	}
	setup, err := merge(all, func(m measured) map[wire.Stage]latency.Message { return m.Setup })
	for stage, l := range setup {
		if r.report.Setup == nil {
			r.report.Setup = make(map[string]Quantiles)
		}
		r.report.Setup[string(stage)] = quantiles(l.Histogram)
	}
	return err
}

// processes are those whose resources are watched. Balancer and nodes start others as they get full.
func (r *run) processes() [series.Groups]func() []int {
	var master, nodes, agents []int
	if r.fleet != nil {
		agents = r.fleet.PIDs()
	}
	if b := r.facts.seen.Balancer; b != nil {
		master = b.PIDs[:1]
	}
	for _, n := range r.facts.seen.Nodes {
		if n.PID != 0 {
			nodes = append(nodes, n.PID)
		}
	}
	always := func(pids []int) func() []int { return func() []int { return pids } }
	return [series.Groups]func() []int{
		series.Balancer:    func() []int { return append(proc.ChildrenOf(master), master...) },
		series.Nodes:       func() []int { return proc.InGroups(nodes) },
		series.Agents:      always(agents),
		series.Coordinator: always([]int{os.Getpid()}),
	}
}

// stickyRate is how many clients of the sample leave per second.
const stickyRate = 1000

// sticks reports whether any client that comes back should meet its node.
func (r *run) sticks() bool {
	_, n := r.sticking()
	return n > 0
}

// sticking are the shares whose clients should meet their node when they come back, and how many these are.
func (r *run) sticking() (shares []fleet.Share, connections int) {
	for _, s := range r.plan.shares {
		if r.facts.aims[s.Part].sticks() {
			shares = append(shares, s)
			connections += s.Connections
		}
	}
	return shares, connections
}

// sticky has a sample of clients leave and come back.
func (r *run) sticky(ctx context.Context, result **Sticky) error {
	shares, total := r.sticking()
	wanted := min(r.spec.StickySample, total)
	given, taken := 0, 0
	samples := make([]int, len(shares))
	for i, s := range shares {
		given += s.Connections
		upTo := wanted * given / total
		samples[i], taken = upTo-taken, upTo
	}
	_, err := r.fleet.Tell(ctx, shares, func(i int, s fleet.Share) wire.Order {
		return wire.Order{Kind: wire.OrderSticky, Rate: stickyRate * float64(s.Connections) / float64(total), Sticky: &wire.StickyOrder{Sample: samples[i]}}
	})
	if err != nil {
		return err
	}
	limited, cancel := context.WithTimeout(ctx, stickyPatience)
	defer cancel()
	n, err := r.fleet.Until(limited, 0, func(n wire.Counts) bool { return n.Sticky.Settled() })
	if err != nil && limited.Err() != context.DeadlineExceeded {
		return err
	}
	// Who has not come back by now is not consistent.
	*result = &Sticky{Sampled: n.Sticky.Sampled, Consistent: n.Sticky.Consistent}
	return nil
}

const stickyPatience = 60 * time.Second
