package proxy

import (
	"fmt"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"github.com/erlmcp/erlmcp/internal/mono"
	"github.com/erlmcp/erlmcp/proxy/internal/board"
)

// Explanation is what would happen to a client that connected now, and why.
type Explanation struct {
	Source string `json:"source"` // what the client counts as: an IPv4 address or an IPv6 /64
	// Listener is what Accepted, Reason, Nodes and Why are about: "tcp", or "http" without such a listener.
	Listener string `json:"listener"`
	Accepted bool   `json:"accepted"`
	Reason   string `json:"reason,omitempty"` // of a refusal: a key of RefusedStats
	// Nodes is where it would go: one, or any of several if chance decides.
	Nodes []string `json:"nodes"`
	Why   string   `json:"why"`

	// TrustedProxy says that an HTTP request of the address counts for the client that it names, and
	// ProxyProtocol that so does a connection.
	TrustedProxy  bool `json:"trusted_proxy"`
	ProxyProtocol bool `json:"proxy_protocol"`

	Exempt      bool         `json:"exempt"` // from limits and bans
	BannedUntil time.Time    `json:"banned_until,omitzero"`
	Violations  int          `json:"violations"`
	Connections int          `json:"connections"` // held now
	Sticky      string       `json:"sticky,omitempty"`
	Connection  RateState    `json:"connection_rate"`
	Message     RateState    `json:"message_rate"`
	Choices     []NodeChoice `json:"choices"`

	HTTP *HTTPExplanation `json:"http,omitempty"` // nil without an HTTP listener
}

// RateState is where a source stands with one of its rates.
type RateState struct {
	PerSecond int     `json:"per_second"` // 0 is no limit
	WaitMs    float64 `json:"wait_ms"`    // until the next one conforms; 0 is now
}

// NodeChoice is a node as the balance algorithm sees it.
type NodeChoice struct {
	Name        string  `json:"name"`
	Connections int64   `json:"connections"`
	Pledged     int64   `json:"pledged"` // see NodeStats; leastconn counts them as connections
	Max         int64   `json:"max_connections"`
	Weight      float64 `json:"weight"`
	Excluded    string  `json:"excluded,omitempty"` // why it cannot be chosen
}

// explain goes the way of worker.admit and worker.choose without leaving a trace.
func (m *master) explain(addr netip.Addr, source netip.Prefix) Explanation {
	spec := m.now.Load().spec
	limits := newLimits(&spec)
	e := Explanation{
		Source:        sourceText(source),
		Nodes:         []string{},
		Exempt:        contains(limits.exempt, addr),
		TrustedProxy:  contains(limits.proxies, addr),
		ProxyProtocol: contains(limits.trusted, addr),
		Connection:    RateState{PerSecond: spec.Limits.ConnectionsPerSecond},
		Message:       RateState{PerSecond: spec.Limits.MessagesPerSecond},
		Choices:       choices(m.members.stats()),
		Listener:      fileTCP,
	}
	listen := spec.Listening()
	bound, sources := board.NoNode, m.board.Sources()
	if id, ok := sources.Lookup(addr); ok {
		bound = e.recall(sources, id, &limits)
	}
	if spec.Sticky.TCP != StickySource {
		bound = board.NoNode
	}
	if listen.needs(board.HTTP) {
		e.HTTP = m.explainHTTP(&spec, &limits, e, addr)
	}
	switch {
	case !listen.needs(board.TCP):
		h := e.HTTP
		e.Listener, e.Accepted, e.Reason, e.Nodes, e.Why = fileHTTP, h.Accepted, h.Reason, h.Nodes, h.Why
	case e.enter(m, &spec, &limits):
		e.choose(m, spec.Balance, addr, bound, board.TCP)
		if e.Accepted && e.Connection.WaitMs > 0 && !e.Exempt {
			e.waits(e.Connection, "connections")
		}
	}
	return e
}

// tooLong reports that what is over a rate would be held for longer than anything is.
func tooLong(r RateState, l *limits) bool { return r.WaitMs > float64(l.patience.Milliseconds()) }

// waits tells that a client is held first.
func (e *Explanation) waits(r RateState, what string) {
	e.Why += fmt.Sprintf("; it waits %.0f ms first (lb.limits.%s_per_second: %d)", r.WaitMs, what, r.PerSecond)
}

// enter does what worker.mayEnter does.
func (e *Explanation) enter(m *master, spec *Spec, l *limits) bool {
	if e.refusedByLimits(l) {
		return false
	}
	switch share := !e.Exempt && l.perSource > 0 && e.Connections >= l.perSource; {
	case m.board.Active() < int64(spec.MaxConnections) && share:
		e.refuse(board.ReasonPerSource, "it has %d connections (lb.limits.share_percent)", e.Connections)
	case m.board.Active() >= int64(spec.MaxConnections) && !m.makesRoom(e.Connections):
		e.refuse(board.ReasonFull, "all %d places are taken (lb.max_connections)", spec.MaxConnections)
	default:
		return true
	}
	return false
}

