package wire

import (
	"testing"
	"time"
)

func TestPatience(t *testing.T) {
	p := LeastPatience
	for n, want := range []time.Duration{0, 2 * p.Base, 4 * p.Base, 8 * p.Base, 16 * p.Base, p.Limit, p.Limit} {
		if got := p.After(n, 1); n > 0 && got != want {
			t.Errorf("after %d attempts up to %s, want %s", n, got, want)
		}
	}
	if p.After(100, 0.5) != p.Limit/2 {
		t.Error("a large n overflows")
	}
	if p.After(3, 0) != 0 {
		t.Error("no full jitter")
	}
}
