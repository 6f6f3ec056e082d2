package cmd

import (
	"github.com/erlmcp/erlmcp/cluster"
	"github.com/erlmcp/erlmcp/cluster/node"
	"github.com/erlmcp/erlmcp/internal/config"
	"github.com/erlmcp/erlmcp/internal/control"
	"github.com/erlmcp/erlmcp/internal/operate"
	"github.com/erlmcp/erlmcp/loadtest"
	"github.com/erlmcp/erlmcp/proxy/master"
)

// needs is how many processes a part of the set-up begins with; it fails where the limit of open files keeps the part from
// holding as many connections as it is configured for. The part itself would say the same when it starts.
type needs func(*config.Config) (processes int, err error)

// fits reports what keeps balancer and nodes from starting here.
func fits(c *config.Config) error { return fit(c, balancerNeeds, nodesNeed) }

// wouldFit is fits without what runs already: it has its limit.
func (a *app) wouldFit(c *config.Config) error {
	var parts []needs
	for _, daemon := range []struct {
		name  string
		needs needs
	}{{"lb", balancerNeeds}, {"cluster", nodesNeed}} {
		_, runs, err := control.Running(a.stateDir(), daemon.name)
		if err != nil {
			return err
		}
		if !runs {
			parts = append(parts, daemon.needs)
		}
	}
	return fit(c, parts...)
}

// fit reports what keeps these parts from starting here, with the exit code for that.
func fit(c *config.Config, parts ...needs) error {
	sum := 0
	for _, part := range parts {
		processes, err := part(c)
		if err != nil {
			return withCode(exitMachine, err)
		}
		sum += processes
	}
	host := loadtest.ThisHost()
	return withCode(exitMachine, operate.ProcessesFit(&host, sum))
}

func balancerNeeds(c *config.Config) (int, error) {
	workers, _, _, err := master.Plan(c.LB)
	return 1 + workers, err
}

// nodesNeed counts the supervisor and the processes of nodes as far as they are known: one each, and their workers.
func nodesNeed(c *config.Config) (int, error) {
	nodes := len(c.Cluster.Nodes)
	if c.Cluster.Runtime != cluster.RuntimeEmbedded {
		return 1 + nodes, nil
	}
	spec := node.Default()
	if n := c.Cluster.NodeMaxConnections; n != 0 {
		spec.MaxConnections = n
	}
	workers, _, err := node.Plan(spec)
	return 1 + nodes*(1+workers), err
}
