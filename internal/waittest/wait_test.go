package waittest

import (
	"strings"
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
	f.said = format
	panic(f)
}

func TestUntil(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began, asked := time.Now(), 0
		Until(t, time.Second, "the third time", func() bool { asked++; return asked == 3 })
		if took := time.Since(began); asked != 3 || took != 3*time.Millisecond {
			t.Errorf("asked %d times in %v", asked, took)
		}
		f := &failing{TB: t}
		func() {
			defer func() { _ = recover() }()
			Until(f, time.Second, "never", func() bool { return false })
		}()
		if took := time.Since(began); !strings.HasPrefix(f.said, "waited in vain") || took < time.Second || took > 2*time.Second {
			t.Errorf("after %v: %q", took, f.said)
		}
	})
}
