package proxy

import (
	"fmt"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"github.com/erlmcp/erlmcp/internal/mono"
	"github.com/erlmcp/erlmcp/proxy/internal/affinity"
	"github.com/erlmcp/erlmcp/proxy/internal/board"
)

// explainer asks what workers ask, of the same board and at one instant. What asking changes, it changes in copies.
type explainer struct {
	board  *board.Board
	spec   *Spec
	limits limits
	slots  []NodeSlot
	now    int64

	addr    netip.Addr
	exempt  bool
	info    board.Info // of the source, as far as it is known
	comes   newcomer
	message atomic.Int64 // its tat of messages
}

// presentNode is a node as the statistics have it, and its slot.
type presentNode struct {
	NodeStats
	slot int
}

func newExplainer(b *board.Board, spec *Spec, slots []NodeSlot, addr netip.Addr, now int64) *explainer {
	q := &explainer{board: b, spec: spec, limits: newLimits(spec), slots: slots, now: now, addr: addr, info: board.Info{Node: board.NoNode}}
	q.exempt = contains(q.limits.exempt, addr)
	q.comes = newcomer{active: b.Active(), rate: new(atomic.Int64)}
	sources := b.Sources()
	if id, ok := sources.Lookup(addr); ok {
		q.info = sources.Info(id)
		q.comes.bannedUntil, q.comes.held = q.info.BannedUntil, sources.Held(id)
		q.comes.rate.Store(sources.ConnectionRate(id).Load())
		q.message.Store(sources.MessageRate(id).Load())
	}
	return q
}

// enter decides as a worker with room for more does.
func (q *explainer) enter() (v ruling) {
	if !q.exempt {
		v = q.limits.permits(&q.comes, q.now, q.limits.patience)
	}
	if n := &q.comes; v.outcome != refused && q.limits.full(n.active) && (q.limits.overbooked(n.active) || !givesWay(q.most(), n.held)) {
		return ruling{outcome: refused, reason: board.ReasonFull}
	}
	return v
}

// most is how many connections the source has that would give way.
func (q *explainer) most() (held int) {
	sources := q.board.Sources()
	for r := range q.board.Rows() {
		if id := q.board.Worker(r).Heaviest.Load() - 1; id >= 0 {
			held = max(held, sources.Live(board.SlotID(id)))
		}
	}
	return held
}

// picker chooses as the worker of a row does.
func (q *explainer) picker(row int) *picker {
	p := &picker{balance: q.spec.Balance, board: q.board, row: row}
	p.begin(q.board.Turns().Copy(), q.board.Global().Seed)
	for _, s := range q.slots {
		p.set(s.Slot, newOption(q.board, s.Slot, s.Node.Name, portsOf(s.Node)))
	}
	return p
}

// choose chooses the node of a client, for each of the workers that it may come to. They may differ while a node
// refuses the connections of one of them.
func (q *explainer) choose(over board.Transport) (choices []choice) {
	wish := wish{over: over, now: q.now, address: hashAddr(q.addr), bound: q.info.Node, sticky: over == board.TCP && q.spec.Sticky.TCP == StickySource}
	for r := range q.board.Rows() {
		if q.board.Worker(r).PID.Load() != 0 {
			choices = append(choices, q.picker(r).choose(&wish))
		}
	}
	if len(choices) == 0 { // between two lives of the only worker
		choices = append(choices, q.picker(0).choose(&wish))
	}
	return choices
}

// name is that of the node in a slot.
func (q *explainer) name(slot int) string {
	i := slices.IndexFunc(q.slots, func(s NodeSlot) bool { return s.Slot == slot })
	if i < 0 {
		return ""
	}
	return q.slots[i].Node.Name
}

