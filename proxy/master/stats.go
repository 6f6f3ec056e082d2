package master

import (
	"net"
	"net/netip"
	"os"
	"reflect"
	"strconv"
	"time"

	"github.com/shirou/gopsutil/v4/process"

	"github.com/erlmcp/erlmcp/healthcheck"
	"github.com/erlmcp/erlmcp/internal/mcp"
	"github.com/erlmcp/erlmcp/internal/mono"
	"github.com/erlmcp/erlmcp/proxy"
	"github.com/erlmcp/erlmcp/proxy/internal/admin"
	"github.com/erlmcp/erlmcp/proxy/internal/board"
	"github.com/erlmcp/erlmcp/proxy/internal/policy"
	"github.com/erlmcp/erlmcp/proxy/internal/wire"
)

// counts is what is cheap to read and worth recording every second.
type counts struct {
	proxy.Stats // without nodes
	nodes       []nodeCounts
	messages    uint64 // from clients, over all workers
}

// nodeCounts is a node with what is counted of it.
type nodeCounts struct {
	proxy.NodeStats
	key               nodeKey
	slot              int
	connects, answers []uint64 // histograms of times, see board.Flow
}

// View reads the board and what the master knows beside it.
func (m *master) View() admin.View {
	now := m.inForce.Load()
	s := m.counts()
	s.Schema = proxy.StatsSchema
	s.PID = os.Getpid()
	s.Version = m.o.Version
	s.UptimeSeconds = s.Time.Sub(m.started).Seconds()
	s.Sources = sourceStats(m.board)
	s.Reload = m.lastReload.Load()
	s.Certificate = now.certificate.stats()
	s.NodesFrom = now.file.stats()
	s.Connections.Max = now.spec.MaxConnections
	s.Workers = m.fleet.stats(now.capacity.perWorker)
	s.MaxWorkers = now.capacity.most
	s.Listeners = append(m.fleet.listeners(m.draining()), m.doors.Stats()...)
	return m.recorder.view(s)
}

// Counts is the part of View that is cheap to read.
func (m *master) Counts() (s proxy.Stats, messages uint64) {
	c := m.counts()
	c.Nodes = statsOf(c.nodes)
	return c.Stats, c.messages
}

// Spec is the one in force.
func (m *master) Spec() proxy.Spec { return m.inForce.Load().spec }

// History is what is kept of the last minutes.
func (m *master) History() admin.History { return m.recorder.history() }

// Next is closed when there is something newer than now.
func (m *master) Next() <-chan struct{} { return m.recorder.next() }

// NodeRestarts is how often whoever runs the nodes has started each of them again.
func (m *master) NodeRestarts() map[string]int {
	if m.o.NodeRestarts == nil {
		return nil
	}
	return m.o.NodeRestarts()
}

// counts reads the counters of the board.
func (m *master) counts() counts {
	s := counts{Stats: proxy.Stats{Time: time.Now(), State: proxy.StateRunning}, nodes: m.members.counts()}
	if m.draining() {
		s.State = proxy.StateDraining
	}
	total := func(of func(*board.Worker) uint64) (n uint64) {
		for w := range m.board.Rows() { // of all rows: counters outlive the workers
			n += of(m.board.Worker(w))
		}
		return n
	}
	s.Connections.Active = m.board.Active()
	s.Connections.Total = total(func(w *board.Worker) uint64 { return w.Accepted.Load() })
	s.HTTP.Requests = total(func(w *board.Worker) uint64 { return w.Requests.Load() })
	s.HTTP.Responses = responsesBy(func(class int) uint64 {
		return total(func(w *board.Worker) uint64 { return w.Responses[class].Load() })
	})
	s.HTTP.Methods = methodCounts(m.board)
	s.Throttles = total(func(w *board.Worker) uint64 { return w.Throttles.Load() })
	s.ThrottledSeconds = time.Duration(total(func(w *board.Worker) uint64 { return w.ThrottledNs.Load() })).Seconds()
	s.Rejects = total(func(w *board.Worker) uint64 { return w.Rejects.Load() })
	s.AccessLogDropped = total(func(w *board.Worker) uint64 { return w.AccessLogDropped.Load() })
	s.messages = total(func(w *board.Worker) uint64 { return w.Messages.Load() })
	countBy(&s.Refused, func(r board.Reason) uint64 {
		return total(func(w *board.Worker) uint64 { return w.Refused[r].Load() })
	})
	countBy(&s.Cut, func(r board.Reason) uint64 {
		return total(func(w *board.Worker) uint64 { return w.Cut[r].Load() })
	})
	return s
}

