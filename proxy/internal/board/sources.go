package board

import (
	"math/bits"
	"net/netip"
	"sync/atomic"
	"unsafe"
)

// Sources is the table of client addresses: sticky node, rates, violations, ban
// and live connections of each. It never refuses a source, and limits hold for
// each: one that finds no slot takes that of another of its set that owes nothing,
// and where there is none, it shares one (see Overflow).
//
// The index is set-associative. A key hashes to one set, a cache line of 16
// entries, each naming a slot. Slots are handed out densely, so that a thousand
// sources touch a thousand neighbouring slots wherever their hashes fall:
//
//	index  [ 7 3 9 . . . . . . . . . . . . . ]  a set: filled from the left, entries never change
//	           │
//	slots  0 1 2 3 4 5 …  next                  a slot belongs to its set for ever, to a key for a time
//
// There are no tombstones. A slot whose source is idle (no live connection, not
// seen for the TTL), not banned and owes nothing is taken over by the next new
// key of its set, by compare-and-swap on the key. No state needs a reset then:
// rates, ban and violations have run out, and sticky is tagged with the life of
// its source.
//
// Once all slots are handed out, a new key takes over the slot of its set that
// was idle longest, be it for less than the TTL (evict.go). Behind the table there are slots
// that only bans may take, so that there is room for one however full the table is
// (reserve.go), and those that are shared:
//
//	slots  ├── of one source each ──┼── of banned ones ──┼── shared by hash ──┤
type Sources struct {
	board  *Board
	hasher hasher
	cursor *cursor
	index  []set
	slots  []slot          // the table's, then the reserved, then the shared ones
	rows   []atomic.Uint32 // worker × slot: live connections, written by that worker
	size   int             // slots of the table
	shared int             // the first of those that are shared
}

// SlotID names a slot. It stays with its source while a connection is entered,
// and for the TTL after it was last found or left.
type SlotID uint32

const ways = 16

// set is one cache line of the index: slot number + 1, 0 where there is none.
// Written by any worker, once.
type set [ways]atomic.Uint32

// cursor is where the table ends, and when the bans beyond do. Written by any worker.
type cursor struct {
	next     atomic.Uint32 // slots before it are in the index
	reserved atomic.Int64  // the last instant at which there may be a ban in a reserved slot
	_        [cacheLine - 16]byte
}

// slot is the state of one source, written by any worker, each field by
// compare-and-swap or as the last writer likes it.
type slot struct {
	key        atomic.Uint64 // keyNobody: free, once idle
	seen       atomic.Uint64 // see idle.go
	sticky     atomic.Uint64 // see sticky.go
	connTAT    atomic.Int64  // see gcra.go
	messageTAT atomic.Int64
	violations atomic.Uint64 // see ban.go
	banUntil   atomic.Int64
	home       atomic.Uint32 // 1 + the index entry that names this slot, or will
	violated   atomic.Uint32 // the step of the last violation, see ban.go
}

func (s *Sources) overlay(b *Board, p plan) {
	l := b.layout
	s.board = b
	s.cursor = &cells[cursor](b.mem, p.cursor, 1)[0]
	s.index = cells[set](b.mem, p.index, l.sets())
	s.slots = cells[slot](b.mem, p.slots, l.allSlots())
	s.rows = cells[atomic.Uint32](b.mem, p.rows, l.Workers*l.allSlots())
	s.size, s.shared = l.Sources, l.Sources+l.reserved()
}

func (s *Sources) seed(seed uint64) { s.hasher = newHasher(seed) }

// Find returns the slot of addr, which counts as seen now; a source that had no
// slot gets one, a source that was idle for the TTL starts anew.
func (s *Sources) Find(addr netip.Addr, now int64) SlotID {
	key := keyOf(addr)
	h := s.hasher.hash(key)
	set := s.setOf(h)
	// A retry means that another process changed this very set meanwhile.
	for range 4 * ways {
		c := s.scan(set, key, now)
		if c.found {
			if s.hold(c.id, key, now) {
				return c.id
			}
			continue
		}
		if id, ok := s.banned(key, h, now); ok {
			return id
		}
		taken := c.reusable && s.take(c.id, c.owner, key, now)
		if !c.reusable && (c.entry == ways || !s.extend(set, c.entry, now)) {
			v, ok := s.oldest(set, now)
			if !ok {
				break
			}
			taken = s.evict(v, key, now)
		}
		if taken {
			if id, ok := s.unify(set, key); ok && s.hold(id, key, now) {
				return id
			}
		}
	}
	s.board.global.Overflows.Add(1)
	return s.sharedOf(h)
}

