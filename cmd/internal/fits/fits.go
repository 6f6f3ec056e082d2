// Package fits knows what a configuration asks of this machine, and whether the machine has it.
package fits

import (
	"slices"
	"strings"

	"github.com/erlmcp/erlmcp/cluster"
	"github.com/erlmcp/erlmcp/cluster/node"
	"github.com/erlmcp/erlmcp/cmd/internal/exit"
	"github.com/erlmcp/erlmcp/internal/config"
	"github.com/erlmcp/erlmcp/internal/control"
	"github.com/erlmcp/erlmcp/internal/operate"
	"github.com/erlmcp/erlmcp/loadtest/doctor"
	"github.com/erlmcp/erlmcp/loadtest/machine"
	"github.com/erlmcp/erlmcp/proxy"
	"github.com/erlmcp/erlmcp/proxy/master"
)

// needs is how many processes a part of the set-up begins with; it fails where the limit of open files keeps the part from
// holding as many connections as it is configured for. The part itself would say the same when it starts.
type needs func(*config.Config) (processes int, err error)

// All reports what keeps balancer and nodes from starting here.
func All(c *config.Config) error { return fit(c, balancerNeeds, nodesNeed) }

// Balancer reports what keeps the balancer from starting here.
func Balancer(c *config.Config) error { return fit(c, balancerNeeds) }

// Nodes reports what keeps the nodes from starting here.
func Nodes(c *config.Config) error { return fit(c, nodesNeed) }

// Rest is All without what runs in a state directory already: it has its limit.
func Rest(c *config.Config, stateDir string) error {
	var parts []needs
	for _, daemon := range []struct {
		name  string
		needs needs
	}{{"lb", balancerNeeds}, {"cluster", nodesNeed}} {
		_, runs, err := control.Running(stateDir, daemon.name)
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
			return exit.WithCode(exit.Machine, err)
		}
		sum += processes
	}
	host := machine.This()
	return exit.WithCode(exit.Machine, operate.ProcessesFit(&host, sum))
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

// Plan is what the configuration asks of the machine, for package doctor.
func Plan(c *config.Config, stateDir string) doctor.Plan {
	logs := c.Cluster.Logs
	p := doctor.Plan{
		MaxConnections: c.LB.MaxConnections, NodeCap: c.LB.NodeCap(), Nodes: len(c.LB.Nodes),
		Erlang:    c.Cluster.Runtime == cluster.RuntimeErlang,
		ICMP:      slices.Contains(c.Health.Kinds, "icmp"),
		LogBytes:  int64(logs.MaxSize) * int64(logs.Keep+1) * int64(len(c.Cluster.Nodes)),
		OneSource: c.LB.Source != proxy.SourceAuto && !strings.Contains(c.LB.Source, "/"),
		StateDir:  stateDir,
	}
	for _, l := range c.LB.Listen.All() {
		if l.Address != "" {
			p.Listeners = append(p.Listeners, doctor.Listener{
				Name: "lb.listen." + l.Name, Address: l.Address, Daemon: "lb",
				Key: "ERLMCP_LB_LISTEN_" + strings.ToUpper(l.Name),
			})
		}
	}
	for _, n := range c.Cluster.Nodes {
		for _, port := range n.Ports() {
			p.Listeners = append(p.Listeners, doctor.Listener{
				Name: n.Name + " " + port.Transport, Address: port.Address, Daemon: "cluster",
			})
		}
	}
	return p
}