// responsesBy counts by class.
func responsesBy(count func(class int) uint64) proxy.Responses {
	return proxy.Responses{Informational: count(1), Successful: count(2), Redirection: count(3), ClientError: count(4), ServerError: count(5)}
}

// countBy fills in counts, each field of which has the name of a reason in JSON.
func countBy(counts any, count func(board.Reason) uint64) {
	v := reflect.ValueOf(counts).Elem()
	for i := range v.NumField() {
		if r, ok := board.ReasonCalled(v.Type().Field(i).Tag.Get("json")); ok {
			v.Field(i).SetUint(count(r))
		}
	}
}

func sourceStats(b *board.Board) proxy.SourceStats {
	sources := b.Sources()
	s := proxy.SourceStats{Tracked: sources.Tracked(), Capacity: sources.Capacity(), Overflows: b.Global().Overflows.Load(), Evictions: b.Global().Evictions.Load()}
	for range sources.Banned(mono.Now()) {
		s.Banned++
	}
	return s
}

// stats lists the workers that have a row.
func (f *fleet) stats(perWorker int) []proxy.WorkerStats {
	f.mu.Lock()
	defer f.mu.Unlock()
	list := []proxy.WorkerStats{}
	for r := range f.rows {
		if !f.rows[r].used {
			continue
		}
		c := f.board.Worker(r)
		pid := int(c.PID.Load())
		list = append(list, proxy.WorkerStats{
			Index:     r,
			PID:       pid,
			Active:    c.Active.Load(),
			Max:       perWorker,
			Accepted:  c.Accepted.Load(),
			Messages:  c.Messages.Load(),
			Restarts:  f.rows[r].restarts,
			RSSBytes:  residentBytes(pid),
			LoopLagUs: loopLag(c).Microseconds(),
		})
	}
	return list
}

// loopLag is how late the worker's loop last woke, or by now is.
func loopLag(c *board.Worker) time.Duration {
	last, beat := c.LoopLagNs.Load(), c.HeartbeatNs.Load()
	if beat != 0 {
		last = max(last, mono.Now()-beat-int64(wire.Heartbeat))
	}
	return time.Duration(last)
}

// residentBytes is the memory of a process, 0 when it cannot be told.
func residentBytes(pid int) uint64 {
	p := process.Process{Pid: int32(pid)}
	if pid == 0 {
		return 0
	}
	memory, err := p.MemoryInfo()
	if err != nil {
		return 0
	}
	return memory.RSS
}

// listeners lists the addresses clients connect to. Only the newest one takes them.
func (f *fleet) listeners(draining bool) []proxy.ListenerStats {
	f.mu.Lock()
	defer f.mu.Unlock()
	var list []proxy.ListenerStats
	for _, g := range f.generations {
		for _, e := range g.entrances {
			list = append(list, proxy.ListenerStats{Name: e.at.Name, Address: e.bound.String(), Up: !g.retiring && !draining})
		}
	}
	return list
}

// stats lists all members.
func (ms *members) stats() []proxy.NodeStats { return statsOf(ms.counts()) }

// statsOf is what is told of nodes.
func statsOf(nodes []nodeCounts) []proxy.NodeStats {
	list := make([]proxy.NodeStats, len(nodes))
	for i := range nodes {
		list[i] = nodes[i].NodeStats
	}
	return list
}

// counts lists all members. No two of them have the same name and address.
func (ms *members) counts() []nodeCounts {
	ms.mu.Lock()
	defer ms.mu.Unlock()
	list := make([]nodeCounts, len(ms.list))
	type shown struct{ name, address string }
	known := make(map[shown]bool, len(ms.list))
	for i, m := range ms.list {
		n := m.counts(ms.board)
		if known[shown{n.Name, n.Address}] && len(n.Transports) > 0 {
			n.Address = n.Transports[0].Found
		}
		if known[shown{n.Name, n.Address}] {
			n.Address += "#" + strconv.Itoa(m.slot)
		}
		known[shown{n.Name, n.Address}] = true
		list[i] = n
	}
	return list
}

// transportStats is one transport of m, with the watcher w.
func (m *member) transportStats(w *watcher) proxy.TransportStats {
	check := w.status.Load()
	state := board.State(w.port.State.Load())
	t := proxy.TransportStats{
		Name:         w.over.String(),
		State:        state.String(),
		Since:        mono.Time(w.port.SinceNs.Load()),
		StateChanges: w.port.StateChanges.Load() - m.changesBefore[w.over],
		Check: proxy.CheckStats{
			Kind:       check.result.Kind,
			OK:         check.result.OK,
			Up:         state != board.Down && state != board.Silent,
			LatencyUs:  time.Duration(w.port.CheckLatencyNs.Load()).Microseconds(),
			Cause:      check.result.Cause,
			Error:      check.result.Error,
			Advice:     check.result.Detail["advice"],
			At:         mono.Retell(check.at),
			DetectedMs: float64(check.detected) / float64(time.Millisecond),
		},
	}
	port := wire.PortsOf(m.node)[w.over]
	t.Address = net.JoinHostPort(m.node.Host, strconv.Itoa(int(port)))
	t.Found = netip.AddrPortFrom(m.addr, port).String()
	if m.admin != admin.Ready && state == board.Down {
		t.State = proxy.NodeMaintenance
	}
	return t
}

