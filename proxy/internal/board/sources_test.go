package board

import (
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"
)

func TestFindGivesEverySourceItsSlot(t *testing.T) {
	s := newBoard(t, Layout{Workers: 1, Sources: 4096}).Sources()
	ids := make(map[SlotID]int)
	for i := range 2000 {
		id := s.Find(addr(i), sec)
		if s.Overflow(id) {
			t.Fatalf("source %d of 2000 in a table of 4096 has no slot", i)
		}
		if other, ok := ids[id]; ok {
			t.Fatalf("sources %d and %d share slot %d", other, i, id)
		}
		ids[id] = i
		if int(id) != i {
			t.Fatalf("source %d is in slot %d: slots are not dense", i, id)
		}
	}
	for id, i := range ids {
		if got := s.Find(addr(i), 2*sec); got != id {
			t.Fatalf("source %d moved from slot %d to %d", i, id, got)
		}
		if got, ok := s.Lookup(addr(i)); !ok || got != id {
			t.Fatalf("Lookup of source %d: %d %v, want %d", i, got, ok, id)
		}
	}
	if _, ok := s.Lookup(addr(2001)); ok {
		t.Error("Lookup found a source nobody asked for")
	}
	if s.Tracked() != 2000 || s.Capacity() != 4096 {
		t.Errorf("tracked %d of %d", s.Tracked(), s.Capacity())
	}
	checkTable(t, s)
}

func TestAFullSetDegradesAndRecovers(t *testing.T) {
	b := newNodes(t, Layout{Workers: 1, Sources: 1024}, 3)
	s := b.Sources()
	list := sameSet(s, ways+2)
	for _, a := range list[:ways] {
		s.SetSticky(s.Find(a, sec), NoNode, 0)
	}
	id := s.Find(list[ways], sec)
	if !s.Overflow(id) || b.Global().Overflows.Load() != 1 {
		t.Fatalf("slot %d, %d overflows, want an overflow", id, b.Global().Overflows.Load())
	}
	if _, ok := s.Lookup(list[ways]); ok {
		t.Error("Lookup found a source without a slot")
	}
	if again := s.Find(list[ways], 2*sec-ms); again != id {
		t.Errorf("the source is in bucket %d, then %d", id, again)
	}

	// A shared slot has rates, a count and a node by hash.
	if ok, _ := Charge(s.ConnectionRate(id), sec, sec, sec, 1); !ok {
		t.Error("first connection refused")
	}
	if ok, _ := Charge(s.ConnectionRate(id), sec, sec, sec, 1); ok {
		t.Error("no rate in a shared slot")
	}
	node, ok := s.Sticky(id)
	if !ok || s.SetSticky(id, node, 2) != 2 {
		t.Errorf("sticky %d %v", node, ok)
	}
	if again, _ := s.Sticky(id); again != node {
		t.Errorf("a shared slot's node changed from %d to %d by SetSticky", node, again)
	}
	s.Enter(0, id)
	if s.Live(id) != 1 || s.Held(id) != 1 {
		t.Error("a shared slot counts no connections")
	}
	s.Leave(0, id, sec)
	if s.Live(id) != 0 {
		t.Error("a shared slot counts connections that have left")
	}
	if s.Ban(id, ttl) || s.BannedUntil(id) != 0 {
		t.Error("all who share a slot can be banned at once")
	}

	// Once its set has an idle slot, the source gets it, with nothing of the old.
	late := sec + ttl + ms
	if id = s.Find(list[ways], late); s.Overflow(id) {
		t.Fatal("no slot although all sources of the set are idle")
	}
	if node, ok := s.Sticky(id); ok {
		t.Errorf("the new source inherited node %d", node)
	}
	checkTable(t, s)
}

func TestAFullTableDegrades(t *testing.T) {
	b := newBoard(t, Layout{Workers: 1, Sources: 64})
	s := b.Sources()
	got := 0
	for i := range 1000 {
		if !s.Overflow(s.Find(addr(i), sec)) {
			got++
		}
	}
	if got != 64 || s.Tracked() != 64 || b.Global().Overflows.Load() != 936 {
		t.Fatalf("%d of 1000 sources have slots, %d tracked, %d overflows", got, s.Tracked(), b.Global().Overflows.Load())
	}
	checkTable(t, s)
}

