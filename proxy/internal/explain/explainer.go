// Package explain tells what would become of a client, and why. It asks what workers ask, and changes nothing.
package explain

import (
	"fmt"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"github.com/erlmcp/erlmcp/internal/mono"
	"github.com/erlmcp/erlmcp/proxy"
	"github.com/erlmcp/erlmcp/proxy/internal/affinity"
	"github.com/erlmcp/erlmcp/proxy/internal/board"
	"github.com/erlmcp/erlmcp/proxy/internal/policy"
	"github.com/erlmcp/erlmcp/proxy/internal/wire"
)

// Explainer asks what workers ask, of the same board and at one instant. What asking changes, it changes in copies.
type Explainer struct {
	board  *board.Board
	spec   *proxy.Spec
	limits policy.Limits
	Slots  []wire.NodeSlot
	now    int64

	addr    netip.Addr
	exempt  bool
	info    board.Info // of the source, as far as it is known
	comes   policy.Newcomer
	message atomic.Int64 // its tat of messages
}

// PresentNode is a node as the statistics have it, and its slot.
type PresentNode struct {
	proxy.NodeStats
	Slot int
}

// New returns who explains about a client at addr, as of now.
func New(b *board.Board, spec *proxy.Spec, slots []wire.NodeSlot, addr netip.Addr, now int64) *Explainer {
	q := &Explainer{board: b, spec: spec, limits: policy.NewLimits(spec), Slots: slots, now: now, addr: addr, info: board.Info{Node: board.NoNode}}
	q.exempt = policy.Contains(q.limits.Exempt, addr)
	q.comes = policy.Newcomer{Active: b.Active(), Rate: new(atomic.Int64)}
	sources := b.Sources()
	if id, ok := sources.Lookup(addr); ok {
		q.info = sources.Info(id)
		q.comes.BannedUntil, q.comes.Held = q.info.BannedUntil, sources.Held(id)
		q.comes.Rate.Store(sources.ConnectionRate(id).Load())
		q.message.Store(sources.MessageRate(id).Load())
	}
	return q
}

// enter decides as a worker with room for more does.
func (q *Explainer) enter() (v policy.Ruling) {
	if !q.exempt {
		v = q.limits.Permits(&q.comes, q.now, q.limits.Patience)
	}
	if n := &q.comes; v.Outcome != policy.Refused && q.limits.Full(n.Active) && (q.limits.Overbooked(n.Active) || !policy.GivesWay(q.most(), n.Held)) {
		return policy.Ruling{Outcome: policy.Refused, Reason: board.ReasonFull}
	}
	return v
}

// most is how many connections the source has that would give way.
func (q *Explainer) most() (held int) {
	_, _, held = q.board.Heaviest(-1)
	return held
}

// picker chooses as the worker of a row does.
func (q *Explainer) picker(row int) *policy.Picker {
	p := &policy.Picker{Balance: q.spec.Balance, Board: q.board, Row: row}
	p.Begin(q.board.Turns().Copy(), q.board.Global().Seed)
	for _, s := range q.Slots {
		p.Set(s.Slot, policy.NewOption(q.board, s.Slot, s.Node.Name, wire.PortsOf(s.Node)))
	}
	return p
}

// choose chooses the node of a client, for each of the workers that it may come to. They may differ while a node
// refuses the connections of one of them.
func (q *Explainer) choose(over board.Transport) (choices []policy.Choice) {
	wish := policy.Wish{Over: over, Now: q.now, Address: policy.HashAddr(q.addr), Bound: q.info.Node, Sticky: over == board.TCP && q.spec.Sticky.TCP == proxy.StickySource}
	for r := range q.board.Rows() {
		if q.board.Worker(r).PID.Load() != 0 {
			choices = append(choices, q.picker(r).Choose(&wish))
		}
	}
	if len(choices) == 0 { // between two lives of the only worker
		choices = append(choices, q.picker(0).Choose(&wish))
	}
	return choices
}

// name is that of the node in a slot.
func (q *Explainer) name(slot int) string {
	i := slices.IndexFunc(q.Slots, func(s wire.NodeSlot) bool { return s.Slot == slot })
	if i < 0 {
		return ""
	}
	return q.Slots[i].Node.Name
}

