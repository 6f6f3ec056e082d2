package node

import (
	"container/heap"
	"math"
	"math/bits"
	"os"
	"runtime/debug"
	"sync/atomic"
)

const (
	// budget is how much of what clients send and do not finish, or ask for and do not read, one process
	// keeps: by what it takes, and not by what there is to read in it.
	budget = 192 << 20

	// heapLimit is how large the heap gets before the collector runs as often as it must. Long texts are not in it, so that
	// together with the budget this is what a process takes at most.
	heapLimit = 320 << 20

	// sessionBytes is what a session over Streamable HTTP takes of the heap, and heapStep after how many of them the limit of the
	// heap follows: with less than they take, the collector would do nothing but run.
	sessionBytes = 64 << 10
	heapStep     = 1024

	// little is what nobody has to give way for.
	little = 4 << 10
)

// boundMemory has the collector run as often as it must for the heap to keep to its limit, and otherwise when it has grown by so
// many percent. An operator who has set GOMEMLIMIT or GOGC knows better.
func boundMemory(percent int) {
	if os.Getenv("GOMEMLIMIT") == "" && debug.SetMemoryLimit(-1) == math.MaxInt64 {
		debug.SetMemoryLimit(heapLimit)
		ownLimit.Store(true)
	}
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(percent)
	}
}

// ownLimit says that the limit of the heap is not an operator's.
var ownLimit atomic.Bool

// followSessions has the limit of the heap leave room for so many sessions.
func followSessions(n int) {
	if n%heapStep == 0 && ownLimit.Load() {
		debug.SetMemoryLimit(heapLimit + int64(n)*sessionBytes)
	}
}

// A hoard is what the clients of a process hold. When that is too much, the one who holds most is first to go: of
// those who hold about as much, the one that has been still for longest.
type hoard[H holder] struct {
	held, most int
	large      largeHolders[H]
}

// holder is who holds something; it embeds its holding.
type holder interface{ account() *holding }

type holding struct {
	bytes int32
	moved int32 // in which second bytes were counted last
	place int32 // in hoard.large, from 1; 0: not there
}

func (h *holding) account() *holding { return h }

// hold counts what who holds now, a time in seconds.
func (q *hoard[H]) hold(who H, bytes int, now int32) {
	h := who.account()
	bytes = min(bytes, math.MaxInt32)
	q.held += bytes - int(h.bytes)
	h.bytes, h.moved = int32(bytes), now
	switch {
	case bytes > little && h.place == 0:
		heap.Push(&q.large, who)
	case bytes > little:
		heap.Fix(&q.large, int(h.place)-1)
	case h.place > 0:
		heap.Remove(&q.large, int(h.place)-1)
	}
}

// first is who is to go, if more is held than may be.
func (q *hoard[H]) first() (who H, ok bool) {
	if q.held <= q.most {
		return who, false
	}
	return q.largest()
}

// largest is who is the first to go.
func (q *hoard[H]) largest() (who H, ok bool) {
	if len(q.large) == 0 {
		return who, false
	}
	return q.large[0], true
}

// spare has somebody give way to nobody, until its bytes are counted again.
func (q *hoard[H]) spare(who H) {
	if place := who.account().place; place > 0 {
		heap.Remove(&q.large, int(place)-1)
	}
}

// largeHolders is a heap of those who hold more than a little.
type largeHolders[H holder] []H

func (l largeHolders[H]) Len() int { return len(l) }

func (l largeHolders[H]) Less(i, j int) bool {
	a, b := l[i].account(), l[j].account()
	if classA, classB := bits.Len32(uint32(a.bytes)), bits.Len32(uint32(b.bytes)); classA != classB {
		return classA > classB
	}
	return a.moved < b.moved
}

func (l largeHolders[H]) Swap(i, j int) {
	l[i], l[j] = l[j], l[i]
	l[i].account().place, l[j].account().place = int32(i)+1, int32(j)+1
}

func (l *largeHolders[H]) Push(x any) {
	who := x.(H)
	*l = append(*l, who)
	who.account().place = int32(len(*l))
}

func (l *largeHolders[H]) Pop() any {
	last := len(*l) - 1
	who := (*l)[last]
	var none H
	(*l)[last] = none
	*l = (*l)[:last]
	who.account().place = 0
	return who
}
