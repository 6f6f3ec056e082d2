package worker

import (
	"math"
	"time"

	"github.com/charmbracelet/log"

	"github.com/erlmcp/erlmcp/internal/prefork"
	"github.com/erlmcp/erlmcp/internal/reactor"
	"github.com/erlmcp/erlmcp/proxy"
	"github.com/erlmcp/erlmcp/proxy/internal/board"
	"github.com/erlmcp/erlmcp/proxy/internal/policy"
	"github.com/erlmcp/erlmcp/proxy/internal/wire"
)

// hub is what the frontends of a worker share on its loop: the decisions that the board lets it make alone.
type hub struct {
	log    *log.Logger
	loop   *reactor.Loop
	board  *board.Board
	index  int           // its row on the board
	cell   *board.Worker // the row
	master reporter
	gate   *prefork.Gate

	spec       proxy.Spec
	max        int    // clients this worker may hold
	maxMessage uint32 // bytes
	budget     int    // bytes that may be in hand for all clients
	limits     policy.Limits
	picker     policy.Picker
	wish       policy.Wish              // of whom a node is being chosen for
	backends   [board.MaxNodes]*backend // nil: slot not in use

	crowd     sourceCrowd // the clients that are counted as active, by source
	open      int         // clients that hold a descriptor, counted as active or not
	lingering int         // the refused ones of them
	held      int         // clients that wait for their turn, being over the connection rate
	draining  bool
	ending    bool   // whoever is left has been cut, or is about to be
	scratch   []byte // for answers
	access    access

	complaint   int64 // when complain last logged something, 0 = never
	announced   int64 // when a ban was last logged, 0 = never
	unannounced int   // bans since
}

// newHub returns the hub of a worker, which has no nodes before apply.
func newHub(b *board.Board, s *wire.WorkerSpec, intake prefork.Intake, master reporter, logger *log.Logger) (*hub, error) {
	loop, err := reactor.NewLoop(reactor.Options{})
	if err != nil {
		return nil, err
	}
	row := s.Worker
	h := &hub{
		log:    logger,
		loop:   loop,
		board:  b,
		index:  row,
		cell:   b.Worker(row),
		master: master,
	}
	h.access.seed = b.Global().Seed
	h.picker.Board, h.picker.Row = b, row
	h.picker.Begin(b.Turns(), b.Global().Seed+uint64(row))
	h.gate = prefork.NewGate(intake, s.MaxConnections, h.report)
	return h, nil
}

// apply takes over a specification. Connections stay.
func (h *hub) apply(s *wire.WorkerSpec) {
	h.spec, h.max = s.Spec, s.MaxConnections
	h.gate.Resize(h.max)
	h.budget = max(h.max*heldPerClient, leastHeld)
	h.limits = policy.NewLimits(&s.Spec)
	h.maxMessage = uint32(min(int64(s.Spec.MaxMessage), math.MaxUint32/2))
	h.picker.Balance = s.Spec.Balance
	var used [board.MaxNodes]bool
	for _, n := range s.Nodes {
		used[n.Slot] = true
		b := h.backends[n.Slot]
		if !b.is(n) {
			b = newBackend(h.board, h.index, n)
			h.backends[n.Slot] = b
			h.picker.Set(n.Slot, b.option)
		}
		b.from = sourceAddress(h.spec.Source, h.index, n.Addr)
	}
	for slot := range h.backends {
		if !used[slot] {
			h.backends[slot] = nil
			h.picker.Set(slot, policy.Option{})
		}
	}
}

// beat is the hub's part of the heartbeat.
func (h *hub) beat(now int64) {
	h.access.flush(now)
	h.gate.Look(h.open, now)
	h.lookForSilence()
	h.fade()
	h.weighIn()
}

// fallen are the ports that have gone down since the last call.
func (h *hub) fallen(yield func(*port) bool) {
	for _, b := range h.backends {
		if b == nil {
			continue
		}
		for i := range b.ports {
			p := &b.ports[i]
			if g := p.cell.Generation.Load(); g != p.generation {
				p.generation = g
				p.errors, p.askedAt = 0, 0
				if !yield(p) {
					return
				}
			}
		}
	}
}

// trim drops what is kept for reuse.
func (h *hub) trim() {
	h.loop.Trim()
	h.crowd.Trim()
	h.access.trim()
	h.scratch = nil
}

// reporter takes messages for the master; it is a prefork.Child.
type reporter interface {
	Send(kind string, data any) error
}

// entered counts a client that holds a descriptor.
func (h *hub) entered() {
	h.open++
	h.gate.Look(h.open, h.loop.Now())
}

// report tells the master something. Without a master there is nothing to do.
func (h *hub) report(kind string, data any) {
	if err := h.master.Send(kind, data); err != nil {
		h.log.Error("lost the master", "err", err)
		h.stop()
	}
}

// stop ends the loop.
func (h *hub) stop() {
	h.ending = true
	h.loop.Stop()
}

// complaintEvery is how often complain logs at most.
const complaintEvery = time.Second

// complain logs what may well go wrong for every client alike. The loop waits for the log.
func (h *hub) complain(what string, keyvals ...any) {
	if now := h.loop.Now(); h.complaint == 0 || now-h.complaint >= int64(complaintEvery) {
		h.complaint = now
		h.log.Error(what, keyvals...)
	}
}

func (h *hub) endIfDrained() {
	if h.draining && h.open == 0 {
		h.report(wire.MessageDrained, nil)
		h.stop()
	}
}

// countCut notes why something under way ends.
func (h *hub) countCut(e *accessEntry, reason board.Reason) {
	h.cell.Cut[reason].Add(1)
	e.refused(reason)
}
