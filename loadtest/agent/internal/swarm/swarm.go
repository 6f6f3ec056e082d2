// Package swarm is the clients of a load generator on an event loop: many of them, small, and on an open schedule.
package swarm

import (
	"bytes"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/erlmcp/erlmcp/internal/http1"
	"github.com/erlmcp/erlmcp/internal/mono"
	"github.com/erlmcp/erlmcp/internal/rawjson"
	"github.com/erlmcp/erlmcp/internal/reactor"
	"github.com/erlmcp/erlmcp/loadtest/internal/ask"
	"github.com/erlmcp/erlmcp/loadtest/internal/latency"
	"github.com/erlmcp/erlmcp/loadtest/internal/target"
	"github.com/erlmcp/erlmcp/loadtest/internal/wire"
	"github.com/erlmcp/erlmcp/loadtest/internal/work"
)

// Swarm is all clients of one agent. What is not exported is called on its loop.
type Swarm struct {
	loop  *reactor.Loop
	ended chan struct{} // closed after the loop
	epoch int64         // request ids count from then

	endpoint target.Endpoint
	protocol protocol
	carried  bool // by HTTP
	script   *work.Script
	sources  []netip.Addr
	timeout  time.Duration
	patience wire.Patience
	expected int // how many clients there are to be
	clients  []client

	nodes  []nodeState
	steps  []*latency.Recording // by work.Script's steps; nil: not asked yet
	byName map[string]uint8     // 1 + place in nodes

	n          wire.Counts // its maps stay nil, see counts
	failures   [ask.Causes]int64
	losses     [ask.Causes]int64
	unverified int // clients between dial and first answer

	ramp    ramp
	pings   pings
	sample  sample
	closer  closer
	closing bool
	armed   armed // about to fail

	secure  *secure // nil: without TLS
	stages  stages
	posts   *posts         // nil: all requests go over the clients' own connections
	head    http1.Response // the one that was parsed last
	free    [][]byte       // room for messages, see borrow
	refused [ask.Causes]int64

	deadlines deadlines
	sweeper   reactor.Timer
	pulse     pulse
	lag       *hdrhistogram.Histogram // of everything the loop did later than due
	holdLag   *hdrhistogram.Histogram // of what was due while latencies were recorded

	recordFrom, recordTo int64 // scheduled instants whose latency counts; equal: none

	line    []byte // the request being sent
	message []byte // the same over HTTP, or in a frame
	settled func() // called when what an order asked for may be complete
}

// nodeState is what a swarm knows of one node.
type nodeState struct {
	name     string
	verified int
	latency  *latency.Recording
}

// maxNodes is how many nodes a client's one byte can tell apart.
const maxNodes = math.MaxUint8

// newSwarm returns a swarm without clients and begins to watch how late the loop is.
func newSwarm(l *reactor.Loop, settled func()) *Swarm {
	s := &Swarm{
		loop: l, ended: make(chan struct{}), epoch: mono.Now(), byName: make(map[string]uint8),
		lag: latency.NewHistogram(), holdLag: latency.NewHistogram(), line: make([]byte, 0, 512), settled: settled,
	}
	s.stages = newStages()
	s.ramp.swarm, s.pings.swarm, s.sample.swarm, s.closer.swarm, s.pulse.swarm = s, s, s, s, s
	s.pulse.again()
	l.Schedule(&s.sweeper, sweepInterval, (*sweep)(s))
	return s
}

// open takes the order to open the first connection of every source from at on, so many per second.
func (s *Swarm) open(at int64, rate float64, o *wire.OpenOrder) error {
	if s.clients != nil {
		return fmt.Errorf("connections were opened before")
	}
	var err error
	if s.script, err = o.Work.Compile(); err != nil {
		return err
	}
	s.endpoint, s.timeout, s.patience = o.Endpoint, o.Timeout, o.Patience
	s.expected = o.Connections
	s.sources = make([]netip.Addr, max(o.Sources.Count, 1))
	for i := range s.sources {
		s.sources[i] = o.Sources.At(i)
	}
	if s.secure, err = newSecure(s); err != nil {
		return err
	}
	if err := s.speak(); err != nil {
		return err
	}
	s.clients = make([]client, o.Connections)
	for i := range s.clients {
		s.clients[i].swarm, s.clients[i].index = s, int32(i)
	}
	s.ramp.rate, s.ramp.limit = rate, min(len(s.sources), len(s.clients))
	s.ramp.begin(at, rate, &s.ramp)
	return nil
}

// armed is the node that is about to fail, 1 + its place in nodes, or one of these.
type armed int

const (
	noneArmed armed = 0
	allArmed  armed = -1
)

