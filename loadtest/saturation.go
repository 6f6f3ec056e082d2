package loadtest

import "time"

// machineLoad are counters of the whole machine, or what has come to them in a stretch.
type machineLoad struct {
	known       bool
	total, idle time.Duration // of all processors
	steal       time.Duration // taken by other guests of the same machine
	softirq     time.Duration
	listenDrops int64 // connections that found a full queue of a listener
}

// add adds what has come between two looks.
func (m *machineLoad) add(now, before machineLoad) {
	m.known = now.known && before.known
	m.total += now.total - before.total
	m.idle += now.idle - before.idle
	m.steal += now.steal - before.steal
	m.softirq += now.softirq - before.softirq
	m.listenDrops += now.listenDrops - before.listenDrops
}

func (m *machineLoad) saturation() Saturation {
	if !m.known || m.total <= 0 {
		return Saturation{}
	}
	part := func(d time.Duration) float64 { return round1(100 * d.Seconds() / m.total.Seconds()) }
	return Saturation{
		Known: true, BusyPercent: round1(100 - part(m.idle)), StealPercent: part(m.steal), SoftirqPercent: part(m.softirq),
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

// spoilt is why latencies of a stretch say little; empty if they say what they seem to.
func (s *Saturation) spoilt() string {
	switch {
	case s.StealPercent > maxSteal:
		return "other guests of the machine took processor time"
	case s.BusyPercent > maxBusy:
		return "the processors of this machine were busy all the time, with the load test among others"
	}
	return ""
}
