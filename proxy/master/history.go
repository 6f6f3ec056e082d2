package master

import (
	"github.com/erlmcp/erlmcp/internal/mono"
	"github.com/erlmcp/erlmcp/proxy/internal/admin"
)

// history returns what is kept of the nodes that there are now.
func (r *recorder) history() admin.History {
	r.mu.Lock()
	defer r.mu.Unlock()
	h := admin.History{Times: make([]int64, len(r.moments)), Nodes: []admin.NodeHistory{}}
	for i, m := range r.moments {
		h.Times[i] = mono.Retell(m.at).UnixMilli()
	}
	for i := range r.last.nodes {
		n := &r.last.nodes[i]
		column := admin.NodeHistory{Name: n.Name, Address: n.Address}
		for _, m := range r.moments {
			p, there := m.points[n.key]
			appendPoint(&column, p, there)
		}
		h.Nodes = append(h.Nodes, column)
	}
	return h
}

// appendPoint adds one second; there is false when the node was not.
func appendPoint(h *admin.NodeHistory, p point, there bool) {
	h.Connections = append(h.Connections, known(&p.connections, there))
	h.Connects = append(h.Connects, known(&p.connects, there))
	h.Messages = append(h.Messages, known(&p.messages, there))
	h.ConnectP99 = append(h.ConnectP99, known(&p.connectP99, p.connectP99 > 0))
	h.Requests = append(h.Requests, known(&p.requests, there))
	h.AnswerP99 = append(h.AnswerP99, known(&p.answerP99, p.answerP99 > 0))
}

func known[T any](v *T, is bool) *T {
	if !is {
		return nil
	}
	return v
}
