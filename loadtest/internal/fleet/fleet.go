// Package fleet is the coordinator's side of the agents of a load test.
package fleet

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/charmbracelet/log"

	"github.com/erlmcp/erlmcp/internal/mono"
	"github.com/erlmcp/erlmcp/internal/prefork"
	"github.com/erlmcp/erlmcp/loadtest/internal/bus"
	"github.com/erlmcp/erlmcp/loadtest/internal/natural"
	"github.com/erlmcp/erlmcp/loadtest/internal/rounded"
	"github.com/erlmcp/erlmcp/loadtest/internal/sources"
	"github.com/erlmcp/erlmcp/loadtest/internal/wire"
)

// Fleet is the coordinator's side of the agents: who they are, what they count, what they are told, and who was lost.
type Fleet struct {
	run    string
	local  int           // how many are of this machine
	remote int           // how many others are awaited
	pool   *prefork.Pool // the local ones; nil without any
	Door   bus.Door      // of the remote ones; nil without any
	log    *log.Logger
	fail   func(error) // ends the run

	started chan struct{} // closed when pool is known

	mu      sync.Mutex
	stage   stage
	begun   int64 // instant that losses are told from
	agents  map[string]*agentState
	peers   map[bus.Peer]*agentState
	order   []string // of joining
	changed chan struct{}
	lost    []Loss
}

// stage is what the end of an agent means.
type stage int

const (
	assembling stage = iota // there is nothing to lose yet
	working
	leaving // they are told to end
)

type agentState struct {
	name     string
	peer     bus.Peer
	hello    wire.Hello
	remote   bool
	counts   wire.Counts
	reported int64 // when, on the clock of internal/mono; 0: not yet
	told     int   // orders it has acknowledged
	orders   int   // it was given
	onNode   int   // its clients on the node that was armed last
	share    int   // its connections, by the plan
	answers  map[int]chan<- wire.Ack
	gone     chan struct{} // closed when it is lost
}

func (a *agentState) lost() bool {
	select {
	case <-a.gone:
		return true
	default:
		return false
	}
}

// Loss says which agent ended before its run, and what nobody can judge therefore.
type Loss struct {
	Agent       string  `json:"agent"`
	Host        string  `json:"host"`
	PID         int     `json:"pid"`
	AtS         float64 `json:"at_s"` // since the run began
	Why         string  `json:"why"`
	Connections int     `json:"connections"` // of the plan, which nobody holds any more
	// Requests that had been sent by then; what became of them is void, and not in the sums of phases that it took part in.
	Requests int64 `json:"requests"`
}

// String says it to people.
func (l Loss) String() string {
	return fmt.Sprintf("%s (process %d on %s) was lost after %.1f s: %s; its %d connections and what they asked are void",
		l.Agent, l.PID, l.Host, l.AtS, l.Why, l.Connections)
}

// Share is one agent's part of a plan. Its i-th connection comes from its source i modulo the
// number of its sources, so that a ramp takes one connection of every source, then a second one.
type Share struct {
	Agent       string
	Part        int // of a mix: which of its aims
	First       int // connections of the shares before
	Connections int
	Sources     sources.Range
}

// Offer is what an agent can take on.
type Offer struct {
	Agent       string
	Connections int           // by its descriptors
	Sources     sources.Range // its own; without any it gets a part of the common ones
}

const (
	// joinPatience is how long local agents may take to start, all together.
	joinPatience = 30 * time.Second
	// remotePatience is how long people have to start the agents of other machines.
	remotePatience = 10 * time.Minute
	// silence is how long an agent may go without a report before it is given up.
	silence = bus.Silence
	// stopPatience is how long agents may take to leave.
	stopPatience = 5 * time.Second
)

