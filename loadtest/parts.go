package loadtest

import (
	"slices"

	"github.com/erlmcp/erlmcp/loadtest/internal/fleet"
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
		agents, clients := r.clientsOf(i)
		before, now := r.fleet.SinceOf(earlier, agents)
		p := Part{
			Name: string(a.to.Transport), Target: shownTarget(a.to.String()), Driver: string(a.driver), PerRequest: a.perRequest(), Shared: r.facts.seen.Balancer != nil && !a.holds(),
			Connections: &Connections{Target: clients, Verified: now.Verified, Established: now.Open, Failed: now.Failed, Dropped: now.Dropped, Attempts: now.Attempts, Failures: now.Failures, Losses: now.Losses},
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

// clientsOf are the agents of a part, and how many clients those that are left are to hold.
func (r *run) clientsOf(part int) (agents []string, clients int) {
	for _, s := range r.fleet.Left(r.plan.shares) {
		if s.Part == part {
			agents = append(agents, s.Agent)
			clients += s.Connections
		}
	}
	return agents, clients
}

// measureParts merges what the agents of each part measured.
func (r *run) measureParts(all []measured) error {
	for i := range r.report.Parts {
		p := &r.report.Parts[i]
		own := slices.DeleteFunc(slices.Clone(all), func(m measured) bool { return m.part != i })
		nodes, err := merge(own, byNode)
		if err != nil {
			return err
		}
		if p.Latency, err = latencyOf(p.Nodes, nodes, r.facts.aims[i].names()); err != nil {
			return err
		}
		if p.PerRequest && p.Nameless == "" {
			p.Distribution = spreadOfAnswers(&r.spec, p.Nodes)
		}
	}
	return nil
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
