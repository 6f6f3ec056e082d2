package policy

import (
	"encoding/binary"
	"hash/fnv"
	"math"
	"math/bits"
	"math/rand/v2"
	"net/netip"

	"github.com/erlmcp/erlmcp/proxy"
	"github.com/erlmcp/erlmcp/proxy/internal/affinity"
	"github.com/erlmcp/erlmcp/proxy/internal/board"
)

// Option is a node as one who chooses sees it. The zero option is none.
type Option struct {
	Cell *board.Node
	hash uint64                 // of its name, for rendezvous
	Via  [board.Transports]int8 // by which port it serves the clients of a transport; -1: by none
}

// NewOption is the node called name in a slot, with its ports by transport, 0 where it has none.
func NewOption(b *board.Board, slot int, name string, ports [board.Transports]uint16) Option {
	t := Option{Cell: b.Node(slot), hash: hashName(name), Via: [...]int8{-1, -1, -1}}
	for over, port := range ports {
		if port != 0 {
			t.Via[over] = int8(over)
		}
	}
	// A node that serves HTTP on one port alone serves all of HTTP there.
	if t.Via[board.HTTP] < 0 {
		t.Via[board.HTTP] = t.Via[board.SSE]
	}
	if t.Via[board.SSE] < 0 {
		t.Via[board.SSE] = t.Via[board.HTTP]
	}
	return t
}

// port is where the node serves the clients of a transport, nil: nowhere.
func (t *Option) port(over board.Transport) *board.Port {
	if t.Cell == nil || t.Via[over] < 0 {
		return nil
	}
	return &t.Cell.Ports[t.Via[over]]
}

// States is a set of those of a port.
type States uint32

// Some sets.
const (
	WhenUp     States = 1 << board.Up
	whenSilent States = 1 << board.Silent
	// WhenServing is where it serves those who belong to the node.
	WhenServing = WhenUp | whenSilent | 1<<board.Draining
)

func (s States) has(p *board.Port) bool { return s>>p.State.Load()&1 != 0 }

// WeightUnit is what weights on the board are measured in: 1/256 of a unit.
const WeightUnit = 256

// Candidate is a node that may be picked.
type Candidate struct {
	Slot    int
	load    int64  // connections of all workers, and pledged ones
	Pledged int64  // the part of load that is not there yet
	weight  uint32 // 1/256 of a unit, more than 0
	hash    uint64 // of the node's name
}

// Wish is what decides where a client goes.
type Wish struct {
	Over    board.Transport
	Now     int64
	Address uint64 // hash of the client's, on which every process agrees
	Tried   uint64 // nodes that have failed it, a bit per slot
	Pin     Pin
	Failure board.Reason // of the node of Pin, if it is one of those tried
	Cookies []int8       // nodes that the client's cookies name, the first ones first
	Sticky  bool         // the source stays with one node
	Bound   int          // which is that, or board.NoNode
}

// Pin is the node that alone knows the session, or the stream, which a request is of. The zero pin is none.
type Pin struct {
	Named bool
	Node  int           // its slot; affinity.Unknown is not there any more
	Since affinity.Time // when the session began
}

// Choice is where a client goes, and why.
type Choice struct {
	Node    int // a slot, or board.NoNode
	over    board.Transport
	Reason  board.Reason // why there is none
	By      Grounds
	Balance proxy.Balance // what decided ByBalance
	silent  bool          // no node is up
	Pledged int64         // of the node
	Among   []Candidate   // of whom it was chosen; nothing if the node was named. Good until the next choice
}

// Grounds are what a choice is made on.
type Grounds uint8

// The grounds.
const (
	nobody    Grounds = iota
	BySession         // or stream
	ByCookie
	BySource // which stays with that node
	ByBalance
)

