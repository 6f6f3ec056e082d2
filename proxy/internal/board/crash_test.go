package board

import (
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
)

// Each case leaves the table as a process does that is killed between two steps
// of an insertion. The next that comes by must find the source a slot of its
// own, and nothing may be lost for good.
func TestNothingIsStuckAfterAKill(t *testing.T) {
	late := sec + ttl + ms
	type table struct {
		*Sources
		set  *set
		list []netip.Addr // of one set
	}
	key := func(t table, i int) uint64 { return keyOf(t.list[i]) }
	for _, c := range []struct {
		name  string
		crash func(t table)
	}{
		{"a home and no more", func(t table) {
			t.slots[0].home.Store(t.entryOf(t.set, 0) + 1)
		}},
		{"a home in another set", func(t table) {
			t.slots[0].home.Store(t.entryOf(&t.index[(t.entryOf(t.set, 0)/ways+1)%uint32(len(t.index))], 0) + 1)
		}},
		{"a home that another slot took", func(t table) {
			t.Find(t.list[1], late)
			t.slots[1].home.Store(t.entryOf(t.set, 0) + 1)
		}},
		{"named, and the cursor not moved", func(t table) {
			t.slots[0].home.Store(t.entryOf(t.set, 0) + 1)
			t.set[0].Store(1)
		}},
		{"named, nobody's", func(t table) {
			t.extend(t.set, 0, late)
		}},
		{"the key's, never touched", func(t table) {
			t.extend(t.set, 0, late)
			t.slots[0].key.Store(key(t, 0))
		}},
		{"another key's, never touched", func(t table) {
			t.extend(t.set, 0, late)
			t.slots[0].key.Store(key(t, 1))
		}},
		{"taken from an idle source, given to none", func(t table) {
			t.slots[t.Find(t.list[1], sec)].key.Store(keyNobody)
		}},
		{"taken from a source just found, not given back", func(t table) {
			t.slots[t.Find(t.list[0], late)].key.Store(keyNobody)
		}},
		{"inserted twice", func(t table) {
			t.Find(t.list[0], late)
			t.slots[t.Find(t.list[1], late)].key.Store(key(t, 0))
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newNodes(t, Layout{Workers: 1, Sources: 1024}, 2).Sources()
			list := sameSet(s, ways)
			tab := table{s, s.setOf(s.hasher.hash(keyOf(list[0]))), list}
			c.crash(tab)

			id := s.Find(list[0], late)
			if s.Overflow(id) || s.slots[id].key.Load() != keyOf(list[0]) {
				t.Fatalf("slot %d for the source", id)
			}
			if again := s.Find(list[0], late); again != id {
				t.Fatalf("slot %d, then %d", id, again)
			}

			// After a TTL every slot of the set serves again.
			for _, a := range list {
				if id := s.Find(a, late+ttl+ms); s.Overflow(id) {
					t.Fatal("the set lost a slot")
				}
			}
			checkTable(t, s)
		})
	}
}

func TestTwoSlotsOfOneSourceBecomeOne(t *testing.T) {
	for name, chosen := range map[string]int{"in the first": 0, "in the second": 1} {
		t.Run(name, func(t *testing.T) {
			s := newNodes(t, Layout{Workers: 2, Sources: 1024}, 4).Sources()
			list := sameSet(s, 3)
			first, second := s.Find(list[0], sec), s.Find(list[1], sec)
			key := keyOf(list[0])
			s.slots[second].key.Store(key)
			s.Enter(1, second)
			id := []SlotID{first, second}[chosen]
			s.SetSticky(id, NoNode, 3)

			got, ok := s.unify(s.setOf(s.hasher.hash(key)), key)
			if !ok || got != first {
				t.Fatalf("unify = %d %v, want %d", got, ok, first)
			}
			if node, ok := s.Sticky(first); !ok || node != 3 {
				t.Errorf("the source is with node %d %v, want 3", node, ok)
			}
			if s.slots[second].key.Load() != keyNobody {
				t.Error("the second slot still is the source's")
			}
			if id := s.Find(list[2], sec+2*ttl); id == second {
				t.Error("the second slot was reused while a connection is entered in it")
			}
			s.Leave(1, second, sec+2*ttl)
			checkTable(t, s)
		})
	}
}

// A source that comes back in the very moment another takes its slot keeps it, or
// gets another: it never ends up with the other's.
func TestTakeoverAgainstReturn(t *testing.T) {
	const rounds = 3000
	s := newNodes(t, Layout{Workers: 2, Sources: 64}, 2).Sources()
	list := sameSet(s, 2)
	s.Find(list[0], sec)
	now := sec
	var start, done sync.WaitGroup
	var ids [2]SlotID
	for round := range rounds {
		now += ttl + ms
		start.Add(1)
		for i := range ids {
			done.Go(func() {
				start.Wait()
				ids[i] = s.Find(list[i], now)
			})
		}
		start.Done()
		done.Wait()
		for i, id := range ids {
			if s.Overflow(id) {
				t.Fatalf("round %d: source %d has no slot", round, i)
			}
			if s.slots[id].key.Load() != keyOf(list[i]) {
				t.Fatalf("round %d: source %d was given a slot of %v", round, i, prefixOf(s.slots[id].key.Load()))
			}
		}
	}
	checkTable(t, s)
}

// Many workers fight over few slots while time runs: sources come, idle out and
// come again, without end.
func TestChurn(t *testing.T) {
	const workers, rounds, pool = 6, 4000, 400
	b := newNodes(t, Layout{Workers: workers, Sources: 128}, 4)
	b.Global().SourceTTLNs.Store(50 << seenStepBits)
	s := b.Sources()
	var clock atomic.Int64
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			rng := uint64(w)*0x9e3779b97f4a7c15 + 1
			var held []SlotID
			for range rounds {
				rng ^= rng << 13
				rng ^= rng >> 7
				rng ^= rng << 17
				now := clock.Add(1 << seenStepBits)
				id := s.Find(addr(int(rng%pool)), now)
				s.SetSticky(id, NoNode, int(rng>>32%4))
				Charge(s.ConnectionRate(id), now, 1<<seenStepBits, 10<<seenStepBits, 1)
				s.Enter(w, id)
				if held = append(held, id); len(held) > 8 {
					s.Leave(w, held[0], now)
					held = held[1:]
				}
			}
			for _, id := range held {
				s.Leave(w, id, clock.Load())
			}
		})
	}
	wg.Wait()
	for id := range SlotID(s.Tracked()) {
		if n := s.Live(id); n != 0 {
			t.Errorf("slot %d still counts %d connections", id, n)
		}
	}
	// What is left of any duplicate goes with the first find of its source.
	for i := range pool {
		s.Find(addr(i), clock.Load()+int64(i+1)*100<<seenStepBits)
	}
	checkTable(t, s)
}
