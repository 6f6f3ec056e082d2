package board

import "time"

// In a full table the source of a set that was idle longest makes room for a new one, if it owes nothing:
// no connection, no ban, no violation within the window, and all of its rates at rest. What is lost with
// it is the node it stayed with.

// settleTime is for how long a source that was found stays, though it holds nothing yet: whoever has found it
// is about to count a connection.
const settleTime = int64(time.Second)

// victim is a slot that may be taken from its owner, as long as its seen word is the same.
type victim struct {
	id    SlotID
	owner uint64
	seen  uint64
}

// oldest looks for the slot of a set that can be taken from its source.
func (s *Sources) oldest(st *set, now int64) (v victim, ok bool) {
	var passed uint32 // entries that hold connections, a bit each
	for {
		best := -1
		for i := range st {
			n := st[i].Load()
			if n == 0 {
				break
			}
			if passed&(1<<i) != 0 {
				continue
			}
			id := SlotID(n - 1)
			slot := &s.slots[id]
			seen := slot.seen.Load()
			if now-seenNs(seen) > settleTime && !slot.owes(now) && !within(slot.violations.Load(), now, s.banWindow()) && (best < 0 || seenNs(seen) < seenNs(v.seen)) {
				best, v = i, victim{id, slot.key.Load(), seen}
			}
		}
		if best < 0 {
			return v, false
		}
		if s.Live(v.id) == 0 { // the dearest look, so it comes last
			return v, true
		}
		passed |= 1 << best
	}
}

// evict makes a slot the key's, as take does. The life of its source ends with the seen word: of evict and whoever finds
// the source at the same time, one fails to move it, or the other finds the slot nobody's and gets it back.
func (s *Sources) evict(v victim, key uint64, now int64) bool {
	slot := &s.slots[v.id]
	if v.owner != keyNobody && !slot.key.CompareAndSwap(v.owner, keyNobody) {
		return false
	}
	life := max(1, (v.seen&lifeMask+1)&lifeMask)
	if !slot.seen.CompareAndSwap(v.seen, seenWord(now, life)) {
		if v.owner != keyNobody {
			slot.key.CompareAndSwap(keyNobody, v.owner)
		}
		return false
	}
	slot.forgive()
	if !slot.key.CompareAndSwap(keyNobody, key) {
		return false
	}
	if v.owner != keyNobody {
		s.board.global.Evictions.Add(1)
	}
	return s.hold(v.id, key, now)
}

func (s *Sources) banWindow() int64 {
	if ns := s.board.global.BanWindowNs.Load(); ns > 0 {
		return ns
	}
	return int64(DefaultBanWindow)
}
