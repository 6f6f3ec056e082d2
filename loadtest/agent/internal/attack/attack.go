// Package attack is the clients of a load generator over HTTP: an attacker of vegeta's makes the rate, and each client
// has a connection and a session of its own, held by net/http.
package attack

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"sync"
	"time"

	"github.com/erlmcp/erlmcp/internal/mcp"
	"github.com/erlmcp/erlmcp/loadtest/agent/internal/tally"
	"github.com/erlmcp/erlmcp/loadtest/internal/ask"
	"github.com/erlmcp/erlmcp/loadtest/internal/target"
	"github.com/erlmcp/erlmcp/loadtest/internal/wire"
	"github.com/erlmcp/erlmcp/loadtest/internal/work"
)

// Attack is all clients of one agent.
type Attack struct {
	settled func() // called when what an order asked for may be complete; does not block
	dial    func(ctx context.Context, from netip.Addr, to netip.AddrPort) (net.Conn, error)

	life    context.Context // until Stop
	end     context.CancelFunc
	running sync.WaitGroup

	// What open sets, before there is a client.
	endpoint  target.Endpoint
	url       *url.URL
	host      string // what requests say
	fixed     http.Header
	transport *http.Transport
	aside     *http.Transport // of connections that are no client's
	sources   []netip.Addr
	timeout   time.Duration
	opening   context.Context // until the order to close
	endOpen   context.CancelFunc

	// mu guards what follows. net/http closes connections with locks of its own held, and that takes mu: nobody calls a
	// connection's methods while holding it.
	mu       sync.Mutex
	stopped  bool
	closing  bool
	keeps    bool  // the server does not let clients end sessions
	calls    int32 // requests of a session; 0: it has no end
	script   *work.Script
	patience wire.Patience
	clients  []client
	rate     float64 // of opening
	opened   int     // clients that have dialed
	limit    int     // the first one not to dial yet
	cursor   int     // client to ask next
	sampled  int     // where the next sample begins
	armed    tally.Armed
	volley   *volley // the last one
	endRamp  context.CancelFunc

	tally      *tally.Tally
	unverified int // clients between dial and first answer
	reactions  int // under way
}

// Start begins an attack without clients. settled is called when what an order asked for may be complete, from anywhere,
// and must not call back.
func Start(settled func()) *Attack {
	a := &Attack{settled: settled, dial: dial, tally: tally.New()}
	a.life, a.end = context.WithCancel(context.Background())
	a.opening, a.endOpen = context.WithCancel(a.life)
	a.running.Go(a.pulse)
	return a
}

// Stop ends all connections at once, and returns when that is done.
func (a *Attack) Stop() {
	a.mu.Lock()
	a.stopped, a.closing = true, true
	var open []*link
	for i := range a.clients {
		if l := a.clients[i].link; l != nil {
			open = append(open, l)
		}
	}
	a.quiet()
	a.mu.Unlock()
	a.end()
	for _, l := range open {
		a.hangUp(l)
	}
	a.running.Wait()
	if a.aside != nil {
		a.aside.CloseIdleConnections()
	}
}

// Counts are those of a moment.
func (a *Attack) Counts() wire.Counts {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.tally.Counts()
}

// Obey begins with what an order asks for, whose instants are on this machine's clock, and then calls back.
func (a *Attack) Obey(o *wire.Order, begun func(wire.Ack, error)) {
	answer, err := a.obey(o)
	begun(answer, err)
	a.settled() // the next report shows the state after the order
}

func (a *Attack) obey(o *wire.Order) (answer wire.Ack, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.tally.N.Orders++
	switch {
	case a.stopped:
		err = errors.New("the agent is about to end")
	case o.Kind == wire.OrderOpen && o.Open != nil && o.Rate > 0:
		err = a.open(o.At, o.Rate, o.Open)
	case o.Kind == wire.OrderQuiet:
		a.quiet()
	case o.Kind == wire.OrderDisarm:
		a.armed = tally.None
	case o.Kind == wire.OrderCollect:
		answer.Measured, err = a.tally.Measured(a.script)
	case a.script == nil:
		err = errors.New("nothing was opened")
	case o.Kind == wire.OrderRest:
		a.openRest(o.At)
	case o.Kind == wire.OrderPing && o.Ping != nil && o.Rate > 0:
		a.pings(o.At, o.Rate, o.Ping)
	case o.Kind == wire.OrderSticky && o.Sticky != nil && o.Rate > 0:
		a.sticky(o.Rate, o.Sticky)
	case o.Kind == wire.OrderArm:
		answer.OnNode = a.arm(o.Node)
	case o.Kind == wire.OrderClose && o.Rate > 0:
		a.close(o.Rate)
	default:
		err = errors.New("order not understood")
	}
	return answer, err
}

// open takes the order to open the first connection of every source from at on, so many per second.
func (a *Attack) open(at int64, rate float64, o *wire.OpenOrder) error {
	if a.clients != nil {
		return errors.New("connections were opened before")
	}
	if o.Endpoint.Transport != target.HTTP {
		return fmt.Errorf("clients over %s are not known", o.Endpoint.Transport)
	}
	script, err := o.Work.Compile()
	if err != nil {
		return err
	}
	if err := a.aim(o); err != nil {
		return err
	}
	a.script, a.patience, a.timeout = script, o.Patience, o.Timeout
	if o.Work.Era == mcp.SessionEra {
		a.calls = int32(o.Work.Session.Calls)
	}
	a.sources = make([]netip.Addr, max(o.Sources.Count, 1))
	for i := range a.sources {
		a.sources[i] = o.Sources.At(i)
	}
	a.clients = make([]client, o.Connections)
	for i := range a.clients {
		a.clients[i].attack, a.clients[i].index = a, int32(i)
	}
	a.rate, a.limit = rate, min(len(a.sources), len(a.clients))
	a.beginRamp(at)
	return nil
}

// openRest takes the order to open the connections that open has left.
func (a *Attack) openRest(at int64) {
	a.limit = len(a.clients)
	a.beginRamp(at)
}

// arm makes the clients of a node displaced rather than dropped when they lose it, and returns how many it has.
func (a *Attack) arm(node string) int {
	a.armed = a.tally.Armed(node)
	n := a.tally.Arm(a.armed)
	a.patience.Spread = max(a.patience.Spread, tally.Spread(n, a.rate))
	return n
}

// spawn runs f until Stop at the longest; the caller holds mu.
func (a *Attack) spawn(f func()) {
	if !a.stopped {
		a.running.Go(f)
	}
}

// settle calls for a report when an order may have been fulfilled; other changes wait for the next regular one. The caller
// holds mu.
func (a *Attack) settle() {
	done := a.tally.N.Verified+a.tally.N.Failed == a.limit
	if a.closing {
		done = a.tally.N.Open == 0
	}
	if done {
		a.settled()
	}
}

// causeOf classifies what ended a connection or kept it from being.
func causeOf(err error) ask.Cause {
	var slow interface{ Timeout() bool }
	switch {
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &slow) && slow.Timeout():
		return ask.CauseTimeout
	case ended(err):
		return ask.CauseClosed
	}
	return ask.CauseOfError(err)
}
