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

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/erlmcp/erlmcp/internal/mono"
	"github.com/erlmcp/erlmcp/loadtest/internal/ask"
	"github.com/erlmcp/erlmcp/loadtest/internal/latency"
	"github.com/erlmcp/erlmcp/loadtest/internal/target"
	"github.com/erlmcp/erlmcp/loadtest/internal/wire"
	"github.com/erlmcp/erlmcp/loadtest/internal/work"
)

// Attack is all clients of one agent.
type Attack struct {
	settled func() // called when what an order asked for may be complete; does not block
	epoch   int64  // request ids count from then
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
	sources   []netip.Addr
	timeout   time.Duration
	opening   context.Context // until the order to close
	endOpen   context.CancelFunc

	// mu guards what follows. net/http closes connections with locks of its own held, and that takes mu: nobody calls a
	// connection's methods while holding it.
	mu       sync.Mutex
	stopped  bool
	closing  bool
	keeps    bool // the server does not let clients end sessions
	script   *work.Script
	patience wire.Patience
	clients  []client
	rate     float64 // of opening
	opened   int     // clients that have dialed
	limit    int     // the first one not to dial yet
	cursor   int     // client to ask next
	sampled  int     // where the next sample begins
	armed    armed   // about to fail
	volley   *volley // the last one
	endRamp  context.CancelFunc

	tally
	unverified int // clients between dial and first answer
	lag        *hdrhistogram.Histogram
	holdLag    *hdrhistogram.Histogram

	recordFrom, recordTo int64 // scheduled instants whose latency counts; equal: none
}

// Start begins an attack without clients. settled is called when what an order asked for may be complete, from anywhere,
// and must not call back.
func Start(settled func()) *Attack {
	a := &Attack{
		settled: settled, epoch: mono.Now(), dial: dial, lag: latency.NewHistogram(), holdLag: latency.NewHistogram(), tally: newTally(),
	}
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
}

// Counts are those of a moment.
func (a *Attack) Counts() wire.Counts {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.counts()
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
	a.n.Orders++
	switch {
	case a.stopped:
		err = errors.New("the agent is about to end")
	case o.Kind == wire.OrderOpen && o.Open != nil && o.Rate > 0:
		err = a.open(o.At, o.Rate, o.Open)
	case o.Kind == wire.OrderQuiet:
		a.quiet()
	case o.Kind == wire.OrderDisarm:
		a.armed = noneArmed
	case o.Kind == wire.OrderCollect:
		answer.Measured, err = a.measured()
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

// armed is the node that is about to fail, 1 + its place in nodes, or one of these.
type armed int

const (
	noneArmed armed = 0
	allArmed  armed = -1
)

// arm makes the clients of a node displaced rather than dropped when they lose it, and returns how many it has.
func (a *Attack) arm(node string) int {
	a.n.Displaced, a.n.Recovered, a.n.FirstLost, a.n.LastRecovered, a.n.LongestOut = 0, 0, 0, 0, 0
	n := 0
	switch a.armed = armed(a.byName[node]); {
	case node == wire.EveryNode:
		a.armed, n = allArmed, a.n.Verified
	case a.armed == noneArmed:
		return 0
	default:
		n = a.nodes[a.armed-1].verified
	}
	// They come back at most twice as fast as they came in the first place.
	a.patience.Spread = max(a.patience.Spread, time.Duration(float64(n)/(2*a.rate)*float64(time.Second)))
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
	done := a.n.Verified+a.n.Failed == a.limit
	if a.closing {
		done = a.n.Open == 0
	}
	if done {
		a.settled()
	}
}

// late notes how late something is done now that was due then; the caller holds mu.
func (a *Attack) late(due, now int64) {
	latency.Record(a.lag, now-due)
	if a.recording(due) {
		latency.Record(a.holdLag, now-due)
	}
}

// recording reports whether what was due then counts as a part of the hold.
func (a *Attack) recording(due int64) bool { return due >= a.recordFrom && due < a.recordTo }

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
