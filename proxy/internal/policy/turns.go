package policy

import "github.com/erlmcp/erlmcp/proxy/internal/board"

// Nodes take turns over all workers alike, by their weights: when each is due is on the board. An ideal
// balancer would serve all nodes at the same time, and a node of weight w one client in turnUnit ÷ w, its
// stride. lead is how far a node is ahead of that: positive when it had more than its share.
//
//	share    ├──── stride ────┼──── stride ────┼──── stride ────┤
//	had      │ a client       │ a client       │
//	                    now ──┘←───── lead ───→┘ due
//
// The leads, each times its weight, come to nothing in sum, which tells what now is. A node that was
// away, or the weight of which has changed, is never more than a stride ahead or behind: it makes up
// for no time in which it could not be chosen, and pays for none in which it weighed less.

// turnUnit is far above all weights together, so that little is lost by division. Times wrap around;
// only differences count.
const turnUnit = 1 << 40

func (c *Candidate) stride() int64 { return turnUnit / int64(c.weight) }

// schedule is what a picker has read of the turns on the board.
type schedule struct {
	board *board.Turns
	now   int64
	sum   int64 // of the weights
	next  [board.MaxNodes]int64
	lead  [board.MaxNodes]int64
}

// read fills in where the nodes of list stand, by their places in it.
func (t *schedule) read(list []Candidate) {
	t.now, t.sum = t.board.Clock.Load(), 0
	var ahead int64
	for i := range list {
		c := &list[i]
		weight, stride := int64(c.weight), c.stride()
		next := t.board.Next[c.Slot].Load()
		if next-t.now > stride && t.board.Next[c.Slot].CompareAndSwap(next, t.now+stride) {
			next = t.now + stride // it weighs more than when it had its turn
		}
		t.next[i] = next
		t.lead[i] = min(max(next-t.now, -stride), stride)
		t.sum += weight
		ahead += weight * t.lead[i]
	}
	mean := ahead / t.sum
	t.now += mean
	for i := range list {
		t.lead[i] -= mean
	}
}

// take gives node i of list its turn. It is false if another worker has done so since read.
func (t *schedule) take(list []Candidate, i int) bool {
	c := &list[i]
	if !t.board.Next[c.Slot].CompareAndSwap(t.next[i], t.now+t.lead[i]+c.stride()) {
		return false
	}
	t.board.Clock.Store(t.now + turnUnit/t.sum)
	return true
}

// due returns the node whose turn it is: of those that are not ahead, the one whose turn would be over
// first. None is ever a whole client off its share then (R. Tijdeman, The chairman assignment
// problem, 1980).
func (t *schedule) due(list []Candidate) (best int) {
	var first int64
	best = -1
	for i := range list {
		if end := t.lead[i] + list[i].stride(); t.lead[i] <= 0 && (best < 0 || end < first) {
			best, first = i, end
		}
	}
	return best
}
