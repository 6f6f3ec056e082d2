package board

import (
	"sync"
	"testing"
	"time"
)

func TestStickyIsTheFirstChoice(t *testing.T) {
	s := newNodes(t, Layout{Workers: 2, Sources: 64}, MaxNodes).Sources()
	id := s.Find(addr(0), sec)
	if node, ok := s.Sticky(id); ok || node != NoNode {
		t.Fatalf("a new source is with node %d", node)
	}
	for node := range MaxNodes {
		from := NoNode
		if node > 0 {
			from = node - 1
		}
		if got := s.SetSticky(id, from, node); got != node {
			t.Fatalf("SetSticky = %d, want %d", got, node)
		}
		if got := s.SetSticky(id, from, 63-node); got != node {
			t.Fatalf("the second of two choices won: %d, want %d", got, node)
		}
		if got, ok := s.Sticky(id); !ok || got != node {
			t.Fatalf("sticky %d %v, want %d", got, ok, node)
		}
	}
	if got := s.SetSticky(id, 63, NoNode); got != NoNode {
		t.Fatalf("SetSticky to none = %d", got)
	}
	if _, ok := s.Sticky(id); ok {
		t.Fatal("still sticky")
	}
}

func TestANodeThatWentDownIsForgotten(t *testing.T) {
	b := newNodes(t, Layout{Workers: 1, Sources: 64}, 2)
	s := b.Sources()
	id := s.Find(addr(0), sec)
	s.SetSticky(id, NoNode, 1)
	for _, state := range []State{Draining, Maintenance, Up} {
		b.SetNodeState(1, state, time.Unix(2, 0))
		if node, ok := s.Sticky(id); !ok || node != 1 {
			t.Fatalf("sticky %d %v with the node %v", node, ok, state)
		}
	}
	b.SetNodeState(1, Down, time.Unix(3, 0))
	b.SetNodeState(1, Up, time.Unix(4, 0))
	if node, ok := s.Sticky(id); ok {
		t.Fatalf("still with node %d after it was down", node)
	}
	if got := s.SetSticky(id, NoNode, 0); got != 0 {
		t.Fatalf("SetSticky = %d, want 0", got)
	}
	if got := s.SetSticky(id, 1, 1); got != 0 {
		t.Fatalf("a stale choice won: %d", got)
	}
}

func TestStickyDoesNotSurviveATakeover(t *testing.T) {
	s := newNodes(t, Layout{Workers: 1, Sources: 1024}, 2).Sources()
	list := sameSet(s, 2)
	id := s.Find(list[0], sec)
	for life := range 5 {
		s.SetSticky(id, NoNode, 1)
		word := s.slots[id].sticky.Load()
		if got := s.Find(list[(life+1)%2], sec+int64(life+1)*(ttl+ms)); got != id {
			t.Fatalf("slot %d was not taken over", id)
		}
		if s.slots[id].sticky.Load() != word {
			t.Fatal("the test is void")
		}
		if node, ok := s.Sticky(id); ok {
			t.Fatalf("the new source inherited node %d", node)
		}
	}
	s.slots[id].sticky.Store(^uint64(0))
	if _, ok := s.Sticky(id); ok {
		t.Fatal("a word that names no node is a node")
	}
}

func TestLivesBeginAnew(t *testing.T) {
	s := newNodes(t, Layout{Workers: 1, Sources: 64}, 2).Sources()
	id := s.Find(addr(0), sec)
	s.slots[id].seen.Store(seenWord(sec, lifeMask))
	s.Find(addr(0), sec+ttl+ms)
	if life := s.slots[id].seen.Load() & lifeMask; life != 1 {
		t.Fatalf("life %d after the last, want 1: 0 is a fresh slot's", life)
	}
}

func TestConcurrentChoicesHaveOneWinner(t *testing.T) {
	s := newNodes(t, Layout{Workers: 8, Sources: 1024}, 8).Sources()
	const workers, sources = 8, 300
	var won [workers][sources]int
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for i := range sources {
				won[w][i] = s.SetSticky(s.Find(addr(i), sec), NoNode, w)
			}
		})
	}
	wg.Wait()
	for w := range workers {
		if won[w] != won[0] {
			t.Errorf("workers 0 and %d disagree", w)
		}
	}
}

func TestRendezvousMovesOnlyTheLostNodesBuckets(t *testing.T) {
	b := newNodes(t, Layout{Workers: 1, Sources: 1024}, 4)
	s := b.Sources()
	choices := func() (list []int) {
		for id := s.shared; id < len(s.slots); id++ {
			node, _ := s.Sticky(SlotID(id))
			list = append(list, node)
		}
		return list
	}
	before := choices()
	count := map[int]int{}
	for _, node := range before {
		count[node]++
	}
	for node := range 4 {
		if n := count[node]; n < 860 || n > 1190 { // of 4096: a mean of 1024, ±6σ
			t.Errorf("node %d has %d of %d buckets", node, n, len(before))
		}
	}
	b.SetNodeState(2, Down, time.Unix(2, 0))
	for i, node := range choices() {
		if node == 2 || before[i] != 2 && node != before[i] {
			t.Fatalf("bucket %d moved from node %d to %d", i, before[i], node)
		}
	}
	for i := range 4 {
		b.SetNodeState(i, Down, time.Unix(3, 0))
	}
	if node, ok := s.Sticky(SlotID(s.shared)); ok {
		t.Fatalf("node %d though none is up", node)
	}
}