func TestOnlyIdleInnocentSlotsAreTakenOver(t *testing.T) {
	late := sec + ttl + ms
	for name, hold := range map[string]func(s *Sources, id SlotID){
		"live":              func(s *Sources, id SlotID) { s.Enter(0, id) },
		"seen":              func(s *Sources, id SlotID) { s.Find(prefixOf(s.slots[id].key.Load()).Addr(), late-settleTime+ms) },
		"left":              func(s *Sources, id SlotID) { s.Enter(0, id); s.Leave(0, id, late-settleTime+ms) },
		"banned":            func(s *Sources, id SlotID) { s.Ban(id, late+1) },
		"connections owed":  func(s *Sources, id SlotID) { ChargeAnyway(s.ConnectionRate(id), late, sec, sec, 1) },
		"messages owed":     func(s *Sources, id SlotID) { ChargeAnyway(s.MessageRate(id), late, sec, sec, 1) },
		"dead worker's":     func(s *Sources, id SlotID) { s.Enter(0, id); s.clear(0, late) },
		"seen in future":    func(s *Sources, id SlotID) { s.see(id, late+sec) },
		"live long and old": func(s *Sources, id SlotID) { s.Enter(0, id); s.Enter(0, id); s.Leave(0, id, 1) },
	} {
		t.Run(name, func(t *testing.T) {
			s := newBoard(t, Layout{Workers: 2, Sources: 1024}).Sources()
			list := sameSet(s, ways+1)
			var ids []SlotID
			for _, a := range list[:ways] {
				ids = append(ids, s.Find(a, sec))
			}
			for _, id := range ids {
				hold(s, id)
			}
			if id := s.Find(list[ways], late); !s.Overflow(id) {
				t.Fatalf("slot %d was taken over", id)
			}
			for i, a := range list[:ways] {
				if got, ok := s.Lookup(a); !ok || got != ids[i] {
					t.Fatalf("source %d lost its slot", i)
				}
			}
		})
	}
}

// A machine that was booted less than a TTL ago has instants smaller than it.
func TestFreshSlotsServeRightAfterBoot(t *testing.T) {
	s := newBoard(t, Layout{Workers: 1, Sources: 64}).Sources()
	if id := s.Find(ip("192.0.2.1"), 1); s.Overflow(id) {
		t.Fatal("no slot in an empty table")
	}
}

func TestTTLIsTheMasters(t *testing.T) {
	b := newNodes(t, Layout{Workers: 1, Sources: 64}, 1)
	s := b.Sources()
	id := s.Find(ip("192.0.2.1"), sec)
	s.SetSticky(id, NoNode, 0)
	b.Global().SourceTTLNs.Store(5 * sec)
	s.Find(ip("192.0.2.1"), 6*sec-ms)
	if _, ok := s.Sticky(id); !ok {
		t.Fatal("stickiness ended within the TTL")
	}
	s.Find(ip("192.0.2.1"), 11*sec+ms)
	if _, ok := s.Sticky(id); ok {
		t.Fatal("stickiness outlived the TTL")
	}
}

func TestALongConnectionKeepsItsNode(t *testing.T) {
	s := newNodes(t, Layout{Workers: 2, Sources: 64}, 2).Sources()
	a := ip("192.0.2.1")
	id := s.Find(a, sec)
	s.SetSticky(id, NoNode, 1)
	s.Enter(0, id)
	s.Find(a, sec+3*ttl) // a second connection, hours later
	if node, ok := s.Sticky(id); !ok || node != 1 {
		t.Fatalf("sticky %d %v while connected, want 1", node, ok)
	}
	s.Leave(0, id, sec+9*ttl)
	s.Find(a, sec+10*ttl-ms)
	if node, ok := s.Sticky(id); !ok || node != 1 {
		t.Fatalf("sticky %d %v within the TTL after the last connection, want 1", node, ok)
	}
}