// Start starts local agents and opens the door for remote ones, if any are awaited. fail is called when there is nobody
// left to go on with.
func Start(ctx context.Context, local, remote int, open func(bus.Events) (bus.Door, error), l *log.Logger, fail func(error)) (*Fleet, error) {
	f := &Fleet{
		run: randomName(), local: local, remote: remote, log: l, fail: fail, started: make(chan struct{}), begun: mono.Now(),
		agents: make(map[string]*agentState), peers: make(map[bus.Peer]*agentState), changed: make(chan struct{}),
	}
	var err error
	if remote > 0 {
		if f.Door, err = open(bus.Events{Message: f.heard, Gone: f.gone}); err != nil {
			return nil, err
		}
	}
	if local > 0 {
		f.pool, err = prefork.Start(ctx, prefork.Config{
			Name:      "load agents",
			Args:      []string{"loadtest", "agent"},
			Copies:    local,
			OnMessage: func(i int, m prefork.Message) { f.heard(localPeer{f, i}, bus.Message(m)) },
			OnExit:    f.exited,
			Backoff:   prefork.Backoff{Min: time.Hour}, // a lost one is not replaced: its connections are gone
			Log:       l,
		})
	}
	close(f.started)
	if err != nil && f.Door != nil {
		f.Door.Close()
	}
	return f, err
}

// LocalName is that of a copy on this machine.
func LocalName(i int) string { return fmt.Sprintf("agent%d", i+1) }

// exited is called when a local agent has ended.
func (f *Fleet) exited(i, pid int, err error) {
	if err == nil {
		err = errors.New("it has ended by itself")
	}
	f.mu.Lock()
	early := f.stage == assembling
	f.mu.Unlock()
	if early {
		f.fail(fmt.Errorf("load %s (process %d) has ended before it took part: %w", LocalName(i), pid, err))
	}
	f.lose(LocalName(i), err)
}

// heard is what an agent has to say.
func (f *Fleet) heard(p bus.Peer, m bus.Message) {
	if err := f.hear(p, m); err != nil {
		f.log.Warn("an agent is not understood", "kind", m.Kind, "err", err)
	}
}

func (f *Fleet) hear(p bus.Peer, m bus.Message) error {
	switch m.Kind {
	case wire.KindHello:
		var h wire.Hello
		if err := json.Unmarshal(m.Data, &h); err != nil {
			return p.Send(wire.KindWelcome, wire.Welcome{Error: err.Error()})
		}
		return p.Send(wire.KindWelcome, f.admit(p, h))
	case wire.KindClock:
		var c wire.Clock
		if err := json.Unmarshal(m.Data, &c); err != nil {
			return err
		}
		return p.Send(wire.KindClock, wire.Clock{Sent: c.Sent, Now: mono.Now()})
	case wire.KindAnswer:
		var answer wire.Answer
		if err := json.Unmarshal(m.Data, &answer); err != nil {
			return err
		}
		return f.known(p, func(a *agentState) {
			if await := a.answers[answer.Number]; await != nil {
				await <- answer.Ack
				delete(a.answers, answer.Number)
			}
		})
	case wire.KindReport:
		var n wire.Counts
		if err := json.Unmarshal(m.Data, &n); err != nil {
			return err
		}
		return f.known(p, func(a *agentState) {
			a.counts, a.reported = n, mono.Now()
			f.changedLocked()
		})
	}
	return errors.New("it is not known")
}

// known does something with the state of who takes part. Who was given up is told to leave.
func (f *Fleet) known(p bus.Peer, do func(*agentState)) error {
	f.mu.Lock()
	a := f.peers[p]
	if a != nil && !a.lost() {
		do(a)
		f.mu.Unlock()
		return nil
	}
	f.mu.Unlock()
	p.Close("it takes no part in the load test, or not any more")
	return nil
}

func (f *Fleet) changedLocked() {
	close(f.changed)
	f.changed = make(chan struct{})
}

func (f *Fleet) admit(p bus.Peer, h wire.Hello) wire.Welcome {
	f.mu.Lock()
	defer f.mu.Unlock()
	local, here := p.(localPeer)
	switch {
	case h.Version != wire.ProtocolVersion:
		return wire.Welcome{Error: fmt.Sprintf("it speaks version %s of the protocol, the coordinator %s", h.Version, wire.ProtocolVersion)}
	case h.Connections < 0 || h.Sources.Count > 0 && !h.Sources.Sensible():
		return wire.Welcome{Error: "what it offers makes no sense"}
	case f.stage != assembling:
		return wire.Welcome{Error: "it has begun without this agent"}
	case f.peers[p] != nil:
		return wire.Welcome{Error: "it takes part already"}
	case !here && len(f.agents) >= f.local+f.remote:
		return wire.Welcome{Error: "it has all agents that it waits for"}
	}
	a := &agentState{peer: p, hello: h, remote: !here, answers: make(map[int]chan<- wire.Ack), gone: make(chan struct{})}
	if here {
		a.name = LocalName(local.copy)
	} else {
		for n := 1; a.name == "" || f.agents[a.name] != nil; n++ {
			a.name = fmt.Sprintf("remote%d", n)
		}
	}
	f.agents[a.name], f.peers[p] = a, a
	f.order = append(f.order, a.name)
	return wire.Welcome{Run: f.run, Agent: a.name}
}

