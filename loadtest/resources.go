package loadtest

import (
	"context"
	"time"

	"github.com/erlmcp/erlmcp/internal/proc"
	"github.com/erlmcp/erlmcp/internal/tempo"
)

// sampler watches what groups of processes use until it is stopped.
type sampler struct {
	groups  [groups]func() []int // the processes of each
	begun   time.Time
	before  int64 // memory available before the ramp, bytes
	first   [groups]map[int]time.Duration
	result  Resources
	stopped chan struct{}
	cancel  context.CancelFunc
}

// The groups of a sampler.
const (
	groupBalancer = iota
	groupNodes
	groupAgents
	groupCoordinator
	groups
)

func (r *Resources) group(i int) *ProcessUse {
	return [groups]*ProcessUse{&r.Balancer, &r.Nodes, &r.Agents, &r.Coordinator}[i]
}

const sampleInterval = 2 * time.Second

// startSampler begins. memoryBefore is what memoryAvailable said when nothing was loaded.
func startSampler(ctx context.Context, g [groups]func() []int, memoryBefore int64) *sampler {
	ctx, cancel := context.WithCancel(ctx)
	s := &sampler{groups: g, begun: time.Now(), before: memoryBefore, stopped: make(chan struct{}), cancel: cancel}
	for i := range s.first {
		s.first[i] = make(map[int]time.Duration)
	}
	s.sample()
	go func() {
		defer close(s.stopped)
		for range tempo.Every(ctx, sampleInterval) {
			s.sample()
		}
	}()
	return s
}

// stop takes a last sample and returns the result.
func (s *sampler) stop() *Resources {
	s.cancel()
	<-s.stopped
	s.sample()
	return &s.result
}

func (s *sampler) sample() {
	for i, pids := range s.groups {
		var now ProcessUse
		var cpu time.Duration
		for _, pid := range pids() {
			p, err := proc.Read(pid)
			if err != nil {
				continue // has ended
			}
			if _, known := s.first[i][pid]; !known {
				s.first[i][pid] = p.CPU
			}
			cpu += p.CPU - s.first[i][pid]
			now.Processes++
			now.RSSBytes += p.RSS
			now.Descriptors += p.Descriptors
		}
		most := s.result.group(i)
		most.Processes = max(most.Processes, now.Processes)
		most.RSSBytes = max(most.RSSBytes, now.RSSBytes)
		most.Descriptors = max(most.Descriptors, now.Descriptors)
		if span := time.Since(s.begun); span > sampleInterval/4 {
			most.CPUPercent = float64(int(1000*cpu.Seconds()/span.Seconds()+0.5)) / 10
		}
	}
	if now := memoryAvailable(); now > 0 && s.before > 0 {
		s.result.MemoryBytes = max(s.result.MemoryBytes, s.before-now)
	}
}
