package swarm

import (
	"testing"
	"time"
)

func TestScheduleIsOpen(t *testing.T) {
	start := int64(5*time.Second) + 1
	s := newSchedule(start, 4000) // four a tick
	if _, ok := s.due(start); ok {
		t.Fatal("due before its tick")
	}
	taken := 0
	late := start + int64(100*time.Millisecond)
	for {
		at, ok := s.due(late)
		if !ok {
			break
		}
		taken++
		if at%tick != 0 || at < start || at > late {
			t.Fatalf("instant %d", at)
		}
	}
	if taken < 396 || taken > 400 {
		t.Errorf("%d instants in 100 ms at 4000/s", taken)
	}
}

func TestScheduleDoesNotDrift(t *testing.T) {
	s := newSchedule(0, 833.3)
	s.index = 833_300 // a thousand seconds
	if got, want := time.Duration(s.next()), 1000*time.Second; got < want || got > want+2*time.Millisecond {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestDeadlines(t *testing.T) {
	var q deadlines
	for i := range 10_000 {
		q.push(deadline{at: int64(i)})
		if i >= 10 {
			if d, ok := q.expired(int64(i - 10)); !ok || d.at != int64(i-10) {
				t.Fatalf("%d: %v, %v", i, d, ok)
			}
			if _, ok := q.expired(int64(i - 10)); ok {
				t.Fatal("expired early")
			}
		}
	}
	if cap(q.entries) > 64 {
		t.Errorf("room for %d entries is kept for 10", cap(q.entries))
	}
}
