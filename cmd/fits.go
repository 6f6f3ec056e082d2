package cmd

import (
	"fmt"

	"github.com/erlmcp/erlmcp/cluster"
	"github.com/erlmcp/erlmcp/cluster/node"
	"github.com/erlmcp/erlmcp/internal/config"
	"github.com/erlmcp/erlmcp/internal/control"
	"github.com/erlmcp/erlmcp/loadtest"
	"github.com/erlmcp/erlmcp/proxy"
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
	return withCode(exitMachine, processesFit(&host, sum))
}

func balancerNeeds(c *config.Config) (int, error) {
	workers, _, _, err := proxy.Plan(c.LB)
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

// What a process of this program has and takes at the least.
const (
	threadsAtStart = 8
	bytesAtStart   = 8 << 20
)

// processesFit reports what keeps so many more processes of this program from starting: limits of processes and threads of
// the user and of control groups, and the memory of a control group.
func processesFit(m *loadtest.Machine, processes int) error {
	if t := m.Threads; t.Max > 0 && !t.OfKernel() && t.Left() < int64(processes)*threadsAtStart {
		need := int64(processes) * threadsAtStart
		return hinted(fmt.Errorf("%d of %d threads are left (%s), and %d processes take at least %d", t.Left(), t.Max, t.From, processes, need), "%s", t.Fix(need))
	}
	if left, need := m.MemoryAvailable, int64(processes)*bytesAtStart; m.MemoryFrom != "" && left < need {
		return hinted(fmt.Errorf("%d MiB of memory are left (%s), and %d processes take at least %d", left>>20, m.MemoryFrom, processes, need>>20),
			"raise the limit of the container or service (docker run --memory, MemoryMax=)")
	}
	return nil
}
