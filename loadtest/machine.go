package loadtest

import (
	"net/netip"

	"github.com/erlmcp/erlmcp/internal/judge"
	"github.com/erlmcp/erlmcp/internal/prefork"
	"github.com/erlmcp/erlmcp/loadtest/internal/fleet"
	"github.com/erlmcp/erlmcp/loadtest/internal/target"
	"github.com/erlmcp/erlmcp/loadtest/machine"
	"github.com/erlmcp/erlmcp/loadtest/system"
)

// ThisMachine looks at this one. It raises the soft limit of descriptors to the hard one, as a load
// test does.
func ThisMachine(s *Spec) (m machine.Facts, err error) {
	m = machine.This()
	if m.Descriptors, err = prefork.Limit(); err != nil {
		return m, err
	}
	sources, _ := commonSources(s, localTarget(s))
	m.SourceError = cannotBind(sources)
	return m, nil
}

// CheckMachine is the preflight's judgement of the machine alone, for a balancer and so many nodes on the same one, without
// what nothing is known of.
func CheckMachine(m machine.Facts, s *Spec, nodes int) judge.List {
	f := &facts{aims: []aim{{to: target.Endpoint{Address: localTarget(s)}}}, host: m}
	for range nodes {
		f.seen.Nodes = append(f.seen.Nodes, system.NodeView{Up: true})
	}
	f.sources, f.unreachable = commonSources(s, f.target())
	p, planError := makePlan(s, f.sources, system.Limits{}, alike(s, localAgents(s, f)))
	x := subject{spec: s, facts: f, plan: p, planError: planError}
	x.machine()
	return x.List
}

// alike are offers of so many agents, at least one, that can hold whatever is asked.
func alike(s *Spec, agents int) []fleet.Offer {
	offers := make([]fleet.Offer, max(agents, 1))
	for i := range offers {
		offers[i] = fleet.Offer{Agent: fleet.LocalName(i), Connections: s.Connections}
	}
	return offers
}

// localTarget is the target where it is an address of the loopback interface, or one there.
func localTarget(s *Spec) netip.AddrPort {
	if t, err := netip.ParseAddrPort(s.Target); err == nil && t.Addr().IsLoopback() {
		return t
	}
	return netip.MustParseAddrPort("127.0.0.1:8000")
}
