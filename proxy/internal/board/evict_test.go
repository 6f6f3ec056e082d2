package board

import (
	"fmt"
	"testing"
	"time"
)

// The source of a full set that was idle longest makes room, with nothing of it left.
func TestTheLongestIdleMakesRoom(t *testing.T) {
	b := newNodes(t, Layout{Workers: 2, Sources: 1024}, 2)
	s := b.Sources()
	list := sameSet(s, ways+2)
	var ids []SlotID
	for i, a := range list[:ways] {
		now := sec + int64(ways-i)*ms
		ids = append(ids, s.Find(a, now))
		s.SetSticky(ids[i], NoNode, 1)
	}
	// The last three were idle longest, but one has a connection and one was seen lately.
	s.Enter(1, ids[ways-1])
	s.Find(list[ways-2], 3*sec)
	now := 4*sec - ms
	if got := s.Find(list[ways], now); got != ids[ways-3] {
		t.Fatalf("slot %d was taken, want %d of %v", got, ids[ways-3], ids)
	}
	if node, ok := s.Sticky(ids[ways-3]); ok {
		t.Errorf("the new source inherited node %d", node)
	}
	if b.Global().Evictions.Load() != 1 || b.Global().Overflows.Load() != 0 {
		t.Errorf("%d evictions, %d overflows", b.Global().Evictions.Load(), b.Global().Overflows.Load())
	}
	if got := s.Find(list[ways+1], now); got != ids[ways-4] {
		t.Errorf("then slot %d was taken, want %d", got, ids[ways-4])
	}
	checkTable(t, s)
}

// Violations are not forgotten within their window, and not inherited behind it.
func TestViolationsAreNotInherited(t *testing.T) {
	s := newBoard(t, Layout{Workers: 1, Sources: 1024}).Sources()
	list := sameSet(s, ways+1)
	for _, a := range list[:ways] {
		s.Violation(s.Find(a, sec), a, sec, time.Minute, 9, time.Minute)
	}
	if id := s.Find(list[ways], 59*sec); !s.Overflow(id) {
		t.Fatalf("slot %d was taken from who has violated a limit", id)
	}
	id := s.Find(list[ways], sec+int64(time.Minute)+sec)
	if s.Overflow(id) || s.Info(id).Violations != 0 {
		t.Fatalf("slot %d with %d violations", id, s.Info(id).Violations)
	}
}

// However many addresses have come by, a newcomer has limits of its own, and so has who is banned.
func TestAFloodOfSourcesLeavesLimitsOn(t *testing.T) {
	for _, sources := range []int{22, 200_000} {
		for _, held := range []bool{false, true} {
			t.Run(fmt.Sprintf("%d held=%v", sources, held), func(t *testing.T) {
				b := newBoard(t, Layout{Workers: 2, Sources: 64})
				s := b.Sources()
				now := sec
				for i := range sources {
					now += 10 * ms
					id := s.Find(addr(i), now)
					Charge(s.ConnectionRate(id), now, 10*ms, sec, 1)
					if s.Enter(0, id); !held || i >= 100 {
						s.Leave(0, id, now)
					}
				}
				const most, perSecond = 5, 100
				for i := range 200 {
					a := addr(1_000_000 + i)
					now += sec
					has := 0
					for ; has < 50; has++ {
						id := s.Find(a, now)
						if s.Held(id) >= most {
							break
						}
						s.Enter(1, id)
						defer s.Leave(1, id, now)
					}
					if has > most {
						t.Fatalf("newcomer %d holds %d", i, has)
					}
					charged := 0
					for ; charged < 1000; charged++ {
						if ok, _ := Charge(s.ConnectionRate(s.Find(a, now)), now, sec/perSecond, sec, 1); !ok {
							break
						}
					}
					if charged > perSecond {
						t.Fatalf("newcomer %d connected %d times in a moment", i, charged)
					}
					until := now + int64(time.Hour)
					if i%2 == 0 {
						s.BanSource(a, until, now)
					} else {
						// Counting starts anew where it gets a slot of its own meanwhile, which is once.
						for k := range int64(2 * 3) {
							if s.Violation(s.Find(a, now+k*step), a, now+k*step, time.Minute, 3, time.Hour) {
								break
							}
						}
					}
					if id := s.Find(a, now+sec); s.BannedUntil(id) < until {
						t.Fatalf("newcomer %d is banned until %d, want %d", i, s.BannedUntil(id), until)
					}
					if id, ok := s.Lookup(a); !ok {
						t.Fatalf("no ban of newcomer %d is known", i)
					} else if i >= 4 {
						s.Unban(id)
					}
				}
				banned := 0
				for range s.Banned(now) {
					banned++
				}
				if banned != 4 {
					t.Errorf("%d bans are listed, want 4", banned)
				}
			})
		}
	}
}

// A ban succeeds whatever is in its way; with more bans than there is room for, that which ends first goes.
func TestBansHaveReservedRoom(t *testing.T) {
	s := newBoard(t, Layout{Workers: 1, Sources: 64}).Sources()
	for i := range 2000 {
		s.Enter(0, s.Find(addr(i), sec))
	}
	for i := range 40 {
		a := addr(5000 + i)
		s.BanSource(a, 100*sec+int64(i), 2*sec)
		if id := s.Find(a, 3*sec); s.BannedUntil(id) != 100*sec+int64(i) {
			t.Fatalf("ban %d ends at %d", i, s.BannedUntil(id))
		}
	}
	last := addr(5039)
	s.BanSource(last, 50*sec, 3*sec)
	if id, _ := s.Lookup(last); s.BannedUntil(id) != 100*sec+39 {
		t.Error("a ban was shortened")
	}
	for i := range 500 {
		a := addr(10_000 + i)
		if until := 200*sec + int64(i); s.BannedUntil(s.BanSource(a, until, 4*sec)) != until || s.BannedUntil(s.Find(a, 5*sec)) != until {
			t.Fatalf("ban %d did not succeed", i)
		}
	}
	if id := s.Find(last, 300*sec); s.BannedUntil(id) > 300*sec || !s.Overflow(id) {
		t.Errorf("slot %d is banned behind its ban", id)
	}
	for i := range 2000 {
		if id, ok := s.Lookup(addr(i)); ok && int(id) >= s.size {
			t.Fatalf("source %d is in reserved slot %d", i, id)
		}
	}
}

// What a worker held is forgotten with it wherever it was counted.
func TestSharedSlotsOfADeadWorkerAreCleared(t *testing.T) {
	b := newBoard(t, Layout{Workers: 2, Sources: 64})
	s := b.Sources()
	var ids []SlotID
	for i := range 1000 {
		id := s.Find(addr(i), sec)
		s.Enter(1, id)
		ids = append(ids, id)
	}
	b.ClearWorker(1)
	for _, id := range ids {
		if s.Live(id) != 0 {
			t.Fatalf("slot %d has %d connections", id, s.Live(id))
		}
	}
}

func BenchmarkFindEvict(b *testing.B) {
	brd := newBoard(b, Layout{Workers: 11, Sources: 4096})
	s := brd.Sources()
	for i := range 4096 {
		s.Enter(i%11, s.Find(addr(i), sec))
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		s.Find(addr(10_000+i%100_000), 5*sec)
	}
}