// arm makes the clients of a node displaced rather than dropped when they lose it, and returns how
// many it has.
func (s *Swarm) arm(node string) int {
	s.n.Displaced, s.n.Recovered, s.n.FirstLost, s.n.LastRecovered = 0, 0, 0, 0
	var n int
	switch s.armed = armed(s.byName[node]); {
	case node == wire.EveryNode:
		s.armed, n = allArmed, s.n.Verified
	case s.armed == noneArmed:
		return 0
	default:
		n = s.nodes[s.armed-1].verified
	}
	// They come back at most twice as fast as they came in the first place.
	s.patience.Spread = max(s.patience.Spread, time.Duration(float64(n)/(2*s.ramp.rate)*float64(time.Second)))
	return n
}

func (s *Swarm) disarm() { s.armed = noneArmed }

// nodeIndex finds a node by the name it gave itself.
func (s *Swarm) nodeIndex(name []byte) uint8 {
	if i, ok := s.byName[string(name)]; ok {
		return i
	}
	if len(s.nodes) == maxNodes { // the rest share one cell, under the name of the first of them
		return maxNodes
	}
	known := string(name)
	s.nodes = append(s.nodes, nodeState{name: known, latency: latency.New()})
	s.byName[known] = uint8(len(s.nodes))
	return s.byName[known]
}

// nodeOf is the node that verifies a connection, 0 if there is none. served is the one that a field of the response
// named, if one has.
func (s *Swarm) nodeOf(r ask.Reply, served uint8) uint8 {
	switch naming := s.script.Work().Naming; {
	case r.Kind != ask.ReplyAnswer:
		return 0
	case naming == work.ByHeader && s.carried:
		return served
	}
	return s.nodeIndex(r.Node)
}

// served is the node that a field of the response whose head was just parsed names, 0 if that is not how nodes are named.
func (s *Swarm) served() uint8 {
	if s.script.Work().Naming != work.ByHeader {
		return 0
	}
	if name := s.head.Get("x-served-by"); len(name) > 0 && len(name) <= maxName {
		return s.nodeIndex(name)
	}
	return 0
}

// maxName is the longest name of a node.
const maxName = 64

// id is the id of a request that was due at the given time.
func (s *Swarm) id(step int, due int64) uint64 {
	return work.ID((due-s.epoch)/int64(time.Microsecond), step)
}

// answered is called for every answer to a request of the schedule.
func (s *Swarm) answered(c *client, r ask.Reply, text []byte, served uint8) {
	us, step := work.OfID(r.ID)
	if cause := failure(r, step, text); cause != ask.CauseNone {
		s.refuse(cause)
		return
	}
	s.n.Requests.Answered++
	node := c.node
	switch {
	case r.Node != nil:
		node = s.nodeIndex(r.Node)
	case served != 0:
		node = served
	}
	if node != c.node {
		s.n.Moved++
	}
	scheduled := s.epoch + us*int64(time.Microsecond)
	took := mono.Now() - scheduled
	s.n.Answers.Record(took)
	if s.recording(scheduled) {
		s.nodes[node-1].latency.Record(scheduled-s.recordFrom, took)
		s.step(step).Record(scheduled-s.recordFrom, took)
	}
}

// refuse counts a request that failed.
func (s *Swarm) refuse(cause ask.Cause) {
	s.n.Requests.Failed++
	s.refused[cause]++
}

// failure is why an answer is none, CauseNone if it is one.
func failure(r ask.Reply, step int, text []byte) ask.Cause {
	switch {
	case r.Kind == ask.ReplyAnswer && step == work.Verification:
		return ask.CauseNone // the server's "no" to what only asks whether it serves, too
	case r.Code != 0:
		if cause := ask.CauseOfCode(r.Code); cause != ask.CauseReply {
			return cause
		}
		return ask.CauseTool
	case saysFailed(text):
		return ask.CauseTool
	case r.Kind != ask.ReplyAnswer:
		return ask.CauseReply
	}
	return ask.CauseNone
}

// saysFailed reports whether a message is the result of a tool that says that it failed.
func saysFailed(text []byte) bool {
	const member = "isError"
	if !bytes.Contains(text, []byte(member)) {
		return false
	}
	var result, failed []byte
	rawjson.Take(text, rawjson.Wanted{Name: "result", Into: &result})
	rawjson.Take(result, rawjson.Wanted{Name: member, Into: &failed})
	return string(failed) == "true"
}

// expect sets the deadline of an exchange that begins now.
func (s *Swarm) expect(of overdue, exchange uint32) {
	s.deadlines.push(deadline{s.loop.Now() + int64(s.timeout), of, exchange})
}

