// Package master is the life of the balancer's master: it opens the addresses, starts the workers, checks the nodes, and
// answers operators.
package master

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/charmbracelet/log"

	"github.com/erlmcp/erlmcp/internal/control"
	"github.com/erlmcp/erlmcp/internal/daemon"
	"github.com/erlmcp/erlmcp/internal/mono"
	"github.com/erlmcp/erlmcp/internal/prefork"
	"github.com/erlmcp/erlmcp/internal/tempo"
	"github.com/erlmcp/erlmcp/internal/topology"
	"github.com/erlmcp/erlmcp/proxy"
	"github.com/erlmcp/erlmcp/proxy/internal/admin"
	"github.com/erlmcp/erlmcp/proxy/internal/board"
	"github.com/erlmcp/erlmcp/proxy/internal/guard"
	"github.com/erlmcp/erlmcp/proxy/internal/wire"
)

// Options are what Serve needs beyond the Spec.
type Options struct {
	StateDir string // where the control socket is
	Version  string // shown in Stats
	// Load reads the configuration anew for a reload; nil refuses reloads.
	Load func() (proxy.Spec, error)
	// DecodeNodes reads the text of the file Spec.NodesFrom. What it returns is complete and valid by itself.
	DecodeNodes func(file string, text []byte) ([]topology.Node, error)
	// NodeRestarts is asked, at each scrape, how often whoever runs the nodes has started each of them again; it must
	// answer soon. nil where nobody can tell.
	NodeRestarts func() map[string]int
	// Resolver looks up the hosts of nodes; nil is what Spec.Resolve says.
	Resolver Resolver
	// Signals are those of the process. SIGHUP reloads; the first of any other drains, the second
	// ends at once.
	Signals <-chan os.Signal
	// Ready is called once clients are served.
	Ready func()
	// Worker is the command line of a worker, without the program's name; nil is {"lb", "worker"}.
	Worker []string
	Log    *log.Logger
}

// master is the balancer's first process: it owns listeners, board, checks and control, and never
// touches what clients say.
type master struct {
	o       Options
	log     *log.Logger
	started time.Time
	nofile  uint64
	board   *board.Board
	names   *names
	members *members
	fleet   *fleet
	doors   admin.Doors

	recorder *recorder
	token    guard.Token // of the commands of the admin listener
	tickets  ticketKeys

	inForce    atomic.Pointer[effective]
	lastReload atomic.Pointer[proxy.ReloadStats] // nil before the first
	reloading  sync.Mutex                        // one at a time

	stops      chan bool         // asked over the control socket; true is at once
	turns      chan chan<- error // asked whether the loop turns, and the workers' loops do
	serving    context.Context   // ends when draining begins
	endServe   context.CancelFunc
	background sync.WaitGroup // reloads by signal, and what is looked at again and again

	closers []func() // of what start has opened, the last one first
}

// Serve runs the balancer until ctx ends, a signal or a client asks it to stop, then drains for at
// most Timeouts.Drain and returns nil. It returns an error when it cannot start; nothing is left
// behind then. Errors carry a method Hint where there is something to do,
// as control's do when another balancer runs in the state directory.
func Serve(ctx context.Context, s proxy.Spec, o Options) error {
	if o.Worker == nil {
		o.Worker = []string{"lb", "worker"}
	}
	m := &master{o: o, log: o.Log, started: time.Now(), stops: make(chan bool, 1), turns: make(chan chan<- error), names: newNames(o.Log)}
	m.recorder, m.token = newRecorder(), guard.NewToken()
	m.inForce.Store(new(effective))
	m.doors.Listen = listenHere
	m.doors.Handlers = map[string]http.Handler{"admin": admin.Handler(m, m.token), "health": admin.HealthHandler(m)}
	m.serving, m.endServe = context.WithCancel(context.Background())
	m.onClose(m.closeBoard) // at the very end: commands read it as long as they are answered
	defer m.close()
	if err := m.start(ctx, s); err != nil {
		return err
	}
	if o.Ready != nil {
		o.Ready()
	}
	watched, unwatch := context.WithCancel(context.Background())
	defer unwatch()
	go daemon.Watch(watched, m.alive, m.log)
	return m.run(ctx)
}

