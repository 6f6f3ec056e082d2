package loadtest

import (
	"fmt"
	"slices"
	"strings"

	"github.com/erlmcp/erlmcp/internal/judge"
	"github.com/erlmcp/erlmcp/loadtest/internal/ask"
)

// spoil is a fault of the load test, or of the machine that it shares, by which checks may fail that a system would have passed.
// Other checks stand.
type spoil struct {
	why    string
	checks []string
	try    string // instead
}

// spoils are those of a run.
func spoils(r *Report) (list []spoil) {
	g := &r.Generator
	const idler = "use an idle machine, fewer connections or a lower --ping-rate, or put the load on other machines (--remote-agents)"
	if late(g.HoldP99LagUs, g.HoldMaxLagUs) {
		list = append(list, spoil{"the load test was late in sending", []string{"requests", "latency_variance", "generator_lag", "want"},
			"the load test itself was late, not the system: " + idler})
	}
	if late(g.P99LagUs, g.MaxLagUs) {
		list = append(list, spoil{"the load test was late", []string{"ramp", "failover_rerouted", "failover_detected"},
			"the load test itself was late, not the system: " + idler})
	}
	if r.Resources != nil {
		if why := r.Resources.Machine.spoilt(); why != "" {
			list = append(list, spoil{why, []string{"latency_variance", "want"}, why + ": " + idler})
		}
	}
	if c := r.Connections; c != nil {
		list = append(list, localSpoils("connections", c.Failures), localSpoils("dropped", c.Losses))
	}
	return slices.DeleteFunc(list, func(s spoil) bool { return s.why == "" })
}

// localSpoils is what it spoils that this machine could not open what it had to.
func localSpoils(check string, causes map[string]int64) spoil {
	n := causes[ask.CauseLocal.String()]
	if n == 0 {
		return spoil{}
	}
	return spoil{fmt.Sprintf("%d times the load test's machine had no descriptor, port or address left", n), []string{check},
		"the load test's machine had no descriptors, ports or addresses left: erlmcp doctor"}
}

// bare is the name of a check without the part of a mix that it is of.
func bare(check string) string { return check[strings.IndexByte(check, '/')+1:] }

// void takes what is spoilt out of what has failed. It reports whether anything was.
func (j *judgement) void(list []spoil) (voided bool) {
	for i := range j.List {
		c := &j.List[i]
		if c.Verdict != judge.Fail {
			continue
		}
		for _, s := range list {
			if slices.Contains(s.checks, bare(c.Name)) {
				if c.Name != "generator_lag" { // which is what it says
					c.Excuse("not judged: " + s.why)
				}
				voided = true
				break
			}
		}
	}
	return voided
}
