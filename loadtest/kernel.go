package loadtest

import (
	"context"
	"errors"
	"maps"
	"net/netip"
	"time"

	"github.com/erlmcp/erlmcp/internal/sockdiag"
	"github.com/erlmcp/erlmcp/internal/tempo"
)

// idlePatience is how long two looks at what a balancer keeps in its pools are tried to be alike, and idleInterval the time
// between two tries.
const (
	idlePatience = 2 * time.Second
	idleInterval = 50 * time.Millisecond
)

// kernelCounts asks the kernel how many connections each node has; a node whose sockets are not on this machine is left out.
// Those that the balancer keeps for requests to come are no client's, and are left out too: it is asked for them before and
// after, until both times are alike.
func (r *run) kernelCounts(ctx context.Context) (counts map[string]int, err error) {
	limited, cancel := context.WithTimeout(ctx, idlePatience)
	defer cancel()
	var idle map[string]int
	for range tempo.AtOnce(limited, idleInterval) {
		before := r.idle(ctx)
		if counts, err = r.socketCounts(ctx); err != nil || counts == nil {
			return nil, err
		}
		if idle = r.idle(ctx); maps.Equal(before, idle) {
			break
		}
	}
	for name := range counts {
		counts[name] -= idle[name]
	}
	return counts, ctx.Err()
}

// idle are the connections that the balancer keeps for requests to come, by node; empty if it does not say.
func (r *run) idle(ctx context.Context) map[string]int {
	idle := make(map[string]int)
	if r.facts.seen.Balancer == nil {
		return idle
	}
	o, err := r.system.Observe(ctx)
	if err != nil {
		return idle
	}
	for _, n := range o.Nodes {
		if n.Idle > 0 {
			idle[n.Name] = n.Idle
		}
	}
	return idle
}

// socketCounts are the connections of nodes whose sockets are on this machine, nil if the kernel does not tell.
func (r *run) socketCounts(ctx context.Context) (map[string]int, error) {
	var names []string
	var servers []netip.AddrPort
	for _, n := range r.facts.seen.Nodes {
		a, err := resolve(ctx, n.Address)
		if err == nil && bindable(a.Addr()) == nil {
			names, servers = append(names, n.Name), append(servers, a)
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
		counts[name] = found[i]
	}
	return counts, nil
}
