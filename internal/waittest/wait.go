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

// Within reports whether done becomes true within patience.
func Within(patience time.Duration, done func() bool) bool {
	deadline := time.Now().Add(patience)
	for pause := firstPause; !done(); pause = min(2*pause, longPause) {
		if time.Now().After(deadline) {
			return false
		}
		time.Sleep(pause)
	}
	return true
}

// Until returns when done is true. A test in which that takes longer than patience has failed.
func Until(t testing.TB, patience time.Duration, what string, done func() bool) {
	t.Helper()
	if !Within(patience, done) {
		t.Fatalf("waited in vain: %s: not within %v", what, patience)
	}
}

// For returns what look sees when it is what is wanted. A test in which that takes longer than patience has failed, and
// tells what was seen last.
func For[T any](t testing.TB, patience time.Duration, what string, look func() (seen T, wanted bool)) T {
	t.Helper()
	var seen T
	if !Within(patience, func() (wanted bool) { seen, wanted = look(); return wanted }) {
		t.Fatalf("waited in vain: %s: not within %v, but %+v", what, patience, seen)
	}
	return seen
}
