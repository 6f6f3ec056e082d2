package worker

import (
	"net/netip"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/erlmcp/erlmcp/proxy"
	"github.com/erlmcp/erlmcp/proxy/internal/board"
	"github.com/erlmcp/erlmcp/proxy/internal/policy"
	"github.com/erlmcp/erlmcp/proxy/internal/wire"
)

// backend is a node as one worker sees it.
type backend struct {
	slot   int
	name   string
	addr   netip.Addr
	from   netip.Addr // source of connections to it; zero is the kernel's choice
	option policy.Option
	cell   *board.Node
	flow   *board.Flow
	tls    bool // spoken over HTTP and SSE

	ports [board.Transports]port
	over  [board.Transports]*port // where clients of a transport are served; nil: nowhere
}

// port is one transport of a node as one worker sees it.
type port struct {
	backend    *backend
	transport  board.Transport
	address    netip.AddrPort // the zero AddrPort is not served
	cell       *board.Port
	generation uint32 // of the cell, as last seen

	// Passive checks.
	errors     int   // in a row
	failures   int   // connects in a row
	askedAt    int64 // when the first byte after its last answer was sent to it, 0 = nothing outstanding
	reportedAt int64 // when the master was last told
}

func newBackend(b *board.Board, worker int, n wire.NodeSlot) *backend {
	t := policy.NewOption(b, n.Slot, n.Node.Name, wire.PortsOf(n.Node))
	node := &backend{
		slot:   n.Slot,
		name:   n.Node.Name,
		addr:   n.Addr,
		option: t,
		tls:    n.Node.TLS(),
		cell:   t.Cell,
		flow:   b.Flow(worker, n.Slot),
	}
	for over, number := range wire.PortsOf(n.Node) {
		p := &node.ports[over]
		*p = port{backend: node, transport: board.Transport(over), cell: &t.Cell.Ports[over]}
		p.generation = p.cell.Generation.Load()
		p.avoided().Store(0)
		if number != 0 {
			p.address = netip.AddrPortFrom(n.Addr, number)
		}
	}
	for over, via := range t.Via {
		if via >= 0 {
			node.over[over] = &node.ports[via]
		}
	}
	return node
}

// is reports whether b is the node that a slot now stands for. A backend that is nil is none.
func (b *backend) is(n wire.NodeSlot) bool {
	if b == nil || b.name != n.Node.Name || b.addr != n.Addr || b.tls != n.Node.TLS() {
		return false
	}
	for t, number := range wire.PortsOf(n.Node) {
		if b.ports[t].address.Port() != number {
			return false
		}
	}
	return true
}

// sourceAddress is where worker number i connects to a node from, as
// Spec.Source says; the zero Addr leaves it to the kernel.
func sourceAddress(source string, i int, node netip.Addr) netip.Addr {
	switch {
	case source == "":
		return netip.Addr{}
	case source == proxy.SourceAuto:
		if runtime.GOOS == "linux" && node.Is4() && node.IsLoopback() {
			return netip.AddrFrom4([4]byte{127, 2, byte(i / 250), byte(i%250 + 1)})
		}
		return netip.Addr{}
	}
	if a, err := netip.ParseAddr(source); err == nil {
		return a
	}
	prefix, err := netip.ParsePrefix(source)
	if err != nil {
		return netip.Addr{} // Validate has refused it
	}
	a := prefix.Masked().Addr()
	for range i + 1 {
		a = a.Next()
	}
	if !prefix.Contains(a) {
		return prefix.Addr()
	}
	return a
}

const (
	// reportEvery bounds the reports of one worker about one node.
	reportEvery = 100 * time.Millisecond
	// silenceLimit is how long a node may leave everything this worker's
	// clients said unanswered before the master is asked to look.
	silenceLimit = time.Second
)

// asked notes that bytes went to the port.
func (p *port) asked(now int64) {
	if p.askedAt == 0 {
		p.askedAt = now
	}
}

// answered notes that the node said something.
func (p *port) answered() {
	p.errors, p.askedAt = 0, 0
	p.lives()
}

// lives notes a sign of life.
func (p *port) lives() { p.backend.flow.LifeSigns[p.transport].Add(1) }

// suspect tells the master that something is wrong with a port. failed counts
// it among the errors in a row.
func (h *hub) suspect(p *port, reason string, failed bool) {
	if failed {
		p.errors++
	}
	now := h.loop.Now()
	if p.errors != wire.ErrorsInARow && now-p.reportedAt < int64(reportEvery) {
		return
	}
	p.reportedAt = now
	h.report(wire.MessageSuspect, wire.Suspect{
		Slot: p.backend.slot, Transport: p.transport, Generation: p.generation, Reason: reason, Errors: p.errors, At: now,
	})
}

// lookForSilence has ports checked that take requests and answer none: a
// process that is frozen accepts connections for as long as its kernel does.
func (h *hub) lookForSilence() {
	now := h.loop.Now()
	for _, b := range h.backends {
		if b == nil {
			continue
		}
		for i := range b.ports {
			p := &b.ports[i]
			if p.askedAt != 0 && now-p.askedAt > int64(silenceLimit) && now-p.reportedAt > int64(silenceLimit) {
				h.suspect(p, wire.SuspectSilent, false)
			}
		}
	}
}

// avoided is until when the port is not the first choice.
func (p *port) avoided() *atomic.Int64 { return &p.backend.flow.Avoided[p.transport] }

// reached notes that a connect has succeeded.
func (p *port) reached() {
	p.failures = 0
	p.avoided().Store(0)
}
