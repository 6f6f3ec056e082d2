package worker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"runtime/debug"
	"time"

	"github.com/charmbracelet/log"

	"github.com/erlmcp/erlmcp/internal/mcp"
	"github.com/erlmcp/erlmcp/internal/mono"
	"github.com/erlmcp/erlmcp/internal/prefork"
	"github.com/erlmcp/erlmcp/internal/reactor"
	"github.com/erlmcp/erlmcp/proxy"
	"github.com/erlmcp/erlmcp/proxy/internal/board"
	"github.com/erlmcp/erlmcp/proxy/internal/policy"
	"github.com/erlmcp/erlmcp/proxy/internal/wire"
)

// worker carries clients' bytes: one loop, and the decisions that the board
// lets it make alone. Everything below runs on the loop.
type worker struct {
	log    *log.Logger
	loop   *reactor.Loop
	board  *board.Board
	index  int           // its row on the board
	cell   *board.Worker // the row
	master reporter

	spec       proxy.Spec
	max        int    // clients this worker may hold
	maxMessage uint32 // bytes
	budget     int    // bytes that may be in hand for all clients
	limits     policy.Limits
	picker     policy.Picker
	wish       policy.Wish              // of whom a node is being chosen for
	backends   [board.MaxNodes]*backend // nil: slot not in use

	listeners []*reactor.Listener
	gate      *prefork.Gate
	freePairs spares[pair]
	http      frontend
	crowd     sourceCrowd // the clients that are counted as active, by source
	tls       tlsEnd
	trust     *wire.NodeTrust // for TLS to nodes
	open      int             // clients that hold a descriptor, counted as active or not
	lingering int             // the refused ones of them
	draining  bool
	departed  uint32        // endless streams that draining has ended, or is about to
	deadline  reactor.Timer // of draining
	ending    bool          // whoever is left has been cut, or is about to be
	beat      reactor.Timer
	beatDue   int64          // when beat should fire, to tell how late the loop is
	inspector *mcp.Inspector // spare, see takeInspector
	scratch   []byte         // for answers
	access    access
	complaint int64 // when complain last logged something, 0 = never
	held      int   // clients that wait for their turn, being over the connection rate

	announced   int64 // when a ban was last logged, 0 = never
	unannounced int   // bans since
	collects    bool  // the garbage of its process is its own business
	thrifty     bool  // see collect
}

// Run plays the role of a worker process until the master ends it or is
// gone. Cancelling ctx drains.
func Run(ctx context.Context, logger *log.Logger) error {
	child, err := prefork.Inherit()
	if err != nil {
		return err
	}
	w, err := inherit(child, logger)
	if err != nil {
		return fmt.Errorf("worker %d: %w", child.Index, err)
	}
	go w.obey(child)
	stopDrain := context.AfterFunc(ctx, func() {
		w.loop.Post(func() { w.drain(w.spec.Timeouts.Drain) })
	})
	defer stopDrain()
	w.report(wire.MessageReady, nil)
	w.collects = true
	running, ended := context.WithCancel(context.Background())
	defer ended()
	go prefork.KeepSmall(running, func() { w.trimSoon(running) })
	err = w.loop.Run()
	w.access.close(w)
	return err
}

// reporter takes messages for the master; it is a prefork.Child.
type reporter interface {
	Send(kind string, data any) error
}

// inherit waits for the master's first word and takes over what it handed down.
func inherit(child *prefork.Child, logger *log.Logger) (*worker, error) {
	m, err := child.Receive()
	if err != nil {
		return nil, fmt.Errorf("waiting for the master: %w", err)
	}
	var s wire.WorkerSpec
	if err := decode(m, wire.MessageSpec, &s); err != nil {
		return nil, err
	}
	file := child.File(wire.FileBoard)
	b, err := board.Open(file)
	if err != nil {
		return nil, err
	}
	file.Close() // the mapping stays
	listeners := make(map[string]int)
	for _, name := range []string{wire.FileTCP, wire.FileHTTP, wire.FileHTTPS} {
		if fd, ok := child.FD(name); ok {
			listeners[name] = fd
		}
	}
	if len(listeners) == 0 {
		return nil, errors.New("the master handed over no listener")
	}
	return newWorker(s, b, listeners, child.Intake, child, logger)
}

