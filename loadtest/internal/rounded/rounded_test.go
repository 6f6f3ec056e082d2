package rounded

import (
	"testing"
	"time"
)

func TestRounded(t *testing.T) {
	for x, want := range map[float64]float64{0: 0, 1.24: 1.2, 1.25: 1.3, 99.96: 100} {
		if got := Tenth(x); got != want {
			t.Errorf("%v: %v, want %v", x, got, want)
		}
	}
	if got := Seconds(1234567 * time.Microsecond); got != 1.235 {
		t.Error(got)
	}
}
