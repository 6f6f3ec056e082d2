package proxy

import "github.com/erlmcp/erlmcp/internal/mono"

// history returns what is kept of the nodes that there are now.
func (r *recorder) history() history {
	r.mu.Lock()
	defer r.mu.Unlock()
	h := history{Times: make([]int64, len(r.moments)), Nodes: []nodeHistory{}}
	for i, m := range r.moments {
		h.Times[i] = mono.Retell(m.at).UnixMilli()
	}
	for i := range r.last.nodes {
		n := &r.last.nodes[i]
		column := nodeHistory{Name: n.Name, Address: n.Address}
		for _, m := range r.moments {
			p, there := m.points[n.key]
			appendPoint(&column, p, there)
		}
		h.Nodes = append(h.Nodes, column)
	}
	return h
}

// appendPoint adds one second; there is false when the node was not.
func appendPoint(h *nodeHistory, p point, there bool) {
	if !there {
		h.Connections = append(h.Connections, nil)
		h.Connects = append(h.Connects, nil)
		h.Messages = append(h.Messages, nil)
		h.ConnectP99 = append(h.ConnectP99, nil)
		h.Requests = append(h.Requests, nil)
		h.AnswerP99 = append(h.AnswerP99, nil)
		return
	}
	measured := func(v *float64) *float64 {
		if *v > 0 {
			return v
		}
		return nil
	}
	h.Connections = append(h.Connections, &p.connections)
	h.Connects = append(h.Connects, &p.connects)
	h.Messages = append(h.Messages, &p.messages)
	h.ConnectP99 = append(h.ConnectP99, measured(&p.connectP99))
	h.Requests = append(h.Requests, &p.requests)
	h.AnswerP99 = append(h.AnswerP99, measured(&p.answerP99))
}
