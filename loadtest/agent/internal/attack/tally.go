package attack

import (
	"math"
	"slices"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/erlmcp/erlmcp/internal/mono"
	"github.com/erlmcp/erlmcp/loadtest/internal/ask"
	"github.com/erlmcp/erlmcp/loadtest/internal/latency"
	"github.com/erlmcp/erlmcp/loadtest/internal/wire"
)

// tally is what has happened so far.
type tally struct {
	n        wire.Counts // its maps stay nil, see counts
	failures [ask.Causes]int64
	losses   [ask.Causes]int64
	refused  map[string]int64

	nodes  []nodeState
	byName map[string]uint8     // 1 + place in nodes
	steps  []*latency.Recording // by work.Script's steps; nil: not asked yet
	setup  map[wire.Stage]*hdrhistogram.Histogram
}

// nodeState is what is known of one node.
type nodeState struct {
	name     string
	verified int
	latency  *latency.Recording
}

// maxNodes is how many nodes a client's one byte can tell apart.
const maxNodes = math.MaxUint8

func newTally() tally {
	return tally{refused: make(map[string]int64), byName: make(map[string]uint8), setup: make(map[wire.Stage]*hdrhistogram.Histogram)}
}

// nodeIndex finds a node by its name.
func (t *tally) nodeIndex(name string) uint8 {
	if i, ok := t.byName[name]; ok {
		return i
	}
	if len(t.nodes) == maxNodes { // the rest share one cell, under the name of the first of them
		return maxNodes
	}
	t.nodes = append(t.nodes, nodeState{name: name, latency: latency.New()})
	t.byName[name] = uint8(len(t.nodes))
	return t.byName[name]
}

// step is what was measured of a step of the script.
func (t *tally) step(i int) *latency.Recording {
	if i >= len(t.steps) {
		t.steps = append(t.steps, make([]*latency.Recording, i+1-len(t.steps))...)
	}
	if t.steps[i] == nil {
		t.steps[i] = latency.New()
	}
	return t.steps[i]
}

// stage notes how long a client had to wait for a part of its set-up, in nanoseconds.
func (t *tally) stage(s wire.Stage, took int64) {
	h := t.setup[s]
	if h == nil {
		h = latency.NewHistogram()
		t.setup[s] = h
	}
	latency.Record(h, took)
}

// counts returns a copy that nobody changes any more.
func (t *tally) counts() wire.Counts {
	n := t.n
	n.At = mono.Now()
	n.Answers = slices.Clone(n.Answers)
	n.Nodes = make(map[string]int, len(t.nodes))
	for i := range t.nodes {
		n.Nodes[t.nodes[i].name] = t.nodes[i].verified
	}
	n.Failures, n.Losses = byCause(&t.failures), byCause(&t.losses)
	n.Refused = make(map[string]int64, len(t.refused))
	for cause, v := range t.refused {
		n.Refused[cause] = v
	}
	return n
}

func byCause(n *[ask.Causes]int64) map[string]int64 {
	m := make(map[string]int64)
	for c, v := range n {
		if v > 0 {
			m[ask.Cause(c).String()] = v
		}
	}
	return m
}

// measured returns the latencies recorded so far.
func (a *Attack) measured() (*wire.Measured, error) {
	m := &wire.Measured{
		Nodes: make(map[string]latency.Message, len(a.nodes)), Steps: make(map[string]latency.Message), Setup: make(map[wire.Stage]latency.Message),
	}
	var err error
	for i := range a.nodes {
		if m.Nodes[a.nodes[i].name], err = a.nodes[i].latency.Message(); err != nil {
			return nil, err
		}
	}
	for i, l := range a.steps {
		if l == nil {
			continue
		}
		if m.Steps[a.script.StepName(i)], err = l.Message(); err != nil {
			return nil, err
		}
	}
	for s, h := range a.setup {
		if m.Setup[s], err = message(h); err != nil {
			return nil, err
		}
	}
	if m.Lag, err = message(a.lag); err != nil {
		return nil, err
	}
	m.HoldLag, err = message(a.holdLag)
	return m, err
}

func message(h *hdrhistogram.Histogram) (latency.Message, error) {
	return (&latency.Recording{Histogram: h}).Message()
}
