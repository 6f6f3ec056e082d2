package loadtest

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/erlmcp/erlmcp/internal/judge"
	"github.com/erlmcp/erlmcp/internal/tempo"
	"github.com/erlmcp/erlmcp/loadtest/internal/fleet"
	"github.com/erlmcp/erlmcp/loadtest/internal/wire"
)

// lingering is how long nodes may take to notice that the connections of a lost agent are gone. When its machine is cut off
// they do not notice for minutes, which the verdict excuses. Without losses, ending is how long a busy node may take to end
// what it has answered. The kernel is asked every lookInterval.
const (
	lingering    = 10 * time.Second
	ending       = 3 * time.Second
	lookInterval = 200 * time.Millisecond
)

// kernelAtRest is kernelCounts, once what is over is gone: the connections of lost agents, and those of answers.
func (r *run) kernelAtRest(ctx context.Context, n wire.Counts) (kernel map[string]int, err error) {
	patience := ending
	if len(r.fleet.Losses()) > 0 {
		patience = lingering
	}
	limited, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for range tempo.AtOnce(limited, lookInterval) {
		kernel, err = r.kernelCounts(ctx)
		if err != nil || r.report.Shared || !r.facts.names() || r.kernelOff(kernel, n) <= kernelSlack {
			return kernel, err
		}
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	return kernel, nil
}

// kernelOff is by how many connections of a node the kernel and the answers differ at most.
func (r *run) kernelOff(kernel map[string]int, n wire.Counts) (worst int) {
	for name, k := range kernel {
		worst = max(worst, abs(k-r.kernel[name]-n.Nodes[name]))
	}
	return worst
}

// withoutLost takes what agents had counted of the ramp out of the report that were lost since.
func (r *run) withoutLost() {
	c := r.report.Connections
	if c == nil || len(r.fleet.Losses()) == 0 {
		return
	}
	n, _ := r.fleet.Since(r.ramped)
	c.Target, c.Established, c.Verified, c.Failed = r.fleet.Connections(), n.Open, n.Verified, n.Failed
	c.Attempts, c.Failures = n.Attempts, n.Failures
}

// agents says which were lost. What they held is not judged; what is left may pass.
func (j *judgement) agents(r *Report) {
	if len(r.LostAgents) == 0 {
		return
	}
	var why []string
	for _, l := range r.LostAgents {
		why = append(why, l.String())
	}
	n, left := r.Generator.Agents, r.Generator.Agents-len(r.LostAgents)
	c := j.Measure("agents", judge.All(left, n, "agents"), fmt.Sprint(n), fmt.Sprint(left))
	if !fleet.TooFew(r.Plan.Connections, r.void()) {
		c.Excuse("not judged: " + strings.Join(why, "; "))
	}
	const gone = "not judged: connections were lost with load agents"
	for i := range j.List {
		switch c := &j.List[i]; bare(c.Name) {
		case "distribution", "failover_spread", "kernel_agreement":
			// What is left of an even spread need not be even, and nodes may hold connections whose other end is cut off.
			if c.Verdict == judge.Fail {
				c.Excuse(gone)
			}
		}
	}
}

// void is how many connections were lost with agents.
func (r *Report) void() (n int) {
	for _, l := range r.LostAgents {
		n += l.Connections
	}
	return n
}
