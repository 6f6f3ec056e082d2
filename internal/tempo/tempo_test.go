package tempo

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

func TestRounds(t *testing.T) {
	for name, c := range map[string]struct {
		loop  func(context.Context, time.Duration) func(func() bool)
		first time.Duration
	}{"at once": {AtOnce, 0}, "every": {Every, time.Second}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), 3500*time.Millisecond)
				defer cancel()
				began, next := time.Now(), c.first
				for range c.loop(ctx, time.Second) {
					if at := time.Since(began); at != next {
						t.Errorf("a round at %s, want %s", at, next)
					}
					next += time.Second
				}
				if took := time.Since(began); took != 3500*time.Millisecond || next != 4*time.Second {
					t.Errorf("ended after %s, before the round of %s", took, next)
				}
				for range c.loop(t.Context(), time.Second) {
					break
				}
			})
		})
	}
}

func TestPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		if err := Pause(t.Context(), time.Second); err != nil || time.Since(began) != time.Second {
			t.Errorf("%v after %s", err, time.Since(began))
		}
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		if err := Pause(ended, time.Hour); !errors.Is(err, context.Canceled) {
			t.Errorf("%v, want that it was cancelled", err)
		}
	})
}
