package system

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/erlmcp/erlmcp/cluster"
	"github.com/erlmcp/erlmcp/internal/control"
	"github.com/erlmcp/erlmcp/loadtest/internal/probe"
	"github.com/erlmcp/erlmcp/loadtest/internal/target"
	"github.com/erlmcp/erlmcp/proxy"
)

// Live returns the system of a state directory: its balancer, if that is what listens on the target of a valid Spec, and its
// cluster. Both are asked anew every time and need not run. limits are what the balancer was told to allow a source.
func Live(stateDir, to string, limits Limits, orders Orders) System {
	t, _ := target.Parse(to) // of a Spec that is not valid, no balancer is the target
	return &live{proxy.Connect(stateDir), cluster.Connect(stateDir), t, limits, orders, nil}
}

type live struct {
	balancer *proxy.Client
	cluster  *cluster.Client
	target   target.Target
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
		o.Listeners = clientListeners(&stats)
		o.balancer(&stats, l.target, l.limits)
	default:
		o.Listeners = clientListeners(&stats)
		o.Elsewhere = o.Listeners
	}
	status, err := l.cluster.Status(ctx)
	switch {
	case errors.Is(err, control.ErrNotRunning):
		return o, nil
	case err != nil:
		return o, fmt.Errorf("ask the cluster: %w", err)
	}
	o.cluster(&status, l.target.Transport)
	if o.Balancer == nil {
		o.keepTarget(l.target.Authority())
	}
	return o, nil
}

// keepTarget forgets the other nodes if a node is what is tested, without a balancer: nobody would
// take its clients over.
func (o *Observation) keepTarget(address string) {
	for _, n := range o.Nodes {
		if n.Address == address {
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

// listenerOf is the balancer's listener for clients of a target.
func listenerOf(t target.Target) string {
	switch {
	case t.Transport == target.TCP:
		return proxy.ListenTCP
	case t.Secure:
		return proxy.ListenHTTPS
	}
	return proxy.ListenHTTP
}

// serves reports whether the balancer is the one to be tested.
func (l *live) serves(ctx context.Context, s *proxy.Stats) bool {
	found, err := net.DefaultResolver.LookupNetIP(ctx, "ip", l.target.Host)
	if err != nil {
		return false
	}
	for _, listener := range s.Listeners {
		at, err := netip.ParseAddrPort(listener.Address)
		if err != nil || listener.Name != listenerOf(l.target) || at.Port() != l.target.Port {
			continue
		}
		for _, a := range found {
			if at.Addr().Unmap() == a.Unmap() || at.Addr().IsUnspecified() && probe.Here(a) {
				return true
			}
		}
	}
	return false
}

func (o *Observation) balancer(s *proxy.Stats, t target.Target, limits Limits) {
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
		if n.Leaving {
			continue
		}
		v := NodeView{
			Name: n.Name, Address: n.Address, Up: n.State == proxy.NodeUp, Silent: n.State == proxy.NodeSilent, Since: n.Since,
			Max: int(n.MaxConnections), Slow: n.Weight < n.FullWeight,
		}
		if way := over(&n, t); way != nil {
			v.Address, v.Since = way.Address, way.Since
			v.Up, v.Silent = way.State == proxy.NodeUp, way.State == proxy.NodeSilent
			if t.Transport != target.TCP {
				v.Passing = int(way.Idle + n.Pending)
			}
		}
		v.PassingAll = int(n.Pending)
		for _, way := range n.Transports {
			v.Ways = append(v.Ways, way.Address)
			v.PassingAll += int(way.Idle)
		}
		o.Nodes = append(o.Nodes, v)
	}
}

// over is how clients of a target come to a node, nil if that is not known.
func over(n *proxy.NodeStats, t target.Target) *proxy.TransportStats {
	if t.Transport == target.SSE {
		for i := range n.Transports {
			if n.Transports[i].Name == string(target.SSE) {
				return &n.Transports[i]
			}
		}
	}
	return n.Over(listenerOf(t))
}

// addressOf is where a node of the cluster takes clients of a transport.
func addressOf(n *cluster.NodeStatus, over target.Transport) string {
	switch over {
	case target.TCP:
		return n.TCP
	case target.SSE:
		return n.SSE
	}
	return n.HTTP
}

// cluster adds what the cluster knows of the balancer's nodes, or its own if there is no balancer to
// ask. A run can break nodes only if all of them are the cluster's.
func (o *Observation) cluster(s *cluster.Status, over target.Transport) {
	if o.Balancer == nil {
		for _, n := range s.Nodes {
			o.Nodes = append(o.Nodes, NodeView{Name: n.Name, Address: addressOf(&n, over)})
		}
	}
	known := 0
	for _, n := range s.Nodes {
		if v := o.Node(n.Name); v != nil && (v.Address == addressOf(&n, over) || v.Address == n.HTTP && over == target.SSE) {
			v.PID = n.PID
			known++
		}
	}
	o.CanBreak = known > 0 && known == len(o.Nodes)
}

// Resolve returns the first address of host:port.
func Resolve(ctx context.Context, address string) (netip.AddrPort, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return netip.AddrPort{}, err
	}
	number, err := net.DefaultResolver.LookupPort(ctx, "tcp", port)
	if err != nil {
		return netip.AddrPort{}, err
	}
	addrs, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return netip.AddrPort{}, err
	}
	return netip.AddrPortFrom(addrs[0].Unmap(), uint16(number)), nil
}
