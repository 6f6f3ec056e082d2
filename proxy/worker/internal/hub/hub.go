// Package hub is what the frontends of a worker share on its loop: its row on the board, the limits, the nodes and what is suspected
// of them, the room there is, and its life from the first specification to the end of draining. It knows no protocol.
package hub

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
	"github.com/erlmcp/erlmcp/proxy/worker/internal/access"
)

// Hub is what the frontends of a worker share on its loop: the decisions that the board lets it make alone.
type Hub struct {
	Log    *log.Logger
	Loop   *reactor.Loop
	Board  *board.Board
	Index  int           // its row on the board
	Cell   *board.Worker // the row
	master Reporter
	Gate   *prefork.Gate

	Spec       proxy.Spec
	Max        int    // clients this worker may hold
	MaxMessage uint32 // bytes
	Budget     int    // bytes that may be in hand for all clients
	Limits     policy.Limits
	Picker     policy.Picker
	Wish       policy.Wish              // of whom a node is being chosen for
	Backends   [board.MaxNodes]*Backend // nil: slot not in use

	Crowd     sourceCrowd // the clients that are counted as active, by source
	Open      int         // clients that hold a descriptor, counted as active or not
	Lingering int         // the refused ones of them
	Held      int         // clients that wait for their turn, being over the connection rate
	Draining  bool
	Ending    bool   // whoever is left has been cut, or is about to be
	Scratch   []byte // for answers
	Access    access.Log

	complaint   int64 // when Complain last logged something, 0 = never
	announced   int64 // when a ban was last logged, 0 = never
	unannounced int   // bans since
}

// New returns the hub of a worker, which has no nodes before apply.
func New(b *board.Board, s *wire.WorkerSpec, intake prefork.Intake, master Reporter, logger *log.Logger) (*Hub, error) {
	loop, err := reactor.NewLoop(reactor.Options{})
	if err != nil {
		return nil, err
	}
	row := s.Worker
	h := &Hub{
		Log:    logger,
		Loop:   loop,
		Board:  b,
		Index:  row,
		Cell:   b.Worker(row),
		master: master,
	}
	h.Access.Seed = b.Global().Seed
	h.Picker.Board, h.Picker.Row = b, row
	h.Picker.Begin(b.Turns(), b.Global().Seed+uint64(row))
	h.Gate = prefork.NewGate(intake, s.MaxConnections, h.Report)
	return h, nil
}

// apply takes over a specification. Connections stay.
func (h *Hub) apply(s *wire.WorkerSpec) {
	h.Spec, h.Max = s.Spec, s.MaxConnections
	h.Gate.Resize(h.Max)
	h.Budget = max(h.Max*heldPerClient, leastHeld)
	h.Limits = policy.NewLimits(&s.Spec)
	h.MaxMessage = uint32(min(int64(s.Spec.MaxMessage), math.MaxUint32/2))
	h.Picker.Balance = s.Spec.Balance
	var used [board.MaxNodes]bool
	for _, n := range s.Nodes {
		used[n.Slot] = true
		b := h.Backends[n.Slot]
		if !b.is(n) {
			b = NewBackend(h.Board, h.Index, n)
			h.Backends[n.Slot] = b
			h.Picker.Set(n.Slot, b.option)
		}
		b.From = sourceAddress(h.Spec.Source, h.Index, n.Addr)
	}
	for slot := range h.Backends {
		if !used[slot] {
			h.Backends[slot] = nil
			h.Picker.Set(slot, policy.Option{})
		}
	}
}

// beat is the hub's part of the heartbeat.
func (h *Hub) beat(now int64) {
	h.Access.Flush(now)
	h.Gate.Look(h.Open, now)
	h.lookForSilence()
	h.fade()
	h.weighIn()
}

// ports are those of all nodes, whether they serve anything or not.
func (h *Hub) ports(yield func(*Port) bool) {
	for _, b := range h.Backends {
		if b == nil {
			continue
		}
		for i := range b.Ports {
			if !yield(&b.Ports[i]) {
				return
			}
		}
	}
}

// fallen are the ports that have gone down since the last call.
func (h *Hub) fallen(yield func(*Port) bool) {
	for p := range h.ports {
		if g := p.Cell.Generation.Load(); g != p.generation {
			p.generation = g
			p.errors, p.AskedAt = 0, 0
			if !yield(p) {
				return
			}
		}
	}
}

// trim drops what is kept for reuse.
func (h *Hub) trim() {
	h.Loop.Trim()
	h.Crowd.Trim()
	h.Access.Trim()
	h.Scratch = nil
}

// Reporter takes messages for the master; it is a prefork.Child.
type Reporter interface {
	Send(kind string, data any) error
}

// Entered counts a client that holds a descriptor.
func (h *Hub) Entered() {
	h.Open++
	h.Gate.Look(h.Open, h.Loop.Now())
}

// Report tells the master something. Without a master there is nothing to do.
func (h *Hub) Report(kind string, data any) {
	if err := h.master.Send(kind, data); err != nil {
		h.Log.Error("lost the master", "err", err)
		h.Stop()
	}
}

// Stop ends the loop.
func (h *Hub) Stop() {
	h.Ending = true
	h.Loop.Stop()
}

// ComplaintEvery is how often Complain logs at most.
const ComplaintEvery = time.Second

// Complain logs what may well go wrong for every client alike. The loop waits for the log.
func (h *Hub) Complain(what string, keyvals ...any) {
	if now := h.Loop.Now(); h.complaint == 0 || now-h.complaint >= int64(ComplaintEvery) {
		h.complaint = now
		h.Log.Error(what, keyvals...)
	}
}

// EndIfDrained ends a worker that drains when its last client has gone.
func (h *Hub) EndIfDrained() {
	if h.Draining && h.Open == 0 {
		h.Report(wire.MessageDrained, nil)
		h.Stop()
	}
}

// CountCut notes why something under way ends.
func (h *Hub) CountCut(e *access.Entry, reason board.Reason) {
	h.Cell.Cut[reason].Add(1)
	e.Refused(reason)
}
