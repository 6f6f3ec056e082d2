package proxy

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/charmbracelet/log"

	"github.com/erlmcp/erlmcp/healthcheck"
	"github.com/erlmcp/erlmcp/internal/topology"
	"github.com/erlmcp/erlmcp/proxy/internal/board"
)

// adminState is what an operator lets a node do while it is up, from all to nothing.
type adminState int

const (
	adminReady    adminState = iota
	adminDrained             // no new clients
	adminDisabled            // nothing new, not even for clients that it has
)

func (s adminState) String() string {
	return [...]string{adminReady: "ready", adminDrained: "drained", adminDisabled: "disabled"}[s]
}

// member is a node that has a slot of the board.
type member struct {
	slot    int
	node    topology.Node
	address netip.AddrPort
	admin   adminState
	leaving bool // no longer in the spec: its slot is freed with its last connection
	watcher *watcher
	stop    context.CancelFunc // of the watcher

	// What the slot's counters held before the node got it.
	before        board.FlowTotals
	changesBefore uint64
}

// weight is the node's share relative to the other nodes'.
func (m *member) weight() int { return max(m.node.Weight, 1) }

// watch is what the watcher of m has to do under a valid spec.
func (m *member) watch(s *Spec) watch {
	probe, _ := healthcheck.Lookup(s.Checks.Kind) // Validate knows the kind
	address := m.address
	if s.Checks.Kind == "http" {
		address = netip.AddrPortFrom(address.Addr(), uint16(m.node.HTTP))
	}
	admin := m.admin
	if m.leaving {
		admin = max(admin, adminDrained)
	}
	target := healthcheck.Target{Address: address.String(), Timeout: s.Checks.Timeout}
	return watch{
		checks:    s.Checks,
		probe:     func(ctx context.Context) healthcheck.Result { return probe(ctx, target) },
		weight:    m.weight(),
		slowStart: s.SlowStart,
		admin:     admin,
	}
}

// members gives nodes slots of the board, and each a watcher. A slot keeps its node and address
// until it is freed. Methods may be called from any goroutine.
type members struct {
	board *board.Board
	log   *log.Logger
	tell  func() // the workers, that node cells have changed; called by watchers

	mu   sync.Mutex
	spec Spec
	list []*member // in the order of the spec, leaving ones last
}

// resolve finds where the TCP listeners of nodes are. An IPv4 address is preferred.
func resolve(ctx context.Context, nodes []topology.Node) ([]netip.AddrPort, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	addresses := make([]netip.AddrPort, len(nodes))
	for i, n := range nodes {
		found, err := net.DefaultResolver.LookupNetIP(ctx, "ip", n.Host)
		if err != nil {
			return nil, fmt.Errorf("lb.nodes[%d].host: %w", i, err)
		}
		addr := found[0].Unmap()
		for _, a := range found {
			if a.Unmap().Is4() {
				addr = a.Unmap()
				break
			}
		}
		addresses[i] = netip.AddrPortFrom(addr, uint16(n.TCP))
	}
	return addresses, nil
}

// apply makes the spec's nodes, found at addresses, the members. New ones get a slot, changed ones
// take on their weight. A node at another address is another member. Those that are gone serve on
// until dismiss. boot is true when the balancer starts.
func (ms *members) apply(s Spec, addresses []netip.AddrPort, boot bool) error {
	ms.mu.Lock()
	defer ms.mu.Unlock()
	gone := slices.Clone(ms.list)
	list := make([]*member, len(s.Nodes))
	for i, n := range s.Nodes {
		at := slices.IndexFunc(gone, func(m *member) bool { return m.node.Name == n.Name && m.address == addresses[i] })
		if at >= 0 {
			list[i] = gone[at]
			gone = slices.Delete(gone, at, at+1)
			continue
		}
		list[i] = &member{address: addresses[i]}
		if same := findMember(gone, n.Name); same != nil {
			list[i].admin = same.admin
		}
	}
	if n := len(list) + len(gone); n > board.MaxNodes {
		return fmt.Errorf("lb.nodes: %d nodes and %d on their way out are more than %d: wait until some of those are empty",
			len(list), len(gone), board.MaxNodes)
	}
	ms.spec, ms.list = s, slices.Concat(list, gone)
	for i, m := range list {
		m.node, m.leaving = s.Nodes[i], false
		if m.watcher == nil {
			ms.enterLocked(m, boot)
		} else {
			m.watcher.order(m.watch(&s))
		}
		ms.board.Node(m.slot).MaxConns.Store(int64(s.NodeCap()))
	}
	return nil
}

// dismiss gives members that the spec no longer has no new clients.
func (ms *members) dismiss() {
	ms.mu.Lock()
	defer ms.mu.Unlock()
	for _, m := range ms.list[len(ms.spec.Nodes):] {
		m.leaving = true
		m.watcher.order(m.watch(&ms.spec))
	}
}

// enterLocked gives a new member the first free slot and has it watched.
func (ms *members) enterLocked(m *member, boot bool) {
	for m.slot = 0; board.State(ms.board.Node(m.slot).State.Load()) != board.Absent; m.slot++ {
	}
	ms.board.SetNodeState(m.slot, board.Down, time.Now())
	m.before = ms.board.NodeTotals(m.slot)
	m.changesBefore = ms.board.Node(m.slot).StateChanges.Load()
	m.watcher = newWatcher(ms.board, m.slot, m.node.Name, m.watch(&ms.spec), !boot, ms.tell, ms.log)
	ctx, cancel := context.WithCancel(context.Background())
	m.stop = func() { cancel(); <-m.watcher.ended }
	go m.watcher.run(ctx)
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
		ms.board.SetNodeState(m.slot, board.Absent, time.Now())
		ms.log.Info("node has left", "node", m.node.Name, "address", m.address)
		freed = true
		return true
	})
	return freed
}

// administer takes a node out of service, or puts it back.
func (ms *members) administer(name string, to adminState) error {
	ms.mu.Lock()
	defer ms.mu.Unlock()
	if _, err := topology.Find(ms.spec.Nodes, name); err != nil {
		return err
	}
	m := findMember(ms.list, name)
	if m.admin != to {
		m.admin = to
		m.watcher.order(m.watch(&ms.spec))
		ms.log.Info("node by order", "node", name, "is", to)
	}
	return nil
}

// suspect passes a worker's report to the watcher of the node.
func (ms *members) suspect(s Suspect) {
	ms.mu.Lock()
	defer ms.mu.Unlock()
	for _, m := range ms.list {
		if m.slot == s.Slot {
			m.watcher.report(s)
		}
	}
}

// slots lists all members for the workers.
func (ms *members) slots() []NodeSlot {
	ms.mu.Lock()
	defer ms.mu.Unlock()
	slots := make([]NodeSlot, len(ms.list))
	for i, m := range ms.list {
		slots[i] = NodeSlot{Slot: m.slot, Node: m.node, Address: m.address}
	}
	return slots
}

// decided waits until every member was checked once, but no longer than patience.
func (ms *members) decided(ctx context.Context, patience time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	ms.mu.Lock()
	list := slices.Clone(ms.list)
	ms.mu.Unlock()
	for _, m := range list {
		select {
		case <-m.watcher.decided:
		case <-ctx.Done():
			return
		}
	}
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
