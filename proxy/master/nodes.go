package master

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/charmbracelet/log"

	"github.com/erlmcp/erlmcp/healthcheck"
	"github.com/erlmcp/erlmcp/internal/topology"
	"github.com/erlmcp/erlmcp/proxy"
	"github.com/erlmcp/erlmcp/proxy/internal/admin"
	"github.com/erlmcp/erlmcp/proxy/internal/board"
	"github.com/erlmcp/erlmcp/proxy/internal/wire"
)

// member is a node of the balancer.
type member struct {
	slot     int // noSlot as long as addr is not known
	node     topology.Node
	addr     netip.Addr // where its host was found
	of       string     // the service that it is one of, or ""
	why      string     // what is wrong with its name, or ""
	since    time.Time  // it is a member
	admin    admin.Setting
	leaving  bool                            // no longer in the spec: its slot is freed with its last connection
	watchers [board.Transports]*watcher      // nil: not served, or nobody needs it
	trust    *atomic.Pointer[wire.NodeTrust] // of members

	// What the slot's counters held before the node got it.
	before        board.FlowTotals
	changesBefore [board.Transports]uint64
}

// is reports whether a node found at addr is the member. One that has moved, if only by one of its ports, is
// another one.
func (m *member) is(n topology.Node, addr netip.Addr) bool {
	return m.identity() == nodeKey{n.Name, addr, wire.PortsOf(n), n.TLS()}
}

// weight is the node's share relative to the other nodes'.
func (m *member) weight() int { return max(m.node.Weight, 1) }

// duty is that of the watcher of one transport of m, under a valid spec.
func (m *member) duty(s *proxy.Spec, t board.Transport) duty {
	setting := m.admin
	if m.leaving {
		setting = max(setting, admin.Drained)
	}
	return duty{
		checks:    s.Checks,
		probe:     m.probe(&s.Checks, t),
		weight:    m.weight(),
		slowStart: s.SlowStart,
		admin:     setting,
	}
}

// probe checks one transport of m.
func (m *member) probe(c *proxy.Checks, t board.Transport) func(context.Context) healthcheck.Result {
	probe, _ := healthcheck.Lookup(c.Kind) // Validate knows the kind
	ports := wire.PortsOf(m.node)
	target := healthcheck.Target{Transport: t.String(), Timeout: c.Timeout, Path: m.node.MCPPath()}
	if c.Kind == "http" {
		t, target.Path = board.HTTP, c.Path // what a node says of itself there is said of all of it
	}
	target.Address = netip.AddrPortFrom(m.addr, ports[t]).String()
	target.Host = net.JoinHostPort(m.node.Host, strconv.Itoa(int(ports[t])))
	file, host, secure := c.HeadersFile, m.node.Host, m.node.TLS() && t != board.TCP
	var advice string // for as long as there is no endpoint at the path
	return func(ctx context.Context) healthcheck.Result {
		target := target
		if secure {
			target.TLS = m.trust.Load().Towards(host)
		}
		if file != "" {
			var err error
			if target.Header, err = healthcheck.ReadHeaders(file); err != nil {
				return healthcheck.Result{Kind: c.Kind, Transport: target.Transport, Cause: healthcheck.CauseLocal, Error: err.Error()}
			}
		}
		r := probe(ctx, target)
		switch {
		case r.Detail["status"] != "404" && r.Detail["status"] != "405":
			advice = ""
		case advice == "":
			advice = healthcheck.Advise(ctx, target, r)
		}
		if advice != "" {
			r.Detail["advice"] = advice
		}
		return r
	}
}

// members gives nodes slots of the board, and each a watcher. A slot keeps its node and address
// until it is freed. Methods may be called from any goroutine.
type members struct {
	board *board.Board
	log   *log.Logger
	tell  func() // the workers, that node cells have changed; called by watchers
	trust atomic.Pointer[wire.NodeTrust]

	mu    sync.Mutex
	spec  proxy.Spec
	list  []*member // in the order of the spec, leaving ones last
	lives lives
}

