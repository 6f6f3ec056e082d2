package affinity

import (
	"testing"
	"time"
)

func TestTime(t *testing.T) {
	at := time.Date(2026, 11, 27, 12, 0, 0, 0, time.UTC)
	for range 5 { // into the next cycle, and beyond
		if now, next := At(at), At(at.Add(100*time.Millisecond)); !now.Before(next) || next.Before(now) || now.Before(now) {
			t.Errorf("%v is %d, a tenth of a second later it is %d", at, now, next)
		}
		if later := At(at.AddDate(6, 0, 0)); !At(at).Before(later) || later.Before(At(at)) {
			t.Errorf("six years after %v is before it", at)
		}
		at = at.AddDate(3, 0, 0)
	}
	if At(time.Unix(0, 0)) == 0 || At(time.UnixMilli((1<<32)*100)) == 0 {
		t.Error("an instant is none")
	}
}
