package loadtest

import (
	"fmt"
	"slices"

	"github.com/erlmcp/erlmcp/internal/judge"
	"github.com/erlmcp/erlmcp/loadtest/internal/ask"
	"github.com/erlmcp/erlmcp/loadtest/internal/fleet"
)

// advise says what can be done about a verdict that is not a pass, the most likely first. It is a function of
// the report alone, whose checks and verdict are there.
func advise(r *Report) []string {
	var advice []string
	add := func(format string, args ...any) {
		if text := fmt.Sprintf(format, args...); !slices.Contains(advice, text) {
			advice = append(advice, text)
		}
	}
	switch r.Verdict {
	case Inconclusive:
		if fleet.TooFew(r.Plan.Connections, r.void()) {
			add("load agents ended, not the system: see what they printed and whether their machines ran out of memory or of network, " +
				"and have more of them (--agents, --remote-agents) hold less each")
			return advice
		}
		for _, s := range spoils(r) {
			if slices.ContainsFunc(r.Checks, func(c judge.Result) bool {
				return c.Why == s.excuse() || c.Verdict == judge.Fail && s.spoils(c.Name, nil)
			}) {
				add("%s", s.try)
			}
		}
		return advice
	case Fail:
	default:
		return nil
	}
	for _, c := range r.Checks {
		if c.Verdict != judge.Fail {
			continue
		}
		switch bare(c.Name) {
		case "connections":
			adviseOfCauses(add, r.Connections.Failures)
		case "ramp":
			add("the system takes connections more slowly than %.0f a second: a lower --ramp-rate, or more CPU for it", r.Plan.RampPerSecond)
		case "dropped":
			adviseOfCauses(add, r.Connections.Losses)
		case "distribution", "failover_spread":
			if r.Plan.SourcesUsedBefore > 0 {
				add("%d of %d source addresses were used by an earlier load test, and a sticky balancer keeps them where they were: "+
					"a larger --source-ips, or wait for lb.sticky.ttl", r.Plan.SourcesUsedBefore, r.Plan.Sources)
			}
			add("see whether other clients, weights or lb.balance explain the spread: erlmcp lb status")
		case "kernel_agreement":
			add("the nodes have connections that are not the load test's: see that nobody else uses them meanwhile")
		case "requests":
			if q := r.Requests; q.Lost > 0 || q.Causes["5xx"] > 0 {
				add("nodes may not keep up with %.0f requests a second: see whether all are answered at a lower --ping-rate", r.Plan.PingsPerSecond)
			}
			add("see which node is slow, and why: erlmcp health, erlmcp cluster tail")
		case "latency_variance":
			add("see which node is slow, and why: erlmcp health, erlmcp cluster tail")
		case "search":
			add("no rate holds %s, down to the lowest that was tried: allow more (--find-limit), or see which node is slow: erlmcp health", r.Search.Limit)
		case "sticky", "sticky_after_failover":
			add("clients do not meet their node again: see lb.sticky.tcp, and whether nodes were down meanwhile: erlmcp cluster events")
		case "failover_detected", "failover_rerouted", "failover_recovered":
			add("see lb.checks (interval, timeout, fall), and whether the other nodes had room: lb.node_max_connections")
		case "failover_requests":
			add("requests were lost although the node was taken out in order: see how long nodes have for what is under way, and clients to leave (--drain-timeout)")
		case "node_restored":
			add("the broken node is not back: erlmcp cluster status, erlmcp cluster tail %s", r.Failover.Node)
		}
	}
	if r.Reason != "" {
		add("erlmcp health tells what is wrong with the system now, erlmcp cluster tail and lb.log what happened")
	}
	return advice
}

// adviseOfCauses is about connections that failed or were lost.
func adviseOfCauses(add func(string, ...any), n map[string]int64) {
	explained := false
	for _, c := range []struct {
		causes []ask.Cause
		text   string
	}{
		{[]ask.Cause{ask.CauseRate, ask.CauseBan}, "the balancer's limits kept clients out: more source addresses (--source-ips, --connections-per-source), or higher lb.limits"},
		{[]ask.Cause{ask.CauseUnavailable}, "the balancer was full or had no node: erlmcp lb status, lb.max_connections, lb.node_max_connections"},
		{[]ask.Cause{ask.CauseTimeout}, "answers took longer than loadtest.request_timeout: fewer connections or requests (--ping-rate), or more nodes"},
	} {
		if slices.ContainsFunc(c.causes, func(c ask.Cause) bool { return n[c.String()] > 0 }) {
			add("%s", c.text)
			explained = true
		}
	}
	if !explained {
		add("see why connections were closed: lb.log, erlmcp cluster tail, erlmcp cluster events")
	}
}
