package cmd

import (
	"context"
	"errors"

	"github.com/erlmcp/erlmcp/healthcheck"
	"github.com/erlmcp/erlmcp/internal/control"
	"github.com/erlmcp/erlmcp/proxy"
)

// healthCollector connects the health checks with what they are about: the nodes that are balanced
// over, and the balancer of the state directory.
func (a *app) healthCollector() (*healthcheck.Collector, error) {
	c, err := a.config()
	if err != nil {
		return nil, err
	}
	a.followCluster(context.Background(), c)
	client := proxy.Connect(a.stateDir())
	collector := &healthcheck.Collector{
		Spec:     c.Health,
		Nodes:    c.LB.Nodes,
		Capacity: c.LB.MaxConnections,
		Balancer: func(ctx context.Context) (*healthcheck.Balancer, error) {
			stats, err := client.Stats(ctx)
			switch {
			case errors.Is(err, control.ErrNotRunning):
				return nil, nil
			case err != nil:
				return nil, err
			}
			return balancerHealth(&stats), nil
		},
	}
	listen := c.LB.Listen
	for _, l := range []healthcheck.Listener{
		{Name: "tcp", Address: listen.TCP}, {Name: "http", Address: listen.HTTP}, {Name: "https", Address: listen.HTTPS},
	} {
		if l.Address != "" {
			collector.Listen = append(collector.Listen, l)
		}
	}
	return collector, nil
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
