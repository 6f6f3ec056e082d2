package proxy

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/erlmcp/erlmcp/internal/mono"
	"github.com/erlmcp/erlmcp/proxy/internal/affinity"
	"github.com/erlmcp/erlmcp/proxy/internal/board"
)

// HTTPExplanation is what would happen to an HTTP request of a client on a new connection.
type HTTPExplanation struct {
	Accepted bool   `json:"accepted"`
	Reason   string `json:"reason,omitempty"` // of a refusal: a key of RefusedStats
	// Nodes is where a request without session and cookie would go: one, or any of several.
	Nodes []string `json:"nodes"`
	Why   string   `json:"why"`
	// Order is what decides about a request's node: the first of them that the request has.
	Order []string `json:"order"`
	// Message and Tools are the rates that bind its requests; a client that is exempt has none.
	Message MessageState `json:"message_rate"`
	Tools   []ToolState  `json:"tools,omitempty"`
}

// MessageState is where a source stands with the message rate over HTTP.
type MessageState struct {
	RateState
	Action Action `json:"action,omitempty"` // with a request over it; "" without a limit
}

// ToolState is where a source stands with the rate of a tool, which binds calls of the stateless era
// besides. Those over it are always rejected.
type ToolState struct {
	Name string `json:"name"`
	RateState
}

// explainHTTP goes the way of httpClient.examine and worker.route, behind that of a connection.
func (m *master) explainHTTP(spec *Spec, limits *limits, e Explanation, addr netip.Addr) *HTTPExplanation {
	h := &HTTPExplanation{Order: requestOrder(spec)}
	if !e.Exempt {
		h.Message, h.Tools = messageState(spec, e.Message), m.toolStates(spec, limits, addr)
	}
	if e.enter(m, spec, limits) {
		waits := e.Message.WaitMs > 0 && !e.Exempt
		if waits && spec.Limits.Action != ActionThrottle && (limits.reject || tooLong(e.Message, limits)) {
			e.refuse(board.ReasonMessageRate, "it sends too often (lb.limits.messages_per_second: %d)", e.Message.PerSecond)
		} else {
			e.choose(m, spec.Balance, addr, board.NoNode, board.HTTP)
			if waits && e.Accepted {
				e.waits(e.Message, "messages")
			}
		}
	}
	h.Accepted, h.Reason, h.Nodes, h.Why = e.Accepted, e.Reason, e.Nodes, e.Why
	return h
}

// messageState is what examine makes of a rate.
func messageState(spec *Spec, r RateState) MessageState {
	s := MessageState{RateState: r}
	switch {
	case r.PerSecond == 0:
	case spec.Limits.Action == ActionThrottle:
		s.Action = ActionThrottle
	case spec.Limits.Action == ActionReject:
		s.Action = ActionReject
	default:
		s.Action = ActionHold
	}
	return s
}

// toolStates goes the way of httpClient.toolOver for each tool.
func (m *master) toolStates(spec *Spec, limits *limits, addr netip.Addr) (list []ToolState) {
	now := mono.Now()
	for i, t := range spec.Limits.Tools {
		l := &limits.tools[i]
		wait := waitMs(l.rate, m.board.ToolRate(addr, l.hash), now)
		list = append(list, ToolState{t.Name, RateState{PerSecond: t.PerSecond, WaitMs: wait}})
	}
	return list
}

// requestOrder is the order in which worker.route looks for a node.
func requestOrder(spec *Spec) []string {
	var order []string
	if spec.Sticky.MCPSession {
		order = append(order, "session (Mcp-Session-Id)", "legacy event stream (the URI to post to)")
	}
	if spec.Sticky.HTTP == StickyCookie {
		order = append(order, "cookie ("+spec.Sticky.Cookie+")")
	}
	if spec.Sticky.TCP == StickySource {
		order = append(order, "source (WebSockets and legacy event streams only)")
	}
	return append(order, "balance ("+string(spec.Balance)+")")
}

// What a tag is part of.
const (
	TagSession = "session"
	TagCookie  = "cookie"
)

