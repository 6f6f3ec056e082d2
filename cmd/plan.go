package cmd

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/erlmcp/erlmcp/cluster"
	"github.com/erlmcp/erlmcp/internal/control"
	"github.com/erlmcp/erlmcp/internal/topology"
	"github.com/erlmcp/erlmcp/proxy"
)

// wouldStart says, for --dry-run, which of the names a start would start: of all nodes if there are none.
func (a *app) wouldStart(nodes []topology.Node, now cluster.Status, names []string) error {
	if err := allKnown(nodes, names); err != nil {
		return err
	}
	if len(names) == 0 {
		names = topology.Names(nodes)
	}
	starts := a.leaveRunning(names, func(name string) bool { return servesIn(now, name) != 0 })
	if len(starts) > 0 {
		a.would(onNodes("start", starts), "start %s", strings.Join(starts, ", "))
	}
	return nil
}

// wouldStop says, for --dry-run, which nodes an order to do this to them, or to all, would stop.
func (a *app) wouldStop(ctx context.Context, action, doing string, names []string) error {
	s, err := a.supervisorStatus(ctx)
	if errors.Is(err, control.ErrNotRunning) {
		if err := a.knownNodes(names); err != nil {
			return err
		}
		a.notef("cluster is not running")
		return nil
	}
	if err != nil {
		return err
	}
	if s, err = s.Only(names); err != nil {
		return err
	}
	var running []string
	for _, n := range s.Nodes {
		if n.PID != 0 {
			running = append(running, n.Name)
		}
	}
	if len(names) == 0 {
		a.would(change{Action: action, Kind: "cluster", Names: running}, "%s the cluster: %s", doing, nodesText(running, "no node runs"))
	} else {
		a.would(onNodes(action, running), "%s %s", doing, nodesText(running, "nothing, since these nodes do not run"))
	}
	return nil
}

// balancerNode finds a node of the balancer that runs.
func (a *app) balancerNode(ctx context.Context, name string) (*proxy.NodeStats, error) {
	s, err := a.balancerStats(ctx)
	if err != nil {
		return nil, startHint(err)
	}
	if n := s.Node(name); n != nil {
		return n, nil
	}
	var names []string
	for i := range s.Nodes {
		names = append(names, s.Nodes[i].Name)
	}
	return nil, &topology.UnknownError{Name: name, Nodes: names}
}

// bannedClient finds what is known of the ban of a client.
func (a *app) bannedClient(ctx context.Context, client string) (source string, banned bool, err error) {
	bans, err := proxy.Connect(a.stateDir()).Bans(ctx)
	if err != nil {
		return "", false, startHint(err)
	}
	source, err = proxy.Source(client)
	if err != nil {
		return "", false, withCode(exitUsage, err)
	}
	return source, slices.ContainsFunc(bans, func(b proxy.BanStatus) bool { return b.Source == source }), nil
}
