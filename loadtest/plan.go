package loadtest

import (
	"fmt"
	"slices"
	"time"

	"github.com/erlmcp/erlmcp/loadtest/internal/fleet"
	"github.com/erlmcp/erlmcp/loadtest/internal/sources"
	"github.com/erlmcp/erlmcp/loadtest/internal/target"
	"github.com/erlmcp/erlmcp/loadtest/internal/wire"
	"github.com/erlmcp/erlmcp/loadtest/internal/work"
	"github.com/erlmcp/erlmcp/loadtest/system"
)

// plan is who opens how many connections, from where and how fast.
type plan struct {
	connections int
	sources     int     // over all agents
	common      int     // of these, the first of the common ones
	perSource   int     // connections of the fullest source
	rampRate    float64 // connections per second, over all agents
	pingRate    float64 // requests per second, over all agents
	patience    wire.Patience
	shares      []fleet.Share
}

const (
	// minSources is how many sources a run has, connections permitting. A balancer keeps a source on
	// one node, so the sources are the grains of its distribution.
	minSources = 1_000

	// A source uses at most these parts of what the balancer allows it: the rest is room for
	// reconnects and for a schedule that catches up.
	rampLoad = 0.8
	pingLoad = 0.5

	// maxPingsPerConnection, per second, keeps small runs from being floods.
	maxPingsPerConnection = 20
)

// sessionRamp is how many clients begin per second at most where each begins a session, which takes several requests.
const sessionRamp = 2000

// suit fits the plan to what clients do there.
func (p *plan) suit(f *facts, l system.Limits) {
	if f.any(func(a *aim) bool { return a.sessions() || a.to.Transport == target.SSE }) {
		p.rampRate = min(p.rampRate, sessionRamp)
	}
	p.ask(f.think(), l)
}

// ask sets the rate of requests by the think time of clients, if they have one, as far as the balancer lets them.
func (p *plan) ask(t work.Think, l system.Limits) {
	rate := t.Rate(p.connections)
	if rate == 0 {
		return
	}
	if p.pingRate = rate; l.MessagesPerSecond > 0 {
		p.pingRate = min(rate, pingLoad*float64(p.sources*l.MessagesPerSecond))
	}
}

// makePlan divides the connections of each part among the agents that it gets, by what each can take, and the common sources
// among those that brought none.
func makePlan(s *Spec, common sources.Range, l system.Limits, offers []fleet.Offer) (*plan, error) {
	p, parts := &plan{connections: s.Connections}, s.parts()
	crews, err := assign(parts, offers)
	if err != nil {
		return nil, err
	}
	wanted := sourcesFor(s)
	if common.First.IsValid() { // each agent's share is rounded up
		wanted = max(min(wanted, common.Count-len(offers)), fewestSources(s))
	}
	unbound, planned := 0, 0
	for part, crew := range crews {
		for _, sh := range divide(parts[part], crew) {
			sh.Part, sh.First = part, planned
			planned += sh.Connections
			n := sh.Connections
			// Rounded up, so that no source gets more than its connections_per_source.
			k := min(n, ceilDiv(wanted*n, s.Connections))
			switch own := sh.Sources; {
			case own.Count > 0:
				sh.Sources = own.Slice(0, min(k, own.Count))
			case !common.First.IsValid():
				sh.Sources = sources.KernelsChoice
				unbound += n
			case p.common+k > common.Count:
				return nil, fmt.Errorf("%d source addresses are not enough for %d connections at %d each",
					common.Count, s.Connections, s.ConnectionsPerSource)
			default:
				sh.Sources = common.Slice(p.common, p.common+k)
				p.common += k
			}
			if sh.Sources != sources.KernelsChoice {
				p.sources += sh.Sources.Count
				p.perSource = max(p.perSource, ceilDiv(n, sh.Sources.Count))
			}
			p.shares = append(p.shares, sh)
		}
	}
	if unbound > 0 { // these are taken to be on one machine, and so to have one address
		p.sources++
		p.perSource = max(p.perSource, unbound)
	}
	p.rampRate, p.pingRate = rates(s, p.sources, l)
	p.patience = patienceFor(p.perSource, l)
	return p, nil
}

