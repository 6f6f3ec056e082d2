package main

import (
	"context"
	"fmt"
	"time"
)

// watch looks at all processes of a system each second.
type watch struct {
	system *system
	began  time.Time
	cpu    time.Duration // of those that there were at first, at first
	all    map[int]*history
	order  []int
	total  history
}

func newWatch(s *system) *watch {
	w := &watch{system: s, began: time.Now(), all: make(map[int]*history), total: history{name: "all"}}
	for _, p := range s.processes() {
		w.cpu += p.CPU
	}
	return w
}

func (w *watch) run(ctx context.Context) {
	for pause(ctx, time.Second) {
		now, sum := time.Since(w.began), int64(0)
		for _, p := range w.system.processes() {
			h := w.all[p.pid]
			if h == nil {
				h = &history{name: p.name, first: p.CPU}
				w.all[p.pid] = h
				w.order = append(w.order, p.pid)
			}
			h.at, h.rss, h.last = append(h.at, now), append(h.rss, p.RSS), p
			sum += p.RSS
		}
		w.total.at, w.total.rss = append(w.total.at, now), append(w.total.rss, sum)
	}
}

// computed is what all processes have since the first look.
func (w *watch) computed() (sum time.Duration) {
	for _, h := range w.all {
		sum += h.last.CPU
	}
	return sum - w.cpu
}

func (p *process) key() string { return fmt.Sprintf("%s (%d)", p.name, p.pid) }
