package proxy

import (
	"encoding/binary"
	"hash/fnv"
	"math"
	"math/bits"
	"math/rand/v2"
	"net/netip"

	"github.com/erlmcp/erlmcp/proxy/internal/affinity"
	"github.com/erlmcp/erlmcp/proxy/internal/board"
)

// option is a node as one who chooses sees it. The zero option is none.
type option struct {
	cell *board.Node
	hash uint64                 // of its name, for rendezvous
	via  [board.Transports]int8 // by which port it serves the clients of a transport; -1: by none
}

// newOption is the node called name in a slot, with its ports by transport, 0 where it has none.
func newOption(b *board.Board, slot int, name string, ports [board.Transports]uint16) option {
	h := fnv.New64a()
	_, _ = h.Write([]byte(name))
	t := option{cell: b.Node(slot), hash: h.Sum64(), via: [...]int8{-1, -1, -1}}
	for over, port := range ports {
		if port != 0 {
			t.via[over] = int8(over)
		}
	}
	// A node that serves HTTP on one port alone serves all of HTTP there.
	if t.via[board.HTTP] < 0 {
		t.via[board.HTTP] = t.via[board.SSE]
	}
	if t.via[board.SSE] < 0 {
		t.via[board.SSE] = t.via[board.HTTP]
	}
	return t
}

// port is where the node serves the clients of a transport, nil: nowhere.
func (t *option) port(over board.Transport) *board.Port {
	if t.cell == nil || t.via[over] < 0 {
		return nil
	}
	return &t.cell.Ports[t.via[over]]
}

// states is a set of those of a port.
type states uint32

const (
	whenUp     states = 1 << board.Up
	whenSilent states = 1 << board.Silent
	// whenServing is where it serves those who belong to the node.
	whenServing = whenUp | whenSilent | 1<<board.Draining
)

func (s states) has(p *board.Port) bool { return s>>p.State.Load()&1 != 0 }

// weightUnit is what weights on the board are measured in: 1/256 of a unit.
const weightUnit = 256

// candidate is a node that may be picked.
type candidate struct {
	slot    int
	load    int64  // connections of all workers, and pledged ones
	pledged int64  // the part of load that is not there yet
	weight  uint32 // 1/256 of a unit, more than 0
	hash    uint64 // of the node's name
}

// wish is what decides where a client goes.
type wish struct {
	over    board.Transport
	now     int64
	address uint64 // hash of the client's, on which every process agrees
	tried   uint64 // nodes that have failed it, a bit per slot
	pin     pin
	failure board.Reason // of the node of pin, if it is one of those tried
	cookies []int8       // nodes that the client's cookies name, the first ones first
	sticky  bool         // the source stays with one node
	bound   int          // which is that, or board.NoNode
}

// pin is the node that alone knows the session, or the stream, which a request is of. The zero pin is none.
type pin struct {
	named bool
	node  int           // its slot; affinity.Unknown is not there any more
	since affinity.Time // when the session began
}

// choice is where a client goes, and why.
type choice struct {
	node    int // a slot, or board.NoNode
	over    board.Transport
	reason  board.Reason // why there is none
	by      grounds
	balance Balance     // what decided byBalance
	silent  bool        // no node is up
	pledged int64       // of the node
	among   []candidate // of whom it was chosen; nothing if the node was named. Good until the next choice
}

// grounds are what a choice is made on.
type grounds uint8

const (
	nobody    grounds = iota
	bySession         // or stream
	byCookie
	bySource // which stays with that node
	byBalance
)

// String says why.
func (c choice) String() string {
	var why string
	switch c.by {
	case nobody:
		if c.reason == board.ReasonFull {
			return "every node is at its cap (lb.node_max_connections)"
		}
		return "no node is up over " + c.over.String()
	case bySession:
		return "its session is with that node (lb.sticky.mcp_session: true)"
	case byCookie:
		return "its cookie names that node (lb.sticky.http: cookie)"
	case bySource:
		return "its connections stay with that node (lb.sticky.tcp: source)"
	case byBalance:
		switch c.balance {
		case BalanceSource:
			why = "by the hash of its address (lb.balance: source)"
		case BalanceRandom2:
			why = "the less busy of two drawn at random (lb.balance: random2)"
		case BalanceRoundRobin:
			why = "it is that node's turn, by weight (lb.balance: roundrobin)"
		default:
			why = "fewest connections for its weight, equals in turn (lb.balance: leastconn)"
		}
	}
	if c.silent {
		why += "; no node is up, so silent ones are taken"
	}
	return why
}

// picker chooses nodes. It belongs to one worker; its dice are its own.
type picker struct {
	balance Balance
	board   *board.Board
	row     int // of the worker
	options [board.MaxNodes]option
	taken   uint64 // the slots of options, a bit each
	turns   schedule
	rng     *rand.PCG
	list    [board.MaxNodes]candidate
	light   [board.MaxNodes]candidate
}

func (p *picker) begin(b *board.Turns, seed uint64) {
	p.turns.board = b
	p.rng = rand.NewPCG(seed, 0x9e3779b97f4a7c15)
}

// set has a slot stand for a node, or for none.
func (p *picker) set(slot int, t option) {
	p.options[slot] = t
	p.taken &^= 1 << slot
	if t.cell != nil {
		p.taken |= 1 << slot
	}
}

