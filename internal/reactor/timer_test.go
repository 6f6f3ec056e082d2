package reactor

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

type fired struct {
	Timer
	want int64
	log  *[]*fired
}

func (f *fired) OnTimer(*Timer) { *f.log = append(*f.log, f) }

// The wheel against a plain list: every timer fires exactly once, in the tick
// it is due, whatever the distances and the steps of the hand.
func TestWheelModel(t *testing.T) {
	distance := rapid.OneOf(
		rapid.Int64Range(1, 300),
		rapid.Int64Range(1, 70_000),
		rapid.Int64Range(1, 20_000_000),
		rapid.Int64Range(1, 3*wheelSpan),
	)
	rapid.Check(t, func(t *rapid.T) {
		var w wheel
		w.now = rapid.Int64Range(0, 1<<40).Draw(t, "start")
		pending := map[*fired]bool{}
		var log []*fired
		t.Repeat(map[string]func(*rapid.T){
			"schedule": func(t *rapid.T) {
				f := &fired{log: &log, want: w.now + distance.Draw(t, "distance")}
				w.schedule(&f.Timer, f.want, f)
				pending[f] = true
			},
			"move": func(t *rapid.T) {
				for f := range pending {
					f.want = w.now + distance.Draw(t, "distance")
					w.schedule(&f.Timer, f.want, f)
					break
				}
			},
			"cancel": func(*rapid.T) {
				for f := range pending {
					w.unlink(&f.Timer)
					delete(pending, f)
					break
				}
			},
			"advance": func(t *rapid.T) {
				now := w.now + distance.Draw(t, "step")
				last := int64(0)
				log = log[:0]
				w.advance(now)
				if w.now != now {
					t.Fatalf("hand at %d, want %d", w.now, now)
				}
				for _, f := range log {
					if !pending[f] || f.want > now || f.want < last || f.Pending() {
						t.Fatalf("fired at %d: due %d, after one due %d", now, f.want, last)
					}
					last = f.want
					delete(pending, f)
				}
				for f := range pending {
					if f.want <= now {
						t.Fatalf("due at %d, not fired by %d", f.want, now)
					}
				}
			},
			"": func(t *rapid.T) {
				if w.count != len(pending) {
					t.Fatalf("wheel counts %d, want %d", w.count, len(pending))
				}
				at, ok := w.next()
				if ok != (len(pending) > 0) {
					t.Fatalf("next: %v with %d pending", ok, len(pending))
				}
				for f := range pending {
					if f.want < at {
						t.Fatalf("next says %d, but one is due at %d", at, f.want)
					}
				}
			},
		})
	})
}

type funcExpirer func(*Timer)

func (f funcExpirer) OnTimer(t *Timer) { f(t) }

func TestScheduleIsNeverEarly(t *testing.T) {
	l := startLoop(t)
	for _, d := range []time.Duration{0, time.Millisecond, 7 * time.Millisecond, 300 * time.Millisecond} {
		done := make(chan int64, 1)
		var timer Timer
		var start int64
		on(l, func() {
			start = l.Now()
			l.Schedule(&timer, d, funcExpirer(func(*Timer) { done <- l.Now() }))
		})
		if took := time.Duration(receive(t, "the timer", done) - start); took < d {
			t.Errorf("after %v, want %v", took, d)
		}
	}
}

func TestCancelAndReschedule(t *testing.T) {
	l := startLoop(t)
	done := make(chan string, 4)
	var a, b Timer
	say := func(s string) Expirer { return funcExpirer(func(*Timer) { done <- s }) }
	on(l, func() {
		l.Schedule(&a, time.Millisecond, say("cancelled"))
		l.Cancel(&a)
		l.Cancel(&a)
		l.Schedule(&b, time.Hour, say("moved away"))
		l.Schedule(&b, 2*time.Millisecond, say("moved here"))
	})
	if got := receive(t, "a timer", done); got != "moved here" {
		t.Fatal(got)
	}
}
