package worker

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

// holding is a client with what is in hand for it.
type holding struct {
	source board.SlotID
	bytes  int
	end    func()
}

// relieve ends those of all clients who hold most.
func (h *hub) relieve(all []holding) {
	sums := make(map[board.SlotID]int)
	for _, one := range all {
		sums[one.source] += one.bytes
	}
	slices.SortFunc(all, func(a, b holding) int { // the heaviest source first, of it the heaviest client
		if n := sums[b.source] - sums[a.source]; n != 0 {
			return n
		}
		if a.source != b.source {
			return int(a.source) - int(b.source)
		}
		return b.bytes - a.bytes
	})
	left := h.loop.Held() - h.budget*7/8
	for _, one := range all {
		if left <= 0 {
			break
		}
		left -= one.bytes
		one.end()
	}
}
