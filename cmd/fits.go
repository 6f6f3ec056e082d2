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
	for daemon, fits := range map[string]func(*config.Config) error{"lb": balancerFits, "cluster": nodesFit} {
		_, runs, err := control.Running(a.stateDir(), daemon)
		if err == nil && !runs {
			err = fits(c)
		}
		if err != nil {
			return err
		}
	}
	return nil
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