// gone is called when the link to a remote agent has ended.
func (f *Fleet) gone(p bus.Peer, why error) {
	f.mu.Lock()
	a := f.peers[p]
	delete(f.peers, p)
	f.mu.Unlock()
	if a != nil {
		f.lose(a.name, why)
	}
}

// lose gives an agent up. What it held, and what it counted, is not judged; the others go on, if they are enough.
func (f *Fleet) lose(name string, why error) {
	f.mu.Lock()
	a := f.agents[name]
	if a == nil || a.lost() {
		f.mu.Unlock()
		return
	}
	close(a.gone)
	switch f.stage {
	case assembling: // another may come in its place
		delete(f.agents, name)
		f.order = slices.DeleteFunc(f.order, func(n string) bool { return n == name })
		f.log.Warn("a load agent has gone before the load test began", "agent", name, "host", a.hello.Host, "err", why)
	case working:
		f.lost = append(f.lost, Loss{
			Agent: name, Host: a.hello.Host, PID: a.hello.PID, AtS: rounded.Seconds(time.Duration(mono.Now() - f.begun)), Why: why.Error(),
			Connections: a.share, Requests: a.counts.Requests.Sent,
		})
		f.log.Warn("lost a load agent; the load test goes on without it", "agent", name, "host", a.hello.Host, "connections", a.share, "err", why)
		if all, void := f.sharesLocked(); TooFew(all, void) {
			f.fail(fmt.Errorf("%d of %d connections were lost with load agents, the last with %s: %w", void, all, name, why))
		}
	case leaving:
	}
	f.changedLocked()
	f.mu.Unlock()
	a.peer.Close(why.Error())
}

// TooFew is when losing connections with agents leaves nothing that can be judged.
func TooFew(all, void int) bool { return void > 0 && (2*void > all || void == all) }

// sharesLocked are the connections of all agents, and of those that were lost.
func (f *Fleet) sharesLocked() (all, void int) {
	for _, a := range f.agents {
		all += a.share
		if a.lost() {
			void += a.share
		}
	}
	return all, void
}

// Begin is called when it is known who holds how many connections: from now on an agent can be lost.
func (f *Fleet) Begin(shares []Share, begun time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.stage, f.begun = working, mono.At(begun)
	for _, s := range shares {
		if a := f.agents[s.Agent]; a != nil {
			a.share = s.Connections
		}
	}
}

// Left are the shares of the agents that were not lost.
func (f *Fleet) Left(shares []Share) []Share {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.ThereLocked(shares)
}

// ThereLocked is Left within conditions of Until.
func (f *Fleet) ThereLocked(shares []Share) (left []Share) {
	for _, s := range shares {
		if a := f.agents[s.Agent]; a != nil && !a.lost() {
			left = append(left, s)
		}
	}
	return left
}

// Connections is how many the agents that are left are to hold.
func (f *Fleet) Connections() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.ConnectionsLocked()
}

// ConnectionsLocked is Connections within conditions of Until.
func (f *Fleet) ConnectionsLocked() int {
	all, void := f.sharesLocked()
	return all - void
}

// Losses are the agents that were lost so far.
func (f *Fleet) Losses() []Loss {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.lost)
}

