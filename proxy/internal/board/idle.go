package board

// A seen word is when the source was last found or left, in steps of 2^10 ns,
// and the number of its life, which ends when it is idle for the TTL:
//
//	63                            16 15     0
//	├── last seen ──────────────────┼─ life ┤
//
// In one word, so that of several processes that find an idle source at the same
// time exactly one begins its next life. Life 0 is a slot that was never idle.
// 48 bits of such steps are 9 years of uptime.
const (
	seenStepBits = 10
	lifeBits     = 16
	lifeMask     = 1<<lifeBits - 1
)

func seenNs(word uint64) int64 { return int64(word >> lifeBits << seenStepBits) }

func seenWord(ns int64, life uint64) uint64 {
	return uint64(ns)>>seenStepBits<<lifeBits | life
}

// see marks the slot as seen now, by which an idle source begins a new life.
func (s *Sources) see(id SlotID, now int64) {
	seen := &s.slots[id].seen
	for {
		old := seen.Load()
		life := old & lifeMask
		if s.idle(id, old, now) {
			life = max(1, (life+1)&lifeMask)
		}
		next := seenWord(max(now, seenNs(old)), life)
		if next == old || seen.CompareAndSwap(old, next) {
			return
		}
	}
}

// idle reports that nobody uses a slot whose seen word is given: its source has
// no connection and was not seen for the TTL.
func (s *Sources) idle(id SlotID, seen uint64, now int64) bool {
	return now-seenNs(seen) > s.ttl() && s.Live(id) == 0
}

// expired reports that the slot is idle and nothing is held against its source.
func (s *Sources) expired(id SlotID, now int64) bool {
	slot := &s.slots[id]
	return s.idle(id, slot.seen.Load(), now) && !slot.owes(now)
}

// owes reports that the source is banned, or has used its rates up to some degree.
func (slot *slot) owes(now int64) bool {
	return slot.banUntil.Load() > now || slot.connTAT.Load() > now || slot.messageTAT.Load() > now
}

// fresh reports that a slot that is nobody's never was anybody's.
func (s *Sources) fresh(id SlotID) bool {
	return s.slots[id].seen.Load()&lifeMask == 0 && s.Live(id) == 0
}

func (s *Sources) ttl() int64 {
	if ns := s.board.global.SourceTTLNs.Load(); ns > 0 {
		return ns
	}
	return int64(DefaultSourceTTL)
}
