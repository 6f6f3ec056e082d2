package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/charmbracelet/log"
	"golang.org/x/sys/unix"

	"github.com/erlmcp/erlmcp/cluster/node/internal/protocol"
	"github.com/erlmcp/erlmcp/internal/mcp"
	"github.com/erlmcp/erlmcp/internal/prefork"
	"github.com/erlmcp/erlmcp/internal/reactor"
)

// The names of what a worker inherits, and the kind of the one message it gets.
const (
	fileListener = "tcp"
	fileTally    = "tally"
	messageSpec  = "spec"
)

// Worker serves the TCP clients of a node, as one of several copies. It returns after ctx is cancelled and
// what was asked is answered, or when the primary has died.
func Worker(ctx context.Context, logger *log.Logger) error {
	child, err := prefork.Inherit()
	if err != nil {
		return err
	}
	spec, err := receiveSpec(child)
	if err != nil {
		return err
	}
	nofile, err := prefork.Limit()
	if err != nil {
		return err
	}
	t, err := inheritTally(child)
	if err != nil {
		return err
	}
	loop, err := reactor.NewLoop(reactor.Options{})
	if err != nil {
		return err
	}
	boundMemory(100)
	w := newWorker(loop, spec, t, child.Index, logger)
	w.room = min(w.room, prefork.Room(1, nofile))
	w.gate = prefork.NewGate(child.Intake, w.room, func(kind string, data any) {
		_ = child.Send(kind, data) // it fails when the primary has died, which is noticed below
	})
	listener, ok := child.FD(fileListener)
	if !ok {
		return errors.New("inherited no listener")
	}
	if err := w.listen(listener); err != nil {
		return err
	}

	orphaned := make(chan struct{})
	go func() {
		defer close(orphaned)
		for {
			m, err := child.Receive()
			if err != nil {
				break
			}
			loop.Post(func() { w.hear(m) })
		}
		loop.Stop()
	}()
	go func() {
		select {
		case <-ctx.Done():
			loop.Post(w.drain)
		case <-orphaned:
		}
	}()
	running, ended := context.WithCancel(context.Background())
	defer ended()
	go prefork.KeepSmall(running, func() {
		turned := make(chan struct{})
		loop.Post(func() { close(turned) })
		select {
		case <-turned:
		case <-running.Done():
		}
	})
	return loop.Run()
}

func receiveSpec(child *prefork.Child) (spec Spec, err error) {
	m, err := child.Receive()
	switch {
	case err != nil:
		return spec, err
	case m.Kind != messageSpec:
		return spec, fmt.Errorf("the first message is %q, not %q", m.Kind, messageSpec)
	}
	err = json.Unmarshal(m.Data, &spec)
	return spec, err
}

func inheritTally(child *prefork.Child) (*tally, error) {
	f := child.File(fileTally)
	if f == nil {
		return nil, errors.New("inherited no tally")
	}
	defer func() { _ = f.Close() }()
	return openTally(f, child.Copies)
}

// worker is what the clients on one loop share. It belongs to that loop.
type worker struct {
	loop       *reactor.Loop
	log        *log.Logger
	server     *protocol.Server
	maxMessage int

	listener *reactor.Listener
	gate     *prefork.Gate
	conns    []*conn
	room     int    // how many conns there may be here
	most     int    // how many there may be in all workers
	tally    *tally // how many there are
	mine     *atomic.Int64
	hoard    hoard[*conn]

	out       []byte // replies under construction; free between two calls of the loop
	farewells farewells
	draining  bool
	deadline  reactor.Timer
	complaint time.Time // of the last refusal that was logged
}

func newWorker(loop *reactor.Loop, spec Spec, t *tally, index int, logger *log.Logger) *worker {
	return &worker{
		loop: loop, log: logger,
		server:     protocol.New(spec.Node.Name, spec.Version),
		maxMessage: int(spec.MaxMessage),
		room:       spec.MaxConnections,
		most:       spec.MaxConnections,
		tally:      t,
		mine:       t.of(index),
		hoard:      hoard[*conn]{most: budget},
		gate:       prefork.NewGate(prefork.Open, spec.MaxConnections, nil), // unless it is one of several
	}
}

// hear takes a message of the primary.
func (w *worker) hear(m prefork.Message) {
	var err error
	switch m.Kind {
	case prefork.MessageIntake:
		err = w.gate.Obey(m, len(w.conns), w.loop.Now())
	default:
		err = fmt.Errorf("unknown message %q", m.Kind)
	}
	if err != nil {
		w.log.Warn("message of the primary", "err", err)
	}
}

// listen takes a listening socket.
func (w *worker) listen(fd int) (err error) {
	if w.listener, err = w.loop.Listen(fd, w); err == nil {
		w.gate.Add(w.listener)
	}
	return err
}

// OnAccept takes a client in, or tells it that there are too many.
func (w *worker) OnAccept(fd int, _ netip.AddrPort) {
	c := &conn{worker: w, index: -1}
	full := w.mine.Add(1) > int64(w.room) || w.tally.total() > int64(w.most)
	if full {
		w.mine.Add(-1)
		if w.farewells.crowded() {
			_ = unix.Close(fd)
			return
		}
	}
	if err := w.loop.Attach(&c.Conn, fd, c); err != nil {
		w.complain("cannot serve a client", err)
		if !full {
			w.mine.Add(-1)
		}
		return
	}
	if full {
		w.complain("refused a client", errTooMany)
		c.refuse(mcp.CodeUnavailable, errTooMany.Error())
		return
	}
	c.index = int32(len(w.conns))
	w.conns = append(w.conns, c)
	w.gate.Look(len(w.conns), w.loop.Now())
}

var (
	errTooMany     = errors.New("the node has as many connections as it may have")
	errTooMuchHeld = errors.New("too much is held of what clients send and do not read")
)

// OnAcceptError reports that descriptors or memory have run out.
func (w *worker) OnAcceptError(err error) { w.complain("cannot accept clients", err) }

// complain logs what is likely to repeat, every ten seconds at most.
func (w *worker) complain(what string, err error) {
	if now := time.Now(); now.Sub(w.complaint) > 10*time.Second {
		w.complaint = now
		w.log.Warn(what, "err", err, "connections", len(w.conns))
	}
}

// remove forgets a connection that is closed.
func (w *worker) remove(c *conn) {
	if c.index < 0 {
		return
	}
	last := w.conns[len(w.conns)-1]
	w.conns[c.index] = last
	last.index = c.index
	w.conns[len(w.conns)-1] = nil
	w.conns = w.conns[:len(w.conns)-1]
	w.mine.Add(-1)
	w.gate.Look(len(w.conns), w.loop.Now())
	if w.draining && len(w.conns) == 0 {
		w.loop.Stop()
	}
}

// recycle keeps the memory of replies for the next ones, unless it has become large.
func (w *worker) recycle(out []byte) {
	if cap(out) <= 1<<20 {
		w.out = out[:0]
	} else {
		w.out = nil
	}
}
