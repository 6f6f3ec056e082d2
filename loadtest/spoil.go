package loadtest

import (
	"fmt"
	"slices"
	"strings"

	"github.com/erlmcp/erlmcp/internal/judge"
	"github.com/erlmcp/erlmcp/loadtest/internal/ask"
	"github.com/erlmcp/erlmcp/loadtest/internal/want"
)

// spoil is a fault of the load test, or of the machine that it shares, by which checks may fail that a system would have passed.
// Other checks stand.
type spoil struct {
	why    string
	checks []string
	// Wants whose paths begin with one of these are spoilt, too: those of times, or any.
	times, figures []string
	try            string // instead
}

// heldTimes are those of the hold, otherTimes those of other phases.
var (
	heldTimes  = []string{"latency.", "nodes.", "steps.", "parts."}
	otherTimes = []string{"connections.", "failover.", "setup_latency_us."}
)

// spoils reports whether a line is spoilt: by its name, or by what it was to be if it is a want.
func (s *spoil) spoils(name string, o *want.Outcome) bool {
	if o == nil {
		return slices.Contains(s.checks, bare(name))
	}
	begins := func(path string) bool { return strings.HasPrefix(o.Path, path) }
	return slices.ContainsFunc(s.figures, begins) || o.Time && slices.ContainsFunc(s.times, begins)
}

func (s *spoil) excuse() string { return "not judged: " + s.why }

// spoils are those of a run.
func spoils(r *Report) (list []spoil) {
	g := &r.Generator
	const idler = "use an idle machine, fewer connections or a lower --ping-rate, or put the load on other machines (--remote-agents)"
	if late(g.HoldP99LagUs, g.HoldMaxLagUs) {
		list = append(list, spoil{why: "the load test was late in sending", checks: []string{"requests", "latency_variance", "generator_lag"}, times: heldTimes,
			try: "the load test itself was late, not the system: " + idler})
	}
	if late(g.P99LagUs, g.MaxLagUs) {
		list = append(list, spoil{why: "the load test was late", checks: []string{"ramp", "failover_rerouted", "failover_detected"}, times: otherTimes,
			try: "the load test itself was late, not the system: " + idler})
	}
	if r.Resources != nil {
		if why := r.Resources.Machine.Spoilt(); why != "" {
			list = append(list, spoil{why: why, checks: []string{"latency_variance"}, times: heldTimes, try: why + ": " + idler})
		}
	}
	list = append(list, trialSpoils(r)...)
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
	return spoil{why: fmt.Sprintf("%d times the load test's machine had no descriptor, port or address left", n), checks: []string{check},
		try: "the load test's machine had no descriptors, ports or addresses left: erlmcp doctor"}
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
			if s.spoils(c.Name, j.wanted[i]) {
				if c.Name != "generator_lag" { // which is what it says
					c.Excuse(s.excuse())
				}
				voided = true
				break
			}
		}
	}
	return voided
}
