package board

import "net/netip"

// Info is what the table knows of one source, for people to read.
type Info struct {
	Source      netip.Prefix // an IPv4 /32 or an IPv6 /64; invalid if the slot is nobody's
	Node        int          // sticky node, or NoNode
	Live        int          // connections held
	Violations  int          // counted in its current or last window
	LastSeen    int64        // to the microsecond
	BannedUntil int64        // 0 = never banned
}

// Info reads one slot.
func (s *Sources) Info(id SlotID) Info {
	slot := &s.slots[id]
	node, _ := s.Sticky(id)
	i := Info{
		Node:        node,
		Live:        s.Live(id),
		Violations:  int(slot.violations.Load() & violationMask),
		LastSeen:    seenNs(slot.seen.Load()),
		BannedUntil: slot.banUntil.Load(),
	}
	if key := slot.key.Load(); key != keyNobody {
		i.Source = prefixOf(key)
	}
	return i
}

// Each calls f for every source that has a slot, in the order slots were handed
// out and reserved ones last, until f returns false. Sources may come and go meanwhile.
func (s *Sources) Each(f func(SlotID, Info) bool) {
	each := func(from, to int) (more bool) {
		for id := SlotID(from); id < SlotID(to); id++ {
			if i := s.Info(id); i.Source.IsValid() && !f(id, i) {
				return false
			}
		}
		return true
	}
	if each(0, s.Tracked()) && s.cursor.reserved.Load() != 0 {
		each(s.size, s.shared)
	}
}