// makesRoom reports whether somebody gives way to a source that holds so many, as worker.claim does.
func (m *master) makesRoom(held int) bool {
	sources := m.board.Sources()
	for r := range m.board.Rows() {
		if id := m.board.Worker(r).Heaviest.Load() - 1; id >= 0 && sources.Live(board.SlotID(id)) > held+1 {
			return true
		}
	}
	return false
}

// recall fills in what is known of a source, and returns the node it stays with.
func (e *Explanation) recall(sources *board.Sources, id board.SlotID, l *limits) (bound int) {
	now, info := mono.Now(), sources.Info(id)
	e.Violations, e.Connections = info.Violations, info.Live
	if info.BannedUntil > now {
		e.BannedUntil = mono.Time(info.BannedUntil)
	}
	e.Connection.WaitMs = waitMs(l.connection, sources.ConnectionRate(id), now)
	e.Message.WaitMs = waitMs(l.message, sources.MessageRate(id), now)
	return info.Node
}

// waitMs is how long until one more would conform.
func waitMs(r rate, tat *atomic.Int64, now int64) float64 {
	if r.unlimited() {
		return 0
	}
	var try atomic.Int64
	try.Store(tat.Load())
	_, wait := board.Charge(&try, now, r.interval, r.burst, 1)
	return float64(wait) / float64(time.Millisecond)
}

// refusedByLimits does what limits.admit does.
func (e *Explanation) refusedByLimits(l *limits) bool {
	switch {
	case e.Exempt:
		return false
	case !e.BannedUntil.IsZero():
		e.refuse(board.ReasonBan, "it is banned until %s", e.BannedUntil.Format(time.TimeOnly))
	case l.maxSaid && e.Connections >= l.perSource:
		e.refuse(board.ReasonPerSource, "it has %d connections (lb.limits.max_per_source)", e.Connections)
	case tooLong(e.Connection, l):
		e.refuse(board.ReasonRate, "it connects too often (lb.limits.connections_per_second: %d)", e.Connection.PerSecond)
	default:
		return false
	}
	return true
}

func (e *Explanation) refuse(r board.Reason, why string, args ...any) {
	e.Reason, e.Why = r.String(), fmt.Sprintf(why, args...)
}

// choose does what worker.choose does over a transport for a source that stays with the node in slot bound.
func (e *Explanation) choose(m *master, balance Balance, addr netip.Addr, bound int, over board.Transport) {
	var backends [board.MaxNodes]*backend
	for _, s := range m.members.slots() {
		backends[s.Slot] = newBackend(m.board, 0, s)
	}
	p := picker{balance: balance}
	p.begin(m.board.Turns(), 0)
	list, full := p.candidates(m.board, &backends, over, 0)
	if bound != board.NoNode && backends[bound] != nil {
		e.Sticky = backends[bound].name
	}
	name := func(c candidate) string { return backends[c.slot].name }
	if len(list) == 0 {
		if full {
			e.refuse(board.ReasonFull, "every node is at its cap (lb.node_max_connections)")
		} else {
			e.refuse(board.ReasonNoNode, "no node is up over %s", over)
		}
		return
	}
	e.Accepted = true
	for _, c := range list {
		if c.slot == bound {
			e.Nodes, e.Why = []string{name(c)}, "its connections stay with that node (lb.sticky.tcp: source)"
			return
		}
	}
	if silent := board.State(backends[list[0].slot].over[over].cell.State.Load()) == board.Silent; silent {
		defer func() { e.Why += "; no node is up, so silent ones are taken" }()
	}
	switch balance {
	case BalanceSource:
		e.Nodes = []string{backends[rendezvous(list, hashAddr(addr))].name}
		e.Why = "by the hash of its address (lb.balance: source)"
	case BalanceRandom2:
		for _, c := range list {
			e.Nodes = append(e.Nodes, name(c))
		}
		e.Why = "the less busy of two drawn at random (lb.balance: random2)"
	case BalanceRoundRobin:
		e.Why = "it is that node's turn, by weight (lb.balance: roundrobin)"
	default:
		e.Why = "fewest connections for its weight, equals in turn (lb.balance: leastconn)"
	}
	if len(e.Nodes) == 0 {
		list = p.equals(list)
		p.turns.read(list)
		e.Nodes = []string{name(list[p.turns.due(list)])}
	}
}

// choices lists the nodes as the balance algorithm sees them.
func choices(nodes []NodeStats) []NodeChoice {
	list := make([]NodeChoice, len(nodes))
	up := slices.ContainsFunc(nodes, func(n NodeStats) bool { return n.State == NodeUp || n.State == NodeDegraded })
	for i, n := range nodes {
		list[i] = NodeChoice{Name: n.Name, Connections: n.Connections, Pledged: n.Pledged, Max: n.MaxConnections, Weight: n.Weight}
		switch {
		case n.State == NodeDegraded:
			list[i].Excluded = n.Missing()
		case n.State == NodeSilent && !up:
		case n.State != NodeUp:
			list[i].Excluded = n.State
		case n.MaxConnections > 0 && n.Connections >= n.MaxConnections:
			list[i].Excluded = "at its cap"
		}
	}
	return list
}
