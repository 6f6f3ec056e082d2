package hub

import (
	"context"
	"errors"
	"os"
	"runtime/debug"
	"time"

	"github.com/erlmcp/erlmcp/internal/mono"
	"github.com/erlmcp/erlmcp/internal/prefork"
	"github.com/erlmcp/erlmcp/internal/reactor"
	"github.com/erlmcp/erlmcp/proxy/internal/wire"
)

// Worker is the life of a hub with its frontends: what is in force, the heartbeat, and draining. All of it is on the loop.
type Worker struct {
	*Hub
	frontends []Frontend
	listeners []*reactor.Listener

	deadline reactor.Timer // of draining
	pulse    reactor.Timer
	beatDue  int64 // when pulse should fire, to tell how late the loop is
	collects bool  // the garbage of its process is its own business
	thrifty  bool  // see collect
}

// Frontend serves the clients of a protocol.
type Frontend interface {
	// Acceptors are who takes newcomers, by the names of the listeners.
	Acceptors() map[string]reactor.Acceptor
	// Apply takes over a specification, as the hub has. Connections stay.
	Apply(s *wire.WorkerSpec) error
	// Displace ends what is connected to a port that has gone down, or takes it elsewhere.
	Displace(from *Port)
	// Beat is the heartbeat.
	Beat()
	// Drain ends what would never end by itself.
	Drain()
	// CutAll ends what is left when the time to drain is over.
	CutAll()
	// Holdings adds the clients for whom something is in hand.
	Holdings(all []Holding) []Holding
	// EndEntries writes the access log's lines of what is under way, as the loop has ended.
	EndEntries()
	// Trim drops what is kept for reuse.
	Trim()
}

// NewWorker makes a worker that accepts from listeners, by their names, once its loop runs.
func NewWorker(h *Hub, s wire.WorkerSpec, listeners map[string]int, frontends ...Frontend) (*Worker, error) {
	w := &Worker{Hub: h, frontends: frontends}
	if err := w.Apply(s); err != nil {
		return nil, err
	}
	for _, f := range frontends {
		for name, acceptor := range f.Acceptors() {
			if fd, ok := listeners[name]; ok {
				if err := w.listen(fd, acceptor); err != nil {
					return nil, err
				}
			}
		}
	}
	w.Cell.PID.Store(int64(os.Getpid()))
	w.beatDue = w.Loop.Now()
	w.OnTimer(&w.pulse)
	return w, nil
}

func (w *Worker) listen(fd int, acceptor reactor.Acceptor) error {
	l, err := w.Loop.Listen(fd, acceptor)
	if err != nil {
		return err
	}
	l.Patience(w.Spec.Timeouts.Send)
	w.listeners = append(w.listeners, l)
	w.Gate.Add(l)
	return nil
}

// Run lets the worker live, in a process of its own, until it is stopped.
func (w *Worker) Run() error {
	w.collects = true
	running, ended := context.WithCancel(context.Background())
	defer ended()
	go prefork.KeepSmall(running, func() { w.trimSoon(running) })
	err := w.Loop.Run()
	w.CloseAccess()
	return err
}

// Apply takes over a specification. Connections stay.
func (w *Worker) Apply(s wire.WorkerSpec) error {
	w.SyncNodes() // while the backends of slots that were freed are still known
	w.Hub.apply(&s)
	var failed []error
	for _, f := range w.frontends {
		failed = append(failed, f.Apply(&s))
	}
	w.SyncNodes()
	for _, l := range w.listeners {
		l.Patience(w.Spec.Timeouts.Send)
	}
	w.Access.Follow(w.Spec.AccessLog.File, w.Cell, w.Log)
	return errors.Join(failed...)
}

// SyncNodes closes what was connected to ports that have gone down.
func (w *Worker) SyncNodes() {
	for p := range w.fallen {
		for _, f := range w.frontends {
			f.Displace(p)
		}
	}
}

// boundMemory ends those who hold most if there is too much in hand, every heartbeat.
func (w *Worker) boundMemory() {
	if w.Loop.Held() <= w.Budget {
		return
	}
	var all []Holding
	for _, f := range w.frontends {
		all = f.Holdings(all)
	}
	w.relieve(all)
}

// CloseAccess writes the last lines of the access log, those of what was cut off included, when the loop has ended.
func (w *Worker) CloseAccess() {
	for _, f := range w.frontends {
		f.EndEntries()
	}
	w.Access.Close(w.Loop.Now())
}

const (
	// manyClients make a heap that grows with them only: to collect it often is cheaper than to let it double. That of few
	// clients is smaller than what handshakes throw away in a moment, and would be collected all the time.
	manyClients   = 2000
	thriftPercent = 25
)

// collect adapts how often garbage is collected to the number of clients, every heartbeat.
func (w *Worker) collect() {
	thrifty := w.Open >= manyClients || w.thrifty && w.Open > manyClients/2
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
func (w *Worker) trimSoon(running context.Context) {
	done := make(chan struct{})
	w.Loop.Post(func() {
		w.trim()
		close(done)
	})
	select {
	case <-done:
	case <-running.Done():
	}
}

// trim drops what is kept for reuse, which may be as much as the busiest moment took.
func (w *Worker) trim() {
	w.Hub.trim()
	for _, f := range w.frontends {
		f.Trim()
	}
}

// cutTime is how long clients have, when the time to drain is over, to take what they are told then.
const cutTime = time.Second

// Drain stops accepting, ends what would never end by itself, and the loop when the last client has
// gone. After timeout, what is left is cut.
func (w *Worker) Drain(timeout time.Duration) {
	if w.Draining {
		return
	}
	w.Draining = true
	for _, l := range w.listeners {
		l.Close()
	}
	for _, f := range w.frontends {
		f.Drain()
	}
	w.Loop.Schedule(&w.deadline, timeout, w)
	w.EndIfDrained()
}

// CutAll ends what is left when the time to drain is over.
func (w *Worker) CutAll() {
	for _, f := range w.frontends {
		f.CutAll()
	}
}

// OnTimer is the heartbeat, or the end of draining.
func (w *Worker) OnTimer(t *reactor.Timer) {
	now := mono.Now()
	if t == &w.deadline {
		if w.Ending {
			w.Report(wire.MessageDrained, nil)
			w.Stop()
			return
		}
		w.Ending = true
		w.CutAll()
		w.Loop.Schedule(&w.deadline, cutTime, w)
		w.EndIfDrained()
		return
	}
	w.Cell.HeartbeatNs.Store(now)
	w.Cell.LoopLagNs.Store(max(0, now-w.beatDue))
	w.beatDue = now + int64(wire.Heartbeat)
	w.Loop.Schedule(&w.pulse, wire.Heartbeat, w)
	w.Hub.beat(now)
	w.collect()
	w.boundMemory()
	for _, f := range w.frontends {
		f.Beat()
	}
}
