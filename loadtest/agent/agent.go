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
	"github.com/erlmcp/erlmcp/internal/mono"
	"github.com/erlmcp/erlmcp/internal/prefork"
	"github.com/erlmcp/erlmcp/loadtest/agent/internal/attack"
	"github.com/erlmcp/erlmcp/loadtest/agent/internal/swarm"
	"github.com/erlmcp/erlmcp/loadtest/internal/bus"
	"github.com/erlmcp/erlmcp/loadtest/internal/sources"
	"github.com/erlmcp/erlmcp/loadtest/internal/wire"
)

// Options say how an agent finds its run. The zero value is an agent that a coordinator on
// this machine has started.
type Options struct {
	Join  string // the coordinator: tls://HOST:PORT
	Pin   string // of the certificate that it has: sha256:…; empty: the token is all there is to know it by
	Token string // that both know

	Bus       string // the run at a NATS server: nats://HOST:PORT/RUN
	BusSecret string // what the server asks for: USER:PASSWORD, a token, or the text of a credentials file
	BusCA     string // file of certificates that sign the server's; empty: the system's

	SourceIPs string // prefix of the addresses to connect from; empty: what the coordinator plans
	StateDir  string // where it is remembered which of these were used; empty: nowhere
	Log       *log.Logger
}

// Run takes part in a run. It returns nil when the coordinator has sent it home and an error when it
// lost the coordinator, which ends all its connections.
func Run(parent context.Context, o Options) error {
	if o.Log == nil {
		o.Log = log.New(io.Discard)
	}
	ctx, cancel := context.WithCancelCause(parent)
	defer cancel(nil)
	a := &agent{log: o.Log, cancel: cancel, hurry: make(chan struct{}, 1)}
	if o.SourceIPs != "" {
		p, err := netip.ParsePrefix(o.SourceIPs)
		if err != nil {
			return fmt.Errorf("source addresses: %w", err)
		}
		a.used = sources.UsedIn(o.StateDir)
		a.sources = a.used.Turn(sources.In(p, sources.Max))
	}
	link, err := join(ctx, o)
	if err != nil {
		return err
	}
	err = a.run(ctx, link)
	why := "it was ended"
	if err != nil && parent.Err() == nil {
		why = err.Error()
	}
	link.Close(why)
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

// agent is one generator process: the way to the coordinator, and what makes the load, once that is known.
type agent struct {
	log     *log.Logger
	cancel  context.CancelCauseFunc
	sources sources.Range // its own
	used    sources.Used

	link  bus.Link
	name  string
	clock clock
	hurry chan struct{} // a report is worth sending now

	makes    atomic.Pointer[generator] // nil until the first order
	sentHome atomic.Bool               // the run is over
}

func (a *agent) run(ctx context.Context, link bus.Link) error {
	limit, err := prefork.Limit()
	if err != nil {
		return err
	}
	a.link = link
	host, _ := os.Hostname()
	w, err := introduce(link, wire.Hello{
		PID: os.Getpid(), Host: host, Version: wire.ProtocolVersion, Connections: prefork.Room(1, limit), Sources: a.sources,
	})
	if err != nil {
		return err
	}
	if err := a.clock.begin(link); err != nil {
		return err
	}
	defer a.stop()
	a.name = w.Agent
	prefork.Shed()
	a.log.Debug("joined", "agent", a.name, "run", w.Run)
	go a.listen()
	a.keepReporting(ctx)
	if a.sentHome.Load() {
		return nil
	}
	return context.Cause(ctx)
}

// listen takes what the coordinator says, as long as it is there.
func (a *agent) listen() {
	for {
		m, err := a.link.Receive()
		if err == nil {
			err = a.hear(m)
		}
		if err != nil {
			a.cancel(&lostError{err})
			return
		}
	}
}

func (a *agent) hear(m bus.Message) error {
	switch m.Kind {
	case wire.KindClock:
		return a.clock.answered(m.Data)
	case wire.KindOrder:
		var o wire.Numbered
		if err := json.Unmarshal(m.Data, &o); err != nil {
			return err
		}
		a.take(o.Order, func(answer wire.Ack) {
			if err := a.link.Send(wire.KindAnswer, wire.Answer{Number: o.Number, Ack: answer}); err != nil {
				a.cancel(fmt.Errorf("answer the order %q: %w", o.Order.Kind, err))
			}
		})
		return nil
	}
	return fmt.Errorf("it says %q, which is not known", m.Kind)
}

const (
	// reportInterval is how often the coordinator hears of the counts anyway.
	reportInterval = 200 * time.Millisecond
	// clockInterval is how often it is asked for its clock.
	clockInterval = time.Second
	// reportGap is the least time between two reports.
	reportGap = 5 * time.Millisecond
)

// keepReporting sends the first report at once: it says that orders are listened to.
func (a *agent) keepReporting(ctx context.Context) {
	regular := time.NewTicker(reportInterval)
	defer regular.Stop()
	clock := time.NewTicker(clockInterval)
	defer clock.Stop()
	gap := time.NewTimer(0)
	defer gap.Stop()
	for a.report(ctx) {
		gap.Reset(reportGap)
		<-gap.C // what settles one client often settles others in the same moment
		select {
		case <-ctx.Done():
			return
		case <-clock.C:
			_ = ask(a.link) // whoever listens learns of a link that is lost
		case <-regular.C:
		case <-a.hurry:
		}
	}
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
	n.At = a.clock.theirs(n.At)
	n.LastVerified = a.clock.theirs(n.LastVerified)
	n.FirstLost = a.clock.theirs(n.FirstLost)
	n.LastRecovered = a.clock.theirs(n.LastRecovered)
	_ = a.link.Send(wire.KindReport, n) // as above
	return true
}

// take carries out an order and acknowledges it.
func (a *agent) take(o wire.Order, answer func(wire.Ack)) {
	if o.Kind == wire.OrderStop {
		a.sentHome.Store(true) // before the answer, after which the coordinator may go
		answer(wire.Ack{})
		a.cancel(nil)
		return
	}
	if o.Open != nil && a.sources.Count > 0 {
		if err := a.used.Note(o.Open.Sources); err != nil {
			a.log.Warn("the next load test may use the same source addresses", "err", err)
		}
	}
	fail := func(err error) { answer(wire.Ack{Error: fmt.Sprintf("agent %s: %s: %v", a.name, o.Kind, err)}) }
	g, err := a.generator(&o)
	if err != nil {
		fail(err)
		return
	}
	o.At = a.clock.ours(o.At)
	g.Obey(&o, func(ack wire.Ack, err error) {
		if err != nil {
			fail(err)
			return
		}
		answer(ack)
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
