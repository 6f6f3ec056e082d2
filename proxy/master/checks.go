package master

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/charmbracelet/log"

	"github.com/erlmcp/erlmcp/healthcheck"
	"github.com/erlmcp/erlmcp/internal/mono"
	"github.com/erlmcp/erlmcp/proxy"
	"github.com/erlmcp/erlmcp/proxy/internal/admin"
	"github.com/erlmcp/erlmcp/proxy/internal/affinity"
	"github.com/erlmcp/erlmcp/proxy/internal/board"
	"github.com/erlmcp/erlmcp/proxy/internal/wire"
)

// duty is what a watcher is told to do. It is replaced as a whole.
type duty struct {
	checks    proxy.Checks
	probe     func(context.Context) healthcheck.Result // takes no longer than checks.Timeout
	weight    int                                      // in units
	slowStart time.Duration
	admin     admin.Setting
}

// order is a new duty, and a channel that is closed once it is in force.
type order struct {
	duty duty
	done chan struct{}
}

// checkStatus is what a watcher last saw, for people to read.
type checkStatus struct {
	result   healthcheck.Result
	at       time.Time     // when the check ended; zero before the first
	detected time.Duration // how long it took to notice the last time the node went down
}

// A watcher decides whether one transport of a node is up. It is one goroutine, the only writer of the
// port's cell while it runs.
//
//	    fall failures, the last one a refusal, a reset or the like;
//	    or refused 3 times in a row by workers
//	 ┌───────────────────────────────────────────────────────────────────┐
//	 │  fall failures, the last one                                      ▼
//	up ────────────────────────────▶ silent ──────────────────────────▶ down
//	 ▲  no answer in time, or a no     │     refused, reset or the like, │
//	 │                                 │     or not a word for give_up   │
//	 ├─────────────────────────────────┘                                 │
//	 │  rise successes                                                   │
//	 └───────────────────────────────────────────────────────────────────┘
//	    rise successes; then the weight grows slowly
//
// The first result decides alone. A silent node keeps what it has and gets nobody new: it may be computing,
// and whoever waits for that is served. It has not lost anything, so its weight is back at once. With a
// give_up of no more than the timeout there is no silent, but down instead: for nodes that are never too busy.
//
// The interval is fast while the last result disagrees with the state, and a silent node is asked again as
// soon as it says something to a client.
type watcher struct {
	slot  int
	over  board.Transport
	name  string
	board *board.Board
	port  *board.Port
	tell  func() // the workers, that node cells have changed
	log   *log.Logger

	reports chan wire.Suspect // full: a report more or less changes nothing
	orders  chan order
	status  atomic.Pointer[checkStatus]
	decided chan struct{} // closed after the first result
	ended   chan struct{} // closed when run returns
	cancel  context.CancelFunc

	// Owned by run.
	duty      duty
	health    health
	slowly    bool // the next time it comes up, its weight grows slowly
	next      *time.Timer
	result    chan healthcheck.Result // of the check that is on its way, while next is stopped; or nil
	abandon   context.CancelFunc      // that check
	begun     time.Time               // when the last check began
	lifeSigns uint64                  // of the node, as of then
	heardAt   time.Time               // when it was last known to be alive, or first asked
	hurry     bool                    // after that check, do not wait for the interval
	firstSign time.Time               // of trouble, zero while there is none
	absent    bool                    // nobody has listened there since the last answer
	ramp      *time.Ticker
	upSince   time.Time
}

// newWatcher makes the watcher of one transport of a slot; start starts it. A node that was there when the
// balancer started gets its full weight when it first comes up (slowly false).
func newWatcher(b *board.Board, slot int, over board.Transport, name string, d duty, slowly bool, tell func(), log *log.Logger) *watcher {
	watcher := &watcher{
		slot:    slot,
		over:    over,
		name:    name,
		board:   b,
		port:    &b.Node(slot).Ports[over],
		tell:    tell,
		log:     log,
		reports: make(chan wire.Suspect, 1),
		orders:  make(chan order),
		decided: make(chan struct{}),
		ended:   make(chan struct{}),
		duty:    d,
		slowly:  slowly,
		health:  newHealth(),
		heardAt: time.Now(),
	}
	watcher.status.Store(&checkStatus{result: healthcheck.Result{Kind: d.checks.Kind, Transport: over.String()}})
	return watcher
}

// start has the watcher watch until stop.
func (w *watcher) start() {
	ctx, cancel := context.WithCancel(context.Background())
	w.cancel = cancel
	go w.run(ctx)
}

// stop ends the watcher, and returns when it has ended.
func (w *watcher) stop() {
	w.cancel()
	<-w.ended
}

