package cluster

import "time"

// pace holds the times of a node's life.
type pace struct {
	backoffMin   time.Duration // before the first restart; doubles with every failure in a row
	backoffMax   time.Duration
	healthy      time.Duration // readiness that long forgets earlier failures
	crashLoop    int           // failures in a row that make a crash loop
	startTimeout time.Duration // from execution to readiness
	stopGrace    time.Duration // from SIGTERM to SIGKILL
	survey       time.Duration // between two looks at which nodes see which, while nothing changes
}

var defaultPace = pace{
	backoffMin:   200 * time.Millisecond,
	backoffMax:   10 * time.Second,
	healthy:      30 * time.Second,
	crashLoop:    5,
	startTimeout: 90 * time.Second,
	stopGrace:    15 * time.Second, // longer than a node takes to drain
	survey:       5 * time.Second,
}

// pace is what a spec makes of the default one.
func (s *Spec) pace() pace {
	p := defaultPace
	if s.StartTimeout > 0 {
		p.startTimeout = s.StartTimeout
	}
	if s.StopTimeout > 0 {
		p.stopGrace = s.StopTimeout
	}
	return p
}

// wait is how long to wait before the start after so many failures in a row, at least one.
func (p pace) wait(failures int) time.Duration {
	wait := p.backoffMin
	for range failures - 1 {
		if wait *= 2; wait >= p.backoffMax {
			return p.backoffMax
		}
	}
	return wait
}