// Assemble waits until all agents have joined and listen, and returns what they offer.
func (f *Fleet) Assemble(ctx context.Context) ([]Offer, error) {
	patience := joinPatience
	if f.remote > 0 {
		patience = remotePatience
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	agents := f.local + f.remote
	var offers []Offer
	err := f.await(ctx, func() bool {
		offers = offers[:0]
		for _, name := range f.order {
			if a := f.agents[name]; a.reported != 0 {
				offers = append(offers, Offer{name, a.hello.Connections, a.hello.Sources})
			}
		}
		return len(offers) >= agents
	})
	if errors.Is(err, context.DeadlineExceeded) {
		err = fmt.Errorf("%d of %d load agents have joined in time", len(offers), agents)
	}
	// The order of joining is chance, the plan need not be.
	slices.SortFunc(offers, func(a, b Offer) int { return natural.Compare(a.Agent, b.Agent) })
	return offers, err
}

// await waits until a condition holds, looking again after every report; it is called with f.mu
// held.
func (f *Fleet) await(ctx context.Context, holds func() bool) error {
	for {
		f.mu.Lock()
		ok, changed := holds(), f.changed
		f.mu.Unlock()
		if ok {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// Counts is the sum over all agents that are left, as of their last reports.
func (f *Fleet) Counts() wire.Counts {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.countsLocked()
}

func (f *Fleet) countsLocked() wire.Counts {
	var sum wire.Counts
	for _, name := range f.order {
		if a := f.agents[name]; !a.lost() {
			sum.Add(a.counts)
		}
	}
	return sum
}

// Parts are the counts of single agents at a moment.
type Parts map[string]wire.Counts

// Parts are what Counts sums up.
func (f *Fleet) Parts() Parts {
	f.mu.Lock()
	defer f.mu.Unlock()
	p := make(Parts)
	for name, a := range f.agents {
		if !a.lost() {
			p[name] = a.counts
		}
	}
	return p
}

// Since returns the counts of an earlier moment, and those of now, of the same agents: those that are left.
func (f *Fleet) Since(earlier Parts) (before, now wire.Counts) {
	f.mu.Lock()
	names := slices.Clone(f.order)
	f.mu.Unlock()
	return f.SinceOf(earlier, names)
}

// SinceOf is since, of some agents.
func (f *Fleet) SinceOf(earlier Parts, agents []string) (before, now wire.Counts) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, name := range agents {
		if a := f.agents[name]; a != nil && !a.lost() {
			before.Add(earlier[name])
			now.Add(a.counts)
		}
	}
	return before, now
}

// OnNode is how many clients were on the node that was armed last.
func (f *Fleet) OnNode() (n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.OnNodeLocked()
}

// OnNodeLocked is OnNode within conditions of Until.
func (f *Fleet) OnNodeLocked() (n int) {
	for _, a := range f.agents {
		if !a.lost() {
			n += a.onNode
		}
	}
	return n
}

// Until waits for the sum of all agents to satisfy a condition, not before an instant and not before
// their last orders have taken effect. It returns that sum, or the last one with an error. The condition is called with f.mu
// held.
func (f *Fleet) Until(ctx context.Context, after int64, holds func(wire.Counts) bool) (sum wire.Counts, err error) {
	err = f.await(ctx, func() bool {
		sum = f.countsLocked()
		for _, a := range f.agents {
			if !a.lost() && (a.counts.At < after || a.counts.Orders < a.told) {
				return false
			}
		}
		return holds(sum)
	})
	return sum, err
}

// GiveUpSilent loses agents that have not been heard of for too long.
func (f *Fleet) GiveUpSilent() {
	f.mu.Lock()
	var names []string
	for _, name := range f.order {
		if a := f.agents[name]; a.reported != 0 && !a.lost() && mono.Now()-a.reported > int64(silence) {
			names = append(names, name)
		}
	}
	f.mu.Unlock()
	for _, name := range names {
		f.lose(name, fmt.Errorf("not heard of for %s", silence))
	}
}

// PIDs lists the processes of the local agents.
func (f *Fleet) PIDs() []int {
	var pids []int
	for i := range f.local {
		if pid := f.pool.PID(i); pid != 0 {
			pids = append(pids, pid)
		}
	}
	return pids
}

// Dismiss ends all agents and with them whatever connections they still hold. It returns when the
// local ones are gone.
func (f *Fleet) Dismiss() {
	f.mu.Lock()
	f.stage = leaving
	var remote []Share
	for _, name := range f.order {
		if f.agents[name].remote {
			remote = append(remote, Share{Agent: name})
		}
	}
	f.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), stopPatience)
	defer cancel()
	if _, err := f.Tell(ctx, remote, func(int, Share) wire.Order { return wire.Order{Kind: wire.OrderStop} }); err != nil {
		f.log.Warn("a remote agent was not told to leave; it will notice", "err", err)
	}
	if f.Door != nil {
		f.Door.Close()
	}
	if f.pool == nil {
		return
	}
	if err := f.pool.Stop(ctx); err != nil {
		f.log.Warn("agents did not leave", "err", err)
	}
}