// apply makes nodes, those of the spec where they were found, the members. New ones get a slot, changed ones
// take on their weight. A node at another address is another member. Those that are gone serve on
// until dismiss. boot is true when the balancer starts. It returns which nodes have moved.
func (ms *members) apply(s proxy.Spec, nodes []found, boot bool) (moved []string, err error) {
	ms.mu.Lock()
	defer ms.mu.Unlock()
	moved = movesOf(ms.list, nodes)
	gone := slices.Clone(ms.list)
	list := make([]*member, len(nodes))
	s.Nodes = make([]topology.Node, len(nodes))
	for i, f := range nodes {
		s.Nodes[i] = f.node
		at := slices.IndexFunc(gone, func(m *member) bool { return m.is(f.node, f.addr) })
		if at >= 0 {
			list[i] = gone[at]
			gone = slices.Delete(gone, at, at+1)
			continue
		}
		list[i] = &member{slot: noSlot, addr: f.addr, since: time.Now(), trust: &ms.trust}
		if same := findMember(gone, f.node.Name); same != nil {
			list[i].admin = same.admin
		}
	}
	gone = slices.DeleteFunc(gone, func(m *member) bool { return m.slot == noSlot }) // they have nobody
	if n := len(list) + len(gone); n > board.MaxNodes {
		return nil, fmt.Errorf("lb.nodes: %d nodes and %d on their way out are more than %d: wait until some of those are empty",
			len(list), len(gone), board.MaxNodes)
	}
	ms.spec, ms.list = s, slices.Concat(list, gone)
	for i, m := range list {
		m.node, m.of, m.why, m.leaving = s.Nodes[i], nodes[i].of, nodes[i].why, false
		if !m.addr.IsValid() {
			continue
		}
		if m.slot == noSlot {
			ms.enterLocked(m)
		}
		ms.watchLocked(m, boot)
		ms.board.Node(m.slot).MaxConns.Store(int64(s.NodeCap()))
	}
	return moved, nil
}

// note takes down what is wrong with the names of nodes, if that is all that is new: if they are the members.
func (ms *members) note(nodes []found) bool {
	ms.mu.Lock()
	defer ms.mu.Unlock()
	present := ms.list[:len(ms.spec.Nodes)]
	if !slices.EqualFunc(present, nodes, func(m *member, f found) bool { return m.is(f.node, f.addr) && m.node == f.node }) {
		return false
	}
	for i, m := range present {
		m.why = nodes[i].why
	}
	return true
}

// lost reports whether a node whose host is a name is down over any of its transports.
func (ms *members) lost() bool {
	ms.mu.Lock()
	defer ms.mu.Unlock()
	return slices.ContainsFunc(ms.list, func(m *member) bool {
		return !m.leaving && m.isNamed() && (m.slot == noSlot || m.isDown())
	})
}

// fallen are the nodes with a name that are down over all of their transports.
func (ms *members) fallen() (list []found) {
	ms.mu.Lock()
	defer ms.mu.Unlock()
	for _, m := range ms.list {
		if m.leaving || m.slot == noSlot || !m.isNamed() {
			continue
		}
		if !slices.ContainsFunc(m.watchers[:], func(w *watcher) bool { return w != nil && !w.isDown() }) {
			list = append(list, found{node: m.node, addr: m.addr, of: m.of})
		}
	}
	return list
}

// isNamed reports whether where m is depends on a name: its own, or that of its service.
func (m *member) isNamed() bool { return isNamed(m.node) || m.of != "" }

// isDown reports whether m is down over any of its transports.
func (m *member) isDown() bool {
	return slices.ContainsFunc(m.watchers[:], func(w *watcher) bool { return w != nil && w.isDown() })
}

// noSlot is the slot of a member that has none: nobody knows where it is.
const noSlot = -1

// dismiss gives members that the spec no longer has no new clients.
func (ms *members) dismiss() {
	ms.mu.Lock()
	defer ms.mu.Unlock()
	for _, m := range ms.list[len(ms.spec.Nodes):] {
		m.leaving = true
		ms.watchLocked(m, false)
	}
}

// enterLocked gives a new member a free slot; apply has counted them.
func (ms *members) enterLocked(m *member) {
	m.slot, _ = ms.board.TakeNode()
	m.before = ms.board.NodeTotals(m.slot)
}