// newWorker makes a worker that accepts from listeners, by the names of their files, once its loop
// runs.
func newWorker(s wire.WorkerSpec, b *board.Board, listeners map[string]int, intake prefork.Intake, master reporter, logger *log.Logger) (*worker, error) {
	loop, err := reactor.NewLoop(reactor.Options{})
	if err != nil {
		return nil, err
	}
	w := &worker{
		log:    logger,
		loop:   loop,
		board:  b,
		index:  s.Worker,
		cell:   b.Worker(s.Worker),
		master: master,
	}
	w.picker.Board, w.picker.Row = b, w.index
	w.picker.Begin(b.Turns(), b.Global().Seed+uint64(w.index))
	w.gate = prefork.NewGate(intake, s.MaxConnections, w.report)
	if err := w.apply(s); err != nil {
		return nil, err
	}
	for name, fd := range listeners {
		acceptor := reactor.Acceptor(w)
		switch name {
		case wire.FileHTTP:
			acceptor = (*httpAcceptor)(w)
		case wire.FileHTTPS:
			acceptor = (*httpsAcceptor)(w)
		}
		l, err := loop.Listen(fd, acceptor)
		if err != nil {
			return nil, err
		}
		l.Patience(w.spec.Timeouts.Send)
		w.listeners = append(w.listeners, l)
		w.gate.Add(l)
	}
	w.cell.PID.Store(int64(os.Getpid()))
	w.beatDue = loop.Now()
	w.OnTimer(&w.beat)
	return w, nil
}

func decode(m prefork.Message, kind string, into any) error {
	if m.Kind != kind {
		return fmt.Errorf("the master said %q, want %q", m.Kind, kind)
	}
	return json.Unmarshal(m.Data, into)
}

// obey hands the master's messages to the loop until there is no master.
func (w *worker) obey(child *prefork.Child) {
	for {
		m, err := child.Receive()
		if err != nil {
			if !errors.Is(err, io.EOF) {
				w.log.Error("lost the master", "err", err)
			}
			w.loop.Post(w.stop)
			return
		}
		w.loop.Post(func() { w.handle(m) })
	}
}

func (w *worker) handle(m prefork.Message) {
	var err error
	switch m.Kind {
	case wire.MessageSpec:
		var s wire.WorkerSpec
		if err = decode(m, wire.MessageSpec, &s); err == nil {
			err = w.apply(s)
			w.report(wire.MessageReady, nil)
		}
	case wire.MessageNodes:
		w.syncNodes()
	case wire.MessageYield:
		var y wire.Yield
		if err = decode(m, wire.MessageYield, &y); err == nil {
			w.yield(y.Source)
		}
	case prefork.MessageIntake:
		err = w.gate.Obey(m, w.open, w.loop.Now())
	default:
		err = fmt.Errorf("unknown message %q", m.Kind)
	}
	if err != nil {
		w.log.Error("message from the master", "err", err)
	}
}

// apply takes over a specification. Connections stay.
func (w *worker) apply(s wire.WorkerSpec) error {
	w.syncNodes() // while the backends of slots that were freed are still known
	w.spec, w.max = s.Spec, s.MaxConnections
	w.gate.Resize(w.max)
	w.budget = max(w.max*heldPerClient, leastHeld)
	w.limits = policy.NewLimits(&s.Spec)
	w.maxMessage = uint32(min(int64(s.Spec.MaxMessage), math.MaxUint32/2))
	w.picker.Balance = s.Spec.Balance
	trusted := w.trustNodes(&s)
	var used [board.MaxNodes]bool
	for _, n := range s.Nodes {
		used[n.Slot] = true
		b := w.backends[n.Slot]
		if !b.is(n) {
			b.forget()
			b = newBackend(w.board, w.index, n)
			w.backends[n.Slot] = b
			w.picker.Set(n.Slot, b.option)
		}
		b.from = sourceAddress(w.spec.Source, w.index, n.Addr)
		b.call(w.spec.HTTP.Host, n.Node)
		b.secure(w, n.Node)
	}
	for slot := range w.backends {
		if !used[slot] {
			w.backends[slot].forget()
			w.backends[slot] = nil
			w.picker.Set(slot, policy.Option{})
		}
	}
	w.syncNodes()
	for _, l := range w.listeners {
		l.Patience(w.spec.Timeouts.Send)
	}
	w.access.apply(w)
	return errors.Join(trusted, w.http.apply(&s), w.tls.apply(&s))
}

