package healthcheck

import (
	"context"
	"net/netip"
	"sync"
	"time"

	"github.com/erlmcp/erlmcp/internal/sockdiag"
	"github.com/erlmcp/erlmcp/internal/topology"
)

// Collector makes rounds of checks. Its questions to the outside are functions, so that it knows
// the balancer only by its answers.
type Collector struct {
	Spec     Spec
	Nodes    []topology.Node
	Capacity int        // clients the balancer is configured for; its own word counts more
	Listen   []Listener // where the balancer is configured to serve clients, to look who is there when it does not answer

	// Follow tells which nodes there are by now, before each round of Watch; nil leaves Nodes as they are.
	// It may be nil.
	Follow func(context.Context) []topology.Node

	// Balancer asks the balancer of this state directory. nil, nil means that none is running.
	Balancer func(context.Context) (*Balancer, error)

	// Admin are the addresses where another engine could tell its statistics, besides its usual one.
	Admin []string

	// Cluster asks the supervisor of the nodes. nil, nil means that none is running.
	Cluster func(context.Context) (*Cluster, error)

	// Count and Holder are sockdiag.Count and sockdiag.Listener when nil.
	Count  func(context.Context, []netip.AddrPort) ([]int, error)
	Holder func(netip.AddrPort) (pid int, process string, err error)
}

// Balancer is the answer of a running balancer.
type Balancer struct {
	Engine    string // "builtin", "haproxy" or "nginx"
	PID       int
	State     string // "running" or "draining"; "" when the engine does not tell
	Listeners []Listener
	Clients   *int     // connections of clients; nil when the engine does not tell
	Capacity  int      // most clients; 0 when the engine does not tell
	Rate      *float64 // new clients a second; nil when the engine does not tell
	Nodes     []BalancerNode
}

// BalancerNode is a node as the balancer sees it.
type BalancerNode struct {
	Name        string
	State       string   // "up", "down", "draining" or "maintenance"
	Connections int      // from the balancer to the node
	Rate        *float64 // new connections a second; nil when the engine does not tell
}

// Collect makes one round. Every question is asked within Spec.Timeout, and nodes and balancer at the
// same time; the kernel is asked before, so that the round's own connections are not counted.
func (c *Collector) Collect(ctx context.Context) Report {
	f := findings{nodes: c.Nodes, capacity: c.Capacity, time: time.Now()}
	f.counts, f.countErr = c.countNodes(ctx)

	f.checks = make([][]Result, len(c.Nodes))
	var wg sync.WaitGroup
	for i, n := range c.Nodes {
		wg.Go(func() { f.checks[i] = c.probeNode(ctx, n) })
	}
	wg.Go(func() { f.balancer = c.findBalancer(ctx) })
	wg.Go(func() { f.cluster = c.askCluster(ctx) })
	wg.Wait()
	c.lookAgain(ctx, &f)

	f.canceled = ctx.Err() != nil
	return f.report()
}

// askCluster is nil when there is no supervisor.
func (c *Collector) askCluster(ctx context.Context) *Cluster {
	if c.Cluster == nil {
		return nil
	}
	limited, cancel := context.WithTimeout(ctx, c.Spec.Timeout)
	defer cancel()
	cluster, err := c.Cluster(limited)
	if err != nil {
		return &Cluster{State: "unknown", Nodes: []ClusterNode{}, Error: err.Error()}
	}
	if cluster != nil {
		cluster.settle()
	}
	return cluster
}

// probeNode makes the checks that fit the node's transports.
func (c *Collector) probeNode(ctx context.Context, n topology.Node) []Result {
	return Run(ctx, nodeChecks(n, &c.Spec))
}

// nodeChecks leaves out the checks of transports the node does not serve. Where none is left, or tcp
// is wanted of a node without that transport, it is asked whether it accepts connections where it does
// serve.
func nodeChecks(n topology.Node, s *Spec) []Check {
	anywhere := n.TCPAddress()
	if ports := n.Ports(); anywhere == "" && len(ports) > 0 {
		anywhere = ports[0].Address
	}
	address := map[string]string{
		"icmp": n.Host, "tcp": anywhere, "mcp": n.TCPAddress(), "http": n.HTTPAddress(), "tls": n.HTTPAddress(),
	}
	var checks []Check
	for _, kind := range s.Kinds {
		if address[kind] != "" {
			checks = append(checks, Check{kind, Target{Address: address[kind], Timeout: s.Timeout}})
		}
	}
	if len(checks) == 0 {
		checks = []Check{{"tcp", Target{Address: anywhere, Timeout: s.Timeout}}}
	}
	return checks
}

func (c *Collector) count(ctx context.Context, servers []netip.AddrPort) ([]int, error) {
	if c.Count != nil {
		return c.Count(ctx, servers)
	}
	return sockdiag.Count(ctx, servers)
}

func (c *Collector) holder(addr netip.AddrPort) (pid int, process string, err error) {
	if c.Holder != nil {
		return c.Holder(addr)
	}
	return sockdiag.Listener(addr)
}
