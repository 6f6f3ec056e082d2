package reactor

import (
	"math/bits"
	"time"
)

// A Timer calls its Expirer once, on the loop. It is meant to be embedded by
// value; the zero Timer is not pending. It must not be copied while pending.
type Timer struct {
	next, prev *Timer
	expirer    Expirer
	deadline   int64  // in ticks of the wheel
	slot       uint16 // where it is linked: level × wheelSlots + index
	pending    bool
}

// Expirer is told when a timer has run out.
type Expirer interface{ OnTimer(t *Timer) }

// Pending reports whether the timer is going to fire.
func (t *Timer) Pending() bool { return t.pending }

// The wheel is hierarchical: level 0 has a slot for each of the next 256 ticks,
// each higher level a slot for 256 slots of the one below. Timers move down a
// level when the hand enters their slot. Scheduling and cancelling are O(1).
const (
	tick        = int64(time.Millisecond)
	wheelBits   = 8
	wheelSlots  = 1 << wheelBits
	wheelLevels = 4 // 2^32 ms ≈ 49 days: later deadlines wait there and are re-placed
	wheelSpan   = int64(1) << (wheelBits * wheelLevels)
)

type wheel struct {
	slots    [wheelLevels * wheelSlots]*Timer
	occupied [wheelLevels][wheelSlots / 64]uint64
	now      int64 // the hand, in ticks: everything up to here has fired
	count    int
}

func (w *wheel) schedule(t *Timer, deadline int64, e Expirer) {
	if t.pending {
		w.unlink(t)
	}
	t.expirer, t.deadline = e, max(deadline, w.now+1)
	w.link(t)
}

func (w *wheel) link(t *Timer) {
	at := min(t.deadline, w.now+wheelSpan-1)
	level := 0
	if distance := uint64(at ^ w.now); distance >= wheelSlots {
		level = min((bits.Len64(distance)-1)/wheelBits, wheelLevels-1)
	}
	index := int(at>>(level*wheelBits)) & (wheelSlots - 1)
	t.slot = uint16(level*wheelSlots + index)
	head := &w.slots[t.slot]
	t.prev, t.next = nil, *head
	if t.next != nil {
		t.next.prev = t
	}
	*head = t
	t.pending = true
	w.occupied[level][index/64] |= 1 << (index % 64)
	w.count++
}

func (w *wheel) unlink(t *Timer) {
	if t.next != nil {
		t.next.prev = t.prev
	}
	if t.prev != nil {
		t.prev.next = t.next
	} else {
		w.slots[t.slot] = t.next
		if t.next == nil {
			level, index := t.slot/wheelSlots, t.slot%wheelSlots
			w.occupied[level][index/64] &^= 1 << (index % 64)
		}
	}
	t.next, t.prev, t.pending = nil, nil, false
	w.count--
}

// next returns the tick at which the hand has something to do, at the latest:
// the deadline of the first timer, or the moment a slot of a higher level
// opens. ok is false when no timer is pending.
func (w *wheel) next() (at int64, ok bool) {
	if w.count == 0 {
		return 0, false
	}
	for level := range wheelLevels {
		shift := level * wheelBits
		hand := int(w.now>>shift) & (wheelSlots - 1)
		if i := w.firstAfter(level, hand); i >= 0 {
			return (w.now>>shift - int64(hand) + int64(i)) << shift, true
		}
	}
	// Only slots behind the hand of the top level are left: one turn later.
	const shift = (wheelLevels - 1) * wheelBits
	return (w.now>>shift | (wheelSlots - 1) + 1) << shift, true
}

// firstAfter returns the first occupied slot of a level after the hand, or -1.
func (w *wheel) firstAfter(level, hand int) int {
	words := &w.occupied[level]
	for i := (hand + 1) / 64; i < len(words) && hand+1 < wheelSlots; i++ {
		word := words[i]
		if i == (hand+1)/64 {
			word &= ^uint64(0) << ((hand + 1) % 64)
		}
		if word != 0 {
			return i*64 + bits.TrailingZeros64(word)
		}
	}
	return -1
}

// advance moves the hand to now and fires what is due on the way.
func (w *wheel) advance(now int64) {
	for w.now < now {
		at, ok := w.next()
		if !ok || at > now {
			w.now = now
			return
		}
		w.now = at
		// Entering a slot of a higher level spreads it over the levels below.
		for level := wheelLevels - 1; level > 0; level-- {
			if w.now&(1<<(level*wheelBits)-1) == 0 {
				w.cascade(level)
			}
		}
		w.fire()
	}
}

func (w *wheel) cascade(level int) {
	slot := level*wheelSlots + int(w.now>>(level*wheelBits))&(wheelSlots-1)
	for t := w.slots[slot]; t != nil; {
		next := t.next
		w.unlink(t)
		w.link(t)
		t = next
	}
}

// fire runs the timers of the hand's own slot.
func (w *wheel) fire() {
	slot := int(w.now) & (wheelSlots - 1)
	for {
		t := w.slots[slot]
		if t == nil {
			return
		}
		w.unlink(t)
		t.expirer.OnTimer(t)
	}
}