// TagExplanation is which node a session id or cookie names, and what would become of a request with
// it.
type TagExplanation struct {
	Kind   string `json:"kind"`   // TagSession, TagCookie
	Tagged bool   `json:"tagged"` // it looks like one that a balancer made
	Node   string `json:"node,omitempty"`
	State  string `json:"state,omitempty"` // of the node
	// Kept is whether the request goes to that node. If not, one with a session is answered with Status,
	// unless that is 0: it then goes where one without would go.
	Kept   bool   `json:"kept"`
	Status int    `json:"status,omitempty"`
	Why    string `json:"why"`
}

// tagRequest asks about a tagged value.
type tagRequest struct {
	Kind  string `json:"kind"`
	Value string `json:"value"`
}

// explainTag goes the way of worker.pinnedTo and worker.cookieNode. The key stays here.
func (m *master) explainTag(q tagRequest) (TagExplanation, error) {
	now := m.now.Load()
	e := TagExplanation{Kind: q.Kind}
	ring, err := affinity.New(now.key)
	if err != nil {
		return e, err
	}
	slots, names := m.members.slots(), make([]string, board.MaxNodes)
	for _, s := range slots {
		names[s.Slot] = s.Node.Name
	}
	ring.SetNodes(names)
	slot, since := affinity.Unknown, affinity.Time(0)
	switch q.Kind {
	case TagSession:
		_, slot, since, e.Tagged = ring.Session([]byte(q.Value))
		if !now.spec.Sticky.MCPSession {
			e.Why = "sessions are not looked at (lb.sticky.mcp_session: false)"
		}
	case TagCookie:
		slot, e.Tagged = ring.Cookie([]byte(q.Value))
		if now.spec.Sticky.HTTP != StickyCookie {
			e.Why = fmt.Sprintf("cookies are not looked at (lb.sticky.http: %s)", now.spec.Sticky.HTTP)
		}
	default:
		return e, refusal("kind", "%q is neither %s nor %s", q.Kind, TagSession, TagCookie)
	}
	ignored := e.Why != ""
	i := slices.IndexFunc(slots, func(s NodeSlot) bool { return s.Slot == slot })
	switch {
	case ignored && i < 0:
	case !e.Tagged:
		e.Why = "it has no tag: no balancer has made it"
	case i < 0:
		e.lost("no present node has its tag: the node was removed, the key is another one, or it was altered")
	default:
		e.Node = slots[i].Node.Name
		e.judge(m, ignored)
		p := newBackend(m.board, 0, slots[i]).over[board.HTTP]
		if q.Kind == TagSession && !ignored && e.Kept && p.buried(since) {
			e.Kept = false
			e.lost("its node has been restarted since it began")
		}
	}
	return e, nil
}

// judge decides as worker.serves and worker.atCap do.
func (e *TagExplanation) judge(m *master, ignored bool) {
	stats := Stats{Nodes: m.members.stats()}
	n := stats.Node(e.Node)
	if n == nil { // removed meanwhile
		return
	}
	e.State = n.State
	over := n.Over("http")
	if over != nil {
		e.State = over.State
	}
	switch {
	case ignored:
	case over == nil:
		e.lost("its node has no HTTP port")
	case over.State == NodeDown:
		e.lost("its node is down over " + over.Name)
	case over.State == NodeMaintenance:
		e.lost("its node is in maintenance")
	case n.MaxConnections > 0 && n.Connections >= n.MaxConnections:
		e.lost("its node is at its cap (lb.node_max_connections)")
		if e.Kind == TagSession {
			e.Status = statusOf(board.ReasonFull)
		}
	case over.State == NodeUp:
		e.Kept, e.Why = true, "its node is up"
	case over.State == NodeSilent:
		e.Kept, e.Why = true, "its node answers no checks now, but keeps what it has (lb.checks.give_up)"
	default:
		e.Kept, e.Why = true, "its node takes no new clients, but keeps those it has"
	}
}

// lost is for a value whose node cannot be had.
func (e *TagExplanation) lost(why string) {
	e.Why = why
	if e.Kind == TagSession {
		e.Status = statusOf(board.ReasonSessionGone)
	}
}

// statusOf is the status of a refusal.
func statusOf(r board.Reason) int { return denialOf(r, 0).status }
