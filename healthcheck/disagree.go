package healthcheck

import (
	"context"
	"fmt"
	"time"

	"github.com/erlmcp/erlmcp/internal/tempo"
)

// secondLook is how long connections have to settle before a disagreement is believed.
const secondLook = 250 * time.Millisecond

// disagreement is how many connections of a node the balancer has (positive) or lacks (negative) that
// the kernel sees otherwise, beyond what is in flux: 50, or 2 % if that is more. Connections to ports
// of HTTP may be idle ones that a balancer keeps and does not count, so they only add to what the
// kernel has.
func disagreement(kernel map[string]int, balancer int) int {
	all := 0
	for _, n := range kernel {
		all += n
	}
	tolerance := max(50, max(all, balancer)/50)
	switch surplus := kernel["tcp"] - balancer; {
	case balancer-all > tolerance:
		return balancer - all
	case surplus > tolerance:
		return -surplus
	}
	return 0
}

// lookAgain settles by a second look for which nodes kernel and balancer disagree. The first look asked
// the kernel first, the second asks the balancer first: while connections are made or closed, the two
// err in opposite directions.
func (c *Collector) lookAgain(ctx context.Context, f *findings) {
	f.disagree = make([]int, len(f.nodes))
	doubt := false
	for i := range f.nodes {
		if seen := f.seenByBalancer(f.nodes[i].Name); seen != nil && f.counts[i] != nil {
			f.disagree[i] = disagreement(f.counts[i], seen.Connections)
			doubt = doubt || f.disagree[i] != 0
		}
	}
	if !doubt {
		return
	}
	first := f.disagree
	f.disagree = make([]int, len(f.nodes))
	if f.balancer.again == nil {
		return
	}
	if tempo.Pause(ctx, secondLook) != nil {
		return
	}
	limited, cancel := context.WithTimeout(ctx, c.Spec.Timeout)
	defer cancel()
	balancer, err := f.balancer.again(limited)
	if err != nil || balancer == nil {
		return
	}
	counts, err := c.countNodes(ctx)
	if err != nil {
		return
	}
	again := findings{nodes: f.nodes, balancer: balancerFinding{balancer: balancer}}
	for i := range f.nodes {
		seen := again.seenByBalancer(f.nodes[i].Name)
		if seen == nil || counts[i] == nil {
			continue
		}
		if now := disagreement(counts[i], seen.Connections); now > 0 && first[i] > 0 || now < 0 && first[i] < 0 {
			f.disagree[i] = now
		}
	}
}

// disagreementReason says it for people.
func disagreementReason(name string, n int) string {
	if n > 0 {
		return fmt.Sprintf("the load balancer counts %d connections to %s that the kernel does not have", n, name)
	}
	return fmt.Sprintf("%s has %d connections that are not the load balancer's", name, -n)
}
