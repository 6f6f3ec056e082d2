package loadtest

import (
	"context"
	"fmt"

	"github.com/erlmcp/erlmcp/loadtest/internal/probe"
	"github.com/erlmcp/erlmcp/loadtest/internal/sources"
	"github.com/erlmcp/erlmcp/loadtest/system"
)

const baselineSources = 8

// measureBaseline is the latency of a system without load, through a few connections one after the other: by way of the
// balancer, and straight at its nodes, as far as they answer there.
func measureBaseline(ctx context.Context, f *facts, from sources.Range) (*Quantiles, []NodeLatency, error) {
	first := &f.aims[0]
	script, err := first.work.Compile()
	if err != nil {
		return nil, nil, fmt.Errorf("baseline: %w", err)
	}
	h, err := probe.Baseline(ctx, first.to, script, from)
	if err != nil {
		return nil, nil, fmt.Errorf("baseline: %w", err)
	}
	result := quantiles(h)
	var straight []NodeLatency
	nodes := f.behind(ctx)
	for i, h := range probe.Straight(ctx, script, nodes...) {
		if h != nil {
			straight = append(straight, NodeLatency{nodes[i].Name, quantiles(h)})
		}
	}
	return &result, straight, ctx.Err()
}

// behind are the nodes on this machine that the balancer sends clients to, to be asked without it: in plain text, at the
// path that clients of the balancer ask for.
func (f *facts) behind(ctx context.Context) (nodes []probe.Node) {
	if f.seen.Balancer == nil {
		return nil
	}
	for _, n := range f.seen.Nodes {
		at, err := system.Resolve(ctx, n.Address)
		if err != nil || !n.Up || !probe.Here(at.Addr()) {
			continue
		}
		e := f.aims[0].to
		e.Secure, e.HTTP2, e.Address = false, false, at
		e.Host, e.Port = at.Addr().String(), at.Port()
		nodes = append(nodes, probe.Node{Name: n.Name, Endpoint: e})
	}
	return nodes
}
