package loadtest

import (
	"github.com/erlmcp/erlmcp/loadtest/internal/fleet"
	"github.com/erlmcp/erlmcp/loadtest/internal/latency"
	"github.com/erlmcp/erlmcp/loadtest/internal/wire"
)

// The parts of a mix are judged each by itself, where their clients differ: in who is spread, in latencies and in answers. A run
// of one target has no parts.

// countParts notes what the clients of each part had and were answered since the counts of an earlier moment.
func (r *run) countParts(earlier fleet.Parts) {
	if len(r.facts.aims) < 2 {
		return
	}
	r.report.Parts = nil
	for i := range r.facts.aims {
		a := &r.facts.aims[i]
		before, now := r.fleet.SinceOf(earlier, r.crew(i))
		p := Part{
			Name: string(a.to.Transport), Target: shownTarget(a.to.String()), Driver: string(a.driver), PerRequest: a.perRequest(), Shared: r.facts.seen.Balancer != nil && !a.holds(),
			Connections: &Connections{Target: r.connectionsOf(i), Verified: now.Verified, Established: now.Open, Failed: now.Failed, Dropped: now.Dropped, Attempts: now.Attempts, Failures: now.Failures, Losses: now.Losses},
			Requests:    requestsBetween(before, now),
		}
		if !a.names() {
			p.Nameless = a.who.Nameless
		}
		names := r.nodeNames(now)
		for _, name := range names {
			p.Nodes = append(p.Nodes, NodeResult{Name: name, Connections: now.Nodes[name]})
		}
		if a.names() && !p.PerRequest {
			p.Distribution = spreadOf(&r.spec, now.Verified, names, now.Nodes, true) // what is even is the sum of all parts
		}
		r.report.Parts = append(r.report.Parts, p)
	}
}

// crew are the agents of a part.
func (r *run) crew(part int) (agents []string) {
	for _, s := range r.plan.shares {
		if s.Part == part {
			agents = append(agents, s.Agent)
		}
	}
	return agents
}

// connectionsOf is how many a part has by plan.
func (r *run) connectionsOf(part int) (n int) {
	for _, s := range r.plan.shares {
		if s.Part == part {
			n += s.Connections
		}
	}
	return n
}

// measureParts merges what the agents of each part measured. The acknowledgements are in the order of the plan's shares.
func (r *run) measureParts(acks []wire.Ack) error {
	for i := range r.report.Parts {
		p := &r.report.Parts[i]
		var own []wire.Ack
		for k, s := range r.plan.shares {
			if s.Part == i {
				own = append(own, acks[k])
			}
		}
		nodes, err := merge(own, func(m *wire.Measured) map[string]latency.Message { return m.Nodes })
		if err != nil {
			return err
		}
		if err := p.measure(nodes, r.facts.aims[i].names()); err != nil {
			return err
		}
		if p.PerRequest && p.Nameless == "" {
			p.Distribution = spreadOfAnswers(&r.spec, p.Nodes)
		}
	}
	return nil
}

func (p *Part) measure(nodes map[string]*latency.Recording, named bool) (err error) {
	p.Latency, err = latencyOf(p.Nodes, nodes, named)
	return err
}

// report is the part as a run of its own, as far as it is judged by itself.
func (p *Part) report(of *Report) *Report {
	return &Report{
		Nameless: p.Nameless, PerRequest: p.PerRequest, Shared: p.Shared, Driver: p.Driver, Plan: of.Plan,
		Connections: p.Connections, Nodes: p.Nodes, Distribution: p.Distribution, Latency: p.Latency, Requests: p.Requests,
	}
}

// parts judges the parts of a mix, each under its name.
func (j *judgement) parts(s *Spec, r *Report) {
	for i := range r.Parts {
		p := &r.Parts[i]
		var own judgement
		of := p.report(r)
		own.distribution(of)
		own.latency(s, of)
		for _, c := range own.List {
			if c.Name == "kernel_agreement" || c.Name == "sticky" || c.Name == "failover" { // of all parts together
				continue
			}
			c.Name = p.Name + "/" + c.Name
			j.List = append(j.List, c)
		}
	}
}
