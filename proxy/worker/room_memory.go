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

// boundMemory ends those who hold most if there is too much in hand, every heartbeat.
func (w *worker) boundMemory() {
	if w.loop.Held() <= w.budget {
		return
	}
	all := w.holdings()
	sums := make(map[board.SlotID]int)
	for _, h := range all {
		sums[h.source] += h.bytes
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
	left := w.loop.Held() - w.budget*7/8
	for _, h := range all {
		if left <= 0 {
			break
		}
		left -= h.bytes
		h.end()
	}
}

// holdings lists the clients for whom something is in hand.
func (w *worker) holdings() (all []holding) {
	for c := w.http.clients; c != nil; c = c.next {
		source, bytes := c.source, c.conn.Held()
		if c.x != nil {
			source = c.x.source
			if c.x.node != nil {
				bytes += c.x.node.conn.Held()
			}
		}
		if bytes > 0 {
			all = append(all, holding{source, bytes, c.giveWay})
		}
	}
	for _, b := range w.backends {
		if b == nil {
			continue
		}
		for p := b.pairs; p != nil; p = p.next {
			if bytes := p.client.Held() + p.node.Held(); bytes > 0 {
				all = append(all, holding{p.source, bytes, func() { p.cutOff(board.ReasonGaveWay) }})
			}
		}
	}
	return all
}
