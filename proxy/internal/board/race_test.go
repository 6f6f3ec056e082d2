package board

import "testing"

// The races between take and hold, one step of each at a time.

func TestHoldTakesBackASlotThatIsBeingTaken(t *testing.T) {
	s := newBoard(t, Layout{Workers: 1, Sources: 64}).Sources()
	id := s.Find(addr(0), sec)
	key := keyOf(addr(0))
	late := sec + ttl + ms
	s.slots[id].key.Store(keyNobody) // take has begun
	if !s.hold(id, key, late) || s.slots[id].key.Load() != key {
		t.Fatal("the source lost its slot")
	}
	if s.expired(id, late) {
		t.Fatal("take would not notice")
	}
	s.slots[id].key.Store(keyOf(addr(1))) // take has ended
	if s.hold(id, key, late) || s.slots[id].key.Load() != keyOf(addr(1)) {
		t.Fatal("the source holds another's slot")
	}
}

func TestTakeGivesBackASlotThatWasJustFound(t *testing.T) {
	s := newBoard(t, Layout{Workers: 1, Sources: 1024}).Sources()
	list := sameSet(s, 3)
	owner, key := keyOf(list[0]), keyOf(list[1])
	id := s.Find(list[0], sec)
	late := sec + ttl + ms
	c := s.scan(s.setOf(s.hasher.hash(key)), key, late)
	if !c.reusable || c.id != id || c.owner != owner {
		t.Fatalf("scan found %+v", c)
	}
	s.Find(list[0], late)
	if s.take(c.id, c.owner, key, late) {
		t.Fatal("took the slot of a source that is back")
	}
	if s.slots[id].key.Load() != owner {
		t.Fatal("did not give it back")
	}

	// Nor does it take what a third one has got since the scan.
	late += ttl + ms
	c = s.scan(s.setOf(s.hasher.hash(key)), key, late)
	if got := s.Find(list[2], late); got != id {
		t.Fatalf("slot %d for the third source, want %d", got, id)
	}
	if s.take(c.id, c.owner, key, late) || s.slots[id].key.Load() != keyOf(list[2]) {
		t.Fatal("took the slot of another source")
	}
}

func TestAFreshSlotGoesToOneSource(t *testing.T) {
	s := newBoard(t, Layout{Workers: 1, Sources: 1024}).Sources()
	list := sameSet(s, 2)
	set := s.setOf(s.hasher.hash(keyOf(list[0])))
	late := 10 * ttl
	s.extend(set, 0, late)
	c := s.scan(set, keyOf(list[1]), late)
	if !c.reusable || c.owner != keyNobody {
		t.Fatalf("scan found %+v", c)
	}
	// list[0] has taken it and not yet said that it was seen.
	s.slots[c.id].key.Store(keyOf(list[0]))
	if s.take(c.id, c.owner, keyOf(list[1]), late) {
		t.Fatal("two sources took a fresh slot")
	}
	if c := s.scan(set, keyOf(list[1]), late); c.reusable {
		t.Fatal("a slot just taken is reusable")
	}
}

func TestSeenNeverGoesBack(t *testing.T) {
	s := newBoard(t, Layout{Workers: 1, Sources: 64}).Sources()
	id := s.Find(addr(0), 5*sec)
	s.Find(addr(0), 3*sec) // by a process whose turn began earlier
	if got := s.Info(id).LastSeen; got <= 5*sec-1<<seenStepBits {
		t.Fatalf("last seen at %d, was found at %d", got, 5*sec)
	}
}
