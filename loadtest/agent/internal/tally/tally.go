// Package tally is what a driver of an agent counts and measures, whatever its clients are made of. It is for one goroutine at a
// time.
package tally

import (
	"math"
	"slices"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/erlmcp/erlmcp/internal/mono"
	"github.com/erlmcp/erlmcp/loadtest/internal/ask"
	"github.com/erlmcp/erlmcp/loadtest/internal/latency"
	"github.com/erlmcp/erlmcp/loadtest/internal/wire"
	"github.com/erlmcp/erlmcp/loadtest/internal/work"
)

// Tally is what has happened so far.
type Tally struct {
	N        wire.Counts // its maps stay nil, see Counts
	failures [ask.Causes]int64
	losses   [ask.Causes]int64
	refused  [ask.Causes]int64

	epoch  int64 // request ids count from then; a whole number of microseconds
	nodes  []node
	byName map[string]uint8     // 1 + place in nodes
	steps  []*latency.Recording // by work.Script's steps; nil: not asked yet
	setup  map[wire.Stage]*hdrhistogram.Histogram
	record record

	lag     *hdrhistogram.Histogram // of everything done later than due
	holdLag *hdrhistogram.Histogram // of what was due while requests were recorded
}

// node is what is known of one node.
type node struct {
	name     string
	verified int
	latency  *latency.Recording
}

// record is the order of requests that is recorded. A request belongs to it by when it was due, which can be up to a tick after
// the order's end (see work.ID), but not after the beginning of the next one.
type record struct {
	from, to int64 // its instants
	next     int64 // when the next order begins
	limits   []int64
	windows  latency.Windows
}

// LeastIdle is how long, in nanoseconds, a connection lives before it can be a server's time-out that ends it: none is shorter
// than a second. What ends sooner is lost.
const LeastIdle = int64(time.Second)

// maxNodes is how many nodes the one byte of a client can tell apart.
const maxNodes = math.MaxUint8

// New is a tally of nothing yet.
func New() *Tally {
	return &Tally{
		epoch: wholeMicroseconds(mono.Now()), byName: make(map[string]uint8), setup: make(map[wire.Stage]*hdrhistogram.Histogram),
		lag: latency.NewHistogram(), holdLag: latency.NewHistogram(),
	}
}

// wholeMicroseconds rounds down, of instants before the clock began, too.
func wholeMicroseconds(at int64) int64 {
	const us = int64(time.Microsecond)
	return at - (at%us+us)%us
}

// ID is the id of a request of a step that was due at the given time.
func (t *Tally) ID(step int, due int64) uint64 {
	return work.ID((due-t.epoch)/int64(time.Microsecond), step)
}

// Due is when a request was due that has an id, in whole microseconds.
func (t *Tally) Due(id uint64) int64 {
	us, _ := work.OfID(id)
	return t.epoch + us*int64(time.Microsecond)
}

// Node is 1 + the place of a node that gave itself a name.
func (t *Tally) Node(name []byte) uint8 {
	if i, ok := t.byName[string(name)]; ok {
		return i
	}
	if len(t.nodes) == maxNodes { // the rest share one cell, under the name of the first of them
		return maxNodes
	}
	known := string(name)
	t.nodes = append(t.nodes, node{name: known, latency: latency.New()})
	t.byName[known] = uint8(len(t.nodes))
	return t.byName[known]
}

// Verify adds to the clients that hold a verified connection to a node; -1 takes one away.
func (t *Tally) Verify(node uint8, n int) {
	t.N.Verified += n
	t.nodes[node-1].verified += n
}

// Serve counts a client that is verified now: back says whether a fault had displaced it, home is the node that it left to
// see whether it meets it again; 0: it left none.
func (t *Tally) Serve(now int64, node, home uint8, back bool) {
	t.Verify(node, 1)
	t.N.LastVerified = now
	if back {
		t.N.Recovered++
		t.N.LastRecovered = now
	}
	switch home {
	case 0:
	case node:
		t.N.Sticky.Consistent++
	default:
		t.N.Sticky.Moved++
	}
}

// Fail counts an attempt that failed, Drop a connection that was lost, Refuse a request that failed.
func (t *Tally) Fail(cause ask.Cause) { t.failures[cause]++ }

// Drop counts a connection that was lost although no fault explains it.
func (t *Tally) Drop(cause ask.Cause) {
	t.N.Dropped++
	t.losses[cause]++
}

// Refuse counts a request that failed.
func (t *Tally) Refuse(cause ask.Cause) {
	t.N.Requests.Failed++
	t.refused[cause]++
}

// Begin takes the order to send requests from at on. What is measured is of the last order that was to be recorded.
func (t *Tally) Begin(at int64, o *wire.PingOrder) {
	if !o.Record {
		t.record.next = min(t.record.next, wholeMicroseconds(max(at, mono.Now()))) // what the last one asked for was due before
		return
	}
	t.record = record{from: wholeMicroseconds(at), to: math.MaxInt64, next: math.MaxInt64, limits: o.Limits}
	if o.For > 0 {
		t.record.to = t.record.from + int64(o.For)
	}
	for i := range t.nodes {
		t.nodes[i].latency = latency.New()
	}
	t.steps, t.holdLag = nil, latency.NewHistogram()
}

