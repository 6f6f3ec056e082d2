package board

import (
	"fmt"
	"net/netip"
	"testing"
	"time"
)

// tb is what testing.TB and rapid.T have in common.
type tb interface {
	Helper()
	Fatal(args ...any)
	Cleanup(func())
}

// newBoard makes a board that ends with the test.
func newBoard(t tb, l Layout) *Board {
	t.Helper()
	b, err := Create(l)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeBoard(t, b) })
	return b
}

func closeBoard(t tb, b *Board) {
	t.Helper()
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
}

// newNodes makes a board whose first n nodes are up.
func newNodes(t tb, l Layout, n int) *Board {
	t.Helper()
	b := newBoard(t, l)
	for i := range n {
		b.SetNodeState(i, Up, time.Unix(1, 0))
	}
	return b
}

func ip(s string) netip.Addr { return netip.MustParseAddr(s) }

// addr is the i-th of many addresses, every third of them IPv6.
func addr(i int) netip.Addr {
	if i%3 == 2 {
		return netip.AddrFrom16([16]byte{0x20, 1, 0x0d, 0xb8, byte(i >> 24), byte(i >> 16), byte(i >> 8), byte(i), 15: 1})
	}
	return netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})
}

// sameSet returns n addresses that hash to one set of the index.
func sameSet(s *Sources, n int) []netip.Addr {
	var list []netip.Addr
	want := s.setOf(s.hasher.hash(keyOf(addr(0))))
	for i := 0; len(list) < n; i++ {
		if s.setOf(s.hasher.hash(keyOf(addr(i)))) == want {
			list = append(list, addr(i))
		}
	}
	return list
}

const (
	ms  = int64(time.Millisecond)
	sec = int64(time.Second)
	ttl = int64(DefaultSourceTTL)
)

// checkTable verifies what holds of a table nobody is writing.
func checkTable(t *testing.T, s *Sources) {
	t.Helper()
	for _, problem := range tableProblems(s) {
		t.Error(problem)
	}
}

func tableProblems(s *Sources) (problems []string) {
	report := func(format string, args ...any) { problems = append(problems, fmt.Sprintf(format, args...)) }
	next := s.Tracked()
	named := make(map[uint32]uint32) // slot → entry
	keys := make(map[uint64]uint32)
	for i := range s.index {
		open := false
		for k := range s.index[i] {
			e := uint32(i*ways + k)
			n := s.index[i][k].Load()
			if n == 0 {
				open = true
				continue
			}
			if open {
				report("entry %d is set behind an open one", e)
			}
			if other, ok := named[n-1]; ok {
				report("entries %d and %d both name slot %d", other, e, n-1)
			}
			named[n-1] = e
			slot := &s.slots[n-1]
			if h := slot.home.Load(); h != e+1 {
				report("slot %d has home %d, but entry %d names it", n-1, h, e)
			}
			key := slot.key.Load()
			// A process killed before it moved the cursor leaves one slot named ahead of it.
			if ahead := int(n-1) - next; ahead > 0 || ahead == 0 && key != keyNobody {
				report("entry %d names slot %d, the cursor is at %d", e, n-1, next)
			}
			if key == keyNobody {
				continue
			}
			if s.setOf(s.hasher.hash(key)) != &s.index[i] {
				report("slot %d holds %v of another set", n-1, prefixOf(key))
			}
			if other, ok := keys[key]; ok {
				report("slots %d and %d both hold %v", other, n-1, prefixOf(key))
			}
			keys[key] = n - 1
		}
	}
	for n := range uint32(next) {
		if _, ok := named[n]; !ok {
			report("no entry names slot %d of %d", n, next)
		}
	}
	return problems
}