// run watches until ctx ends. It leaves the port's cell as it is.
func (w *watcher) run(ctx context.Context) {
	defer close(w.ended)
	w.next = time.NewTimer(0)
	w.ramp = time.NewTicker(time.Hour)
	w.ramp.Stop()
	defer w.next.Stop()
	defer w.ramp.Stop()
	w.publish()
	for {
		select {
		case <-ctx.Done():
			if w.result != nil {
				<-w.result
			}
			return
		case <-w.next.C:
			if w.canWait() {
				w.next.Reset(w.duty.checks.FastInterval)
			} else {
				w.check(ctx)
			}
		case r := <-w.result:
			w.observe(r)
		case s := <-w.reports:
			w.heed(s)
		case <-w.ramp.C:
			w.weigh()
		case o := <-w.orders:
			w.duty = o.duty
			w.publish()
			close(o.done)
		}
	}
}

// order replaces what the watcher does. When it returns that has taken effect, or the watcher has
// ended.
func (w *watcher) order(to duty) {
	o := order{to, make(chan struct{})}
	select {
	case w.orders <- o:
		<-o.done
	case <-w.ended:
	}
}

// report passes on what a worker suspects.
func (w *watcher) report(s wire.Suspect) {
	select {
	case w.reports <- s:
	default:
	}
}

func (w *watcher) isDown() bool { return board.State(w.port.State.Load()) == board.Down }

// canWait reports that a check would only be one more thing that a silent node has to do when it can.
func (w *watcher) canWait() bool {
	return w.health.state == board.Silent && w.health.settled() && !w.hurry && !w.heard() && time.Since(w.begun) < w.duty.checks.Interval
}

func (w *watcher) check(ctx context.Context) {
	ctx, w.abandon = context.WithCancel(ctx)
	result, probe := make(chan healthcheck.Result, 1), w.duty.probe
	if w.heard() {
		w.heardAt = time.Now()
	}
	w.result, w.begun = result, time.Now()
	w.lifeSigns = w.board.NodeTotals(w.slot).LifeSigns[w.over]
	go func() { result <- probe(ctx) }()
}

func (w *watcher) observe(r healthcheck.Result) {
	w.abandon()
	w.result = nil
	last := w.status.Swap(&checkStatus{result: r, at: time.Now(), detected: w.status.Load().detected})
	if !r.Conclusive() {
		if last.result.Conclusive() {
			w.log.Warn("node cannot be checked", "node", w.name, "over", w.over, "err", r.Error)
		}
		w.next.Reset(w.duty.checks.FastInterval)
		return
	}
	if !r.OK && w.busy(r.Cause) {
		w.next.Reset(w.duty.checks.FastInterval)
		return
	}
	if r.OK {
		w.port.CheckLatencyNs.Store(int64(r.Latency))
		w.firstSign = time.Time{}
	} else {
		w.sign(w.begun)
	}
	first, before := !w.health.checked, w.health.state
	changed := w.health.observe(verdict(r, &w.duty.checks), &w.duty.checks)
	w.learn(r.Cause)
	why := r.Error
	if w.givesUp() {
		changed = w.health.condemn()
		why = fmt.Sprintf("not a word for %v", w.duty.checks.GivesUpAfter())
	}
	if changed {
		w.turn(before, why)
	}
	if first {
		close(w.decided)
	}
	c := &w.duty.checks
	switch {
	case w.hurry || !w.health.settled():
		w.next.Reset(time.Until(w.begun.Add(c.FastInterval)))
	case w.health.state == board.Silent:
		w.next.Reset(c.FastInterval) // see canWait
	default:
		w.next.Reset(c.Interval - rand.N(c.Interval/10+1))
	}
	w.hurry = false
}

// learn takes from the cause of a result, "" for none, when the node lived last, and whether its process has
// ended since.
func (w *watcher) learn(c healthcheck.Cause) {
	switch c {
	case "", healthcheck.CauseUnhealthy:
		w.heardAt, w.absent = time.Now(), false
	case healthcheck.CauseRefused:
		w.buried(w.begun)
	case healthcheck.CauseReset, healthcheck.CauseClosed:
		if w.health.state == board.Down {
			w.buried(w.begun)
		}
	}
}

// buried notes that at an instant nobody listened at the port: who does so later is another process, and what
// clients had of the one before is gone. Only the first time counts until it is back.
func (w *watcher) buried(at time.Time) {
	if w.absent {
		return
	}
	w.absent = true
	if life := affinity.At(at) + 1; affinity.Time(w.port.Life.Load()).Before(life) || w.port.Life.Load() == 0 {
		w.port.Life.Store(uint32(life))
	}
}

// givesUp reports that a node has been silent for too long.
func (w *watcher) givesUp() bool {
	return w.health.state == board.Silent && !w.heard() && time.Since(w.heardAt) >= w.duty.checks.GivesUpAfter()
}

