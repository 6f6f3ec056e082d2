package proxy

import (
	"math"
	"math/bits"
	"math/rand/v2"

	"github.com/erlmcp/erlmcp/proxy/internal/board"
)

// candidate is a node that may be picked.
type candidate struct {
	slot    int
	load    int64  // connections of all workers, and pledged ones
	pledged int64  // the part of load that is not there yet
	weight  uint32 // 1/256 of a unit, more than 0
	hash    uint64 // of the node's name
}

// picker chooses a node by the balance algorithm. It belongs to one worker; its dice are its own.
type picker struct {
	balance Balance
	turns   schedule
	rng     *rand.PCG
	list    [board.MaxNodes]candidate
	light   [board.MaxNodes]candidate
}

func (p *picker) begin(b *board.Turns, seed uint64) {
	p.turns.board = b
	p.rng = rand.NewPCG(seed, 0x9e3779b97f4a7c15)
}

// candidates lists the nodes that take new clients over a transport, except those in tried (a
// bit per slot): the silent ones where none is up, for they may well be busy with clients only.
// full is true when a node that is up was left out for being at its cap only.
func (p *picker) candidates(b *board.Board, backends *[board.MaxNodes]*backend, over board.Transport, tried uint64) (list []candidate, full bool) {
	if list, full = p.those(board.Up, b, backends, over, tried); len(list) == 0 && !full {
		list, full = p.those(board.Silent, b, backends, over, tried)
	}
	return list, full
}

// those lists candidates in one state.
func (p *picker) those(state board.State, b *board.Board, backends *[board.MaxNodes]*backend, over board.Transport, tried uint64) (list []candidate, full bool) {
	list = p.list[:0]
	for slot, node := range backends {
		if node == nil || tried&(1<<slot) != 0 {
			continue
		}
		port := node.over[over]
		if port == nil || board.State(port.cell.State.Load()) != state {
			continue
		}
		active, pledged := b.NodeLoad(slot)
		if limit := node.cell.MaxConns.Load(); limit > 0 && active >= limit {
			full = true
			continue
		}
		list = append(list, candidate{slot, active + pledged, pledged, max(port.cell.Weight.Load(), 1), node.hash})
	}
	return list, full
}

// pick returns the slot of one of the candidates, of which there is at least
// one. source is a hash of the client's address that every process agrees on.
func (p *picker) pick(list []candidate, source uint64) int {
	switch p.balance {
	case BalanceSource:
		return rendezvous(list, source)
	case BalanceRandom2:
		return p.random2(list)
	}
	if list = p.equals(list); len(list) == 1 {
		return list[0].slot
	}
	for {
		p.turns.read(list)
		if i := p.turns.due(list); p.turns.take(list, i) {
			return list[i].slot
		}
	}
}

// equals returns the nodes among which turns decide. For leastconn that are those with no more
// connections, for their weight, than the lightest will have with the next one: of nodes alike those with
// the fewest, of idle ones all. So a node that is light for a while gets no more than its share of few
// clients either.
func (p *picker) equals(list []candidate) []candidate {
	if p.balance == BalanceRoundRobin {
		return list
	}
	least := &list[0]
	for i := range list {
		if c := &list[i]; (c.load+1)*int64(least.weight) < (least.load+1)*int64(c.weight) {
			least = c
		}
	}
	equals := p.light[:0]
	for i := range list {
		if c := &list[i]; c.load*int64(least.weight) < (least.load+1)*int64(c.weight) {
			equals = append(equals, *c)
		}
	}
	return equals
}

// rendezvous is weighted highest-random-weight hashing: losing a node moves
// only its own sources, and a node gets its weight's share of them.
func rendezvous(list []candidate, source uint64) int {
	best, slot := math.Inf(-1), -1
	for _, c := range list {
		// A uniform number in (0,1), the same for the same pair everywhere.
		u := (float64(mix(source^c.hash)>>11) + 0.5) / (1 << 53)
		if score := -float64(c.weight) / math.Log(u); score > best {
			best, slot = score, c.slot
		}
	}
	return slot
}

// random2 draws two by weight and takes the one with fewer connections for its weight, or else the first.
func (p *picker) random2(list []candidate) int {
	a, b := p.draw(list), p.draw(list)
	if b.load*int64(a.weight) < a.load*int64(b.weight) {
		a = b
	}
	return a.slot
}

func (p *picker) draw(list []candidate) candidate {
	var sum uint64
	for _, c := range list {
		sum += uint64(c.weight)
	}
	at, _ := bits.Mul64(p.rng.Uint64(), sum)
	for _, c := range list {
		if at < uint64(c.weight) {
			return c
		}
		at -= uint64(c.weight)
	}
	return list[len(list)-1]
}

// mix is the finalizer of splitmix64: every input bit moves every output bit.
func mix(x uint64) uint64 {
	x ^= x >> 30
	x *= 0xbf58476d1ce4e5b9
	x ^= x >> 27
	x *= 0x94d049bb133111eb
	return x ^ x>>31
}