// Lookup returns the slot of addr if it has one of its own. It changes nothing.
func (s *Sources) Lookup(addr netip.Addr) (SlotID, bool) {
	key := keyOf(addr)
	h := s.hasher.hash(key)
	if id, ok := s.lookup(key, h); ok {
		return id, true
	}
	return s.reservedFor(key, h)
}

// lookup is Lookup in the table.
func (s *Sources) lookup(key, h uint64) (SlotID, bool) {
	set := s.setOf(h)
	for i := range set {
		id := set[i].Load()
		if id == 0 {
			break
		}
		if s.slots[id-1].key.Load() == key {
			return SlotID(id - 1), true
		}
	}
	return 0, false
}

// Enter counts a connection of the source held by worker, who alone may call it.
func (s *Sources) Enter(worker int, id SlotID) {
	s.row(worker, id).Add(1)
}

// Leave takes back one Enter of the same worker. The source counts as seen now.
func (s *Sources) Leave(worker int, id SlotID, now int64) {
	s.see(id, now)
	s.row(worker, id).Add(^uint32(0))
}

// Held is how many connections a source is counted for: its own, and as it may
// have had to share a slot before, all of those who share that one.
func (s *Sources) Held(id SlotID) int {
	n := s.Live(id)
	if !s.Overflow(id) && s.board.global.Overflows.Load() > 0 {
		n += s.Live(s.sharedOf(s.hasher.hash(s.slots[id].key.Load())))
	}
	return n
}

// Live is the number of connections all workers hold of the source, or of all
// that share its slot.
func (s *Sources) Live(id SlotID) int {
	n := 0
	for w := range s.board.Rows() {
		n += int(s.row(w, id).Load())
	}
	return n
}

// ConnectionRate is the source's tat of new connections, for Charge.
func (s *Sources) ConnectionRate(id SlotID) *atomic.Int64 { return &s.slots[id].connTAT }

// MessageRate is the source's tat of messages, for Charge and ChargeAnyway.
func (s *Sources) MessageRate(id SlotID) *atomic.Int64 { return &s.slots[id].messageTAT }

// Overflow reports whether id is shared, by hash, by sources without a slot of
// their own. Two that meet there share rates and the count of connections: that is
// stricter for both and never laxer. There are more such slots than in the table, so that
// who wants to be in the way of all others has to use up the rates of as many sources. Their violations
// are counted together, but it is the address that is banned, which finds a reserved slot. It is sticky by hash.
func (s *Sources) Overflow(id SlotID) bool { return int(id) >= s.shared }

// Tracked is how many slots have been handed out, idle ones included.
func (s *Sources) Tracked() int { return int(s.cursor.next.Load()) }

// Capacity is how many slots there are.
func (s *Sources) Capacity() int { return s.size }

func (s *Sources) setOf(h uint64) *set { return &s.index[h&uint64(len(s.index)-1)] }

// sharedOf is the slot that a source shares when it has none of its own.
func (s *Sources) sharedOf(h uint64) SlotID {
	n, _ := bits.Mul64(h, uint64(len(s.slots)-s.shared))
	return SlotID(s.shared + int(n))
}

func (s *Sources) row(worker int, id SlotID) *atomic.Uint32 {
	return &s.rows[worker*len(s.slots)+int(id)]
}

// clear forgets the live connections of a dead worker. Their sources were seen
// until now: seen first, then gone, so that none looks idle in between.
func (s *Sources) clear(worker int, now int64) {
	forget := func(from, to int) {
		for id := SlotID(from); id < SlotID(to); id++ {
			if live := s.row(worker, id); live.Load() != 0 {
				s.see(id, now)
				live.Store(0)
			}
		}
	}
	forget(0, s.Tracked())
	if s.cursor.reserved.Load() != 0 {
		forget(s.size, s.shared)
	}
	if s.board.global.Overflows.Load() != 0 {
		forget(s.shared, len(s.slots))
	}
}

// entryOf is the number of entry i of set in the whole index.
func (s *Sources) entryOf(st *set, i int) uint32 {
	at := uintptr(unsafe.Pointer(st)) - uintptr(unsafe.Pointer(&s.index[0]))
	return uint32(at/unsafe.Sizeof(*st))*ways + uint32(i)
}
