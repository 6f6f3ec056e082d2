// Package agent is the life of a load generator: it holds the sockets of its share of a run, does what the coordinator
// orders, and counts what happens.
package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"sync/atomic"
	"time"

	"github.com/charmbracelet/log"
	"github.com/nats-io/nats.go"

	"github.com/erlmcp/erlmcp/internal/mono"
	"github.com/erlmcp/erlmcp/internal/prefork"
	"github.com/erlmcp/erlmcp/loadtest/agent/internal/attack"
	"github.com/erlmcp/erlmcp/loadtest/agent/internal/swarm"
	"github.com/erlmcp/erlmcp/loadtest/internal/sources"
	"github.com/erlmcp/erlmcp/loadtest/internal/wire"
)

// Options say how an agent finds its run. The zero value is an agent that a coordinator on
// this machine has started.
type Options struct {
	Join      string // the coordinator's NATS URL: tls://HOST:PORT
	Pin       string // of the certificate that it has: sha256:…
	Token     string // what it asks for
	SourceIPs string // prefix of the addresses to connect from; empty: what the coordinator plans
	StateDir  string // where it is remembered which of these were used; empty: nowhere
	Log       *log.Logger
}

// Run takes part in a run. It returns nil when the coordinator has sent it home and an error when it
// lost the coordinator, which ends all its connections.
func Run(parent context.Context, o Options) error {
	ctx, cancel := context.WithCancelCause(parent)
	defer cancel(nil)
	var j wire.Join
	if o.Join != "" {
		j = wire.Join{URL: o.Join, Pin: o.Pin, Token: o.Token}
	} else {
		child, err := prefork.Inherit()
		if err != nil {
			return err
		}
		m, err := child.Receive()
		if err != nil {
			return fmt.Errorf("agent: %w", err)
		}
		if err := json.Unmarshal(m.Data, &j); err != nil {
			return fmt.Errorf("agent: %w", err)
		}
		go func() { // the coordinator's death ends this stream at once
			for {
				if _, err := child.Receive(); err != nil {
					cancel(errBusLost)
					return
				}
			}
		}()
	}
	if o.Log == nil {
		o.Log = log.New(io.Discard)
	}
	a := &agent{log: o.Log, cancel: cancel, hurry: make(chan struct{}, 1)}
	if o.SourceIPs != "" {
		p, err := netip.ParsePrefix(o.SourceIPs)
		if err != nil {
			return fmt.Errorf("source addresses: %w", err)
		}
		a.used = sources.UsedIn(o.StateDir)
		a.sources = a.used.Turn(sources.In(p, sources.Max))
	}
	err := a.run(ctx, j)
	if parent.Err() != nil {
		return parent.Err()
	}
	return err
}

// A generator holds the connections of an agent, and makes its load. All methods may be called from anywhere.
type generator interface {
	// Obey begins with what an order asks for, whose instants are on this machine's clock, and calls back once it has begun.
	Obey(o *wire.Order, begun func(wire.Ack, error))
	// Counts are those of a moment, on this machine's clock.
	Counts() wire.Counts
	// Stop ends all connections at once.
	Stop()
}

// agent is one generator process: the bus, and what makes the load, once that is known.
type agent struct {
	log     *log.Logger
	cancel  context.CancelCauseFunc
	sources sources.Range // its own
	used    sources.Used

	conn    *nats.Conn
	name    string
	subject string
	offset  int64         // coordinator's clock − ours
	hurry   chan struct{} // a report is worth sending now

	makes    atomic.Pointer[generator] // nil until the first order
	sentHome atomic.Bool               // the run is over
}

func (a *agent) run(ctx context.Context, j wire.Join) error {
	limit, err := prefork.Limit()
	if err != nil {
		return err
	}
	a.conn, err = joinBus(j, func() { a.cancel(errBusLost) })
	if err != nil {
		return err
	}
	defer a.conn.Close()
	run, err := a.introduce(j.Agent, limit)
	if err != nil {
		return err
	}
	if a.offset, err = clockOffset(a.conn); err != nil {
		return err
	}
	defer a.stop()
	a.subject = wire.ReportsSubject(run, a.name)
	if _, err := a.conn.Subscribe(wire.OrdersSubject(run, a.name), a.take); err != nil {
		return err
	}
	prefork.Shed()
	a.log.Debug("joined", "agent", a.name, "run", run)
	a.keepReporting(ctx)
	if a.sentHome.Load() {
		return nil
	}
	return context.Cause(ctx)
}

