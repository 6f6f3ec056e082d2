package show

import (
	"testing"
	"time"
)

func TestLatency(t *testing.T) {
	for d, want := range map[time.Duration]string{
		81234 * time.Nanosecond:    "81µs",
		1234567 * time.Nanosecond:  "1.23ms",
		99999999 * time.Nanosecond: "100ms",
		1234567890:                 "1.235s",
	} {
		if got := Latency(d).String(); got != want {
			t.Errorf("%v: %s, want %s", d, got, want)
		}
	}
}
