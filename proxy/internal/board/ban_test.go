package board

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// step is the time from one violation to the next.
const step = int64(ViolationStep)

// What comes at the same moment is one violation, in whichever workers.
func TestABurstIsOneViolation(t *testing.T) {
	s := newBoard(t, Layout{Workers: 8, Sources: 64}).Sources()
	id := s.Find(addr(0), sec)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for i := range step / 1000 {
				if s.Violation(id, addr(0), sec+i, time.Minute, 2, time.Minute) {
					t.Error("banned")
					return
				}
			}
		})
	}
	wg.Wait()
	if got := s.Info(id).Violations; got != 1 {
		t.Errorf("%d violations", got)
	}
	if !s.Violation(id, addr(0), sec+step, time.Minute, 2, time.Minute) {
		t.Error("who goes on is not banned")
	}
}

func TestViolationsBan(t *testing.T) {
	s := newBoard(t, Layout{Workers: 1, Sources: 64}).Sources()
	id := s.Find(addr(0), sec)
	for i := range 99 {
		if s.Violation(id, addr(0), sec+int64(i)*step, time.Minute, 100, time.Minute) {
			t.Fatalf("banned at violation %d", i+1)
		}
	}
	if s.BannedUntil(id) != 0 || s.Info(id).Violations != 99 {
		t.Fatalf("%+v before the 100th", s.Info(id))
	}
	now := 61*sec - 17*ms
	if !s.Violation(id, addr(0), now, time.Minute, 100, time.Minute) {
		t.Fatal("not banned at violation 100 within the minute")
	}
	if got := s.BannedUntil(id); got != now+60*sec {
		t.Fatalf("banned until %d, want %d", got, now+60*sec)
	}
	if s.Info(id).Violations != 0 {
		t.Error("counting did not start anew")
	}
	if s.Violation(id, addr(0), now+step, time.Minute, 100, time.Minute) {
		t.Error("the 101st bans again")
	}
	s.Unban(id)
	if s.BannedUntil(id) != 0 || s.Info(id).Violations != 0 {
		t.Errorf("%+v after Unban", s.Info(id))
	}
}

func TestViolationsOfAnotherMinuteDoNotCount(t *testing.T) {
	s := newBoard(t, Layout{Workers: 1, Sources: 64}).Sources()
	id := s.Find(addr(0), sec)
	for i := range int64(99) {
		s.Violation(id, addr(0), sec+i*step, time.Minute, 100, time.Minute)
	}
	if s.Violation(id, addr(0), 61*sec+1, time.Minute, 100, time.Minute) || s.Info(id).Violations != 1 {
		t.Fatalf("%+v after the window", s.Info(id))
	}
	// A window that seems to begin ahead of now is another clock's.
	for i := range int64(98) {
		s.Violation(id, addr(0), 1000*sec+i*step, time.Minute, 100, time.Minute)
	}
	if s.Violation(id, addr(0), 900*sec, time.Minute, 100, time.Minute) || s.Info(id).Violations != 1 {
		t.Fatalf("%+v after the clock stepped back", s.Info(id))
	}
}

func TestABanIsNeverShortened(t *testing.T) {
	s := newBoard(t, Layout{Workers: 1, Sources: 64}).Sources()
	id := s.Find(addr(0), sec)
	if !s.Ban(id, 500) || !s.Ban(id, 100) || s.BannedUntil(id) != 500 {
		t.Fatalf("banned until %d, want 500", s.BannedUntil(id))
	}
}

func TestNoThresholdNoBan(t *testing.T) {
	s := newBoard(t, Layout{Workers: 1, Sources: 64}).Sources()
	id := s.Find(addr(0), sec)
	for i := range int64(1000) {
		if s.Violation(id, addr(0), sec+i*step, time.Minute, 0, time.Minute) {
			t.Fatal("banned")
		}
	}
}

func TestViolationIsAFixedWindow(t *testing.T) {
	const step = 6 << violationBits // a little more than ViolationStep
	rapid.Check(t, func(t *rapid.T) {
		s := newBoard(t, Layout{Workers: 1, Sources: 64}).Sources()
		id := s.Find(addr(0), sec)
		window := rapid.Int64Range(1, 100).Draw(t, "window") * step
		threshold := rapid.IntRange(1, 20).Draw(t, "threshold")
		now := int64(rapid.IntRange(1, 1000).Draw(t, "start")) * step
		var begin int64
		count := 0
		for range rapid.IntRange(1, 100).Draw(t, "violations") {
			now += int64(rapid.IntRange(1, 20).Draw(t, "pause")) * step
			if count == 0 || now-begin > window {
				begin, count = now, 0
			}
			count++
			want := count == threshold
			if want {
				count = 0
			}
			if got := s.Violation(id, addr(0), now, time.Duration(window), threshold, time.Minute); got != want {
				t.Fatalf("banned %v, want %v", got, want)
			}
		}
	})
}

func TestConcurrentViolationsBanOnce(t *testing.T) {
	s := newBoard(t, Layout{Workers: 8, Sources: 64}).Sources()
	id := s.Find(addr(0), sec)
	var bans atomic.Int64
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for i := range int64(2000) {
				if s.Violation(id, addr(0), sec+i*step, time.Hour, 100, time.Minute) {
					bans.Add(1)
				}
			}
		})
	}
	wg.Wait()
	if got := bans.Load(); got < 20 || got > 8*20 { // each step counts once, unless another worker has gone on
		t.Fatalf("2000 violations, or up to 8 times as many, banned %d times", got)
	}
}
