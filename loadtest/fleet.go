package loadtest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/charmbracelet/log"
	"github.com/nats-io/nats.go"
	"golang.org/x/sync/errgroup"

	"github.com/erlmcp/erlmcp/internal/mono"
	"github.com/erlmcp/erlmcp/internal/prefork"
	"github.com/erlmcp/erlmcp/loadtest/internal/wire"
)

// fleet is the coordinator's side of the agents: who they are, what they count, what they are told.
type fleet struct {
	bus    *bus
	run    string
	local  int           // how many are of this machine
	remote int           // how many others are awaited
	pool   *prefork.Pool // the local ones; nil without any
	log    *log.Logger
	fail   func(error) // ends the run

	mu      sync.Mutex
	agents  map[string]*agentState
	order   []string // of joining
	changed chan struct{}
	leaving bool // agents may end
}

type agentState struct {
	hello    wire.Hello
	remote   bool
	counts   wire.Counts
	reported int64 // when, on the clock of internal/mono; 0: not yet
	told     int   // orders it has acknowledged
}

const (
	// joinPatience is how long local agents may take to start, all together.
	joinPatience = 30 * time.Second
	// remotePatience is how long people have to start the agents of other machines.
	remotePatience = 10 * time.Minute
	// silence is how long an agent may go without a report before it is given up.
	silence = 15 * time.Second
	// stopPatience is how long agents may take to leave.
	stopPatience = 5 * time.Second
)

// startFleet starts local agents and opens the door for remote ones. fail is called when one is lost.
func startFleet(ctx context.Context, b *bus, local, remote int, l *log.Logger, fail func(error)) (*fleet, error) {
	f := &fleet{
		bus: b, run: randomHex(8), local: local, remote: remote, log: l, fail: fail,
		agents: make(map[string]*agentState), changed: make(chan struct{}),
	}
	for subject, handle := range map[string]nats.MsgHandler{
		wire.SubjectJoin:                f.join,
		wire.SubjectClock:               func(m *nats.Msg) { wire.Respond(m, wire.Clock{Now: mono.Now()}) },
		wire.ReportsSubject(f.run, "*"): f.report,
	} {
		if _, err := b.conn.Subscribe(subject, handle); err != nil {
			return nil, err
		}
	}
	if local == 0 {
		return f, nil
	}
	var err error
	f.pool, err = prefork.Start(ctx, prefork.Config{
		Name:   "load agents",
		Args:   []string{"loadtest", "agent"},
		Copies: local,
		Hello: func(i int) (string, any) {
			return wire.JoinMessage, wire.Join{Agent: localName(i), URL: b.url(), Pin: b.pin, Token: b.token}
		},
		OnExit:  f.exited,
		Backoff: prefork.Backoff{Min: time.Hour}, // a lost one is not replaced: the run is over
		Log:     l,
	})
	return f, err
}

func localName(i int) string { return fmt.Sprintf("agent%d", i+1) }

// exited is called when a local agent has ended. The run ends with it: its connections are gone.
func (f *fleet) exited(i, pid int, err error) {
	f.mu.Lock()
	leaving := f.leaving
	f.mu.Unlock()
	if !leaving {
		if err == nil {
			err = errors.New("it has ended by itself")
		}
		f.fail(&agentLostError{localName(i), pid, err})
	}
}

// agentLostError says that an agent ended before its run.
type agentLostError struct {
	agent string
	pid   int
	err   error
}

func (e *agentLostError) Error() string {
	return fmt.Sprintf("lost load %s (process %d) with its connections: %v", e.agent, e.pid, e.err)
}

func (e *agentLostError) Unwrap() error { return e.err }

func (f *fleet) join(m *nats.Msg) {
	var h wire.Hello
	if err := json.Unmarshal(m.Data, &h); err != nil {
		wire.Respond(m, wire.Welcome{Error: err.Error()})
		return
	}
	wire.Respond(m, f.admit(h))
}

func (f *fleet) admit(h wire.Hello) wire.Welcome {
	f.mu.Lock()
	defer f.mu.Unlock()
	if h.Version != wire.ProtocolVersion {
		return wire.Welcome{Error: fmt.Sprintf("it speaks version %s of the protocol, the coordinator %s", h.Version, wire.ProtocolVersion)}
	}
	if h.Sources.Count > 0 && !h.Sources.Sensible() {
		return wire.Welcome{Error: "its source addresses make no sense"}
	}
	remote := h.Agent == ""
	if remote {
		h.Agent = fmt.Sprintf("remote%d", len(f.order)+1)
	}
	if f.agents[h.Agent] != nil {
		return wire.Welcome{Error: h.Agent + " takes part already"}
	}
	f.agents[h.Agent] = &agentState{hello: h, remote: remote}
	f.order = append(f.order, h.Agent)
	return wire.Welcome{Run: f.run, Agent: h.Agent}
}