const (
	// reportInterval is how often the coordinator hears of the counts anyway.
	reportInterval = 200 * time.Millisecond
	// reportGap is the least time between two reports.
	reportGap = 5 * time.Millisecond
)

// keepReporting sends the first report at once: it says that orders are listened to.
func (a *agent) keepReporting(ctx context.Context) {
	regular := time.NewTicker(reportInterval)
	defer regular.Stop()
	gap := time.NewTimer(0)
	defer gap.Stop()
	for a.report(ctx) {
		gap.Reset(reportGap)
		<-gap.C // what settles one client often settles others in the same moment
		select {
		case <-ctx.Done():
			return
		case <-regular.C:
		case <-a.hurry:
		}
	}
}

func (a *agent) introduce(name string, limit uint64) (run string, err error) {
	host, _ := os.Hostname()
	h := wire.Hello{
		Agent: name, PID: os.Getpid(), Host: host, Version: wire.ProtocolVersion,
		Connections: prefork.Room(1, limit), Sources: a.sources,
	}
	var w wire.Welcome
	if err := wire.Request(a.conn, wire.SubjectJoin, h, &w); err != nil {
		return "", err
	}
	if w.Error != "" {
		return "", fmt.Errorf("not welcome in the load test: %s", w.Error)
	}
	a.name = w.Agent
	return w.Run, nil
}

// report sends the counts as they are now. It returns false when ctx is done.
func (a *agent) report(ctx context.Context) bool {
	n := wire.Counts{At: mono.Now()}
	if g := a.makes.Load(); g != nil {
		n = (*g).Counts()
	}
	if ctx.Err() != nil {
		return false
	}
	n.At = a.theirs(n.At)
	n.LastVerified = a.theirs(n.LastVerified)
	n.FirstLost = a.theirs(n.FirstLost)
	n.LastRecovered = a.theirs(n.LastRecovered)
	if data, err := json.Marshal(n); err == nil {
		_ = a.conn.Publish(a.subject, data) // a lost bus cancels ctx
	}
	return true
}

// theirs puts an instant of ours on the coordinator's clock; 0 stays "never".
func (a *agent) theirs(at int64) int64 {
	if at == 0 {
		return 0
	}
	return at + a.offset
}

// take carries out an order and acknowledges it.
func (a *agent) take(m *nats.Msg) {
	var o wire.Order
	if err := json.Unmarshal(m.Data, &o); err != nil {
		wire.Respond(m, wire.Ack{Error: err.Error()})
		return
	}
	if o.Kind == wire.OrderStop {
		a.sentHome.Store(true) // before the answer, after which the coordinator may go
		wire.Respond(m, wire.Ack{})
		_ = a.conn.Flush()
		a.cancel(nil)
		return
	}
	if o.Open != nil && a.sources.Count > 0 {
		if err := a.used.Note(o.Open.Sources); err != nil {
			a.log.Warn("the next load test may use the same source addresses", "err", err)
		}
	}
	fail := func(err error) {
		wire.Respond(m, wire.Ack{Error: fmt.Sprintf("agent %s: %s: %v", a.name, o.Kind, err)})
	}
	g, err := a.generator(&o)
	if err != nil {
		fail(err)
		return
	}
	o.At -= a.offset
	g.Obey(&o, func(answer wire.Ack, err error) {
		if err != nil {
			fail(err)
			return
		}
		wire.Respond(m, answer)
	})
}

// generator is the one that obeys an order. The first order says what it is to be; orders come one by one.
func (a *agent) generator(o *wire.Order) (generator, error) {
	if g := a.makes.Load(); g != nil {
		return *g, nil
	}
	if o.Open == nil {
		return nil, errors.New("nothing was opened")
	}
	g, err := a.start(o.Open.Driver)
	if err != nil {
		return nil, err
	}
	a.makes.Store(&g)
	return g, nil
}

func (a *agent) start(d wire.Driver) (generator, error) {
	switch d {
	case wire.Socket:
		return swarm.Start(a.settled, a.cancel)
	case wire.Vegeta:
		return attack.Start(a.settled), nil
	default:
		return nil, fmt.Errorf("the driver %q is not known", d)
	}
}

// settled asks for a report soon.
func (a *agent) settled() {
	select {
	case a.hurry <- struct{}{}:
	default:
	}
}

func (a *agent) stop() {
	if g := a.makes.Load(); g != nil {
		(*g).Stop()
	}
}
