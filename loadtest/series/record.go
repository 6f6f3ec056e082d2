package series

import (
	"context"
	"maps"
	"sync"
	"time"

	"github.com/erlmcp/erlmcp/internal/proc"
	"github.com/erlmcp/erlmcp/internal/tempo"
	"github.com/erlmcp/erlmcp/loadtest/internal/rounded"
	"github.com/erlmcp/erlmcp/loadtest/internal/wire"
	"github.com/erlmcp/erlmcp/loadtest/machine"
)

// The groups of processes that are watched.
const (
	Balancer = iota
	Nodes
	Agents
	Coordinator
	Groups
)

func (r *Resources) group(i int) *ProcessUse {
	return [Groups]*ProcessUse{&r.Balancer, &r.Nodes, &r.Agents, &r.Coordinator}[i]
}

// recordInterval is how often a run is looked at.
const recordInterval = time.Second

// Recorder looks at a run second by second until it is stopped: what its clients have, and what groups of processes use.
type Recorder struct {
	begun  time.Time
	counts func() wire.Counts
	groups [Groups]func() []int // the processes of each

	mu      sync.Mutex
	phase   Phase
	last    wire.Counts
	lastAt  time.Time
	cpu     [Groups]map[int]time.Duration // by process, as last seen
	owed    [Groups]time.Duration         // used since the last point
	series  Series
	use     *Resources // of the stretch that is being measured; nil: none is
	since   time.Time  // it began
	spent   [Groups]time.Duration
	machine machine.Load // as last seen
	loads   machine.Load // of the stretch
	memory  int64        // available before the ramp, bytes

	cancel  context.CancelFunc
	stopped chan struct{}
}

// Record begins to look at a run that began then.
func Record(ctx context.Context, begun time.Time, counts func() wire.Counts, g [Groups]func() []int) *Recorder {
	ctx, cancel := context.WithCancel(ctx)
	c := &Recorder{
		begun: begun, counts: counts, groups: g, lastAt: time.Now(), series: Series{IntervalS: recordInterval.Seconds()},
		machine: machine.ReadLoad(), cancel: cancel, stopped: make(chan struct{}),
	}
	c.look()
	go func() {
		defer close(c.stopped)
		for range tempo.Every(ctx, recordInterval) {
			c.look()
		}
	}()
	return c
}

// Stop takes a last look and returns all.
func (c *Recorder) Stop() *Series {
	c.cancel()
	<-c.stopped
	c.look()
	return &c.series
}

// Enter says which phase the run is in.
func (c *Recorder) Enter(p Phase) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.phase = p
}

// Mark notes what happens now.
func (c *Recorder) Mark(text string) { c.MarkAt(time.Now(), text) }

// MarkAt notes what has happened at a time.
func (c *Recorder) MarkAt(at time.Time, text string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.series.Marks = append(c.series.Marks, Mark{AtS: rounded.Seconds(at.Sub(c.begun)), Text: text})
}

// Lately is the last point, and all marks.
func (c *Recorder) Lately() (last Point, marks []Mark) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if n := len(c.series.Points); n > 0 {
		last = c.series.Points[n-1]
	}
	return last, c.series.Marks
}

// Measure begins a stretch of which the use is wanted. memoryBefore is what MemoryAvailable said when nothing was loaded.
func (c *Recorder) Measure(memoryBefore int64) {
	c.look()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.use, c.since, c.spent, c.loads, c.memory = new(Resources), time.Now(), [Groups]time.Duration{}, machine.Load{}, memoryBefore
}

// Measured ends the stretch.
func (c *Recorder) Measured() *Resources {
	c.look()
	c.mu.Lock()
	defer c.mu.Unlock()
	use := c.use
	c.use = nil
	if span := time.Since(c.since); span > recordInterval/4 {
		for i, cpu := range c.spent {
			use.group(i).CPUPercent = PercentOf(cpu, span)
		}
	}
	use.Machine = c.loads.Saturation()
	return use
}