// cell is where a request counts that was due then, nil if it is not recorded.
func (t *Tally) cell(due int64) *latency.Cell {
	r := &t.record
	if due < r.from || due >= r.next {
		return nil
	}
	return r.windows.At(min(due, r.to-1) - r.from)
}

// Expect counts a request that was due, sent or not.
func (t *Tally) Expect(due int64) {
	if c := t.cell(wholeMicroseconds(due)); c != nil {
		c.Due++
	}
}

// Answer counts the answer of a node to a request of a step, which was asked of a client's node.
func (t *Tally) Answer(id uint64, node, client uint8) {
	due := t.Due(id)
	took := mono.Now() - due
	t.N.Requests.Answered++
	t.N.Answers.Record(took)
	if node != client {
		t.N.Moved++
	}
	if c := t.cell(due); c != nil {
		c.Record(took, t.record.limits)
		_, step := work.OfID(id)
		due = min(due, t.record.to-1)
		t.nodes[node-1].latency.Record(due-t.record.from, took)
		t.step(step).Record(due-t.record.from, took)
	}
}

// step is what was measured of a step of the script.
func (t *Tally) step(i int) *latency.Recording {
	if i >= len(t.steps) {
		t.steps = append(t.steps, make([]*latency.Recording, i+1-len(t.steps))...)
	}
	if t.steps[i] == nil {
		t.steps[i] = latency.New()
	}
	return t.steps[i]
}

// Stage notes how long a client had to wait for a part of its set-up, in nanoseconds.
func (t *Tally) Stage(s wire.Stage, took int64) {
	h := t.setup[s]
	if h == nil {
		h = latency.NewHistogram()
		t.setup[s] = h
	}
	latency.Record(h, took)
}

// Late notes how late something is done now that was due then.
func (t *Tally) Late(due, now int64) {
	latency.Record(t.lag, now-due)
	if r := &t.record; due >= r.from && due < min(r.to, r.next) {
		latency.Record(t.holdLag, now-due)
	}
}

// Arm begins to count the displaced anew, and returns how many clients are on a node.
func (t *Tally) Arm(node Armed) int {
	t.N.Displaced, t.N.Recovered, t.N.FirstLost, t.N.LastRecovered, t.N.LongestOut = 0, 0, 0, 0, 0
	switch node {
	case None:
		return 0
	case All:
		return t.N.Verified
	}
	return t.nodes[node-1].verified
}

// Armed is the node that is about to fail, 1 + its place, or one of these.
type Armed int

// Those that are not one node.
const (
	None Armed = 0
	All  Armed = -1
)

// Armed is what an order to arm names.
func (t *Tally) Armed(name string) Armed {
	if name == wire.EveryNode {
		return All
	}
	return Armed(t.byName[name])
}

// Explains reports whether the fault explains that a client of a node is lost.
func (a Armed) Explains(node uint8) bool { return a == All || a != None && a == Armed(node) }

// Spread is within how long the clients of an armed node come back, at least: at most twice as fast as they came in the first
// place.
func Spread(clients int, rate float64) time.Duration {
	return time.Duration(float64(clients) / (2 * rate) * float64(time.Second))
}

// Counts is a copy that nobody changes any more.
func (t *Tally) Counts() wire.Counts {
	n := t.N
	n.At = mono.Now()
	n.Answers = slices.Clone(n.Answers)
	n.Nodes = make(map[string]int, len(t.nodes))
	for i := range t.nodes {
		n.Nodes[t.nodes[i].name] = t.nodes[i].verified
	}
	n.Failures, n.Losses, n.Refused = byCause(&t.failures), byCause(&t.losses), byCause(&t.refused)
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

// Measured is what was recorded so far. script says what steps are called.
func (t *Tally) Measured(script *work.Script) (*wire.Measured, error) {
	m := &wire.Measured{
		Nodes: make(map[string]latency.Message, len(t.nodes)), Steps: make(map[string]latency.Message),
		Setup: make(map[wire.Stage]latency.Message), Windows: latency.Windows(nil).Plus(t.record.windows),
	}
	for i := range m.Windows {
		m.Windows[i].Failed = m.Windows[i].Due - m.Windows[i].Count
	}
	var err error
	for _, n := range t.nodes {
		if m.Nodes[n.name], err = n.latency.Message(); err != nil {
			return nil, err
		}
	}
	for i, l := range t.steps {
		if l == nil {
			continue
		}
		if m.Steps[script.StepName(i)], err = l.Message(); err != nil {
			return nil, err
		}
	}
	for s, h := range t.setup {
		if m.Setup[s], err = message(h); err != nil {
			return nil, err
		}
	}
	if m.Lag, err = message(t.lag); err != nil {
		return nil, err
	}
	m.HoldLag, err = message(t.holdLag)
	return m, err
}

func message(h *hdrhistogram.Histogram) (latency.Message, error) {
	return (&latency.Recording{Histogram: h}).Message()
}
