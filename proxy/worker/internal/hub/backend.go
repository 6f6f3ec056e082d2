package hub

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

// Backend is a node as one worker sees it.
type Backend struct {
	Slot   int
	Name   string
	Addr   netip.Addr
	From   netip.Addr // source of connections to it; zero is the kernel's choice
	option policy.Option
	Flow   *board.Flow
	TLS    bool // spoken over HTTP and SSE

	Ports [board.Transports]Port
}

// Port is one transport of a node as one worker sees it.
type Port struct {
	Backend    *Backend
	Transport  board.Transport
	Address    netip.AddrPort // the zero AddrPort is not served
	Cell       *board.Port
	generation uint32 // of the cell, as last seen

	// Passive checks.
	errors     int   // in a row
	failures   int   // connects in a row
	AskedAt    int64 // when the first byte after its last answer was sent to it, 0 = nothing outstanding
	reportedAt int64 // when the master was last told
}

// NewBackend returns the node in a slot.
func NewBackend(b *board.Board, worker int, n wire.NodeSlot) *Backend {
	ports := wire.PortsOf(n.Node)
	t := policy.NewOption(b, n.Slot, n.Node.Name, ports)
	node := &Backend{
		Slot:   n.Slot,
		Name:   n.Node.Name,
		Addr:   n.Addr,
		option: t,
		TLS:    n.Node.TLS(),
		Flow:   b.Flow(worker, n.Slot),
	}
	for over, number := range ports {
		p := &node.Ports[over]
		*p = Port{Backend: node, Transport: board.Transport(over), Cell: &t.Cell.Ports[over]}
		p.generation = p.Cell.Generation.Load()
		p.avoided().Store(0)
		if number != 0 {
			p.Address = netip.AddrPortFrom(n.Addr, number)
		}
	}
	return node
}

// Via is by which of its ports the node serves the clients of a transport; -1: by none.
func (b *Backend) Via(over board.Transport) int8 { return b.option.Via[over] }

// is reports whether b is the node that a slot now stands for. A backend that is nil is none.
func (b *Backend) is(n wire.NodeSlot) bool {
	if b == nil || b.Name != n.Node.Name || b.Addr != n.Addr || b.TLS != n.Node.TLS() {
		return false
	}
	for t, number := range wire.PortsOf(n.Node) {
		if b.Ports[t].Address.Port() != number {
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

// Asked notes that bytes went to the port.
func (p *Port) Asked(now int64) {
	if p.AskedAt == 0 {
		p.AskedAt = now
	}
}

// Answered notes that the node said something.
func (p *Port) Answered() {
	p.errors, p.AskedAt = 0, 0
	p.Lives()
}

// Lives notes a sign of life.
func (p *Port) Lives() { p.Backend.Flow.LifeSigns[p.Transport].Add(1) }

// suspect tells the master that something is wrong with a port. failed counts
// it among the errors in a row.
func (h *Hub) suspect(p *Port, reason string, failed bool) {
	if failed {
		p.errors++
	}
	now := h.Loop.Now()
	if p.errors != wire.ErrorsInARow && now-p.reportedAt < int64(reportEvery) {
		return
	}
	p.reportedAt = now
	h.Report(wire.MessageSuspect, wire.Suspect{
		Slot: p.Backend.Slot, Transport: p.Transport, Generation: p.generation, Reason: reason, Errors: p.errors, At: now,
	})
}

// lookForSilence has ports checked that take requests and answer none: a
// process that is frozen accepts connections for as long as its kernel does.
func (h *Hub) lookForSilence() {
	now := h.Loop.Now()
	for p := range h.ports {
		if p.AskedAt != 0 && now-p.AskedAt > int64(silenceLimit) && now-p.reportedAt > int64(silenceLimit) {
			h.suspect(p, wire.SuspectSilent, false)
		}
	}
}

// avoided is until when the port is not the first choice.
func (p *Port) avoided() *atomic.Int64 { return &p.Backend.Flow.Avoided[p.Transport] }

// Reached notes that a connect has succeeded, after how long.
func (p *Port) Reached(after time.Duration) {
	p.errors, p.failures = 0, 0
	p.avoided().Store(0)
	p.Backend.Flow.Total.Add(1)
	p.Backend.Flow.ObserveConnect(after)
}