// PercentOf is a part of one core.
func PercentOf(cpu, span time.Duration) float64 {
	return rounded.Tenth(100 * cpu.Seconds() / span.Seconds())
}

func (c *Recorder) look() {
	n := c.counts()
	var now [Groups]ProcessUse
	var cpu [Groups]map[int]time.Duration
	for i, pids := range c.groups {
		cpu[i] = make(map[int]time.Duration)
		for _, pid := range pids() {
			p, err := proc.Read(pid)
			if err != nil {
				continue // has ended
			}
			cpu[i][pid] = p.CPU
			now[i].Processes++
			now[i].RSSBytes += p.RSS
			now[i].Descriptors += p.Descriptors
		}
	}
	load := machine.ReadLoad()
	c.mu.Lock()
	defer c.mu.Unlock()
	at := time.Now()
	span := at.Sub(c.lastAt)
	var spent [Groups]time.Duration
	for i := range cpu {
		for pid, used := range cpu[i] {
			if before, known := c.cpu[i][pid]; known {
				spent[i] += used - before
			}
		}
	}
	c.cpu = cpu
	for i := range spent {
		c.owed[i] += spent[i]
	}
	if span >= recordInterval/2 { // else the next point has it: rates of less say nothing
		c.series.Points = append(c.series.Points, c.point(n, at, span, &now))
		c.last, c.lastAt, c.owed = n, at, [Groups]time.Duration{}
	}
	if c.use == nil {
		c.machine = load
		return
	}
	for i := range now {
		most := c.use.group(i)
		most.Processes = max(most.Processes, now[i].Processes)
		most.RSSBytes = max(most.RSSBytes, now[i].RSSBytes)
		most.Descriptors = max(most.Descriptors, now[i].Descriptors)
		c.spent[i] += spent[i]
	}
	c.loads.Add(load, c.machine)
	c.machine = load
	if free := machine.MemoryAvailable(); free > 0 && c.memory > 0 {
		c.use.MemoryBytes = max(c.use.MemoryBytes, c.memory-free)
	}
}

// point is what has come since the last one.
func (c *Recorder) point(n wire.Counts, at time.Time, span time.Duration, now *[Groups]ProcessUse) Point {
	p := Point{AtS: rounded.Seconds(at.Sub(c.begun)), Phase: c.phase, Connections: n.Verified, Nodes: maps.Clone(n.Nodes)}
	came := n.Requests.Minus(c.last.Requests)
	// The sums fall when an agent is lost.
	p.Answers = rounded.Tenth(float64(max(came.Answered, 0)) / span.Seconds())
	p.Errors = rounded.Tenth(float64(max(came.Failed+came.Lost, 0)) / span.Seconds())
	if answers := n.Answers.Minus(c.last.Answers); answers.Count() > 0 {
		p.MeanUs, p.P50Us, p.P99Us = new(rounded.Tenth(answers.Mean())), new(answers.Quantile(0.5)), new(answers.Quantile(0.99))
	}
	for _, by := range []struct{ now, before map[string]int64 }{{n.Refused, c.last.Refused}, {n.Failures, c.last.Failures}, {n.Losses, c.last.Losses}} {
		for cause, count := range by.now {
			if d := count - by.before[cause]; d > 0 {
				if p.ByCause == nil {
					p.ByCause = make(map[string]int64)
				}
				p.ByCause[cause] += d
			}
		}
	}
	if c.last.At == 0 { // nothing to compare with
		return p
	}
	for i, to := range map[int]**float64{Balancer: &p.BalancerCPU, Nodes: &p.NodesCPU, Agents: &p.AgentsCPU} {
		if now[i].Processes > 0 {
			*to = new(PercentOf(c.owed[i], span))
		}
	}
	if now[Balancer].Processes > 0 {
		p.BalancerRSS = new(now[Balancer].RSSBytes)
	}
	return p
}
