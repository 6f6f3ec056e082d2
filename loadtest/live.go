package loadtest

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"github.com/erlmcp/erlmcp/cluster"
	"github.com/erlmcp/erlmcp/internal/control"
	"github.com/erlmcp/erlmcp/proxy"
)

// Live returns the system of a state directory: its balancer, if that is what listens on target,
// and its cluster. Both are asked anew every time and need not run. limits are what the balancer was
// told to allow a source.
func Live(stateDir, target string, limits Limits, orders Orders) System {
	return &live{proxy.Connect(stateDir), cluster.Connect(stateDir), completeTarget(target), limits, orders, nil}
}

type live struct {
	balancer *proxy.Client
	cluster  *cluster.Client
	target   string
	limits   Limits
	orders   Orders
	cut      *cut // nil: nothing is cut off
}

// Observe implements System.
func (l *live) Observe(ctx context.Context) (Observation, error) {
	var o Observation
	stats, err := l.balancer.Stats(ctx)
	switch {
	case errors.Is(err, control.ErrNotRunning):
	case err != nil:
		return o, fmt.Errorf("ask the balancer: %w", err)
	case l.serves(ctx, &stats):
		o.balancer(&stats, l.limits)
	default:
		o.Elsewhere = clientListeners(&stats)
	}
	status, err := l.cluster.Status(ctx)
	switch {
	case errors.Is(err, control.ErrNotRunning):
		return o, nil
	case err != nil:
		return o, fmt.Errorf("ask the cluster: %w", err)
	}
	o.cluster(&status)
	if o.Balancer == nil {
		o.keepTarget(l.target)
	}
	return o, nil
}

// keepTarget forgets the other nodes if a node is what is tested, without a balancer: nobody would
// take its clients over.
func (o *Observation) keepTarget(target string) {
	for _, n := range o.Nodes {
		if n.Address == target {
			o.Nodes, o.CanBreak = []NodeView{n}, false
			return
		}
	}
}

// clientListeners are the listeners for clients.
func clientListeners(s *proxy.Stats) (list []string) {
	for _, l := range s.Listeners {
		switch l.Name {
		case "tcp", "http", "https":
			list = append(list, l.Name+" "+l.Address)
		}
	}
	return list
}

// serves reports whether the balancer is the one to be tested.
func (l *live) serves(ctx context.Context, s *proxy.Stats) bool {
	target, err := resolve(ctx, l.target)
	if err != nil {
		return false
	}
	for _, listener := range s.Listeners {
		at, err := netip.ParseAddrPort(listener.Address)
		if err != nil || listener.Name != "tcp" || at.Port() != target.Port() {
			continue
		}
		if at.Addr().Unmap() == target.Addr() || at.Addr().IsUnspecified() && bindable(target.Addr()) == nil {
			return true
		}
	}
	return false
}

func (o *Observation) balancer(s *proxy.Stats, limits Limits) {
	b := &BalancerView{
		PIDs: []int{s.PID}, Connections: int(s.Connections.Active), Max: s.Connections.Max, MaxWorkers: s.MaxWorkers, Limits: limits,
	}
	for _, w := range s.Workers {
		if w.PID != 0 {
			b.PIDs = append(b.PIDs, w.PID)
		}
		b.Workers = append(b.Workers, w.Max)
	}
	o.Balancer = b
	for _, n := range s.Nodes {
		if !n.Leaving {
			o.Nodes = append(o.Nodes, NodeView{
				Name: n.Name, Address: n.Address, Up: n.State == proxy.NodeUp, Since: n.Since, Max: int(n.MaxConnections),
				Slow: n.Weight < n.FullWeight,
			})
		}
	}
}

// cluster adds what the cluster knows of the balancer's nodes, or its own if there is no balancer to
// ask. A run can break nodes only if all of them are the cluster's.
func (o *Observation) cluster(s *cluster.Status) {
	if o.Balancer == nil {
		for _, n := range s.Nodes {
			o.Nodes = append(o.Nodes, NodeView{Name: n.Name, Address: n.TCP})
		}
	}
	known := 0
	for _, n := range s.Nodes {
		if v := o.node(n.Name); v != nil && v.Address == n.TCP {
			v.PID = n.PID
			known++
		}
	}
	o.CanBreak = known > 0 && known == len(o.Nodes)
}
