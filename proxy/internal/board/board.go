// Package board is what the balancer's processes know in common: one anonymous
// shared mapping of fixed-size cells, made by the master and inherited by every
// worker.
//
//	┌────────┬────────┬───────────┬───────┬────────────┬───────────────┬─────────────┬────────────────┬──────────────┐
//	│ header │ Global │ Node × 64 │ Turns │ Worker × W │ Flow × W × 64 │ Methods × W │ rates of tools │ source table │
//	└────────┴────────┴───────────┴───────┴────────────┴───────────────┴─────────────┴────────────────┴──────────────┘
//
// Every cell starts on a cache line of its own and has exactly one kind of
// writer, named in its doc comment; anybody reads it with atomic loads. There is
// no lock anywhere: a process may be killed between any two instructions and the
// others go on. Fields of one cell are not read as a snapshot; a reader that
// races with the writer sees each field old or new.
//
// Instants are nanoseconds of the machine's monotonic clock (internal/mono), the
// same for all processes and never stepped, unless the name says UnixNs. The
// caller passes them in: it reads the clock once per turn of its loop.
package board

import (
	"errors"
	"fmt"
	"os"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/erlmcp/erlmcp/internal/sharedmem"
)

// Board is one mapping of the shared cells. Its methods may be called from any
// goroutine, none of them after Close.
type Board struct {
	file    *os.File // nil when opened: the mapping needs it no longer
	mem     []byte
	layout  Layout
	global  *Global
	nodes   []Node
	turns   *Turns
	workers []Worker
	flows   []Flow
	methods []Methods
	tools   []atomic.Int64 // see tools.go
	sources Sources
}

// ErrFormat is returned by Open for a file that is not a board made by this
// version of the program.
var ErrFormat = errors.New("not a board of this version")

// Create makes an empty board with a random hash seed. The caller closes it.
func Create(l Layout) (*Board, error) {
	l, err := l.normalize()
	if err != nil {
		return nil, err
	}
	p := l.plan()
	f, err := sharedmem.Create("erlmcp-board", int64(p.size))
	if err != nil {
		return nil, fmt.Errorf("board: create %d bytes of shared memory: %w", p.size, err)
	}
	mem, err := sharedmem.Map(f, int64(p.size))
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("board: %w", err)
	}
	headerOf(mem).write(l, p)
	b := overlay(mem, l, p)
	b.file = f
	b.global.Seed = randomSeed()
	b.sources.seed(b.global.Seed)
	return b, nil
}

// Open maps the board another process created. It checks the header against the
// file and against this program's own idea of the layout, and returns ErrFormat
// when they disagree. f is not kept and may be closed.
func Open(f *os.File) (*Board, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("board: open: %w", err)
	}
	size := info.Size()
	if size < pageSize || size > maxSize {
		return nil, fmt.Errorf("board: open: %d bytes: %w", size, ErrFormat)
	}
	mem, err := sharedmem.Map(f, size)
	if err != nil {
		return nil, fmt.Errorf("board: %w", err)
	}
	l, p, err := headerOf(mem).check(len(mem))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("board: open: %w", err), unix.Munmap(mem))
	}
	b := overlay(mem, l, p)
	b.sources.seed(b.global.Seed)
	return b, nil
}

func overlay(mem []byte, l Layout, p plan) *Board {
	b := &Board{
		mem:     mem,
		layout:  l,
		global:  &cells[Global](mem, p.global, 1)[0],
		nodes:   cells[Node](mem, p.nodes, MaxNodes),
		turns:   &cells[Turns](mem, p.turns, 1)[0],
		workers: cells[Worker](mem, p.workers, l.Workers),
		flows:   cells[Flow](mem, p.flows, l.Workers*MaxNodes),
		methods: cells[Methods](mem, p.methods, l.Workers),
		tools:   cells[atomic.Int64](mem, p.tools, toolRates),
	}
	b.sources.overlay(b, p)
	return b
}

// File is the memory to hand to workers, who Open it. Nil on a board that was
// itself opened. It stays the board's.
func (b *Board) File() *os.File { return b.file }

// Layout is the size the board was made with, after rounding.
func (b *Board) Layout() Layout { return b.layout }

// Close unmaps the board. Cells obtained from it must not be used afterwards.
func (b *Board) Close() error {
	err := unix.Munmap(b.mem)
	b.mem = nil
	if b.file != nil {
		err = errors.Join(err, b.file.Close())
	}
	return err
}

// Global is the cell of the whole balancer.
func (b *Board) Global() *Global { return b.global }

// Node is the cell of node slot i, 0 ≤ i < MaxNodes.
func (b *Board) Node(i int) *Node { return &b.nodes[i] }

// Turns is the cell of whose turn it is.
func (b *Board) Turns() *Turns { return b.turns }

// Worker is the cell of worker w, 0 ≤ w < Layout.Workers.
func (b *Board) Worker(w int) *Worker { return &b.workers[w] }

// Flow is the cell of what worker w relays to and from node slot i.
func (b *Board) Flow(w, i int) *Flow { return &b.flows[w*MaxNodes+i] }

// Sources is the table of client addresses.
func (b *Board) Sources() *Sources { return &b.sources }
