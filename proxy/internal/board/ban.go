package board

import (
	"iter"
	"net/netip"
	"time"
)

// A violations word is a fixed window: when it began, in steps of 2^24 ns
// (17 ms, by which it may be short), and the violations since.
//
//	63                            24 23            0
//	├── window's first instant ─────┼── violations ┤     0 = none
const (
	violationBits = 24
	violationMask = 1<<violationBits - 1
)

// ViolationStep is the time in which a source has one violation at most: what
// it does at the same moment is one burst, however large. So a ban is for those
// who go on.
const ViolationStep = 100 * time.Millisecond

// violationLag is how many steps the clock of one worker may be behind another's.
const violationLag = 10

// Violation counts a violation of the source, the first in its ViolationStep.
// The threshold-th within window bans it for banFor: banned is true for that one
// alone, and counting starts anew. With a threshold of 0 there are no bans. addr is
// who is banned where the slot is shared.
func (s *Sources) Violation(id SlotID, addr netip.Addr, now int64, window time.Duration, threshold int, banFor time.Duration) (banned bool) {
	if threshold <= 0 {
		return false
	}
	slot := &s.slots[id]
	step := uint32(now/int64(ViolationStep)) + violationLag // wraps around in 13 years
	last := slot.violated.Load()
	if late := last - step; late < violationLag || !slot.violated.CompareAndSwap(last, step) {
		return false // another worker has counted it, perhaps one that is a little ahead
	}
	for {
		old := slot.violations.Load()
		count, start := old&violationMask, int64(old&^violationMask)
		if !within(old, now, int64(window)) {
			count, start = 0, now
		}
		next := uint64(start)&^violationMask | min(count+1, violationMask)
		tripped := count+1 >= uint64(threshold)
		if tripped {
			next = 0
		}
		if slot.violations.CompareAndSwap(old, next) {
			switch until := now + int64(banFor); {
			case !tripped:
			case s.Overflow(id):
				s.BanSource(addr, until, now)
			default:
				s.Ban(id, until)
			}
			return tripped
		}
	}
}

// within reports that a violations word has violations of the window before now.
func within(violations uint64, now, window int64) bool {
	start := int64(violations &^ violationMask)
	return violations != 0 && now-start <= window && start <= now
}

// BannedUntil is the instant the source's ban ends: it is banned if that lies
// ahead of now.
func (s *Sources) BannedUntil(id SlotID) int64 { return s.slots[id].banUntil.Load() }

// Ban bans the source until the given instant, or longer if it already is. It
// reports false for a shared slot: see BanSource.
func (s *Sources) Ban(id SlotID, until int64) bool {
	if s.Overflow(id) {
		return false
	}
	deadline := &s.slots[id].banUntil
	for {
		old := deadline.Load()
		if old >= until || deadline.CompareAndSwap(old, until) {
			return true
		}
	}
}

// Unban lifts the source's ban and forgives its violations.
func (s *Sources) Unban(id SlotID) {
	s.slots[id].forgive()
	s.slots[id].banUntil.Store(0)
}

// forgive forgets the violations.
func (slot *slot) forgive() {
	slot.violations.Store(0)
	slot.violated.Store(0)
}

// Banned lists the sources banned at now.
func (s *Sources) Banned(now int64) iter.Seq2[SlotID, Info] {
	return func(yield func(SlotID, Info) bool) {
		s.Each(func(id SlotID, i Info) bool { return i.BannedUntil <= now || yield(id, i) })
	}
}
