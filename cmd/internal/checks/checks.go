// Package checks connects the health checks with the cluster and the balancer of a state directory.
package checks

import (
	"context"

	"github.com/erlmcp/erlmcp/cluster"
	"github.com/erlmcp/erlmcp/healthcheck"
	"github.com/erlmcp/erlmcp/internal/config"
	"github.com/erlmcp/erlmcp/internal/control"
	"github.com/erlmcp/erlmcp/internal/topology"
	"github.com/erlmcp/erlmcp/proxy"
	"github.com/erlmcp/erlmcp/proxy/master"
)

// Collector makes the checks of what a configuration is about: the nodes that are balanced over, and the balancer of the
// state directory. running are the nodes of the cluster, which count where the balancer's configuration names no others.
func Collector(ctx context.Context, c *config.Config, stateDir string, running func(context.Context) []topology.Node) (*healthcheck.Collector, error) {
	secure, err := master.NodeTLSConfig(&c.LB)
	if err != nil {
		return nil, err
	}
	collector := &healthcheck.Collector{
		Spec:  c.Health,
		Nodes: balancedNodes(ctx, c),
		Follow: func(ctx context.Context) []topology.Node {
			if c.Origin("lb.nodes").Name == "cluster.nodes" {
				return running(ctx)
			}
			return balancedNodes(ctx, c)
		},
		TLS:      secure,
		Capacity: c.LB.MaxConnections,
		Balancer: unlessStopped(proxy.Connect(stateDir).Stats, balancerHealth),
		Cluster:  unlessStopped(cluster.Connect(stateDir).Status, clusterHealth),
	}
	listen := c.LB.Listen
	for _, address := range []string{listen.Admin, listen.Health} {
		if address != "" {
			collector.Admin = append(collector.Admin, address)
		}
	}
	for _, l := range listen.ForClients() {
		collector.Listen = append(collector.Listen, healthcheck.Listener{Name: l.Name, Address: l.Address})
	}
	return collector, nil
}

// unlessStopped asks a daemon how it is, and takes from the answer what a report shows; nil is one that does not run.
func unlessStopped[S, H any](ask func(context.Context) (S, error), take func(*S) *H) func(context.Context) (*H, error) {
	return func(ctx context.Context) (*H, error) {
		s, err := ask(ctx)
		switch {
		case control.NotRunning(err):
			return nil, nil
		case err != nil:
			return nil, err
		}
		return take(&s), nil
	}
}

// balancedNodes are those that the configuration, its file of nodes and DNS name by now.
func balancedNodes(ctx context.Context, c *config.Config) []topology.Node {
	nodes, _ := c.AllNodes() // without those of a file that cannot be read; the balancer says so
	return master.Locate(ctx, c.LB.Resolve, nodes)
}

// clusterHealth takes from the supervisor's status what a report shows.
func clusterHealth(s *cluster.Status) *healthcheck.Cluster {
	c := &healthcheck.Cluster{State: string(s.State), PID: s.PID, Nodes: []healthcheck.ClusterNode{}}
	for _, n := range s.Nodes {
		node := healthcheck.ClusterNode{
			Name: n.Name, State: string(n.State), Since: n.Since, Restarts: n.Restarts, Reason: n.Reason, Serves: n.State.Serves(),
		}
		if n.Distribution != nil {
			node.Mesh, node.Sees, node.Silent = true, n.Distribution.Sees, n.Distribution.Sees == nil
		}
		c.Nodes = append(c.Nodes, node)
	}
	return c
}

// balancerHealth takes from the balancer's statistics what its health is judged by.
func balancerHealth(s *proxy.Stats) *healthcheck.Balancer {
	clients := int(s.Connections.Active)
	b := &healthcheck.Balancer{
		Engine: "builtin", PID: s.PID, State: s.State,
		Clients: &clients, Capacity: s.Connections.Max,
		Rate: &s.Rates.Connections,
	}
	for _, l := range s.Listeners {
		b.Listeners = append(b.Listeners, healthcheck.Listener{Name: l.Name, Address: l.Address, Up: l.Up})
	}
	for _, n := range s.Nodes {
		if !n.Leaving {
			b.Nodes = append(b.Nodes, healthcheck.BalancerNode{
				Name: n.Name, State: n.State, Connections: int(n.Connections), Rate: &n.Rates.Connections,
			})
		}
	}
	return b
}
