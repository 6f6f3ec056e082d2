package hub

import (
	"slices"

	"github.com/erlmcp/erlmcp/proxy/internal/board"
)

// What is in hand for clients who send slowly, or do not take what is there for them, is bounded for a worker as a whole: beyond
// that, those sources give way that hold most of it. Only then it is counted who holds what.

const (
	// heldPerClient is how much there may be in hand for each client that a worker may have, on average, and leastHeld how
	// much for all of them in any case. One client alone may have 64 KiB each way.
	heldPerClient = 16 << 10
	leastHeld     = 64 << 20
)

// Holding is a client with what is in hand for it.
type Holding struct {
	Source board.SlotID
	Bytes  int
	End    func()
}

// relieve ends those of all clients who hold most.
func (h *Hub) relieve(all []Holding) {
	sums := make(map[board.SlotID]int)
	for _, one := range all {
		sums[one.Source] += one.Bytes
	}
	slices.SortFunc(all, func(a, b Holding) int { // the heaviest source first, of it the heaviest client
		if n := sums[b.Source] - sums[a.Source]; n != 0 {
			return n
		}
		if a.Source != b.Source {
			return int(a.Source) - int(b.Source)
		}
		return b.Bytes - a.Bytes
	})
	left := h.Loop.Held() - h.Budget*7/8
	for _, one := range all {
		if left <= 0 {
			break
		}
		left -= one.Bytes
		one.End()
	}
}
