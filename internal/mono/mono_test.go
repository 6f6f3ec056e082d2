package mono

import (
	"testing"
	"time"
)

func TestNowFollowsTheKernel(t *testing.T) {
	before := read()
	now := Now()
	after := read()
	// The two scales were tied together a moment apart: allow that moment.
	const slack = int64(5 * time.Millisecond)
	if now < before-slack || now > after+slack {
		t.Fatalf("Now() = %d, kernel says %d…%d", now, before, after)
	}
}

func TestTimeRoundTrip(t *testing.T) {
	want := time.Now().Add(time.Minute)
	got := Time(Now() + int64(time.Minute))
	if d := got.Sub(want).Abs(); d > time.Second {
		t.Fatalf("Time is off by %v", d)
	}
}

func TestAtIsNow(t *testing.T) {
	before := Now()
	at := At(time.Now())
	if after := Now(); at < before || at > after {
		t.Errorf("At(now) = %d, Now is %d…%d", at, before, after)
	}
}

func TestRetellLeavesWhatNeedsNoCorrection(t *testing.T) {
	for _, at := range []time.Time{{}, time.Now(), time.Now().Add(-time.Hour), time.Unix(1, 0)} {
		if got := Retell(at); !got.Equal(at) {
			t.Errorf("%v is retold as %v", at, got)
		}
	}
}