// maxFree is how much room for messages is kept.
const maxFree = 64

// borrow is room for a message.
func (s *Swarm) borrow() []byte {
	if n := len(s.free); n > 0 {
		room := s.free[n-1]
		s.free = s.free[:n-1]
		return room
	}
	return make([]byte, 0, 1<<10)
}

// giveBack takes room back.
func (s *Swarm) giveBack(room []byte) {
	if room != nil && cap(room) <= 64<<10 && len(s.free) < maxFree {
		s.free = append(s.free, room[:0])
	}
}

// step is what was measured of a step of the script.
func (s *Swarm) step(i int) *latency.Recording {
	if i >= len(s.steps) {
		s.steps = append(s.steps, make([]*latency.Recording, i+1-len(s.steps))...)
	}
	if s.steps[i] == nil {
		s.steps[i] = latency.New()
	}
	return s.steps[i]
}

// recording reports whether what was due then counts as a part of the hold.
func (s *Swarm) recording(due int64) bool { return due >= s.recordFrom && due < s.recordTo }

// late notes how late something is done that was due then.
func (s *Swarm) late(due int64) {
	lag := mono.Now() - due
	latency.Record(s.lag, lag)
	if s.recording(due) {
		latency.Record(s.holdLag, lag)
	}
}

// posting is how many connections there are beside those of clients.
func (s *Swarm) posting() int {
	if s.posts == nil {
		return 0
	}
	return s.posts.open
}

// settle calls for a report when an order may have been fulfilled; other changes wait for the next
// regular one.
func (s *Swarm) settle() {
	done := s.n.Verified+s.n.Failed == s.ramp.limit
	if s.closing {
		done = s.n.Open+s.posting() == 0
	}
	if done {
		s.settled()
	}
}

// counts returns a copy that may leave the loop.
func (s *Swarm) counts() wire.Counts {
	n := s.n
	n.At = mono.Now()
	n.Answers = slices.Clone(n.Answers)
	n.Nodes = make(map[string]int, len(s.nodes))
	for i := range s.nodes {
		n.Nodes[s.nodes[i].name] = s.nodes[i].verified
	}
	n.Failures, n.Losses, n.Refused = byCause(&s.failures), byCause(&s.losses), byCause(&s.refused)
	if s.closing {
		n.Open += s.posting()
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
func (s *Swarm) measured() (*wire.Measured, error) {
	m := &wire.Measured{Nodes: make(map[string]latency.Message, len(s.nodes)), Steps: make(map[string]latency.Message)}
	var err error
	for i := range s.nodes {
		if m.Nodes[s.nodes[i].name], err = s.nodes[i].latency.Message(); err != nil {
			return nil, err
		}
	}
	for i, l := range s.steps {
		if l == nil {
			continue
		}
		if m.Steps[s.script.StepName(i)], err = l.Message(); err != nil {
			return nil, err
		}
	}
	if m.Lag, err = (&latency.Recording{Histogram: s.lag}).Message(); err != nil {
		return nil, err
	}
	if m.Setup, err = s.stages.messages(); err != nil {
		return nil, err
	}
	m.HoldLag, err = (&latency.Recording{Histogram: s.holdLag}).Message()
	return m, err
}

// retry is the timer of a client that waits; few clients do at a time.
type retry struct {
	timer  reactor.Timer
	client *client
}

// later has c dial after d.
func (s *Swarm) later(c *client, d time.Duration) {
	r := &retry{client: c}
	s.loop.Schedule(&r.timer, d, r)
}

// OnTimer implements [reactor.Expirer].
func (r *retry) OnTimer(*reactor.Timer) { r.client.dial() }

// sweep ends overdue exchanges.
type sweep Swarm

const sweepInterval = 50 * time.Millisecond

// OnTimer implements [reactor.Expirer].
func (s *sweep) OnTimer(t *reactor.Timer) {
	for {
		d, ok := s.deadlines.expired(s.loop.Now())
		if !ok {
			break
		}
		d.of.overdue(d.exchange)
	}
	s.loop.Schedule(t, sweepInterval, s)
}

// pulse measures how late the loop gets to a timer.
type pulse struct {
	swarm *Swarm
	timer reactor.Timer
	due   int64
}

const pulseInterval = 10 * time.Millisecond

func (p *pulse) again() {
	p.due = (mono.Now() + int64(pulseInterval) + tick - 1) / tick * tick
	p.swarm.loop.Schedule(&p.timer, time.Duration(p.due-p.swarm.loop.Now()), p)
}

// OnTimer implements [reactor.Expirer].
func (p *pulse) OnTimer(*reactor.Timer) {
	p.swarm.late(p.due)
	p.again()
}
