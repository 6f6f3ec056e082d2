package proxy

import "github.com/erlmcp/erlmcp/internal/mono"

// history is the last minutes, one column of numbers a node and quantity. Columns are as long as
// Times; a null is a second in which there was no such node, or nothing to measure.
type history struct {
	Times []int64       `json:"times"` // Unix milliseconds
	Nodes []nodeHistory `json:"nodes"`
}

type nodeHistory struct {
	Name        string     `json:"name"`
	Address     string     `json:"address"`
	Connections []*int64   `json:"connections"`
	Connects    []*float64 `json:"connections_per_s"`
	Messages    []*float64 `json:"messages_per_s"`
	ConnectP99  []*float64 `json:"connect_p99_us"`
	Requests    []*float64 `json:"requests_per_s"`
	AnswerP99   []*float64 `json:"answer_p99_us"`
}

// history returns what is kept of the nodes that there are now.
func (r *recorder) history() history {
	r.mu.Lock()
	defer r.mu.Unlock()
	h := history{Times: make([]int64, len(r.moments)), Nodes: []nodeHistory{}}
	for i, m := range r.moments {
		h.Times[i] = mono.Retell(m.at).UnixMilli()
	}
	for i := range r.last.Nodes {
		n := &r.last.Nodes[i]
		column := nodeHistory{Name: n.Name, Address: n.Address}
		for _, m := range r.moments {
			p, there := m.points[n.key()]
			column.append(p, there)
		}
		h.Nodes = append(h.Nodes, column)
	}
	return h
}

// append adds one second; there is false when the node was not.
func (h *nodeHistory) append(p point, there bool) {
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
