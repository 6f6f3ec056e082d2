// Package tempo has code wait, and loops go on now and then, until their context ends.
package tempo

import (
	"context"
	"time"
)

// Pause waits, or returns why not.
func Pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// AtOnce begins a round of a loop at once and then every d, late after one that took longer, until ctx ends.
func AtOnce(ctx context.Context, d time.Duration) func(yield func() bool) {
	return func(yield func() bool) {
		tick := time.NewTicker(d)
		defer tick.Stop()
		for yield() {
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			}
		}
	}
}

// Every is AtOnce without the first round.
func Every(ctx context.Context, d time.Duration) func(yield func() bool) {
	return func(yield func() bool) {
		begun := false
		AtOnce(ctx, d)(func() bool {
			if !begun {
				begun = true
				return true
			}
			return yield()
		})
	}
}
