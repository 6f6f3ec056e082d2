package loadtest

import (
	"fmt"
	"slices"
	"time"

	"github.com/erlmcp/erlmcp/loadtest/internal/sources"
	"github.com/erlmcp/erlmcp/loadtest/internal/target"
	"github.com/erlmcp/erlmcp/loadtest/internal/wire"
	"github.com/erlmcp/erlmcp/loadtest/internal/work"
)

// Limits are what the balancer allows one source. 0 is no limit.
type Limits struct {
	ConnectionsPerSecond int
	MessagesPerSecond    int
	MaxPerSource         int // connections at a time
}

// plan is who opens how many connections, from where and how fast.
type plan struct {
	connections int
	sources     int     // over all agents
	common      int     // of these, the first of the common ones
	perSource   int     // connections of the fullest source
	rampRate    float64 // connections per second, over all agents
	pingRate    float64 // requests per second, over all agents
	patience    wire.Patience
	shares      []share
}

// share is one agent's part of a plan. Its i-th connection comes from its source i modulo the
// number of its sources, so that a ramp takes one connection of every source, then a second one.
type share struct {
	agent       string
	part        int // of a mix: which of its aims
	first       int // connections of the shares before
	connections int
	sources     sources.Range
}

// offer is what an agent can take on.
type offer struct {
	agent       string
	connections int           // by its descriptors
	sources     sources.Range // its own; without any it gets a part of the common ones
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
func (p *plan) suit(f *facts, l Limits) {
	if !f.all(func(a *aim) bool { return !a.sessions() && a.to.Transport != target.SSE }) {
		p.rampRate = min(p.rampRate, sessionRamp)
	}
	p.ask(f.think(), l)
}

// ask sets the rate of requests by the think time of clients, if they have one, as far as the balancer lets them.
func (p *plan) ask(t work.Think, l Limits) {
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
func makePlan(s *Spec, common sources.Range, l Limits, offers []offer) (*plan, error) {
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
			sh.part, sh.first = part, planned
			planned += sh.connections
			n := sh.connections
			// Rounded up, so that no source gets more than its connections_per_source.
			k := min(n, ceilDiv(wanted*n, s.Connections))
			switch own := sh.sources; {
			case own.Count > 0:
				sh.sources = own.Slice(0, min(k, own.Count))
			case !common.First.IsValid():
				sh.sources = sources.KernelsChoice
				unbound += n
			case p.common+k > common.Count:
				return nil, fmt.Errorf("%d source addresses are not enough for %d connections at %d each",
					common.Count, s.Connections, s.ConnectionsPerSource)
			default:
				sh.sources = common.Slice(p.common, p.common+k)
				p.common += k
			}
			if sh.sources != sources.KernelsChoice {
				p.sources += sh.sources.Count
				p.perSource = max(p.perSource, ceilDiv(n, sh.sources.Count))
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
func assign(parts []int, offers []offer) (crews [][]offer, err error) {
	crews = make([][]offer, len(parts))
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
		lacking[next] -= o.connections
	}
	for i, n := range parts {
		if lacking[i] > 0 {
			return nil, fmt.Errorf("%d agents hold %d connections together, not %d", len(crews[i]), n-lacking[i], n)
		}
	}
	return crews, nil
}

// divide shares connections out by what each agent can take. The sources of a share are all that the agent has.
func divide(connections int, crew []offer) (shares []share) {
	room := 0
	for _, o := range crew {
		room += o.connections
	}
	given, taken := 0, 0
	for _, o := range crew {
		given += o.connections
		upTo := int(int64(connections) * int64(given) / int64(room))
		if n := upTo - taken; n > 0 {
			shares = append(shares, share{agent: o.agent, connections: n, sources: o.sources})
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

func rates(s *Spec, sources int, l Limits) (ramp, ping float64) {
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
func patienceFor(perSource int, l Limits) wire.Patience {
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
func (p *plan) fraction(sh share) float64 { return float64(sh.connections) / float64(p.connections) }

// minTolerance is how far a node may be from its fair share in the smallest run: choices made at
// the same moment by several workers of a balancer cannot see each other.
const minTolerance = 5

// tolerance is how many connections a node may be away from fair.
func tolerance(percent, fair float64) int {
	return max(minTolerance, int(percent/100*fair+0.5))
}

func ceilDiv(a, b int) int { return (a + b - 1) / b }
