package machine

import (
	"time"

	"github.com/erlmcp/erlmcp/loadtest/internal/rounded"
)

// Saturation is how busy a machine was, all its processors together.
type Saturation struct {
	Known          bool    `json:"known"`
	BusyPercent    float64 `json:"busy_percent"`
	StealPercent   float64 `json:"steal_percent"`   // taken by other guests of the same hardware
	SoftirqPercent float64 `json:"softirq_percent"` // a part of busy
	ListenDrops    int64   `json:"listen_drops"`    // connections that found the queue of a listener full
}

// Load are counters of the whole machine, or what has come to them in a stretch.
type Load struct {
	known       bool
	total, idle time.Duration // of all processors
	steal       time.Duration // taken by other guests of the same machine
	softirq     time.Duration
	listenDrops int64 // connections that found a full queue of a listener
}

// Add adds what has come between two looks.
func (m *Load) Add(now, before Load) {
	m.known = now.known && before.known
	m.total += now.total - before.total
	m.idle += now.idle - before.idle
	m.steal += now.steal - before.steal
	m.softirq += now.softirq - before.softirq
	m.listenDrops += now.listenDrops - before.listenDrops
}

// Saturation is what a stretch says; zero if that is not known.
func (m *Load) Saturation() Saturation {
	if !m.known || m.total <= 0 {
		return Saturation{}
	}
	part := func(d time.Duration) float64 { return rounded.Tenth(100 * d.Seconds() / m.total.Seconds()) }
	return Saturation{
		Known: true, BusyPercent: rounded.Tenth(100 - part(m.idle)), StealPercent: part(m.steal), SoftirqPercent: part(m.softirq),
		ListenDrops: m.listenDrops,
	}
}

const (
	// A machine that is busier than this, all processors together, has nothing left for whoever comes next: what clients wait
	// for is the machine.
	maxBusy = 97
	// maxSteal is how much other guests may take before nothing here is what it seems.
	maxSteal = 10
)

// Spoilt is why latencies of a stretch say little; empty if they say what they seem to.
func (s *Saturation) Spoilt() string {
	switch {
	case s.StealPercent > maxSteal:
		return "other guests of the machine took processor time"
	case s.BusyPercent > maxBusy:
		return "the processors of this machine were busy all the time, with the load test among others"
	}
	return ""
}