// names are the nodes to which choices lead.
func (q *explainer) names(choices []choice) []string {
	names := []string{}
	for _, c := range choices {
		ends := []candidate{{slot: c.node}}
		if c.by == byBalance && c.balance == BalanceRandom2 {
			ends = c.among
		}
		for _, end := range ends {
			if name := q.name(end.slot); name != "" && !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	return names
}

// outcome puts in words what becomes of a client over a transport, and how it waits, if entry lets it in.
func (q *explainer) outcome(over board.Transport, entry ruling, rate string) Outcome {
	if entry.outcome == refused {
		return Outcome{Reason: entry.reason.String(), Nodes: []string{}, Why: q.why(entry)}
	}
	choices := q.choose(over)
	c := choices[0]
	o := Outcome{Accepted: c.node != board.NoNode, Nodes: q.names(choices), Why: c.String()}
	switch {
	case !o.Accepted:
		o.Reason = c.reason.String()
	case entry.wait > 0:
		o.Why += fmt.Sprintf("; it waits %.0f ms first (lb.limits.%s)", milliseconds(entry.wait), rate)
	}
	return o
}

// why puts a refusal in words.
func (q *explainer) why(v ruling) string {
	l := &q.spec.Limits
	switch v.reason {
	case board.ReasonBan:
		return "it is banned until " + mono.Time(q.info.BannedUntil).Format(time.TimeOnly)
	case board.ReasonPerSource:
		setting := "share_percent"
		if q.limits.maxSaid {
			setting = "max_per_source"
		}
		return fmt.Sprintf("it has %d connections (lb.limits.%s)", q.comes.held, setting)
	case board.ReasonRate:
		return fmt.Sprintf("it connects too often (lb.limits.connections_per_second: %d)", l.ConnectionsPerSecond)
	case board.ReasonMessageRate:
		return fmt.Sprintf("it sends too often (lb.limits.messages_per_second: %d)", l.MessagesPerSecond)
	default:
		return fmt.Sprintf("all %d places are taken (lb.max_connections)", q.spec.MaxConnections)
	}
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// explain tells what would become of a client.
func (q *explainer) explain(source netip.Prefix, nodes []presentNode) Explanation {
	l := &q.limits
	e := Explanation{
		Source:        sourceText(source),
		Listener:      fileTCP,
		TrustedProxy:  contains(l.proxies, q.addr),
		ProxyProtocol: contains(l.trusted, q.addr),
		Exempt:        q.exempt,
		Violations:    q.info.Violations,
		Connections:   q.info.Live,
		Connection:    RateState{q.spec.Limits.ConnectionsPerSecond, milliseconds(l.connection.wait(q.comes.rate, q.now))},
		Message:       RateState{q.spec.Limits.MessagesPerSecond, milliseconds(l.message.wait(&q.message, q.now))},
	}
	if q.info.BannedUntil > q.now {
		e.BannedUntil = mono.Time(q.info.BannedUntil)
	}
	listen, entry := q.spec.Listening(), q.enter()
	if listen.needs(board.HTTP) {
		e.HTTP = q.http(entry, e.Message)
	}
	if !listen.needs(board.TCP) {
		e.Listener, e.Outcome, e.Choices = fileHTTP, e.HTTP.Outcome, q.choices(nodes, board.HTTP)
		return e
	}
	if q.spec.Sticky.TCP == StickySource {
		e.Sticky = q.name(q.info.Node)
	}
	e.Outcome = q.outcome(board.TCP, entry, fmt.Sprintf("connections_per_second: %d", e.Connection.PerSecond))
	e.Choices = q.choices(nodes, board.TCP)
	return e
}

// http tells what would become of an HTTP request.
func (q *explainer) http(entry ruling, message RateState) *HTTPExplanation {
	h := &HTTPExplanation{Order: requestOrder(q.spec)}
	if !q.exempt && entry.outcome != refused {
		entry = q.limits.request(&q.message, q.now)
	}
	h.Outcome = q.outcome(board.HTTP, entry, fmt.Sprintf("messages_per_second: %d", message.PerSecond))
	if q.exempt {
		return h
	}
	if h.Message.RateState = message; message.PerSecond > 0 {
		h.Message.Action = q.limits.requests
	}
	for i, tool := range q.spec.Limits.Tools {
		l := &q.limits.tools[i]
		wait := l.rate.wait(q.board.ToolRate(q.addr, l.hash), q.now)
		h.Tools = append(h.Tools, ToolState{tool.Name, RateState{tool.PerSecond, milliseconds(wait)}})
	}
	return h
}

// requestOrder is the order in which picker.choose looks for a node.
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

// choices lists the nodes as those see them who choose over a transport.
func (q *explainer) choices(nodes []presentNode, over board.Transport) []NodeChoice {
	list := make([]NodeChoice, len(nodes))
	p := q.picker(0)
	among, _, _ := p.candidates(&wish{over: over, now: q.now})
	for i, n := range nodes {
		list[i] = NodeChoice{Name: n.Name, Connections: n.Connections, Pledged: n.Pledged, Max: n.MaxConnections, Weight: n.Weight}
		switch _, a := p.may(n.slot, over, whenUp); {
		case n.State == NodeDegraded:
			list[i].Excluded = n.Missing()
		case find(among, n.slot) != nil:
		case a == full:
			list[i].Excluded = "at its cap"
		case a == open:
			list[i].Excluded = "refuses connections"
		case n.State == NodeUp:
			list[i].Excluded = "no port for " + over.String()
		default:
			list[i].Excluded = n.State
		}
	}
	return list
}

// tag tells what would become of a request with a session id or a cookie.
func (q *explainer) tag(r tagRequest, ring *affinity.Ring, nodes []NodeStats) TagExplanation {
	e := TagExplanation{Kind: r.Kind}
	wish := wish{over: board.HTTP, now: q.now, bound: board.NoNode}
	var slot int
	switch r.Kind {
	case TagSession:
		_, slot, wish.pin.since, e.Tagged = ring.Session([]byte(r.Value))
		wish.pin.named, wish.pin.node = e.Tagged, slot
		if !q.spec.Sticky.MCPSession {
			e.Why = "sessions are not looked at (lb.sticky.mcp_session: false)"
		}
	case TagCookie:
		slot, e.Tagged = ring.Cookie([]byte(r.Value))
		wish.cookies = []int8{int8(slot)}
		if q.spec.Sticky.HTTP != StickyCookie {
			e.Why = fmt.Sprintf("cookies are not looked at (lb.sticky.http: %s)", q.spec.Sticky.HTTP)
		}
	}
	stats := Stats{Nodes: nodes}
	e.Node = q.name(slot)
	node := stats.Node(e.Node)
	if e.State = stateOver(node); e.Why != "" {
		return e
	}
	p := q.picker(0)
	c := p.choose(&wish)
	if e.Kept = c.by == bySession || c.by == byCookie; !e.Kept && e.Tagged && r.Kind == TagSession {
		e.Status = refusalOf(c.reason, 0).status
	}
	_, a := p.may(slot, board.HTTP, whenServing)
	e.Why = whyKept(&e, node, a)
	return e
}

// stateOver is the state of a node over HTTP, or as a whole if it does not serve that.
func stateOver(n *NodeStats) string {
	if n == nil { // removed meanwhile
		return ""
	}
	if over := n.Over(fileHTTP); over != nil {
		return over.State
	}
	return n.State
}

// whyKept puts in words whether the node takes a request that belongs to it.
func whyKept(e *TagExplanation, n *NodeStats, a room) string {
	switch {
	case !e.Tagged:
		return "it has no tag: no balancer has made it"
	case n == nil:
		return "no present node has its tag: the node was removed, the key is another one, or it was altered"
	case n.Over(fileHTTP) == nil:
		return "its node has no HTTP port"
	case e.State == NodeMaintenance:
		return "its node is in maintenance"
	case a == closed:
		return "its node is down over " + n.Over(fileHTTP).Name
	case a == full:
		return "its node is at its cap (lb.node_max_connections)"
	case !e.Kept:
		return "its node has been restarted since it began"
	case e.State == NodeUp:
		return "its node is up"
	case e.State == NodeSilent:
		return "its node answers no checks now, but keeps what it has (lb.checks.give_up)"
	}
	return "its node takes no new clients, but keeps those it has"
}