// start opens everything in the order in which it can fail for reasons of others: nothing is
// spawned before all addresses are ours, and nobody is served before the nodes were checked.
func (m *master) start(ctx context.Context, s proxy.Spec) error {
	instance, err := control.Acquire(m.o.StateDir, proxy.DaemonName)
	if err != nil {
		return err
	}
	m.onClose(func() { instance.Close() })
	if m.nofile, err = prefork.Limit(); err != nil {
		return err
	}
	next, _, err := m.prepare(s)
	if err != nil {
		return err
	}
	m.complainOf(next.file, nodeFile{})
	opened, err := m.open(next)
	if err != nil {
		return err
	}
	m.onClose(opened.undo)
	if err := m.openBoard(next); err != nil {
		return err
	}
	if err := m.checkNodes(ctx, next.spec); err != nil {
		return err
	}
	if err := m.fleet.start(ctx, next.generation); err != nil {
		return err
	}
	m.onClose(func() { _ = m.fleet.stop(ended()) }) // what drain has not ended
	m.onClose(beside(func(ctx context.Context) { m.recorder.run(ctx, m.counts) }, func(ctx context.Context) { prefork.KeepSmall(ctx, nil) }))
	m.doors.Commit(opened.doors)
	m.onClose(m.doors.Close)
	if err := instance.Serve(m.controlHandler(), m.log.Warn); err != nil {
		return err
	}
	m.background.Go(m.watchCertificates)
	m.background.Go(m.watchNames)
	m.background.Go(m.watchNodeFile)
	m.log.Info("serving", "clients", next.generation.addresses(), "workers", next.capacity.workers, "at_most", next.capacity.most, "nodes", len(next.spec.Nodes), "max_connections", s.MaxConnections)
	return nil
}

// openBoard makes the board and what writes to it.
func (m *master) openBoard(first *effective) error {
	// As many rows again for the workers of a changed listener, while the first ones drain.
	b, err := board.Create(board.Layout{Workers: 2 * first.capacity.most, Sources: first.spec.SourceTable})
	if err != nil {
		return err
	}
	// It is never unmapped: whoever asks for statistics in the last moment reads it.
	m.board = b
	m.enforce(first)
	lives, err := loadLives(m.o.StateDir)
	if err != nil {
		m.log.Warn("sessions of processes that have ended are not told apart", "err", err)
	}
	m.members = &members{board: b, log: m.log, tell: func() { m.fleet.tell(); m.names.hasten() }, lives: lives}
	m.members.trust.Store(first.trust)
	m.fleet = &fleet{
		board:  b,
		log:    m.log,
		args:   m.o.Worker,
		spec:   m.workerSpec,
		report: m.members.report,
		rows:   make([]row, b.Layout().Workers),
	}
	return nil
}

// checkNodes begins to watch the nodes and waits until each was checked once.
func (m *master) checkNodes(ctx context.Context, s proxy.Spec) error {
	m.names.learn(m.ask(ctx, &s))
	m.onClose(m.members.close)
	if _, err := m.members.apply(s, m.names.find(s.Nodes), true); err != nil {
		return err
	}
	m.onClose(beside(m.remember)) // from here on: before, nobody has taken what an earlier balancer knew
	m.members.decided(ctx, s.Checks.Timeout+time.Second)
	return ctx.Err()
}

// workerSpec is what the worker with that row of the board is told.
func (m *master) workerSpec(row int) wire.WorkerSpec {
	now := m.inForce.Load()
	s := wire.WorkerSpec{
		Spec: now.spec, Worker: row, Nodes: m.members.slots(), MaxConnections: now.capacity.perWorker, Key: now.key,
		NodeTrust: *now.trust,
	}
	if now.certificate != nil {
		s.Certificate, s.CertificateKey, s.TicketKeys = now.certificate.cert, now.certificate.key, m.tickets.inUse(mono.Now())
	}
	return s
}