// busy reports that a check which got no answer in time proves nothing: the node is up and has
// answered clients since then. When a machine is overloaded, checks are late first; taking nodes
// out then would put their load on the others and bring down one after the other.
func (w *watcher) busy(c healthcheck.Cause) bool {
	late := c == healthcheck.CauseTimeout || c == healthcheck.CauseUnreachable
	return late && w.health.state == board.Up && w.heard()
}

// heard reports that the node gave a sign of life since the last check began.
func (w *watcher) heard() bool { return w.board.NodeTotals(w.slot).LifeSigns[w.over] > w.lifeSigns }

// heed has the node checked as soon as the fast interval allows. Refused connections mark it
// down at once when there are enough of them. Nothing else does without a failed check: a
// connection cut or left without an answer a client could provoke, and connecting takes long for a
// worker that is itself short of time. Only where silence ends everything at once does a report count
// as a failure.
func (w *watcher) heed(s wire.Suspect) {
	if w.health.state == board.Down || s.Generation != w.port.Generation.Load() {
		return
	}
	if s.Reason == wire.SuspectRefused {
		w.buried(mono.Time(s.At))
	}
	if w.health.state == board.Silent && (s.Reason == wire.SuspectSilent || s.Reason == wire.SuspectTimeout) {
		return // that is known
	}
	w.sign(time.Now())
	switch {
	case s.Errors >= wire.ErrorsInARow && s.Reason == wire.SuspectRefused:
		before := w.health.state
		w.health.condemn()
		w.turn(before, "connections "+s.Reason)
	case !w.duty.checks.Keeps() && (s.Errors >= wire.ErrorsInARow || s.Reason == wire.SuspectSilent):
		w.health.doubt(&w.duty.checks)
	}
	if w.result != nil {
		w.hurry = true
		cut := s.Reason == wire.SuspectClosed || s.Reason == wire.SuspectReset
		if waited := time.Since(w.begun); cut && waited >= w.duty.checks.FastInterval && !w.heard() {
			// The kernel takes connections for a process that is being killed until it gets to
			// closing the socket: a check would wait in vain.
			w.observe(healthcheck.Result{
				Kind: w.duty.checks.Kind, Transport: w.over.String(), Cause: healthcheck.CauseTimeout,
				Error: fmt.Sprintf("cuts connections and gives no reply within %v", waited.Round(time.Millisecond)),
			})
		}
		return
	}
	w.hurry = w.health.state == board.Silent
	w.next.Reset(time.Until(w.begun.Add(w.duty.checks.FastInterval)))
}

func (w *watcher) sign(at time.Time) {
	if w.firstSign.IsZero() {
		w.firstSign = at
	}
}

// turn makes a change of health known.
func (w *watcher) turn(before board.State, why string) {
	if w.health.state == board.Up {
		w.log.Info("node is up", "node", w.name, "over", w.over)
		w.publish()
		return
	}
	status := *w.status.Load()
	if before == board.Up {
		status.detected = time.Since(w.firstSign)
		w.status.Store(&status)
	}
	if w.health.state == board.Silent {
		w.log.Warn("node is silent: no new clients", "node", w.name, "over", w.over, "why", why, "detected_after", status.detected.Round(time.Microsecond))
	} else {
		w.firstSign = time.Time{}
		w.log.Warn("node is down", "node", w.name, "over", w.over, "why", why, "detected_after", status.detected.Round(time.Microsecond))
	}
	w.publish()
}

// publish writes state and weight to the board and tells the workers about a new state.
func (w *watcher) publish() {
	state := w.health.state
	switch {
	case state == board.Down:
	case w.duty.admin == admin.Disabled:
		state = board.Maintenance
	case w.duty.admin == admin.Drained:
		state = board.Draining
	}
	before := board.State(w.port.State.Load())
	if state == board.Up && before != board.Up {
		if w.slowly && w.duty.slowStart > 0 && before != board.Silent {
			w.upSince = time.Now()
			w.ramp.Reset(max(w.duty.slowStart/100, 10*time.Millisecond))
		}
		w.slowly = true
	}
	w.weigh()
	if state != before {
		w.board.SetState(w.slot, w.over, state, time.Now())
		w.tell()
	}
}

// weigh writes the weight of this moment.
func (w *watcher) weigh() {
	elapsed := w.duty.slowStart
	if !w.upSince.IsZero() {
		elapsed = time.Since(w.upSince)
	}
	if elapsed >= w.duty.slowStart {
		w.upSince = time.Time{}
		w.ramp.Stop()
	}
	w.port.Weight.Store(rampWeight(w.duty.weight, elapsed, w.duty.slowStart))
}