// room is whether a node may take one more client.
type room uint8

const (
	closed room = iota // not of those who ask
	full               // but for its cap it might
	open
)

// may answers whether a node may take one more client of a transport, being in one of some states. Nothing else decides
// that.
func (p *picker) may(slot int, over board.Transport, in states) (c candidate, a room) {
	if slot < 0 {
		return c, closed
	}
	t := &p.options[slot]
	port := t.port(over)
	if port == nil || !in.has(port) {
		return c, closed
	}
	active, pledged := p.board.NodeLoad(slot)
	if limit := t.cell.MaxConns.Load(); limit > 0 && active >= limit {
		return c, full
	}
	return candidate{slot, active + pledged, pledged, max(port.Weight.Load(), 1), t.hash}, open
}

// those lists the nodes in some states that may take one more, without some slots. atCap is true when another one
// would but for its cap.
func (p *picker) those(in states, over board.Transport, without uint64) (list []candidate, atCap bool) {
	list = p.list[:0]
	for rest := p.taken &^ without; rest != 0; rest &= rest - 1 {
		switch c, a := p.may(bits.TrailingZeros64(rest), over, in); a {
		case open:
			list = append(list, c)
		case full:
			atCap = true
		}
	}
	return list, atCap
}

// candidates lists the nodes that take new clients, except those tried: those whose port refused connections lately
// where no other is up, and the silent ones where none is, for they may well be busy with clients only.
func (p *picker) candidates(q *wish) (list []candidate, in states, atCap bool) {
	if avoided := p.refusing(q) &^ q.tried; avoided != 0 {
		if list, atCap = p.those(whenUp, q.over, q.tried|avoided); len(list) > 0 {
			return list, whenUp, atCap
		}
	}
	if list, atCap = p.those(whenUp, q.over, q.tried); len(list) > 0 || atCap {
		return list, whenUp, atCap
	}
	list, atCap = p.those(whenSilent, q.over, q.tried)
	return list, whenSilent, atCap
}

// refusing are the nodes whose port refused the worker's connections lately.
func (p *picker) refusing(q *wish) (slots uint64) {
	for rest := p.taken; rest != 0; rest &= rest - 1 {
		slot := bits.TrailingZeros64(rest)
		if via := p.options[slot].via[q.over]; via >= 0 && p.board.Flow(p.row, slot).Avoided[via].Load() > q.now {
			slots |= 1 << slot
		}
	}
	return slots
}

// hasOther reports whether a node that was not tried could take a client at once.
func (p *picker) hasOther(over board.Transport, tried uint64) bool {
	list, _ := p.those(whenUp, over, tried)
	return len(list) > 0
}

// choose decides where a client goes: to the node of its session, or that of its cookie, or that of its source, or
// whichever the balance says. Where nodes take turns, that node has had its turn then; nothing else is changed.
func (p *picker) choose(q *wish) choice {
	if q.pin.named {
		return p.pinned(q)
	}
	for _, slot := range q.cookies {
		if _, a := p.may(int(slot), q.over, whenServing); a == open && q.tried>>slot&1 == 0 {
			return choice{node: int(slot), by: byCookie}
		}
	}
	list, in, atCap := p.candidates(q)
	switch {
	case len(list) > 0:
	case atCap:
		return choice{node: board.NoNode, over: q.over, reason: board.ReasonFull}
	default:
		return choice{node: board.NoNode, over: q.over, reason: board.ReasonNoNode}
	}
	if q.sticky {
		if c := find(list, q.bound); c != nil {
			return choice{node: c.slot, by: bySource, pledged: c.pledged, among: list}
		}
	}
	return choice{node: p.pick(list, q.address), by: byBalance, balance: p.balance, silent: in == whenSilent, among: list}
}

// pinned is the node of a session, silent, draining or not. The session ends with it, or when an operator
// has disabled it; but not with a request that the node has lost, or that cannot be brought to it
// though nobody refuses it there.
func (p *picker) pinned(q *wish) choice {
	c := choice{node: board.NoNode, reason: board.ReasonSessionGone}
	slot := q.pin.node
	switch _, a := p.may(slot, q.over, whenServing); {
	case a == closed, isBuried(p.options[slot].port(q.over), q.pin.since):
	case q.tried>>slot&1 != 0:
		c.reason = q.failure
	case a == full:
		c.reason = board.ReasonFull
	default:
		c = choice{node: slot, by: bySession}
	}
	return c
}

// isBuried reports that what began at since belongs to a process at the port that has ended.
func isBuried(p *board.Port, since affinity.Time) bool {
	life := affinity.Time(p.Life.Load())
	return life != 0 && since.Before(life)
}

func find(list []candidate, slot int) *candidate {
	for i := range list {
		if list[i].slot == slot {
			return &list[i]
		}
	}
	return nil
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

// hashAddr hashes an address the same way in every process and version, for
// rendezvous.
func hashAddr(a netip.Addr) uint64 {
	b := a.Unmap().As16()
	return mix(binary.BigEndian.Uint64(b[:8])) ^ mix(binary.BigEndian.Uint64(b[8:])+1)
}
