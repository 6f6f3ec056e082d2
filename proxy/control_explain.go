package proxy

import (
	"net/netip"

	"github.com/erlmcp/erlmcp/internal/mono"
	"github.com/erlmcp/erlmcp/proxy/internal/affinity"
)

// explainer asks for m.
func (m *master) explainer(addr netip.Addr) *explainer {
	return newExplainer(m.board, &m.inForce.Load().spec, m.members.slots(), addr, mono.Now())
}

func (m *master) explain(addr netip.Addr, source netip.Prefix) Explanation {
	counts := m.members.counts()
	nodes := make([]presentNode, len(counts))
	for i, n := range counts {
		nodes[i] = presentNode{n.NodeStats, n.slot}
	}
	return m.explainer(addr).explain(source, nodes)
}

// explainTag keeps the key here.
func (m *master) explainTag(r tagRequest) (TagExplanation, error) {
	if r.Kind != TagSession && r.Kind != TagCookie {
		return TagExplanation{}, conflict("kind", "%q is neither %s nor %s", r.Kind, TagSession, TagCookie)
	}
	q := m.explainer(netip.Addr{})
	ring, err := affinity.New(m.inForce.Load().key)
	if err != nil {
		return TagExplanation{}, err
	}
	ring.SetNodes(slotNames(q.slots))
	return q.tag(r, ring, m.members.stats()), nil
}
