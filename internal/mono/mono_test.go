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
