package board

import (
	"sync/atomic"
	"time"
)

// MaxDebt is how far ChargeAnyway lets a source run ahead of its burst.
const MaxDebt = time.Minute

// Rates are limited by the generic cell rate algorithm in its virtual scheduling
// form (ITU-T I.371). The whole state of a source is one word, the theoretical
// arrival time (tat) of its next cell, were it to send at exactly its rate:
//
//	tat' = max(now, tat) + n × interval          when n cells arrive;
//	they conform if  tat' − now ≤ burst
//
// interval is 1 s ÷ rate. After a rest, burst ÷ interval cells may come at once:
// a burst of one second is a second's worth of cells. A tat of 0 is a source at
// rest. All instants and durations are nanoseconds; interval, burst and n are
// positive.

// ChargeAhead adds n cells to tat if they will all conform within patience, of
// at most MaxDebt. wait is how long until they do; cells that were charged are
// to be held for so long, and no more than patience ÷ interval of a source are.
func ChargeAhead(tat *atomic.Int64, now, interval, burst, n int64, patience time.Duration) (ok bool, wait time.Duration) {
	for {
		old := tat.Load()
		next := arrival(old, now, interval, burst, n)
		wait = time.Duration(max(0, next-now-burst))
		if wait > patience {
			return false, wait
		}
		if tat.CompareAndSwap(old, next) {
			return true, wait
		}
	}
}

// ChargeAnyway adds n cells to tat whether they conform or not, for cells that
// have already arrived. wait is how long the source must pause before it
// conforms again, 0 if it does and never more than MaxDebt.
func ChargeAnyway(tat *atomic.Int64, now, interval, burst, n int64) (wait time.Duration) {
	for {
		old := tat.Load()
		next := min(arrival(old, now, interval, burst, n), now+burst+int64(MaxDebt))
		if tat.CompareAndSwap(old, next) {
			return time.Duration(max(0, next-now-burst))
		}
	}
}

// arrival is the tat after n more cells. A tat further ahead than any charge
// could have put it was written by another clock: such a source counts as
// resting, or a clock that stepped back would lock it out.
func arrival(tat, now, interval, burst, n int64) int64 {
	limit := burst + int64(MaxDebt)
	if tat < now || tat-now > limit {
		tat = now
	}
	if n > limit/interval {
		n = limit/interval + 1 // saturates: already beyond every limit
	}
	return tat + n*interval
}
