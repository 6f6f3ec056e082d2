package loadtest

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/erlmcp/erlmcp/internal/judge"
	"github.com/erlmcp/erlmcp/internal/mono"
	"github.com/erlmcp/erlmcp/internal/tempo"
	"github.com/erlmcp/erlmcp/loadtest/internal/fleet"
	"github.com/erlmcp/erlmcp/loadtest/internal/wire"
	"github.com/erlmcp/erlmcp/loadtest/system"
)

const (
	// maxDetection is how long the balancer may believe in a node that is gone.
	maxDetection = 5 * time.Second
	// faultLoad is the part of the requests that goes on during a fault: enough for the balancer to
	// notice by its traffic, little enough not to compete with the clients who come back.
	faultLoad = 0.2
	// faultPatience is how long a failover is watched beyond what the verdict allows.
	faultPatience = 15 * time.Second
	// orderPatience is how long an operator's order may take, all nodes together.
	orderPatience = 10 * time.Minute
	// observeInterval is how often the balancer is asked whether it has noticed.
	observeInterval = 100 * time.Millisecond
	// restorePatience is how long a node may take to be up again after its mend.
	restorePatience = time.Minute
)

// failover breaks a node and watches its clients find others.
func (r *run) failover(ctx context.Context) error {
	victim, err := r.victim()
	if err != nil {
		return err
	}
	if r.fault.Ordered() {
		var done context.CancelFunc
		ctx, done = context.WithTimeoutCause(ctx, orderPatience, fmt.Errorf("the order is not carried out after %s", orderPatience))
		defer done()
	}
	if _, err := r.tell(ctx, wire.Order{Kind: wire.OrderArm, Node: victim}); err != nil {
		return err
	}
	f := &Failover{Node: victim, Fault: r.fault, DetectedBy: "clients"}
	armed := r.fleet.Parts()
	rate, round := r.faultRate()
	if err := r.ping(ctx, lead(), rate, 0, false); err != nil {
		return err
	}
	begun, wall := mono.Now(), time.Now()
	r.fallen.Store(&victim)
	r.recorder.Mark(fmt.Sprintf("%s %s", r.fault, victim))
	if err := r.system.Break(ctx, victim, r.fault); err != nil {
		return fmt.Errorf("%s %s: %w", r.fault, victim, err)
	}
	r.report.Failover = f
	limited, cancel := context.WithTimeout(ctx, r.spec.failoverLimit(r.fault)+faultPatience+round)
	defer cancel()
	detected := make(chan float64, 1)
	if r.fault.Ordered() { // who gives the order knows
		f.DetectedBy = "order"
		detected <- 0
	} else {
		go func() { detected <- r.awaitDown(limited, victim, wall) }()
	}

	n, waitErr := r.fleet.Until(limited, mono.Now()+int64(r.settling()), func(n wire.Counts) bool {
		return (n.Displaced >= r.fleet.OnNodeLocked() || r.fault == system.FaultRolling || r.report.PerRequest) && n.Recovered == n.Displaced
	})
	if waitErr != nil {
		f.Silent = r.silent(ctx, victim)
		cancel() // nothing more will come
	}
	f.OnNode, f.Displaced, f.Recovered = r.fleet.OnNode(), n.Displaced, n.Recovered
	if n.LastRecovered > 0 && n.Recovered == n.Displaced {
		f.ReroutedMs = ms(n.LastRecovered - begun)
		if r.report.Shared { // clients learn of it when they next ask, which is up to them
			f.ReroutedMs = ms(n.LongestOut)
		}
		r.recorder.MarkAt(wall.Add(time.Duration(n.LastRecovered-begun)), "the last client of "+victim+" is served again")
	}
	if at := <-detected; at > 0 {
		f.DetectedMs, f.DetectedBy = at, "balancer"
		r.recorder.MarkAt(wall.Add(milliseconds(at)), "the balancer has "+victim+" down")
	} else if r.facts.seen.Balancer == nil && n.FirstLost > 0 {
		f.DetectedMs = ms(n.FirstLost - begun)
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return r.afterFault(ctx, f, armed)
}

// settling is how long a fault is watched at least: nobody is displaced who has no node.
func (r *run) settling() time.Duration {
	if r.report.PerRequest {
		return r.spec.failoverLimit(r.fault)
	}
	return 0
}

// faultRate is how many requests per second go on during a fault, and how long they take to reach each client that learns of
// the fault by them alone: a balancer keeps the connections of clients over HTTP.
func (r *run) faultRate() (rate float64, round time.Duration) {
	if !r.report.Shared || r.report.PerRequest {
		return faultLoad * r.plan.pingRate, 0
	}
	return r.plan.pingRate, time.Duration(float64(r.plan.connections) / r.plan.pingRate * float64(time.Second))
}

// victim chooses the node to break: the one asked for, or the second that has clients, else the
// first.
func (r *run) victim() (string, error) {
	if r.fault == system.FaultRolling {
		return wire.EveryNode, nil
	}
	if r.spec.FailoverNode != "" {
		return r.spec.FailoverNode, nil
	}
	n := r.fleet.Counts()
	var candidates []string
	for _, name := range r.facts.seen.Serving() {
		if n.Nodes[name] > 0 {
			candidates = append(candidates, name)
		}
	}
	if len(candidates) == 0 {
		return "", errors.New("no node of the cluster has a client")
	}
	return candidates[min(1, len(candidates)-1)], nil
}

// awaitDown waits until the balancer says that the node went down after a moment, and returns how
// long after, in milliseconds; 0 if it cannot be asked or does not say so until ctx ends.
func (r *run) awaitDown(ctx context.Context, node string, after time.Time) float64 {
	if r.facts.seen.Balancer == nil {
		return 0
	}
	var at float64
	// An end without the sight leaves 0, which says so.
	_ = r.observe(ctx, func(o *system.Observation) bool {
		v := o.Node(node)
		if v == nil || v.Up || v.Since.Before(after) {
			return false
		}
		at = max(ms(int64(v.Since.Sub(after))), 0.01)
		return true
	})
	return at
}

// silent reports whether the balancer waits for a node to speak again, and keeps its clients meanwhile.
func (r *run) silent(ctx context.Context, node string) bool {
	o, err := r.system.Observe(ctx)
	if err != nil {
		return false
	}
	v := o.Node(node)
	return v != nil && v.Silent
}

// observe looks at the system again and again until it is as wanted, or ctx ends.
func (r *run) observe(ctx context.Context, wanted func(*system.Observation) bool) error {
	for range tempo.AtOnce(ctx, observeInterval) {
		if o, err := r.system.Observe(ctx); err == nil && wanted(&o) {
			return nil
		}
	}
	return context.Cause(ctx)
}

// afterFault lets the requests end and notes what the fault has left behind.
func (r *run) afterFault(ctx context.Context, f *Failover, armed fleet.Parts) error {
	if _, err := r.tell(ctx, wire.Order{Kind: wire.OrderQuiet}); err != nil {
		return err
	}
	// Every request is answered or given up within its time-out.
	limited, cancel := context.WithTimeout(ctx, r.spec.RequestTimeout+faultPatience)
	defer cancel()
	n, err := r.fleet.Until(limited, 0, func(n wire.Counts) bool { return n.Requests.UnderWay() == 0 })
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	before, now := r.fleet.Since(armed)
	lost := now.Requests.Minus(before.Requests)
	f.RequestsLost = lost.Lost + lost.Failed
	var survivors []string
	for _, name := range r.nodeNames(n) {
		if name != f.Node {
			survivors = append(survivors, name)
		}
	}
	if f.Fault != system.FaultRolling { // after which the last node waits for newcomers
		f.Survivors = spreadOf(&r.spec, n.Verified, survivors, n.Nodes, r.report.Shared)
	}
	return nil
}

// recovery brings the node back and waits until the balancer uses it again.
func (r *run) recovery(ctx context.Context) error {
	f := r.report.Failover
	begun := time.Now()
	if err := r.system.Mend(ctx, f.Node, f.Fault); err != nil {
		return fmt.Errorf("bring %s back: %w", f.Node, err)
	}
	r.fallen.Store(nil)
	r.recorder.Mark("bring " + f.Node + " back")
	limited, cancel := context.WithTimeout(ctx, restorePatience)
	defer cancel()
	f.Restored = r.facts.seen.Balancer == nil || r.observe(limited, func(o *system.Observation) bool {
		for _, v := range o.Nodes {
			if (v.Name == f.Node || f.Node == wire.EveryNode) && !v.Up {
				return false
			}
		}
		return f.Node == wire.EveryNode || o.Node(f.Node) != nil
	}) == nil
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	f.RestoredMs = ms(int64(time.Since(begun)))
	if f.Restored {
		r.recorder.Mark("the balancer has " + f.Node + " up")
	}
	_, err := r.tell(ctx, wire.Order{Kind: wire.OrderDisarm})
	return err
}

// failover judges by the times that the system took, and by who is back.
func (j *judgement) failover(s *Spec, r *Report) {
	f := r.Failover
	if f == nil {
		return
	}
	if f.Fault.Ordered() {
		j.order(r, f)
		return
	}
	limit := s.failoverLimit(f.Fault)
	j.Measure("failover_detected", event(f.DetectedMs, maxDetection), atMost(maxDetection), since(f.DetectedMs))
	if r.PerRequest {
		j.Unjudged("failover_recovered", "clients of a broken node served by others", "not judged: a node is chosen for each request, clients have none")
		j.restored(f)
		return
	}
	if f.Silent {
		j.Unjudged("failover_recovered", "clients of a broken node served by others",
			"not judged: the balancer keeps the clients of a node that is silent for lb.checks.give_up, longer than they were watched")
		j.restored(f)
		return
	}
	if f.OnNode == 0 {
		j.Unjudged("failover_rerouted", atMost(limit), "the node had no clients")
	} else {
		j.Measure("failover_rerouted", event(f.ReroutedMs, limit), atMost(limit), since(f.ReroutedMs))
	}
	j.Measure("failover_recovered", judge.All(f.Recovered, f.OnNode, "clients"),
		fmt.Sprintf("%d of %d displaced", f.OnNode, f.OnNode), fmt.Sprintf("%d of %d", f.Recovered, f.Displaced)).
		FailIf(f.Displaced != f.OnNode || f.Recovered != f.OnNode)
	if f.Survivors != nil {
		j.spread("failover_spread", f.Survivors, r)
	}
	j.restored(f)
}

// order judges by what an order of an operator has cost.
func (j *judgement) order(r *Report, f *Failover) {
	j.Measure("failover_recovered", judge.All(f.Recovered, f.Displaced, "clients"),
		fmt.Sprintf("all of the %d displaced", f.Displaced), fmt.Sprint(f.Recovered))
	c := j.Measure("failover_requests", judge.UpTo(f.RequestsLost, 0, "requests"), "0 lost", fmt.Sprintf("%d lost", f.RequestsLost))
	switch {
	case r.PerRequest || f.RequestsLost > int64(f.Displaced):
	case r.Shared:
		c.Excuse("not judged: that its session has ended is told a client as the answer to a request")
	default:
		c.Excuse("not judged: a request that crosses the end of its client's connection is lost, no protocol tells the client before")
	}
	j.restored(f)
}

func (j *judgement) restored(f *Failover) {
	j.Need("node_restored", f.Restored, map[bool]string{true: "up again", false: "not up"}[f.Restored], "up again", "")
}

// event is the span until something happens; 0 is never.
func event(ms float64, limit time.Duration) judge.Numbers {
	n := span(ms, limit)
	if ms <= 0 {
		n.GotValue = nil
	}
	return n
}

// since prints a time that has come, or that has not.
func since(ms float64) string {
	if ms == 0 {
		return "never"
	}
	return brief(milliseconds(ms))
}