// watchLocked has the transports of m watched that it serves and a listener needs, as the spec now says.
func (ms *members) watchLocked(m *member, boot bool) {
	if m.slot == noSlot {
		return
	}
	listen := ms.spec.Listening()
	for t, port := range wire.PortsOf(m.node) {
		t, w := board.Transport(t), m.watchers[t]
		switch wanted := port != 0 && listen.Needs(t); {
		case wanted && w != nil:
			w.order(m.duty(&ms.spec, t))
		case wanted:
			ms.board.SetState(m.slot, t, board.Down, time.Now())
			cell := &ms.board.Node(m.slot).Ports[t]
			m.changesBefore[t] = cell.StateChanges.Load()
			cell.Life.Store(uint32(ms.lives.known[m.portName(t)]))
			w = newWatcher(ms.board, m.slot, t, m.node.Name, m.duty(&ms.spec, t), !boot, ms.tell, ms.log)
			m.watchers[t] = w
			w.start()
		case w != nil && !m.leaving: // its clients have a listener that drains
			w.stop()
			m.watchers[t] = nil
			ms.board.SetState(m.slot, t, board.Absent, time.Now())
		}
	}
}

// stop ends the watchers of m.
func (m *member) stop() {
	for _, w := range m.watchers {
		if w != nil {
			w.stop()
		}
	}
}

// sweep frees the slots of leaving members without connections and reports whether there were any.
func (ms *members) sweep() (freed bool) {
	ms.mu.Lock()
	defer ms.mu.Unlock()
	ms.list = slices.DeleteFunc(ms.list, func(m *member) bool {
		if !m.leaving || ms.board.NodeActive(m.slot) > 0 {
			return false
		}
		m.stop()
		ms.board.FreeNode(m.slot, time.Now())
		ms.log.Info("node has left", "node", m.node.Name, "address", m.addr)
		freed = true
		return true
	})
	return freed
}

// administer takes a node out of service, or puts it back.
func (ms *members) administer(name string, to admin.Setting) error {
	ms.mu.Lock()
	defer ms.mu.Unlock()
	if _, err := topology.Find(ms.spec.Nodes, name); err != nil {
		return err
	}
	m := findMember(ms.list, name)
	if m.admin != to {
		m.admin = to
		ms.watchLocked(m, false)
		ms.log.Info("node by order", "node", name, "is", to)
	}
	return nil
}

// report passes on what a worker suspects to the watcher of the node.
func (ms *members) report(s wire.Suspect) {
	ms.mu.Lock()
	defer ms.mu.Unlock()
	for _, m := range ms.list {
		if m.slot == s.Slot && m.watchers[s.Transport] != nil {
			m.watchers[s.Transport].report(s)
		}
	}
}

// slots lists all members that can be reached, for the workers.
func (ms *members) slots() []wire.NodeSlot {
	ms.mu.Lock()
	defer ms.mu.Unlock()
	slots := make([]wire.NodeSlot, 0, len(ms.list))
	for _, m := range ms.list {
		if m.slot != noSlot {
			slots = append(slots, wire.NodeSlot{Slot: m.slot, Node: m.node, Addr: m.addr})
		}
	}
	return slots
}

// decided waits until every member was checked once over each transport, but no longer than patience.
func (ms *members) decided(ctx context.Context, patience time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for _, w := range ms.watchers() {
		select {
		case <-w.decided:
		case <-ctx.Done():
			return
		}
	}
}

// watchers lists those of all members.
func (ms *members) watchers() (list []*watcher) {
	ms.mu.Lock()
	defer ms.mu.Unlock()
	for _, m := range ms.list {
		for _, w := range m.watchers {
			if w != nil {
				list = append(list, w)
			}
		}
	}
	return list
}

// close ends all watchers.
func (ms *members) close() {
	ms.mu.Lock()
	defer ms.mu.Unlock()
	for _, m := range ms.list {
		m.stop()
	}
	ms.list = nil
}

// findMember returns the member of the spec called name, or nil.
func findMember(list []*member, name string) *member {
	for _, m := range list {
		if m.node.Name == name && !m.leaving {
			return m
		}
	}
	return nil
}