func (f *fleet) report(m *nats.Msg) {
	var n wire.Counts
	if err := json.Unmarshal(m.Data, &n); err != nil {
		f.log.Warn("unreadable report", "subject", m.Subject, "err", err)
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	a := f.agents[m.Subject[len(wire.ReportsSubject(f.run, "")):]]
	if a == nil {
		return
	}
	a.counts, a.reported = n, mono.Now()
	close(f.changed)
	f.changed = make(chan struct{})
}

// assemble waits until all agents have joined and listen, and returns what they offer.
func (f *fleet) assemble(ctx context.Context) ([]offer, error) {
	patience := joinPatience
	if f.remote > 0 {
		patience = remotePatience
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	agents := f.local + f.remote
	var offers []offer
	err := f.await(ctx, func() bool {
		offers = offers[:0]
		for _, name := range f.order {
			if a := f.agents[name]; a.reported != 0 {
				offers = append(offers, offer{name, a.hello.Connections, a.hello.Sources})
			}
		}
		return len(offers) >= agents
	})
	if errors.Is(err, context.DeadlineExceeded) {
		err = fmt.Errorf("%d of %d load agents have joined in time", len(offers), agents)
	}
	// The order of joining is chance, the plan need not be.
	slices.SortFunc(offers, func(a, b offer) int { return compareNatural(a.agent, b.agent) })
	return offers, err
}

// await waits until a condition holds, looking again after every report; it is called with f.mu
// held.
func (f *fleet) await(ctx context.Context, holds func() bool) error {
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

// counts is the sum over all agents, as of their last reports.
func (f *fleet) counts() wire.Counts {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.countsLocked()
}

func (f *fleet) countsLocked() wire.Counts {
	var sum wire.Counts
	for _, name := range f.order {
		sum.Add(f.agents[name].counts)
	}
	return sum
}

// until waits for the sum of all agents to satisfy a condition, not before an instant and not before
// their last orders have taken effect. It returns that sum, or the last one with an error.
func (f *fleet) until(ctx context.Context, after int64, holds func(wire.Counts) bool) (sum wire.Counts, err error) {
	err = f.await(ctx, func() bool {
		sum = f.countsLocked()
		for _, a := range f.agents {
			if a.counts.At < after || a.counts.Orders < a.told {
				return false
			}
		}
		return holds(sum)
	})
	return sum, err
}

// silent returns an agent that has not been heard of for too long.
func (f *fleet) silent() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, name := range f.order {
		if a := f.agents[name]; a.reported != 0 && mono.Now()-a.reported > int64(silence) {
			return &agentLostError{name, a.hello.PID, fmt.Errorf("not heard of for %s", silence)}
		}
	}
	return nil
}

// tell gives every share's agent an order and returns their answers, in the order of the shares.
func (f *fleet) tell(ctx context.Context, shares []share, make func(i int, s share) wire.Order) ([]wire.Ack, error) {
	acks := slices.Repeat([]wire.Ack{{}}, len(shares))
	var g errgroup.Group
	for i, s := range shares {
		g.Go(func() error {
			o := make(i, s)
			data, err := json.Marshal(o)
			if err != nil {
				return err
			}
			patience, cancel := context.WithTimeout(ctx, silence)
			defer cancel()
			m, err := f.bus.conn.RequestWithContext(patience, wire.OrdersSubject(f.run, s.agent), data)
			if err != nil {
				if ctx.Err() != nil {
					return context.Cause(ctx)
				}
				return fmt.Errorf("load %s does not take the order %q: %w", s.agent, o.Kind, err)
			}
			if err := json.Unmarshal(m.Data, &acks[i]); err != nil {
				return fmt.Errorf("load %s: %w", s.agent, err)
			}
			if acks[i].Error != "" {
				return errors.New(acks[i].Error)
			}
			f.mu.Lock()
			f.agents[s.agent].told++
			f.mu.Unlock()
			return nil
		})
	}
	return acks, g.Wait()
}

// pids lists the processes of the local agents.
func (f *fleet) pids() []int {
	var pids []int
	for i := range f.local {
		if pid := f.pool.PID(i); pid != 0 {
			pids = append(pids, pid)
		}
	}
	return pids
}

// dismiss ends all agents and with them whatever connections they still hold. It returns when the
// local ones are gone.
func (f *fleet) dismiss() {
	f.mu.Lock()
	f.leaving = true
	var remote []share
	for _, name := range f.order {
		if f.agents[name].remote {
			remote = append(remote, share{agent: name})
		}
	}
	f.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), stopPatience)
	defer cancel()
	if _, err := f.tell(ctx, remote, func(int, share) wire.Order { return wire.Order{Kind: wire.OrderStop} }); err != nil {
		f.log.Warn("a remote agent was not told to leave; it will notice", "err", err)
	}
	if f.pool == nil {
		return
	}
	if err := f.pool.Stop(ctx); err != nil {
		f.log.Warn("agents did not leave", "err", err)
	}
}