// syncNodes closes what was connected to ports that have gone down.
func (w *worker) syncNodes() {
	for _, b := range w.backends {
		if b == nil {
			continue
		}
		for i := range b.ports {
			p := &b.ports[i]
			if g := p.cell.Generation.Load(); g != p.generation {
				p.generation = g
				p.errors, p.askedAt = 0, 0
				w.displace(p)
			}
		}
	}
}

const (
	// manyClients make a heap that grows with them only: to collect it often is cheaper than to let it double. That of few
	// clients is smaller than what handshakes throw away in a moment, and would be collected all the time.
	manyClients   = 2000
	thriftPercent = 25
)

// collect adapts how often garbage is collected to the number of clients, every heartbeat.
func (w *worker) collect() {
	thrifty := w.open >= manyClients || w.thrifty && w.open > manyClients/2
	if !w.collects || thrifty == w.thrifty {
		return
	}
	w.thrifty = thrifty
	if thrifty {
		debug.SetGCPercent(thriftPercent)
	} else {
		debug.SetGCPercent(100)
	}
}

// trimSoon has the loop trim, and waits for that.
func (w *worker) trimSoon(running context.Context) {
	done := make(chan struct{})
	w.loop.Post(func() {
		w.trim()
		close(done)
	})
	select {
	case <-done:
	case <-running.Done():
	}
}

// trim drops what is kept for reuse, which may be as much as the busiest moment took.
func (w *worker) trim() {
	w.loop.Trim()
	w.crowd.Trim()
	w.freePairs, w.access.spare, w.scratch = nil, nil, nil
	w.http.spare = httpSpares{}
	w.http.zippers.Trim()
}

// entered counts a client that holds a descriptor.
func (w *worker) entered() {
	w.open++
	w.gate.Look(w.open, w.loop.Now())
}

// report tells the master something. Without a master there is nothing to do.
func (w *worker) report(kind string, data any) {
	if err := w.master.Send(kind, data); err != nil {
		w.log.Error("lost the master", "err", err)
		w.stop()
	}
}

// stop ends the loop.
func (w *worker) stop() {
	w.ending = true
	w.loop.Stop()
}

// complaintEvery is how often complain logs at most.
const complaintEvery = time.Second

// complain logs what may well go wrong for every client alike. The loop waits for the log.
func (w *worker) complain(what string, keyvals ...any) {
	if now := w.loop.Now(); w.complaint == 0 || now-w.complaint >= int64(complaintEvery) {
		w.complaint = now
		w.log.Error(what, keyvals...)
	}
}

// drain stops accepting, ends what would never end by itself, and the loop when the last client has
// gone. After timeout, what is left is cut.
func (w *worker) drain(timeout time.Duration) {
	if w.draining {
		return
	}
	w.draining = true
	for _, l := range w.listeners {
		l.Close()
	}
	w.closeIdle()
	w.departAll()
	w.loop.Schedule(&w.deadline, timeout, w)
	w.endIfDrained()
}

func (w *worker) endIfDrained() {
	if w.draining && w.open == 0 {
		w.report(wire.MessageDrained, nil)
		w.stop()
	}
}

// OnTimer is the heartbeat, or the end of draining.
func (w *worker) OnTimer(t *reactor.Timer) {
	now := mono.Now()
	if t == &w.deadline {
		if w.ending {
			w.report(wire.MessageDrained, nil)
			w.stop()
			return
		}
		w.ending = true
		w.cutAll()
		w.loop.Schedule(&w.deadline, cutTime, w)
		w.endIfDrained()
		return
	}
	w.cell.HeartbeatNs.Store(now)
	w.cell.LoopLagNs.Store(max(0, now-w.beatDue))
	w.beatDue = now + int64(wire.Heartbeat)
	w.loop.Schedule(&w.beat, wire.Heartbeat, w)
	w.access.flush(now)
	w.gate.Look(w.open, now)
	w.collect()
	w.lookForSilence()
	w.fade()
	w.weighIn()
	w.boundMemory()
	w.expireNodes()
}
