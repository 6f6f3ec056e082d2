package board

import (
	"testing"
	"time"
)

func BenchmarkFind(b *testing.B) {
	s := newBoard(b, Layout{Workers: 11, Sources: 131072}).Sources()
	for i := range 10000 {
		s.Find(addr(i), sec)
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		s.Find(addr(i*7919%10000), sec)
	}
}

// BenchmarkFindChurn finds sources none of which has a slot, in a full table.
func BenchmarkFindChurn(b *testing.B) {
	s := newBoard(b, Layout{Workers: 11, Sources: 4096}).Sources()
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		s.Find(addr(i), int64(i)*ttl/2048)
	}
}

func BenchmarkCharge(b *testing.B) {
	s := newBoard(b, Layout{Workers: 1, Sources: 64}).Sources()
	rate := s.MessageRate(s.Find(addr(0), sec))
	now := sec
	b.ReportAllocs()
	for b.Loop() {
		now += ms
		Charge(rate, now, 10*ms, sec, 1)
	}
}

func BenchmarkEnterLeave(b *testing.B) {
	s := newBoard(b, Layout{Workers: 11, Sources: 131072}).Sources()
	id := s.Find(addr(0), sec)
	b.ReportAllocs()
	for b.Loop() {
		s.Enter(3, id)
		s.Leave(3, id, sec)
	}
}

func BenchmarkNodeActive(b *testing.B) {
	brd := newNodes(b, Layout{Workers: 11, Sources: 64}, 4)
	b.ReportAllocs()
	for b.Loop() {
		for i := range 4 {
			brd.NodeActive(i)
		}
	}
}

func BenchmarkViolation(b *testing.B) {
	s := newBoard(b, Layout{Workers: 1, Sources: 64}).Sources()
	id := s.Find(addr(0), sec)
	b.ReportAllocs()
	for b.Loop() {
		s.Violation(id, addr(0), sec, time.Minute, 100, time.Minute)
	}
}
