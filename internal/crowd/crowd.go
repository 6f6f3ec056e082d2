// Package crowd keeps account of who holds how many of a number of places, so that a newcomer can be given one of
// those who hold most: of them the one that was used longest ago.
//
// All that is done for a place takes the same time, however many there are: holders are kept in classes by the
// power of two of what they hold, and the places of each in the order in which they were used, to the second.
//
//	class 0   1 place        ──▶ holder ─▶ holder …
//	class 1   2–3 places     ──▶ holder …              each: seat ─▶ seat ─▶ seat
//	class 2   4–7 places     ──▶ …                           longest ago    just now
package crowd

import (
	"math/bits"
	"time"
)

// grain is how exactly the order of use is kept: so a place that is used all the time is moved once in it.
const grain = int64(time.Second)

// looks bounds how many holders, and how many seats of one, are looked at to choose among them.
const looks = 32

// Guest is what has a seat.
type Guest interface {
	// Idle is since when it has not been used, an instant in nanoseconds, and how much would be lost with it:
	// of a holder's guests the one that loses least goes, and of equals the one that is idle longest.
	Idle() (since int64, loss int)
}

// A Crowd is who holds what. The zero Crowd is empty. It belongs to one goroutine.
type Crowd[K comparable, G Guest] struct {
	seats   int
	holders map[K]*holder[K, G]
	classes [bits.UintSize]*holder[K, G] // the last one that came
	spare   *holder[K, G]                // linked by next
}

// holder is one who holds seats, at least one.
type holder[K comparable, G Guest] struct {
	key         K
	held        int
	class       int
	next, prev  *holder[K, G] // of its class
	first, last *Seat[K, G]   // by use
}

// A Seat is the place of one guest, who embeds it: there are very many. The zero Seat is free.
type Seat[K comparable, G Guest] struct {
	guest      G
	next, prev *Seat[K, G]
	used       int64 // 0: free
}

// Used is when the seat was last used, to the second.
func (s *Seat[K, G]) Used() int64 { return s.used }

// Seats is how many are taken.
func (c *Crowd[K, G]) Seats() int { return c.seats }

// Held is how many a holder has.
func (c *Crowd[K, G]) Held(key K) int {
	if h := c.holders[key]; h != nil {
		return h.held
	}
	return 0
}

// Trim drops what is kept for reuse.
func (c *Crowd[K, G]) Trim() { c.spare = nil }

// Sit gives a holder a further seat, for g. It returns how many it has.
func (c *Crowd[K, G]) Sit(key K, s *Seat[K, G], g G, now int64) (held int) {
	h := c.holders[key]
	if h == nil {
		h = c.take(key)
	}
	c.seats++
	h.held++
	c.classify(h)
	*s = Seat[K, G]{guest: g, used: max(now, 1)}
	h.append(s)
	return h.held
}

// Use says that a seat of a holder is used now. It does nothing for a free one.
func (c *Crowd[K, G]) Use(key K, s *Seat[K, G], now int64) {
	if now-s.used >= grain && s.used != 0 {
		s.used = now
		if h := c.holders[key]; h.last != s {
			h.remove(s)
			h.append(s)
		}
	}
}

// Leave frees a seat of a holder; it may be free.
func (c *Crowd[K, G]) Leave(key K, s *Seat[K, G]) {
	if s.used == 0 {
		return
	}
	h := c.holders[key]
	h.remove(s)
	*s = Seat[K, G]{}
	c.seats--
	if h.held--; h.held > 0 {
		c.classify(h)
		return
	}
	c.unlink(h)
	delete(c.holders, h.key)
	*h = holder[K, G]{next: c.spare}
	c.spare = h
}

// Busiest is the holder that weighs most, among those with most seats; ok is false when nobody has any. weigh tells
// how much a holder of so many seats weighs; nil is by the seats themselves.
func (c *Crowd[K, G]) Busiest(weigh func(key K, held int) int) (key K, weight int, ok bool) {
	left := looks
	for class := len(c.classes) - 1; class >= 0; class-- {
		for h := c.classes[class]; h != nil && left > 0; h = h.next {
			left--
			w := h.held
			if weigh != nil {
				w = weigh(h.key, h.held)
			}
			if !ok || w > weight {
				key, weight, ok = h.key, w, true
			}
		}
		if ok && weigh == nil {
			break
		}
	}
	return key, weight, ok
}

// Idlest is the guest of a holder that should go first; ok is false when it has none.
func (c *Crowd[K, G]) Idlest(key K, now int64) (g G, ok bool) {
	h := c.holders[key]
	if h == nil {
		return g, false
	}
	var since int64
	var loss int
	left := looks
	for s := h.first; s != nil && left > 0; left-- {
		if ok && loss == 0 && since <= s.used {
			break // whoever comes behind was used later
		}
		next := s.next
		at, l := s.guest.Idle()
		if !ok || l < loss || l == loss && at < since {
			g, since, loss, ok = s.guest, at, l, true
		}
		if l > 0 && next != nil { // the next look begins with others
			h.remove(s)
			s.used = max(s.used, now)
			h.append(s)
		}
		s = next
	}
	return g, ok
}

func (c *Crowd[K, G]) take(key K) *holder[K, G] {
	h := c.spare
	if h == nil {
		h = new(holder[K, G])
	} else {
		c.spare = h.next
	}
	*h = holder[K, G]{key: key, class: -1}
	if c.holders == nil {
		c.holders = make(map[K]*holder[K, G])
	}
	c.holders[key] = h
	return h
}

// classify puts a holder into the class of what it holds.
func (c *Crowd[K, G]) classify(h *holder[K, G]) {
	class := bits.Len(uint(h.held)) - 1
	if class == h.class {
		return
	}
	c.unlink(h)
	h.class, h.prev, h.next = class, nil, c.classes[class]
	if h.next != nil {
		h.next.prev = h
	}
	c.classes[class] = h
}

func (c *Crowd[K, G]) unlink(h *holder[K, G]) {
	switch {
	case h.class < 0:
		return
	case h.prev != nil:
		h.prev.next = h.next
	default:
		c.classes[h.class] = h.next
	}
	if h.next != nil {
		h.next.prev = h.prev
	}
}

func (h *holder[K, G]) append(s *Seat[K, G]) {
	s.prev, s.next = h.last, nil
	if h.last != nil {
		h.last.next = s
	} else {
		h.first = s
	}
	h.last = s
}

func (h *holder[K, G]) remove(s *Seat[K, G]) {
	if s.prev != nil {
		s.prev.next = s.next
	} else {
		h.first = s.next
	}
	if s.next != nil {
		s.next.prev = s.prev
	} else {
		h.last = s.prev
	}
}
