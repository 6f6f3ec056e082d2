package healthcheck

import (
	"context"
	"crypto/tls"
	"net/netip"
	"slices"
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

	// TLS is how it is spoken to a node of that host over HTTP and SSE; nil trusts what the system does.
	TLS func(host string) *tls.Config

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
	State       string   // "up", "silent", "degraded", "down", "draining" or "maintenance"
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
	return Run(ctx, c.nodeChecks(n))
}

// nodeChecks are those of the transports that the node serves and the balancer needs: mcp over each of them,
// tcp where lines are served or else at the first port, http and tls at the port for HTTP. Where none is
// left, the node is asked whether it accepts connections.
func (c *Collector) nodeChecks(n topology.Node) []Check {
	var ports []topology.Port
	for _, p := range n.Ports() {
		if c.needs(p.Transport) {
			ports = append(ports, p)
		}
	}
	if len(ports) == 0 {
		ports = n.Ports()
	}
	var checks []Check
	for _, kind := range c.Spec.Kinds {
		switch kind {
		case "icmp":
			checks = append(checks, Check{kind, Target{Address: n.Host, Timeout: c.Spec.Timeout}})
		case "tcp":
			checks = append(checks, c.check(kind, n, ports[0]))
		case "mcp":
			for _, p := range ports {
				checks = append(checks, c.check(kind, n, p))
			}
		default:
			if web := n.HTTPAddress(); web != "" {
				checks = append(checks, c.check(kind, n, topology.Port{Transport: OverHTTP, Address: web}))
			}
		}
	}
	if len(checks) == 0 {
		checks = []Check{c.check("tcp", n, ports[0])}
	}
	return checks
}

// check is one of a kind at a port of n.
func (c *Collector) check(kind string, n topology.Node, p topology.Port) Check {
	target := Target{Address: p.Address, Timeout: c.Spec.Timeout, Transport: p.Transport}
	if kind == "mcp" {
		target.Path = n.MCPPath()
	}
	if n.TLS() && p.Transport != OverTCP {
		target.TLS = &tls.Config{ServerName: n.Host}
		if c.TLS != nil {
			target.TLS = c.TLS(n.Host)
		}
	}
	return Check{kind, target}
}

// needs reports whether the balancer has a listener whose clients are served over a transport; one that is
// not known has all.
func (c *Collector) needs(transport string) bool {
	return len(c.Listen) == 0 || slices.ContainsFunc(c.Listen, func(l Listener) bool {
		return (l.Name == OverTCP) == (transport == OverTCP)
	})
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
