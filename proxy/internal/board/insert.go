package board

import "sync/atomic"

// How a source gets its slot. Every step is one compare-and-swap, and whatever
// a process killed between two of them leaves behind is completed or reused by
// the next that comes by.
//
//   - extend puts a fresh slot, still nobody's, into a set.
//   - take makes a slot of the set, fresh or idle, the key's.
//   - unify sees to it that a key that two workers inserted at the same time
//     ends in one slot.

// candidate is what a scan of a set came to: the key's own slot, or else one to
// take over and whose it was then, or else the first entry without a slot (ways
// when all have one).
type candidate struct {
	id              SlotID
	found, reusable bool
	owner           uint64
	entry           int
}

func (s *Sources) scan(st *set, key uint64, now int64) candidate {
	var c candidate
	for c.entry = 0; c.entry < ways; c.entry++ {
		n := st[c.entry].Load()
		if n == 0 {
			break
		}
		id := SlotID(n - 1)
		owner := s.slots[id].key.Load()
		if owner == key {
			return candidate{id: id, found: true}
		}
		if !c.reusable && (owner == keyNobody && s.fresh(id) || s.expired(id, now)) {
			c.id, c.reusable, c.owner = id, true, owner
		}
	}
	return c
}

// hold marks the slot as seen and reports whether it is the key's for good, that
// is until it is idle again. Against take: hold marks and then loads the key;
// take takes the key and then looks at the mark. So one of the two notices the
// other, and a source just found again gets its slot back.
func (s *Sources) hold(id SlotID, key uint64, now int64) bool {
	slot := &s.slots[id]
	for {
		s.see(id, now)
		switch slot.key.Load() {
		case key:
			return true
		case keyNobody:
			slot.key.CompareAndSwap(keyNobody, key)
		default:
			return false
		}
	}
}

// take makes a reusable slot the key's and reports whether it did. owner is whose
// it was when it was judged reusable. In between it is nobody's for a moment; who
// is killed in that moment leaves it so, and expired.
func (s *Sources) take(id SlotID, owner, key uint64, now int64) bool {
	slot := &s.slots[id]
	// A slot with a key is before the cursor, whoever named it and died.
	s.cursor.next.CompareAndSwap(uint32(id), uint32(id)+1)
	if owner != keyNobody {
		if !slot.key.CompareAndSwap(owner, keyNobody) {
			return false
		}
		if !s.expired(id, now) {
			slot.key.CompareAndSwap(keyNobody, owner)
			return false
		}
	}
	return slot.key.CompareAndSwap(keyNobody, key) && s.hold(id, key, now)
}

// unify returns the first slot of the set that is the key's and takes the key
// from any other. Two workers that insert the same key nearly always choose the
// same slot, and one loses the race for it; only if they judged idleness
// differently, or one died, are there two. A connection already entered in the
// lesser slot stays counted there until it leaves; the choice it made is carried
// over. A pair that escapes is harmless: all find the first, the other idles out.
func (s *Sources) unify(st *set, key uint64) (first SlotID, ok bool) {
	for i := range st {
		n := st[i].Load()
		if n == 0 {
			break
		}
		id := SlotID(n - 1)
		switch slot := &s.slots[id]; {
		case slot.key.Load() != key:
		case !ok:
			first, ok = id, true
		default:
			if node, sticky := s.Sticky(id); sticky {
				s.SetSticky(first, NoNode, node)
			}
			slot.key.CompareAndSwap(key, keyNobody)
		}
	}
	return first, ok
}

// extend puts the next fresh slot into entry i of the set, or finds that another
// process has; it reports false when the table is full.
//
// A slot counts as seen from now on, lest whoever takes it loses it before it
// says so. It gets a home, the entry that will name it; then the entry is set,
// then the cursor moves on. As the cursor does not move before, all processes
// work on the same slot, and any of them can finish what another began: here or,
// once the slot is named, in take.
func (s *Sources) extend(st *set, i int, now int64) bool {
	home := s.entryOf(st, i) + 1
	for st[i].Load() == 0 {
		n := s.cursor.next.Load()
		if int(n) >= s.size {
			return false
		}
		slot := &s.slots[n]
		slot.seen.CompareAndSwap(0, seenWord(now, 0))
		slot.home.CompareAndSwap(0, home)
		h := slot.home.Load()
		switch e := s.entry(h - 1); e.Load() {
		case 0:
			e.CompareAndSwap(0, n+1)
		case n + 1:
			s.cursor.next.CompareAndSwap(n, n+1)
		default: // another slot got that entry first: move to ours
			slot.home.CompareAndSwap(h, home)
		}
	}
	return true
}

func (s *Sources) entry(n uint32) *atomic.Uint32 { return &s.index[n/ways][n%ways] }
