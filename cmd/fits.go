package cmd

import (
	"github.com/erlmcp/erlmcp/cluster"
	"github.com/erlmcp/erlmcp/cluster/node"
	"github.com/erlmcp/erlmcp/internal/config"
	"github.com/erlmcp/erlmcp/internal/control"
	"github.com/erlmcp/erlmcp/proxy"
)

// fits reports what keeps balancer and nodes from holding as many connections as they are configured for under the limit
// of open files here. They would say the same when they start.
func fits(c *config.Config) error {
	if err := balancerFits(c); err != nil {
		return err
	}
	return nodesFit(c)
}

// wouldFit is fits without what runs already: it has its limit.
func (a *app) wouldFit(c *config.Config) error {
	if _, runs := control.Running(a.stateDir(), "lb"); !runs {
		if err := balancerFits(c); err != nil {
			return err
		}
	}
	if _, runs := control.Running(a.stateDir(), "cluster"); runs {
		return nil
	}
	return nodesFit(c)
}

func balancerFits(c *config.Config) error {
	_, _, _, err := proxy.Plan(c.LB)
	return err
}

func nodesFit(c *config.Config) error {
	if c.Cluster.Runtime != cluster.RuntimeEmbedded {
		return nil
	}
	spec := node.Default()
	if n := c.Cluster.NodeMaxConnections; n != 0 {
		spec.MaxConnections = n
	}
	_, _, err := node.Plan(spec)
	return err
}
