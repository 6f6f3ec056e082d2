// Package waittest waits in tests for what others do.
package waittest

import (
	"testing"
	"time"
)

const (
	firstPause = time.Millisecond
	longPause  = 20 * time.Millisecond
)

// Until returns when done is true. A test in which that takes longer than patience has failed.
func Until(t testing.TB, patience time.Duration, what string, done func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for pause := firstPause; !done(); pause = min(2*pause, longPause) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain: %s: not within %v", what, patience)
		}
		time.Sleep(pause)
	}
}
