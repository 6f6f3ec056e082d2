package waittest

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

// failing notes what Fatalf says, and goes on.
type failing struct {
	testing.TB
	said string
}

func (f *failing) Helper() {}

func (f *failing) Fatalf(format string, args ...any) {
	f.said = fmt.Sprintf(format, args...)
	panic(f)
}

func TestUntil(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began, asked := time.Now(), 0
		Until(t, time.Second, "the third time", func() bool { asked++; return asked == 3 })
		if took := time.Since(began); asked != 3 || took != 3*time.Millisecond {
			t.Errorf("asked %d times in %v", asked, took)
		}
		if seen := For(t, time.Second, "the fifth time", func() (int, bool) { asked++; return asked, asked == 5 }); seen != 5 {
			t.Errorf("saw %d", seen)
		}
		for said, wait := range map[string]func(testing.TB){
			"waited in vain: never: not within 1s":           func(t testing.TB) { Until(t, time.Second, "never", func() bool { return false }) },
			"waited in vain: never: not within 1s, but much": func(t testing.TB) { For(t, time.Second, "never", func() (string, bool) { return "much", false }) },
		} {
			f, began := &failing{TB: t}, time.Now()
			func() {
				defer func() { _ = recover() }()
				wait(f)
			}()
			if took := time.Since(began); f.said != said || took < time.Second || took > 2*time.Second {
				t.Errorf("after %v: %q", took, f.said)
			}
		}
	})
}