func TestLiveSumsWorkers(t *testing.T) {
	s := newBoard(t, Layout{Workers: 3, Sources: 64}).Sources()
	id, other := s.Find(addr(0), 1), s.Find(addr(1), 1)
	for w := range 3 {
		for range w + 1 {
			s.Enter(w, id)
		}
	}
	s.Leave(2, id, 2)
	if s.Live(id) != 5 || s.Live(other) != 0 {
		t.Fatalf("live %d and %d, want 5 and 0", s.Live(id), s.Live(other))
	}
}

func TestEachAndBanned(t *testing.T) {
	s := newNodes(t, Layout{Workers: 1, Sources: 64}, 2).Sources()
	for i := range 5 {
		id := s.Find(addr(i), int64(i+1)<<seenStepBits)
		s.SetSticky(id, NoNode, i%2)
		if i >= 2 {
			s.Ban(id, int64(10*i))
		}
	}
	s.Enter(0, 4)
	s.slots[0].key.Store(keyNobody)
	var all []netip.Prefix
	s.Each(func(id SlotID, i Info) bool {
		all = append(all, i.Source)
		return true
	})
	if want := []netip.Prefix{prefixOf(keyOf(addr(1))), prefixOf(keyOf(addr(2))), prefixOf(keyOf(addr(3))), prefixOf(keyOf(addr(4)))}; !slices.Equal(all, want) {
		t.Errorf("sources %v, want %v", all, want)
	}
	var banned []SlotID
	for id, i := range s.Banned(20) {
		banned = append(banned, id)
		if i.BannedUntil != int64(10*id) || i.Node != int(id)%2 || i.LastSeen != int64(id+1)<<seenStepBits {
			t.Errorf("slot %d: %+v", id, i)
		}
	}
	if !slices.Equal(banned, []SlotID{3, 4}) {
		t.Errorf("banned %v, want 3 and 4", banned)
	}
	for range s.Banned(0) {
		break
	}
	if i := s.Info(4); i.Live != 1 {
		t.Errorf("live %d, want 1", i.Live)
	}
}

func TestHotCallsDoNotAllocate(t *testing.T) {
	b := newNodes(t, Layout{Workers: 2, Sources: 1024}, 4)
	s := b.Sources()
	a, full := ip("2001:db8::1"), sameSet(s, ways+1)
	for _, f := range full {
		s.Find(f, sec)
	}
	now := sec
	id := s.Find(a, now)
	n := 0
	for name, f := range map[string]func(){
		"Find":         func() { s.Find(a, now) },
		"Find new":     func() { s.Find(addr(n), now); n++ },
		"Find full":    func() { s.Find(full[ways], now) },
		"Lookup":       func() { s.Lookup(a) },
		"Sticky":       func() { node, _ := s.Sticky(id); s.SetSticky(id, node, 1) },
		"rendezvous":   func() { s.Sticky(SlotID(s.shared)) },
		"Enter":        func() { s.Enter(1, id); s.Live(id); s.Leave(1, id, now) },
		"Charge":       func() { Charge(s.ConnectionRate(id), now, 1, sec, 1) },
		"ChargeAnyway": func() { ChargeAnyway(s.MessageRate(id), now, 1, sec, 1) },
		"Violation":    func() { s.Violation(id, addr(0), now, time.Minute, 3, time.Minute) },
		"BannedUntil":  func() { s.BannedUntil(id) },
		"NodeActive":   func() { b.NodeActive(3) },
		"Flow":         func() { b.Flow(1, 2).ObserveConnect(time.Millisecond) },
		"NodeTotals":   func() { b.NodeTotals(1) },
	} {
		if got := testing.AllocsPerRun(100, f); got != 0 {
			t.Errorf("%s allocates %v times", name, got)
		}
	}
}

func TestConcurrentFindsOfOneSourceAgree(t *testing.T) {
	s := newBoard(t, Layout{Workers: 8, Sources: 1024}).Sources()
	const workers, sources = 8, 500
	var found [workers][sources]SlotID
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for i := range sources {
				found[w][i] = s.Find(addr(i), sec)
			}
		})
	}
	wg.Wait()
	for w := range workers {
		if found[w] != found[0] {
			t.Errorf("workers 0 and %d found different slots", w)
		}
	}
	checkTable(t, s)
}
