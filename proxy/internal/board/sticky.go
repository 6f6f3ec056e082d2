package board

// A sticky word is a node and what makes the choice void:
//
//	63            40 39                       8 7      0
//	├ source's life ┼── node's generation ─────┼─ node+1 ┤     0 = none
//
// The life voids it when the source was idle for the TTL or the slot changed
// hands, the generation when the node went down since.
const (
	stickyNodeBits  = 8
	stickyLifeShift = 40
)

// NoNode is the node of a source that is not sticky.
const NoNode = -1

// Sticky returns the node the source stays with. ok is false if there is none,
// or the node went down since it was chosen. An overflow bucket stays with the
// Up node of the highest hash.
func (s *Sources) Sticky(id SlotID) (node int, ok bool) {
	if s.Overflow(id) {
		node = s.rendezvous(id)
	} else {
		node = s.stickyNode(id, s.slots[id].sticky.Load())
	}
	return node, node != NoNode
}

// SetSticky moves the source from one node to another and returns the node it is
// with now: to, or another process's choice if it no longer was with from. from
// is what Sticky returned, to a node slot; either may be NoNode.
func (s *Sources) SetSticky(id SlotID, from, to int) (now int) {
	if s.Overflow(id) {
		return to
	}
	slot := &s.slots[id]
	for {
		old := slot.sticky.Load()
		if now := s.stickyNode(id, old); now != from {
			return now
		}
		if slot.sticky.CompareAndSwap(old, s.stickyWord(id, to)) {
			return to
		}
	}
}

func (s *Sources) stickyWord(id SlotID, node int) uint64 {
	if node == NoNode {
		return 0
	}
	generation := s.board.nodes[node].Generation.Load()
	life := s.slots[id].seen.Load() & lifeMask
	return life<<stickyLifeShift | uint64(generation)<<stickyNodeBits | uint64(node+1)
}

func (s *Sources) stickyNode(id SlotID, word uint64) int {
	node := int(word&(1<<stickyNodeBits-1)) - 1
	if node < 0 || node >= MaxNodes || word != s.stickyWord(id, node) {
		return NoNode
	}
	return node
}

// rendezvous is the node that lives with the highest hash with the bucket (highest
// random weight): losing a node moves only that node's buckets.
func (s *Sources) rendezvous(id SlotID) int {
	best, node := uint64(0), NoNode
	for i := range s.board.nodes {
		if !s.board.nodes[i].takesClients() {
			continue
		}
		if h := s.hasher.hash(uint64(id)<<32 | uint64(i)); node == NoNode || h > best {
			best, node = h, i
		}
	}
	return node
}

// takesClients reports whether any port of the node is Up.
func (n *Node) takesClients() bool {
	for t := range n.Ports {
		if State(n.Ports[t].State.Load()) == Up {
			return true
		}
	}
	return false
}