// assign gives every part agents of its own: each one goes to the part that lacks most, and those that nobody lacks to the
// part with most connections an agent.
func assign(parts []int, offers []fleet.Offer) (crews [][]fleet.Offer, err error) {
	crews = make([][]fleet.Offer, len(parts))
	lacking := slices.Clone(parts)
	for _, o := range offers {
		next := 0
		for i := range parts {
			if lacking[i] > max(lacking[next], 0) || lacking[next] <= 0 && lacking[i] <= 0 &&
				parts[i]*len(crews[next]) > parts[next]*len(crews[i]) {
				next = i
			}
		}
		crews[next] = append(crews[next], o)
		lacking[next] -= o.Connections
	}
	for i, n := range parts {
		if lacking[i] > 0 {
			return nil, fmt.Errorf("%d agents hold %d connections together, not %d", len(crews[i]), n-lacking[i], n)
		}
	}
	return crews, nil
}

// divide shares connections out by what each agent can take. The sources of a share are all that the agent has.
func divide(connections int, crew []fleet.Offer) (shares []fleet.Share) {
	room := 0
	for _, o := range crew {
		room += o.Connections
	}
	given, taken := 0, 0
	for _, o := range crew {
		given += o.Connections
		upTo := int(int64(connections) * int64(given) / int64(room))
		if n := upTo - taken; n > 0 {
			shares = append(shares, fleet.Share{Agent: o.Agent, Connections: n, Sources: o.Sources})
		}
		taken = upTo
	}
	return shares
}

// sourcesFor is how many sources a run wants, and fewestSources how many it needs.
func sourcesFor(s *Spec) int { return min(s.Connections, max(minSources, fewestSources(s))) }

func fewestSources(s *Spec) int { return ceilDiv(s.Connections, s.ConnectionsPerSource) }

// shortestRamp keeps the ramps of small runs from being one burst: choices that a balancer makes at the same moment cannot
// see each other, nor sessions that have no stream yet.
const shortestRamp = time.Second

func rates(s *Spec, sources int, l system.Limits) (ramp, ping float64) {
	ramp = min(float64(s.RampRate), float64(s.Connections)/shortestRamp.Seconds())
	if l.ConnectionsPerSecond > 0 {
		ramp = min(ramp, rampLoad*float64(sources*l.ConnectionsPerSecond))
	}
	ping = min(float64(s.PingRate), maxPingsPerConnection*float64(s.Connections))
	if l.MessagesPerSecond > 0 {
		ping = min(ping, pingLoad*float64(sources*l.MessagesPerSecond))
	}
	return ramp, ping
}

// patienceFor is that of clients who share a source: when all of them come back at once, they stay
// within the rate the balancer allows the source.
func patienceFor(perSource int, l system.Limits) wire.Patience {
	p := wire.LeastPatience
	if l.ConnectionsPerSecond > 0 {
		span := time.Duration(float64(perSource) / float64(l.ConnectionsPerSecond) * float64(time.Second))
		p.Spread = max(p.Spread, span)
		p.Base = max(p.Base, span/2) // the first retry is within 2·Base
		p.Limit = max(p.Limit, 8*span)
	}
	return p
}

// fraction is the share's part of all connections.
func (p *plan) fraction(sh fleet.Share) float64 {
	return float64(sh.Connections) / float64(p.connections)
}

// minTolerance is how far a node may be from its fair share in the smallest run: choices made at
// the same moment by several workers of a balancer cannot see each other.
const minTolerance = 5

// tolerance is how many connections a node may be away from fair.
func tolerance(percent, fair float64) int {
	return max(minTolerance, int(percent/100*fair+0.5))
}

func ceilDiv(a, b int) int { return (a + b - 1) / b }