// beside has each run until end is called, which waits for them.
func beside(each ...func(context.Context)) (end func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	for _, run := range each {
		running.Go(func() { run(ctx) })
	}
	return func() { cancel(); running.Wait() }
}

// remember keeps the lives of nodes in a file until ctx ends.
func (m *master) remember(ctx context.Context) {
	failed := false
	for range tempo.AtOnce(ctx, sweepInterval) {
		err := m.members.keepLives()
		if err != nil && !failed {
			m.log.Error("which sessions have ended is not kept", "err", err)
		}
		failed = err != nil
	}
	_ = m.members.keepLives() // said above
}

// sweepInterval is how often slots of nodes on their way out are looked at.
const sweepInterval = time.Second

// run serves until it is told to stop.
func (m *master) run(ctx context.Context) error {
	sweep := time.NewTicker(sweepInterval)
	defer sweep.Stop()
	for {
		select {
		case <-ctx.Done():
			return m.drain(1) // a signal that ended ctx comes over Signals as well
		case atOnce := <-m.stops:
			if atOnce {
				m.log.Info("stopping at once", "connections", m.board.Active())
				return nil
			}
			return m.drain(0)
		case s := <-m.o.Signals:
			if s != syscall.SIGHUP {
				return m.drain(0)
			}
			m.background.Go(func() { _, _ = m.reload() }) // it logs
		case turned := <-m.turns:
			turned <- m.fleet.alive()
		case <-sweep.C:
			m.fleet.replaceHung()
			if m.members.sweep() || m.inForce.Load().certificate != nil && m.tickets.expired(mono.Now()) {
				m.background.Go(m.fleet.respec) // it waits for workers
			}
		}
	}
}

// drainGrace is what workers get beyond the time to drain, to cut what is left.
const drainGrace = 2 * time.Second

// alive returns when the loop of the master has turned; the error says what is wrong with the workers.
func (m *master) alive(ctx context.Context) error {
	turned := make(chan error, 1)
	select {
	case m.turns <- turned:
		return <-turned
	case <-ctx.Done():
		return fmt.Errorf("the loop of the master does not turn: %w", context.Cause(ctx))
	}
}

// drain stops accepting, waits for connections to end, and cuts them when the time is up or
// somebody insists. Nodes are watched and commands answered meanwhile. As many signals as echoes
// are not a second one.
func (m *master) drain(echoes int) error {
	m.endServe()
	m.board.Global().Draining.Store(1)
	spec := &m.inForce.Load().spec
	patience := spec.Timeouts.Drain
	m.log.Info("draining", "connections", m.board.Active(), "at_most", patience)
	if err := daemon.Stopping(spec.StopsWithin()); err != nil {
		m.log.Debug("nobody waits for the end", "err", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience+drainGrace)
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- m.fleet.stop(ctx) }()
	for {
		select {
		case err := <-ended:
			if err != nil {
				m.log.Warn("not drained", "err", err)
			}
			m.log.Info("stopped")
			return nil
		case turned := <-m.turns:
			turned <- nil
		case atOnce := <-m.stops:
			if atOnce {
				cancel()
			}
		case s := <-m.o.Signals:
			switch {
			case s == syscall.SIGHUP:
			case echoes > 0:
				echoes--
			default:
				cancel()
			}
		}
	}
}

// draining reports that the balancer takes no new clients.
func (m *master) draining() bool { return m.serving.Err() != nil }

func (m *master) closeBoard() {
	if m.board != nil {
		m.board.Close()
	}
}

func (m *master) onClose(f func()) { m.closers = append(m.closers, f) }

func (m *master) close() {
	m.endServe()
	m.background.Wait()
	m.awaitReload()
	for _, f := range slices.Backward(m.closers) {
		f()
	}
}

// awaitReload returns when no reload is under way: what it has started can then be ended. No other one
// begins once serving has ended.
func (m *master) awaitReload() {
	m.reloading.Lock()
	defer m.reloading.Unlock()
}