// String says why.
func (c Choice) String() string {
	var why string
	switch c.By {
	case nobody:
		if c.Reason == board.ReasonFull {
			return "every node is at its cap (lb.node_max_connections)"
		}
		return "no node is up over " + c.over.String()
	case BySession:
		return "its session is with that node (lb.sticky.mcp_session: true)"
	case ByCookie:
		return "its cookie names that node (lb.sticky.http: cookie)"
	case BySource:
		return "its connections stay with that node (lb.sticky.tcp: source)"
	case ByBalance:
		switch c.Balance {
		case proxy.BalanceSource:
			why = "by the hash of its address (lb.balance: source)"
		case proxy.BalanceRandom2:
			why = "the less busy of two drawn at random (lb.balance: random2)"
		case proxy.BalanceRoundRobin:
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

// Picker chooses nodes. It belongs to one worker; its dice are its own.
type Picker struct {
	Balance proxy.Balance
	Board   *board.Board
	Row     int // of the worker
	options [board.MaxNodes]Option
	taken   uint64 // the slots of options, a bit each
	turns   schedule
	rng     *rand.PCG
	list    [board.MaxNodes]Candidate
	light   [board.MaxNodes]Candidate
}

// Begin readies the picker: turns are those of all workers, the dice its own.
func (p *Picker) Begin(b *board.Turns, seed uint64) {
	p.turns.board = b
	p.rng = rand.NewPCG(seed, 0x9e3779b97f4a7c15)
}

// Set has a slot stand for a node, or for none.
func (p *Picker) Set(slot int, t Option) {
	p.options[slot] = t
	p.taken &^= 1 << slot
	if t.Cell != nil {
		p.taken |= 1 << slot
	}
}

// Room is whether a node may take one more client.
type Room uint8

// The answers.
const (
	Closed Room = iota // not of those who ask
	Full               // but for its cap it might
	Open
)

// May answers whether a node may take one more client of a transport, being in one of some states. Nothing else decides
// that.
func (p *Picker) May(slot int, over board.Transport, in States) (c Candidate, a Room) {
	if slot < 0 {
		return c, Closed
	}
	t := &p.options[slot]
	port := t.port(over)
	if port == nil || !in.has(port) {
		return c, Closed
	}
	active, pledged := p.Board.NodeLoad(slot)
	if limit := t.Cell.MaxConns.Load(); limit > 0 && active >= limit {
		return c, Full
	}
	return Candidate{slot, active + pledged, pledged, max(port.Weight.Load(), 1), t.hash}, Open
}

// those lists the nodes in some states that may take one more, without some slots. atCap is true when another one
// would but for its cap.
func (p *Picker) those(in States, over board.Transport, without uint64) (list []Candidate, atCap bool) {
	list = p.list[:0]
	for rest := p.taken &^ without; rest != 0; rest &= rest - 1 {
		switch c, a := p.May(bits.TrailingZeros64(rest), over, in); a {
		case Open:
			list = append(list, c)
		case Full:
			atCap = true
		}
	}
	return list, atCap
}

// Candidates lists the nodes that take new clients, except those tried: those whose port refused connections lately
// where no other is up, and the silent ones where none is, for they may well be busy with clients only.
func (p *Picker) Candidates(q *Wish) (list []Candidate, in States, atCap bool) {
	if avoided := p.refusing(q) &^ q.Tried; avoided != 0 {
		if list, atCap = p.those(WhenUp, q.Over, q.Tried|avoided); len(list) > 0 {
			return list, WhenUp, atCap
		}
	}
	if list, atCap = p.those(WhenUp, q.Over, q.Tried); len(list) > 0 || atCap {
		return list, WhenUp, atCap
	}
	list, atCap = p.those(whenSilent, q.Over, q.Tried)
	return list, whenSilent, atCap
}

// refusing are the nodes whose port refused the worker's connections lately.
func (p *Picker) refusing(q *Wish) (slots uint64) {
	for rest := p.taken; rest != 0; rest &= rest - 1 {
		slot := bits.TrailingZeros64(rest)
		if via := p.options[slot].Via[q.Over]; via >= 0 && p.Board.Flow(p.Row, slot).Avoided[via].Load() > q.Now {
			slots |= 1 << slot
		}
	}
	return slots
}

// HasOther reports whether a node that was not tried could take a client at once.
func (p *Picker) HasOther(over board.Transport, tried uint64) bool {
	list, _ := p.those(WhenUp, over, tried)
	return len(list) > 0
}

// Choose decides where a client goes: to the node of its session, or that of its cookie, or that of its source, or
// whichever the balance says. Where nodes take turns, that node has had its turn then; nothing else is changed.
func (p *Picker) Choose(q *Wish) Choice {
	if q.Pin.Named {
		return p.pinned(q)
	}
	for _, slot := range q.Cookies {
		if _, a := p.May(int(slot), q.Over, WhenServing); a == Open && q.Tried>>slot&1 == 0 {
			return Choice{Node: int(slot), By: ByCookie}
		}
	}
	list, in, atCap := p.Candidates(q)
	switch {
	case len(list) > 0:
	case atCap:
		return Choice{Node: board.NoNode, over: q.Over, Reason: board.ReasonFull}
	default:
		return Choice{Node: board.NoNode, over: q.Over, Reason: board.ReasonNoNode}
	}
	if q.Sticky {
		if c := Find(list, q.Bound); c != nil {
			return Choice{Node: c.Slot, By: BySource, Pledged: c.Pledged, Among: list}
		}
	}
	return Choice{Node: p.pick(list, q.Address), By: ByBalance, Balance: p.Balance, silent: in == whenSilent, Among: list}
}

// pinned is the node of a session, silent, draining or not. The session ends with it, or when an operator
// has disabled it; but not with a request that the node has lost, or that cannot be brought to it
// though nobody refuses it there.
func (p *Picker) pinned(q *Wish) Choice {
	c := Choice{Node: board.NoNode, Reason: board.ReasonSessionGone}
	slot := q.Pin.Node
	switch _, a := p.May(slot, q.Over, WhenServing); {
	case a == Closed, IsBuried(p.options[slot].port(q.Over), q.Pin.Since):
	case q.Tried>>slot&1 != 0:
		c.Reason = q.Failure
	case a == Full:
		c.Reason = board.ReasonFull
	default:
		c = Choice{Node: slot, By: BySession}
	}
	return c
}

// IsBuried reports that what began at since belongs to a process at the port that has ended.
func IsBuried(p *board.Port, since affinity.Time) bool {
	life := affinity.Time(p.Life.Load())
	return life != 0 && since.Before(life)
}

// Find returns the candidate in a slot, or nil.
func Find(list []Candidate, slot int) *Candidate {
	for i := range list {
		if list[i].Slot == slot {
			return &list[i]
		}
	}
	return nil
}

// pick returns the slot of one of the candidates, of which there is at least
// one. source is a hash of the client's address that every process agrees on.
func (p *Picker) pick(list []Candidate, source uint64) int {
	switch p.Balance {
	case proxy.BalanceSource:
		return rendezvous(list, source)
	case proxy.BalanceRandom2:
		return p.random2(list)
	}
	if list = p.equals(list); len(list) == 1 {
		return list[0].Slot
	}
	for {
		p.turns.read(list)
		if i := p.turns.due(list); p.turns.take(list, i) {
			return list[i].Slot
		}
	}
}

// equals returns the nodes among which turns decide. For leastconn that are those with no more
// connections, for their weight, than the lightest will have with the next one: of nodes alike those with
// the fewest, of idle ones all. So a node that is light for a while gets no more than its share of few
// clients either.
func (p *Picker) equals(list []Candidate) []Candidate {
	if p.Balance == proxy.BalanceRoundRobin {
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
func rendezvous(list []Candidate, source uint64) int {
	best, slot := math.Inf(-1), -1
	for _, c := range list {
		// A uniform number in (0,1), the same for the same pair everywhere.
		u := (float64(Mix(source^c.hash)>>11) + 0.5) / (1 << 53)
		if score := -float64(c.weight) / math.Log(u); score > best {
			best, slot = score, c.Slot
		}
	}
	return slot
}

// random2 draws two by weight and takes the one with fewer connections for its weight, or else the first.
func (p *Picker) random2(list []Candidate) int {
	a, b := p.draw(list), p.draw(list)
	if b.load*int64(a.weight) < a.load*int64(b.weight) {
		a = b
	}
	return a.Slot
}

func (p *Picker) draw(list []Candidate) Candidate {
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

// Mix is the finalizer of splitmix64: every input bit moves every output bit.
func Mix(x uint64) uint64 {
	x ^= x >> 30
	x *= 0xbf58476d1ce4e5b9
	x ^= x >> 27
	x *= 0x94d049bb133111eb
	return x ^ x>>31
}

// hashName hashes the name of a node or a tool the same way in every process.
func hashName(name string) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(name))
	return h.Sum64()
}

// HashAddr hashes an address the same way in every process and version, for
// rendezvous.
func HashAddr(a netip.Addr) uint64 {
	b := a.Unmap().As16()
	return Mix(binary.BigEndian.Uint64(b[:8])) ^ Mix(binary.BigEndian.Uint64(b[8:])+1)
}
