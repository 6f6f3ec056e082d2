package loadtest

import (
	"context"
	"errors"
	"maps"
	"net/netip"
	"time"

	"github.com/erlmcp/erlmcp/internal/sockdiag"
	"github.com/erlmcp/erlmcp/internal/tempo"
	"github.com/erlmcp/erlmcp/loadtest/system"
)

// passingPatience is how long two looks at the connections over which a balancer passes requests are tried to be alike, and
// passingInterval the time between two tries.
const (
	passingPatience = 2 * time.Second
	passingInterval = 50 * time.Millisecond
)

// kernelCounts asks the kernel how many connections each node has; a node whose sockets are not on this machine is left out.
// Those over which the balancer passes requests are no client's, and are left out too: it is asked for them before and after,
// until both times are alike.
func (r *run) kernelCounts(ctx context.Context) (counts map[string]int, err error) {
	limited, cancel := context.WithTimeout(ctx, passingPatience)
	defer cancel()
	var passing map[string]int
	for range tempo.AtOnce(limited, passingInterval) {
		before := r.passing(ctx)
		if counts, err = r.socketCounts(ctx); err != nil || counts == nil {
			return nil, err
		}
		if passing = r.passing(ctx); maps.Equal(before, passing) {
			break
		}
	}
	for name := range counts {
		counts[name] -= passing[name]
	}
	return counts, ctx.Err()
}

// passing are the connections over which the balancer passes requests, by node; empty if it does not say.
func (r *run) passing(ctx context.Context) map[string]int {
	passing := make(map[string]int)
	if r.facts.seen.Balancer == nil {
		return passing
	}
	o, err := r.system.Observe(ctx)
	if err != nil {
		return passing
	}
	for _, n := range o.Nodes {
		if _, passes := r.doors(&n); passes > 0 {
			passing[n.Name] = passes
		}
	}
	return passing
}

// doors are the addresses of a node where clients of the run end, those of a mix at several, and the connections over which the
// balancer passes requests there.
func (r *run) doors(n *system.NodeView) (addresses []string, passing int) {
	if len(r.facts.aims) > 1 {
		return n.Ways, n.PassingAll
	}
	return []string{n.Address}, n.Passing
}

// socketCounts are the connections of nodes whose sockets are on this machine, nil if the kernel does not tell.
func (r *run) socketCounts(ctx context.Context) (map[string]int, error) {
	var names []string
	var servers []netip.AddrPort
	for i := range r.facts.seen.Nodes {
		n := &r.facts.seen.Nodes[i]
		addresses, _ := r.doors(n)
		for _, address := range addresses {
			a, err := system.Resolve(ctx, address)
			if err == nil && bindable(a.Addr()) == nil {
				names, servers = append(names, n.Name), append(servers, a)
			}
		}
	}
	if len(servers) == 0 {
		return nil, nil
	}
	found, err := sockdiag.Count(ctx, servers)
	if errors.Is(err, errors.ErrUnsupported) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	counts := make(map[string]int, len(names))
	for i, name := range names {
		counts[name] += found[i]
	}
	return counts, nil
}
