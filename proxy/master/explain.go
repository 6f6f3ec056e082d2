package master

import (
	"net/netip"

	"github.com/erlmcp/erlmcp/internal/mono"
	"github.com/erlmcp/erlmcp/proxy"
	"github.com/erlmcp/erlmcp/proxy/internal/affinity"
	"github.com/erlmcp/erlmcp/proxy/internal/explain"
	"github.com/erlmcp/erlmcp/proxy/internal/wire"
)

// explainer asks for m.
func (m *master) explainer(addr netip.Addr) *explain.Explainer {
	return explain.New(m.board, &m.inForce.Load().spec, m.members.slots(), addr, mono.Now())
}

func (m *master) explain(addr netip.Addr, source netip.Prefix) proxy.Explanation {
	counts := m.members.counts()
	nodes := make([]explain.PresentNode, len(counts))
	for i, n := range counts {
		nodes[i] = explain.PresentNode{NodeStats: n.NodeStats, Slot: n.slot}
	}
	return m.explainer(addr).Explain(source, nodes)
}

// explainTag keeps the key here.
func (m *master) explainTag(r proxy.TagRequest) (proxy.TagExplanation, error) {
	if r.Kind != proxy.TagSession && r.Kind != proxy.TagCookie {
		return proxy.TagExplanation{}, conflict("kind", "%q is neither %s nor %s", r.Kind, proxy.TagSession, proxy.TagCookie)
	}
	q := m.explainer(netip.Addr{})
	ring, err := affinity.New(m.inForce.Load().key)
	if err != nil {
		return proxy.TagExplanation{}, err
	}
	ring.SetNodes(wire.SlotNames(q.Slots))
	return q.Tag(r, ring, m.members.stats()), nil
}