// sumUp makes of the transports what is said of the node as a whole.
func sumUp(n *proxy.NodeStats) {
	well := func(c *proxy.CheckStats) bool { return c.OK && c.Up && c.Advice == "" } // there is nothing to say about it
	if len(n.Transports) == 0 {
		n.State = proxy.NodeDown
		n.Check.Error = "no listener needs it"
		return
	}
	first := n.Transports[0]
	n.Address, n.State, n.Check = first.Address, first.State, first.Check
	for _, t := range n.Transports {
		n.StateChanges += t.StateChanges
		if t.Since.After(n.Since) {
			n.Since = t.Since
		}
		if t.State != n.State {
			n.State = proxy.NodeDegraded
		}
		if well(&n.Check) && !well(&t.Check) {
			n.Check = t.Check
		}
	}
}

func (m *member) counts(b *board.Board) nodeCounts {
	c := nodeCounts{key: m.identity(), slot: m.slot, connects: make([]uint64, board.ConnectBuckets), answers: make([]uint64, board.ConnectBuckets)}
	if m.slot == noSlot {
		c.NodeStats = m.lostStats()
		return c
	}
	cell, flow := b.Node(m.slot), b.NodeTotals(m.slot)
	_, pledged := b.NodeLoad(m.slot)
	s := proxy.NodeStats{
		Name:           m.node.Name,
		Leaving:        m.leaving,
		FullWeight:     float64(m.weight()),
		Connections:    flow.Active,
		Pending:        flow.Pending,
		MaxConnections: cell.MaxConns.Load(),
		Pledged:        pledged,
		Total:          flow.Total - m.before.Total,
		BytesIn:        flow.BytesIn - m.before.BytesIn,
		BytesOut:       flow.BytesOut - m.before.BytesOut,
		Messages:       flow.Messages - m.before.Messages,
		ConnectErrors:  flow.ConnectErrors - m.before.ConnectErrors,
		Resets:         flow.Resets - m.before.Resets,
		Retries:        flow.Retries - m.before.Retries,
		Displaced:      flow.Displaced - m.before.Displaced,
		Requests:       flow.Requests - m.before.Requests,
		Responses:      responsesBy(func(class int) uint64 { return flow.Responses[class] - m.before.Responses[class] }),
		Transports:     []proxy.TransportStats{},
	}
	for _, w := range m.watchers {
		if w != nil {
			t := m.transportStats(w)
			t.Idle = flow.Idle[w.over]
			s.Transports = append(s.Transports, t)
			s.Weight = max(s.Weight, float64(w.port.Weight.Load())/policy.WeightUnit)
		}
	}
	sumUp(&s)
	s.Note = m.why
	for i := range c.connects {
		c.connects[i] = flow.Connect[i] - m.before.Connect[i]
		c.answers[i] = flow.Answer[i] - m.before.Answer[i]
	}
	c.NodeStats = s
	return c
}

// lostStats is m where nobody knows its address.
func (m *member) lostStats() proxy.NodeStats {
	s := proxy.NodeStats{
		Name:       m.node.Name,
		Address:    m.node.Ports()[0].Address,
		State:      proxy.NodeDown,
		Since:      m.since,
		FullWeight: float64(m.weight()),
		Transports: []proxy.TransportStats{},
		Check:      proxy.CheckStats{Cause: healthcheck.CauseResolve, Error: m.why},
	}
	if m.admin != admin.Ready {
		s.State = proxy.NodeMaintenance
	}
	return s
}

// methodOther is what all methods count as that are not in mcp.ClientMethods, and bodies that do not
// say one where it is looked for.
const methodOther = "other"

// methodCounts is how many requests there were by method, without those that never came.
func methodCounts(b *board.Board) map[string]uint64 {
	counts := make(map[string]uint64)
	totals := b.MethodTotals()
	for i, m := range mcp.ClientMethods {
		if totals[i] > 0 {
			counts[m] = totals[i]
		}
	}
	if n := totals[len(mcp.ClientMethods)]; n > 0 {
		counts[methodOther] = n
	}
	return counts
}
