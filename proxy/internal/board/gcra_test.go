package board

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestChargeLetsABurstPassThenTheRate(t *testing.T) {
	const interval, burst = 10 * ms, sec // 100/s, one second's worth
	var tat atomic.Int64
	now := 5 * sec
	for i := range 100 {
		if ok, wait := Charge(&tat, now, interval, burst, 1); !ok || wait != 0 {
			t.Fatalf("cell %d of the burst: %v, wait %v", i, ok, wait)
		}
	}
	before := tat.Load()
	ok, wait := Charge(&tat, now, interval, burst, 1)
	if ok || wait != 10*time.Millisecond {
		t.Fatalf("cell 101: %v, wait %v, want a wait of 10ms", ok, wait)
	}
	if tat.Load() != before {
		t.Fatal("a refused cell was charged")
	}
	if ok, _ := Charge(&tat, now+10*ms-1, interval, burst, 1); ok {
		t.Fatal("a cell passed before its time")
	}
	if ok, _ := Charge(&tat, now+10*ms, interval, burst, 1); !ok {
		t.Fatal("a cell was refused at the time promised")
	}
	if ok, wait := Charge(&tat, now+10*ms, interval, burst, 50); ok || wait != 500*time.Millisecond {
		t.Fatalf("50 cells: %v, wait %v, want a wait of 500ms", ok, wait)
	}
	if ok, _ := Charge(&tat, now+10*sec, interval, burst, 101); ok {
		t.Fatal("more than the burst passed at once")
	}
}

// What is held is spread at the rate, and there is no more of it than patience has room for.
func TestChargeAhead(t *testing.T) {
	const interval, burst = 10 * ms, sec
	var tat atomic.Int64
	for i := range 300 {
		ok, wait := ChargeAhead(&tat, sec, interval, burst, 1, 2*time.Second)
		if want := time.Duration(max(0, i-99)) * 10 * time.Millisecond; !ok || wait != want {
			t.Fatalf("cell %d: %v, wait %v, want %v", i, ok, wait, want)
		}
	}
	before := tat.Load()
	if ok, wait := ChargeAhead(&tat, sec, interval, burst, 1, 2*time.Second); ok || wait != 2010*time.Millisecond || tat.Load() != before {
		t.Fatalf("beyond patience: %v, wait %v", ok, wait)
	}
}

func TestChargeAnyway(t *testing.T) {
	const interval, burst = 10 * ms, sec
	var tat atomic.Int64
	if wait := ChargeAnyway(&tat, sec, interval, burst, 100); wait != 0 {
		t.Fatalf("wait %v within the burst", wait)
	}
	if wait := ChargeAnyway(&tat, sec, interval, burst, 30); wait != 300*time.Millisecond {
		t.Fatalf("wait %v for 30 too many, want 300ms", wait)
	}
	if ok, wait := Charge(&tat, sec, interval, burst, 1); ok || wait != 310*time.Millisecond {
		t.Fatalf("Charge in debt: %v, wait %v, want 310ms", ok, wait)
	}
	for _, n := range []int64{1 << 40, 1 << 62} {
		if wait := ChargeAnyway(&tat, sec, interval, burst, n); wait != MaxDebt {
			t.Fatalf("wait %v for %d cells, want MaxDebt", wait, n)
		}
	}
	if ok, wait := Charge(&tat, sec, interval, burst, 1<<62); ok || wait <= 0 {
		t.Fatalf("%v, wait %v for 2^62 cells", ok, wait)
	}
}

func TestAStepBackOfTheClockLocksNobodyOut(t *testing.T) {
	const interval, burst = 10 * ms, sec
	var tat atomic.Int64
	late := int64(24 * time.Hour)
	for range 200 {
		Charge(&tat, late, interval, burst, 1)
	}
	now := late - int64(time.Hour)
	if ok, wait := Charge(&tat, now, interval, burst, 1); !ok {
		t.Fatalf("refused for %v after the clock stepped back an hour", wait)
	}
	tat.Store(late)
	if wait := ChargeAnyway(&tat, now, interval, burst, 1); wait != 0 {
		t.Fatalf("paused for %v after the clock stepped back an hour", wait)
	}
}

// TestChargeIsATokenBucket compares with the other well-known form of the same
// algorithm: a bucket that drains at the rate and holds a burst (I.371's
// continuous-state leaky bucket).
func TestChargeIsATokenBucket(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		interval := rapid.Int64Range(1, 50*ms).Draw(t, "interval")
		burst := interval * rapid.Int64Range(1, 200).Draw(t, "burst cells")
		var tat atomic.Int64
		var level, last int64
		now := rapid.Int64Range(1, 1<<50).Draw(t, "start")
		for range rapid.IntRange(1, 60).Draw(t, "arrivals") {
			now += rapid.Int64Range(0, 2*burst).Draw(t, "pause")
			level, last = max(0, level-(now-last)), now
			n := rapid.Int64Range(1, 2*burst/interval).Draw(t, "cells")
			if rapid.Bool().Draw(t, "anyway") {
				level = min(level+n*interval, burst+int64(MaxDebt))
				if wait := ChargeAnyway(&tat, now, interval, burst, n); int64(wait) != max(0, level-burst) {
					t.Fatalf("wait %d, want %d", wait, max(0, level-burst))
				}
				continue
			}
			ok, wait := Charge(&tat, now, interval, burst, n)
			excess := level + n*interval - burst
			if ok != (excess <= 0) || int64(wait) != max(0, excess) {
				t.Fatalf("Charge(%d cells) = %v, %d; the bucket exceeds by %d", n, ok, wait, excess)
			}
			if ok {
				level += n * interval
			}
		}
	})
}

func TestConcurrentChargesNeverExceedTheBurst(t *testing.T) {
	const workers, tries, burst = 8, 500, 1000
	var tat, passed atomic.Int64
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for range tries {
				if ok, _ := Charge(&tat, sec, ms, burst*ms, 1); ok {
					passed.Add(1)
				}
			}
		})
	}
	wg.Wait()
	if passed.Load() != burst {
		t.Fatalf("%d of %d cells passed, want %d", passed.Load(), workers*tries, burst)
	}
}

// Charge adds n cells to tat if they all conform. If not, it adds nothing and
// wait is how long until they would. More cells than the burst holds never
// conform.
func Charge(tat *atomic.Int64, now, interval, burst, n int64) (ok bool, wait time.Duration) {
	return ChargeAhead(tat, now, interval, burst, n, 0)
}
