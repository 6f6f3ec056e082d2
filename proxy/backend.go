package proxy

import (
	"errors"
	"hash/fnv"
	"net/netip"
	"runtime"
	"time"

	"golang.org/x/sys/unix"

	"github.com/erlmcp/erlmcp/internal/topology"
	"github.com/erlmcp/erlmcp/proxy/internal/board"
)

// backend is a node as one worker sees it.
type backend struct {
	slot       int
	name       string
	address    netip.AddrPort
	from       netip.Addr // source of connections to it; zero is the kernel's choice
	hash       uint64     // of the name, for rendezvous
	cell       *board.Node
	flow       *board.Flow
	generation uint32 // of the cell, as last seen
	pairs      *pair  // connected or connecting to it, linked by next and prev
	exchanges  *exchange
	pools      [ports]nodePool

	// Passive checks.
	errors     int   // in a row
	askedAt    int64 // when the first byte after its last answer was sent to it, 0 = nothing outstanding
	reportedAt int64 // when the master was last told
}

func newBackend(b *board.Board, worker int, n NodeSlot) *backend {
	h := fnv.New64a()
	h.Write([]byte(n.Node.Name))
	cell := b.Node(n.Slot)
	return &backend{
		slot:       n.Slot,
		name:       n.Node.Name,
		address:    n.Address,
		hash:       h.Sum64(),
		cell:       cell,
		flow:       b.Flow(worker, n.Slot),
		generation: cell.Generation.Load(),
	}
}

// serve takes over where the node serves HTTP.
func (b *backend) serve(n topology.Node) {
	for port, number := range [ports]int{httpPort: n.HTTP, ssePort: n.SSE} {
		if port == int(ssePort) && number == 0 {
			number = n.HTTP
		}
		var at netip.AddrPort
		if number != 0 {
			at = netip.AddrPortFrom(b.address.Addr(), uint16(number))
		}
		if p := &b.pools[port]; p.address != at {
			p.empty()
			*p = nodePool{address: at, epoch: p.epoch}
		}
	}
}

// forget closes what is kept for later. A backend that is nil has nothing.
func (b *backend) forget() {
	if b != nil {
		for i := range b.pools {
			b.pools[i].empty()
		}
	}
}

// sourceAddress is where worker number i connects to a node from, as
// Spec.Source says; the zero Addr leaves it to the kernel.
func sourceAddress(source string, i int, node netip.Addr) netip.Addr {
	switch {
	case source == "":
		return netip.Addr{}
	case source == SourceAuto:
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
	// errorsInARow condemn a node without waiting for a check.
	errorsInARow = 3
)

// asked notes that bytes went to the node.
func (b *backend) asked(now int64) {
	if b.askedAt == 0 {
		b.askedAt = now
	}
}

// answered notes that the node said something.
func (b *backend) answered() {
	b.errors, b.askedAt = 0, 0
	b.flow.LifeSigns.Add(1)
}

// suspect tells the master that something is wrong with a node. failed counts
// it among the errors in a row.
func (w *worker) suspect(b *backend, reason string, failed bool) {
	if failed {
		b.errors++
	}
	now := w.loop.Now()
	if b.errors != errorsInARow && now-b.reportedAt < int64(reportEvery) {
		return
	}
	b.reportedAt = now
	w.report(messageSuspect, Suspect{Slot: b.slot, Generation: b.generation, Reason: reason, Errors: b.errors})
}

// lookForSilence has nodes checked that take requests and answer none: a
// process that is frozen accepts connections for as long as its kernel does.
func (w *worker) lookForSilence() {
	now := w.loop.Now()
	for _, b := range w.backends {
		if b != nil && b.askedAt != 0 && now-b.askedAt > int64(silenceLimit) && now-b.reportedAt > int64(silenceLimit) {
			w.suspect(b, SuspectSilent, false)
		}
	}
}

// reasonOf names a connection error. ours is true when it is this machine that
// lacks something, which says nothing about the node.
func reasonOf(err error) (reason string, ours bool) {
	for _, local := range []error{unix.EADDRNOTAVAIL, unix.EADDRINUSE, unix.EMFILE, unix.ENFILE, unix.ENOBUFS, unix.ENOMEM} {
		if errors.Is(err, local) {
			return "", true
		}
	}
	if errors.Is(err, unix.ECONNREFUSED) {
		return SuspectRefused, false
	}
	if errors.Is(err, unix.ETIMEDOUT) {
		return SuspectTimeout, false
	}
	return SuspectReset, false
}