// names are the nodes to which choices lead.
func (q *Explainer) names(choices []policy.Choice) []string {
	names := []string{}
	for _, c := range choices {
		ends := []policy.Candidate{{Slot: c.Node}}
		if c.By == policy.ByBalance && c.Balance == proxy.BalanceRandom2 {
			ends = c.Among
		}
		for _, end := range ends {
			if name := q.name(end.Slot); name != "" && !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	return names
}

// outcome puts in words what becomes of a client over a transport, and how it waits, if entry lets it in.
func (q *Explainer) outcome(over board.Transport, entry policy.Ruling, rate string) proxy.Outcome {
	if entry.Outcome == policy.Refused {
		return proxy.Outcome{Reason: entry.Reason.String(), Nodes: []string{}, Why: q.why(entry)}
	}
	choices := q.choose(over)
	c := choices[0]
	o := proxy.Outcome{Accepted: c.Node != board.NoNode, Nodes: q.names(choices), Why: c.String()}
	switch {
	case !o.Accepted:
		o.Reason = c.Reason.String()
	case entry.Wait > 0:
		o.Why += fmt.Sprintf("; it waits %.0f ms first (lb.limits.%s)", milliseconds(entry.Wait), rate)
	}
	return o
}

// why puts a refusal in words.
func (q *Explainer) why(v policy.Ruling) string {
	l := &q.spec.Limits
	switch v.Reason {
	case board.ReasonBan:
		return "it is banned until " + mono.Time(q.info.BannedUntil).Format(time.TimeOnly)
	case board.ReasonPerSource:
		setting := "share_percent"
		if q.limits.MaxSaid {
			setting = "max_per_source"
		}
		return fmt.Sprintf("it has %d connections (lb.limits.%s)", q.comes.Held, setting)
	case board.ReasonRate:
		return fmt.Sprintf("it connects too often (lb.limits.connections_per_second: %d)", l.ConnectionsPerSecond)
	case board.ReasonMessageRate:
		return fmt.Sprintf("it sends too often (lb.limits.messages_per_second: %d)", l.MessagesPerSecond)
	default:
		return fmt.Sprintf("all %d places are taken (lb.max_connections)", q.spec.MaxConnections)
	}
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// Explain tells what would become of a client.
func (q *Explainer) Explain(source netip.Prefix, nodes []PresentNode) proxy.Explanation {
	l := &q.limits
	e := proxy.Explanation{
		Source:        proxy.SourceText(source),
		Listener:      proxy.ListenTCP,
		TrustedProxy:  policy.Contains(l.Proxies, q.addr),
		ProxyProtocol: policy.Contains(l.Trusted, q.addr),
		Exempt:        q.exempt,
		Violations:    q.info.Violations,
		Connections:   q.info.Live,
		Connection:    proxy.RateState{PerSecond: q.spec.Limits.ConnectionsPerSecond, WaitMs: milliseconds(l.Connection.Wait(q.comes.Rate, q.now))},
		Message:       proxy.RateState{PerSecond: q.spec.Limits.MessagesPerSecond, WaitMs: milliseconds(l.Message.Wait(&q.message, q.now))},
	}
	if q.info.BannedUntil > q.now {
		e.BannedUntil = mono.Time(q.info.BannedUntil)
	}
	listen, entry := q.spec.Listening(), q.enter()
	if listen.Needs(board.HTTP) {
		e.HTTP = q.http(entry, e.Message)
	}
	if !listen.Needs(board.TCP) {
		e.Listener, e.Outcome, e.Choices = proxy.ListenHTTP, e.HTTP.Outcome, q.choices(nodes, board.HTTP)
		return e
	}
	if q.spec.Sticky.TCP == proxy.StickySource {
		e.Sticky = q.name(q.info.Node)
	}
	e.Outcome = q.outcome(board.TCP, entry, fmt.Sprintf("connections_per_second: %d", e.Connection.PerSecond))
	e.Choices = q.choices(nodes, board.TCP)
	return e
}

// http tells what would become of an HTTP request.
func (q *Explainer) http(entry policy.Ruling, message proxy.RateState) *proxy.HTTPExplanation {
	h := &proxy.HTTPExplanation{Order: requestOrder(q.spec)}
	if !q.exempt && entry.Outcome != policy.Refused {
		entry = q.limits.Request(&q.message, q.now)
	}
	h.Outcome = q.outcome(board.HTTP, entry, fmt.Sprintf("messages_per_second: %d", message.PerSecond))
	if q.exempt {
		return h
	}
	if h.Message.RateState = message; message.PerSecond > 0 {
		h.Message.Action = q.limits.Requests
	}
	for i, tool := range q.spec.Limits.Tools {
		l := &q.limits.Tools[i]
		wait := l.Rate.Wait(q.board.ToolRate(q.addr, l.Hash), q.now)
		h.Tools = append(h.Tools, proxy.ToolState{Name: tool.Name, RateState: proxy.RateState{PerSecond: tool.PerSecond, WaitMs: milliseconds(wait)}})
	}
	return h
}

// requestOrder is the order in which policy.Picker looks for a node.
func requestOrder(spec *proxy.Spec) []string {
	var order []string
	if spec.Sticky.MCPSession {
		order = append(order, "session (Mcp-Session-Id)", "legacy event stream (the URI to post to)")
	}
	if spec.Sticky.HTTP == proxy.StickyCookie {
		order = append(order, "cookie ("+spec.Sticky.Cookie+")")
	}
	if spec.Sticky.TCP == proxy.StickySource {
		order = append(order, "source (WebSockets and legacy event streams only)")
	}
	return append(order, "balance ("+string(spec.Balance)+")")
}

// choices lists the nodes as those see them who choose over a transport.
func (q *Explainer) choices(nodes []PresentNode, over board.Transport) []proxy.NodeChoice {
	list := make([]proxy.NodeChoice, len(nodes))
	p := q.picker(0)
	among, _, _ := p.Candidates(&policy.Wish{Over: over, Now: q.now})
	for i, n := range nodes {
		list[i] = proxy.NodeChoice{Name: n.Name, Connections: n.Connections, Pledged: n.Pledged, Max: n.MaxConnections, Weight: n.Weight}
		switch _, a := p.May(n.Slot, over, policy.WhenUp); {
		case n.State == proxy.NodeDegraded:
			list[i].Excluded = n.Missing()
		case policy.Find(among, n.Slot) != nil:
		case a == policy.Full:
			list[i].Excluded = "at its cap"
		case a == policy.Open:
			list[i].Excluded = "refuses connections"
		case n.State == proxy.NodeUp:
			list[i].Excluded = "no port for " + over.String()
		default:
			list[i].Excluded = n.State
		}
	}
	return list
}

// Tag tells what would become of a request with a session id or a cookie.
func (q *Explainer) Tag(r proxy.TagRequest, ring *affinity.Ring, nodes []proxy.NodeStats) proxy.TagExplanation {
	e := proxy.TagExplanation{Kind: r.Kind}
	wish := policy.Wish{Over: board.HTTP, Now: q.now, Bound: board.NoNode}
	var slot int
	switch r.Kind {
	case proxy.TagSession:
		_, slot, wish.Pin.Since, e.Tagged = ring.Session([]byte(r.Value))
		wish.Pin.Named, wish.Pin.Node = e.Tagged, slot
		if !q.spec.Sticky.MCPSession {
			e.Why = "sessions are not looked at (lb.sticky.mcp_session: false)"
		}
	case proxy.TagCookie:
		slot, e.Tagged = ring.Cookie([]byte(r.Value))
		wish.Cookies = []int8{int8(slot)}
		if q.spec.Sticky.HTTP != proxy.StickyCookie {
			e.Why = fmt.Sprintf("cookies are not looked at (lb.sticky.http: %s)", q.spec.Sticky.HTTP)
		}
	}
	stats := proxy.Stats{Nodes: nodes}
	e.Node = q.name(slot)
	node := stats.Node(e.Node)
	if e.State = stateOver(node); e.Why != "" {
		return e
	}
	p := q.picker(0)
	c := p.Choose(&wish)
	if e.Kept = c.By == policy.BySession || c.By == policy.ByCookie; !e.Kept && e.Tagged && r.Kind == proxy.TagSession {
		e.Status = policy.RefusalOf(c.Reason, 0).Status
	}
	_, a := p.May(slot, board.HTTP, policy.WhenServing)
	e.Why = whyKept(&e, node, a)
	return e
}

// stateOver is the state of a node over HTTP, or as a whole if it does not serve that.
func stateOver(n *proxy.NodeStats) string {
	if n == nil { // removed meanwhile
		return ""
	}
	if over := n.Over(proxy.ListenHTTP); over != nil {
		return over.State
	}
	return n.State
}

// whyKept puts in words whether the node takes a request that belongs to it.
func whyKept(e *proxy.TagExplanation, n *proxy.NodeStats, a policy.Room) string {
	switch {
	case !e.Tagged:
		return "it has no tag: no balancer has made it"
	case n == nil:
		return "no present node has its tag: the node was removed, the key is another one, or it was altered"
	case n.Over(proxy.ListenHTTP) == nil:
		return "its node has no HTTP port"
	case e.State == proxy.NodeMaintenance:
		return "its node is in maintenance"
	case a == policy.Closed:
		return "its node is down over " + n.Over(proxy.ListenHTTP).Name
	case a == policy.Full:
		return "its node is at its cap (lb.node_max_connections)"
	case !e.Kept:
		return "its node has been restarted since it began"
	case e.State == proxy.NodeUp:
		return "its node is up"
	case e.State == proxy.NodeSilent:
		return "its node answers no checks now, but keeps what it has (lb.checks.give_up)"
	}
	return "its node takes no new clients, but keeps those it has"
}
