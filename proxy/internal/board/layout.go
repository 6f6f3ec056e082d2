package board

import (
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"math/bits"
	"sync/atomic"
	"unsafe"
)

// Limits of a Layout. maxSize follows from them and bounds what Open will map.
const (
	MaxNodes   = 64
	MaxWorkers = 1024
	minSources = 64
	MaxSources = 1 << 22
	maxSize    = 1 << 37

	cacheLine = 64
	pageSize  = 4096 // regions start on multiples of it, whatever the kernel's page is
)

// Layout is the size of a board, fixed when it is made.
type Layout struct {
	Workers int // worker processes, 1…1024
	Sources int // slots of the source table, 64…4,194,304, rounded up to a power of two
}

func (l Layout) normalize() (Layout, error) {
	if l.Workers < 1 || l.Workers > MaxWorkers {
		return l, fmt.Errorf("board: %d workers: want 1 to %d", l.Workers, MaxWorkers)
	}
	if l.Sources < 1 || l.Sources > MaxSources {
		return l, fmt.Errorf("board: %d sources: want 1 to %d", l.Sources, MaxSources)
	}
	l.Sources = max(minSources, 1<<bits.Len(uint(l.Sources-1)))
	return l, nil
}

// plan is where the regions of a board lie, in bytes from its start.
type plan struct {
	global, nodes, turns             uintptr
	workers, flows                   uintptr
	methods, tools                   uintptr
	cursor, index, slots, rows, size uintptr
}

// plan lays the regions out. The source table comes last and is by far the
// largest, but the kernel backs only the pages that were touched.
func (l Layout) plan() plan {
	var p plan
	at := uintptr(pageSize)
	region := func(n int, cell uintptr) uintptr {
		start := at
		at = (at + uintptr(n)*cell + pageSize - 1) &^ (pageSize - 1)
		return start
	}
	p.global = region(1, unsafe.Sizeof(Global{}))
	p.nodes = region(MaxNodes, unsafe.Sizeof(Node{}))
	p.turns = region(1, unsafe.Sizeof(Turns{}))
	p.workers = region(l.Workers, unsafe.Sizeof(Worker{}))
	p.flows = region(l.Workers*MaxNodes, unsafe.Sizeof(Flow{}))
	p.methods = region(l.Workers, unsafe.Sizeof(Methods{}))
	p.tools = region(toolRates, unsafe.Sizeof(atomic.Int64{}))
	p.cursor = region(1, unsafe.Sizeof(cursor{}))
	p.index = region(l.sets(), unsafe.Sizeof(set{}))
	p.slots = region(l.allSlots(), unsafe.Sizeof(slot{}))
	p.rows = region(l.Workers*l.allSlots(), unsafe.Sizeof(uint32(0)))
	p.size = at
	return p
}

// sets of the index hold twice as many entries as there are slots, so that a
// set overflows rarely before the table is full.
func (l Layout) sets() int { return 2 * l.Sources / ways }

// reserved are the slots that are kept for sources that are banned and have no other.
func (l Layout) reserved() int { return max(l.Sources/8, minSources) }

// shared are the slots that sources without one of their own share: many, so that few meet.
func (l Layout) shared() int { return 4 * l.Sources }

func (l Layout) allSlots() int { return l.Sources + l.reserved() + l.shared() }

// header is the first cell of a board: immutable after Create.
type header struct {
	magic   [8]byte
	version uint32
	workers uint32
	sources uint32
	cells   uint32 // fingerprint of the cell sizes
	size    uint64
	_       [32]byte
}

const version = 10

var magic = [8]byte{'e', 'r', 'l', 'm', 'c', 'p', 'B', '\n'}

// fingerprint changes when a cell changes size, should version be forgotten.
const fingerprint = uint32(unsafe.Sizeof(Global{})<<24 ^ unsafe.Sizeof(Node{})<<18 ^
	unsafe.Sizeof(Worker{})<<12 ^ unsafe.Sizeof(Flow{})<<4 ^ unsafe.Sizeof(slot{}) ^ MaxNodes<<1 ^ ways)

// Every cell fills whole cache lines.
var _ = [1]struct{}{}[(unsafe.Sizeof(header{})|unsafe.Sizeof(Global{})|unsafe.Sizeof(Node{})|unsafe.Sizeof(Turns{})|
	unsafe.Sizeof(Worker{})|unsafe.Sizeof(Flow{})|unsafe.Sizeof(Methods{})|unsafe.Sizeof(cursor{})|
	unsafe.Sizeof(set{})|unsafe.Sizeof(slot{}))%cacheLine]

func headerOf(mem []byte) *header { return &cells[header](mem, 0, 1)[0] }

func (h *header) write(l Layout, p plan) {
	*h = header{
		magic: magic, version: version, cells: fingerprint,
		workers: uint32(l.Workers), sources: uint32(l.Sources), size: uint64(p.size),
	}
}

// check returns the layout the header tells of, if it is one that this program
// could have written for a file of that size.
func (h *header) check(size int) (Layout, plan, error) {
	if h.magic != magic {
		return Layout{}, plan{}, fmt.Errorf("bad magic: %w", ErrFormat)
	}
	if h.version != version || h.cells != fingerprint {
		return Layout{}, plan{}, fmt.Errorf("version %d, cells %#x: %w", h.version, h.cells, ErrFormat)
	}
	l := Layout{Workers: int(h.workers), Sources: int(h.sources)}
	n, err := l.normalize()
	if err != nil || n != l {
		return l, plan{}, fmt.Errorf("%d workers, %d sources: %w", l.Workers, l.Sources, ErrFormat)
	}
	p := l.plan()
	if uint64(p.size) != h.size || int(p.size) != size {
		return l, p, fmt.Errorf("%d bytes in the header, %d in the file, %d by layout: %w", h.size, size, p.size, ErrFormat)
	}
	return l, p, nil
}

// cells overlays n cells on mem from offset at.
func cells[T any](mem []byte, at uintptr, n int) []T {
	region := mem[at : at+uintptr(n)*unsafe.Sizeof(*new(T))]
	return unsafe.Slice((*T)(unsafe.Pointer(unsafe.SliceData(region))), n)
}

func randomSeed() uint64 {
	var b [8]byte
	rand.Read(b[:]) // never fails: crypto/rand
	return binary.NativeEndian.Uint64(b[:])
}
