package board

import "net/netip"

// Reserved slots are for bans of sources that have no slot of their own. Each key has a few of them where it may be,
// side by side. Among these, the ban that ends first makes room when all are taken: a ban always succeeds.

const reservedWays = 8

// reservedSet is the first of the slots that a key may have.
func (s *Sources) reservedSet(h uint64) SlotID {
	sets := uint64(s.shared-s.size) / reservedWays
	return SlotID(s.size + int(h>>32%sets)*reservedWays)
}

// reservedFor is the reserved slot of a key.
func (s *Sources) reservedFor(key, h uint64) (SlotID, bool) {
	if s.cursor.reserved.Load() == 0 {
		return 0, false
	}
	first := s.reservedSet(h)
	for id := first; id < first+reservedWays; id++ {
		if s.slots[id].key.Load() == key {
			return id, true
		}
	}
	return 0, false
}

// banned is the same while there is a ban.
func (s *Sources) banned(key, h uint64, now int64) (SlotID, bool) {
	if s.cursor.reserved.Load() <= now {
		return 0, false
	}
	id, ok := s.reservedFor(key, h)
	return id, ok && s.slots[id].banUntil.Load() > now
}

// BanSource bans a source until the given instant, or longer if it already is, and returns its slot.
func (s *Sources) BanSource(addr netip.Addr, until, now int64) SlotID {
	id := s.Find(addr, now)
	if !s.Overflow(id) {
		s.Ban(id, until)
		return id
	}
	key := keyOf(addr)
	h := s.hasher.hash(key)
	id = s.reserve(key, h, until, now)
	if own, ok := s.lookup(key, h); ok { // it has got one meanwhile
		s.Ban(own, until)
	}
	return id
}

// reserve gives a key a reserved slot, with its ban.
func (s *Sources) reserve(key, h uint64, until, now int64) (id SlotID) {
	for { // the last instant goes first: who sees the ban has to find it
		last := s.cursor.reserved.Load()
		if last >= until || s.cursor.reserved.CompareAndSwap(last, until) {
			break
		}
	}
	for { // again only if another process has taken the very slot
		if id, ok := s.reservedFor(key, h); ok {
			s.Ban(id, until)
			return id
		}
		id = s.soonest(s.reservedSet(h), now)
		slot := &s.slots[id]
		owner := slot.key.Load()
		if owner != keyNobody && !slot.key.CompareAndSwap(owner, keyNobody) {
			continue
		}
		slot.forgive()
		slot.sticky.Store(0)
		slot.banUntil.Store(until)
		if slot.key.CompareAndSwap(keyNobody, key) {
			return id
		}
	}
}

// soonest is the reserved slot among a few that is free, or will be first.
func (s *Sources) soonest(first SlotID, now int64) (id SlotID) {
	best := int64(0)
	for i := first; i < first+reservedWays; i++ {
		until := s.slots[i].banUntil.Load()
		if s.slots[i].key.Load() == keyNobody || until <= now {
			return i
		}
		if i == first || until < best {
			id, best = i, until
		}
	}
	return id
}
