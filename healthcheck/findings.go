package healthcheck

import (
	"math"
	"slices"
	"time"

	"github.com/erlmcp/erlmcp/internal/topology"
)

// findings are the answers of one round; a report is made from them without asking anybody.
type findings struct {
	time     time.Time
	nodes    []topology.Node
	capacity int // as configured
	checks   [][]Result
	counts   []map[string]int // by node and transport, nil where the kernel cannot tell
	countErr error
	balancer balancerFinding
	cluster  *Cluster
	disagree []int // by node, see disagreement; nil when nothing was compared
	canceled bool  // the round was given up: nothing is certain
}

func (f *findings) report() Report {
	r := Report{
		Schema:       Schema,
		Time:         f.time,
		LoadBalancer: f.loadBalancer(),
		Nodes:        make([]NodeHealth, len(f.nodes)),
	}
	for i := range f.nodes {
		r.Nodes[i] = f.node(i)
	}
	r.Cluster = f.cluster
	r.Connections = f.connections(r.Nodes)
	r.Status, r.Reasons = f.verdict(&r)
	return r
}

func (f *findings) loadBalancer() LoadBalancer {
	found := f.balancer
	lb := LoadBalancer{
		Running:   found.balancer != nil,
		Listeners: append([]Listener{}, found.listeners...), // never null
		Error:     found.note,
	}
	if b := found.balancer; b != nil {
		lb.Engine, lb.PID, lb.State, lb.Clients = b.Engine, b.PID, b.State, b.Clients
		lb.Rate = b.Rate
		lb.Checks, lb.TLS = found.door, found.https
	}
	if found.err != nil {
		lb.Error = found.err.Error()
	}
	return lb
}

func (f *findings) node(i int) NodeHealth {
	n := NodeHealth{
		Name:   f.nodes[i].Name,
		Status: nodeStatus(f.checks[i]),
		Weight: max(f.nodes[i].Weight, 1),
		Ports:  f.counts[i],
		Checks: f.checks[i],
	}
	seen := f.seenByBalancer(n.Name)
	if seen != nil {
		n.Balancer, n.ConnectRate, n.BalancerConnections = seen.State, seen.Rate, &seen.Connections
	}
	switch {
	case f.counts[i] != nil:
		total := 0
		for _, count := range f.counts[i] {
			total += count
		}
		n.Connections, n.Source = &total, "kernel"
	case seen != nil:
		n.Connections, n.Source = &seen.Connections, "balancer"
	}
	return n
}

func (f *findings) seenByBalancer(name string) *BalancerNode {
	if f.balancer.balancer == nil {
		return nil
	}
	for i, n := range f.balancer.balancer.Nodes {
		if n.Name == name {
			return &f.balancer.balancer.Nodes[i]
		}
	}
	return nil
}

func nodeStatus(checks []Result) string {
	switch {
	case succeeded(checks):
		return NodeUp
	case !slices.ContainsFunc(checks, func(r Result) bool { return !r.OK && r.Conclusive() }):
		return NodeUnknown
	}
	for _, transport := range []string{OverTCP, OverHTTP, OverSSE} {
		if upOver(checks, transport) {
			return NodeDegraded
		}
	}
	return NodeDown
}

// upOver reports that there were checks of a transport and all of them succeeded.
func upOver(checks []Result, transport string) bool {
	return succeeded(slices.DeleteFunc(slices.Clone(checks), func(r Result) bool { return r.Transport != transport }))
}

// succeeded reports that there were checks and all of them succeeded.
func succeeded(checks []Result) bool {
	return len(checks) > 0 && !slices.ContainsFunc(checks, func(r Result) bool { return !r.OK })
}

func (f *findings) connections(nodes []NodeHealth) Connections {
	c := Connections{Capacity: f.capacity, MaxDeviation: maxDeviation(nodes)}
	if b := f.balancer.balancer; b != nil && b.Capacity > 0 {
		c.Capacity = b.Capacity
	}
	if f.countErr != nil {
		c.Error = f.countErr.Error()
	}
	total := 0
	for _, n := range nodes {
		if n.Connections == nil {
			return c // a part is not the total
		}
		total += *n.Connections
	}
	c.Total = &total
	return c
}

// maxDeviation is described at Connections. It is nil when the connections of a node that counts are
// not known, or no node counts.
func maxDeviation(nodes []NodeHealth) *int {
	var serving []NodeHealth
	total, weights := 0, 0
	for _, n := range nodes {
		if !n.serves() {
			continue
		}
		if n.Connections == nil {
			return nil
		}
		serving = append(serving, n)
		total += *n.Connections
		weights += n.Weight
	}
	if len(serving) == 0 {
		return nil
	}
	largest := 0.0
	for _, n := range serving {
		share := float64(total) * float64(n.Weight) / float64(weights)
		largest = max(largest, math.Abs(float64(*n.Connections)-share))
	}
	rounded := int(math.Round(largest))
	return &rounded
}
