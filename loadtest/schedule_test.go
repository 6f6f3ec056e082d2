package loadtest

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

func TestPatience(t *testing.T) {
	p := leastPatience
	for n, want := range []time.Duration{0, 2 * p.Base, 4 * p.Base, 8 * p.Base, 16 * p.Base, p.Limit, p.Limit} {
		if got := p.after(n, 1); n > 0 && got != want {
			t.Errorf("after %d attempts up to %s, want %s", n, got, want)
		}
	}
	if p.after(100, 0.5) != p.Limit/2 {
		t.Error("a large n overflows")
	}
	if p.after(3, 0) != 0 {
		t.Error("no full jitter")
	}
}

// Clients of one source that all fail at once stay within its rate.
func TestPatienceOfManyClients(t *testing.T) {
	if p := patienceFor(1, houseLimits); p != leastPatience {
		t.Errorf("%+v", p)
	}
	if p := patienceFor(100, Limits{}); p != leastPatience {
		t.Errorf("%+v", p)
	}
	for _, clients := range []int{100, 1000} {
		p := patienceFor(clients, houseLimits)
		for n := 1; n < 10; n++ {
			if rate := float64(clients) / p.after(n, 1).Seconds(); rate > 100 {
				t.Errorf("%d clients come back at %.0f/s after %d failures", clients, rate, n)
			}
		}
		if rate := float64(clients) / p.Spread.Seconds(); rate > 100 {
			t.Errorf("%d clients come back at %.0f/s", clients, rate)
		}
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
