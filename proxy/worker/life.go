package worker

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

// worker is the life of a hub with its frontends: what is in force, the heartbeat, and draining. All of it is on the loop.
type worker struct {
	*hub
	frontends []frontend
	listeners []*reactor.Listener

	deadline reactor.Timer // of draining
	pulse    reactor.Timer
	beatDue  int64 // when pulse should fire, to tell how late the loop is
	collects bool  // the garbage of its process is its own business
	thrifty  bool  // see collect
}

// frontend serves the clients of a protocol.
type frontend interface {
	// apply takes over a specification, as the hub has. Connections stay.
	apply(s *wire.WorkerSpec) error
	// displace ends what is connected to a port that has gone down, or takes it elsewhere.
	displace(from *port)
	// beat is the heartbeat.
	beat()
	// drain ends what would never end by itself.
	drain()
	// cutAll ends what is left when the time to drain is over.
	cutAll()
	// holdings adds the clients for whom something is in hand.
	holdings(all []holding) []holding
	// endEntries writes the access log's lines of what is under way, as the loop has ended.
	endEntries()
	// trim drops what is kept for reuse.
	trim()
}

// beginWorker makes a worker that accepts from listeners, by the names of their files, once its loop runs.
func beginWorker(h *hub, s wire.WorkerSpec, listeners map[string]int, acceptors map[string]reactor.Acceptor, frontends ...frontend) (*worker, error) {
	w := &worker{hub: h, frontends: frontends}
	if err := w.apply(s); err != nil {
		return nil, err
	}
	for name, fd := range listeners {
		l, err := w.loop.Listen(fd, acceptors[name])
		if err != nil {
			return nil, err
		}
		l.Patience(w.spec.Timeouts.Send)
		w.listeners = append(w.listeners, l)
		w.gate.Add(l)
	}
	w.cell.PID.Store(int64(os.Getpid()))
	w.beatDue = w.loop.Now()
	w.OnTimer(&w.pulse)
	return w, nil
}

// run lets the worker live, in a process of its own, until it is stopped.
func (w *worker) run() error {
	w.collects = true
	running, ended := context.WithCancel(context.Background())
	defer ended()
	go prefork.KeepSmall(running, func() { w.trimSoon(running) })
	err := w.loop.Run()
	w.closeAccess()
	return err
}

// apply takes over a specification. Connections stay.
func (w *worker) apply(s wire.WorkerSpec) error {
	w.syncNodes() // while the backends of slots that were freed are still known
	w.hub.apply(&s)
	var failed []error
	for _, f := range w.frontends {
		failed = append(failed, f.apply(&s))
	}
	w.syncNodes()
	for _, l := range w.listeners {
		l.Patience(w.spec.Timeouts.Send)
	}
	w.access.follow(w.spec.AccessLog.File, w.cell, w.log)
	return errors.Join(failed...)
}

// syncNodes closes what was connected to ports that have gone down.
func (w *worker) syncNodes() {
	for p := range w.fallen {
		for _, f := range w.frontends {
			f.displace(p)
		}
	}
}

// boundMemory ends those who hold most if there is too much in hand, every heartbeat.
func (w *worker) boundMemory() {
	if w.loop.Held() <= w.budget {
		return
	}
	var all []holding
	for _, f := range w.frontends {
		all = f.holdings(all)
	}
	w.relieve(all)
}

// closeAccess writes the last lines of the access log, those of what was cut off included, when the loop has ended.
func (w *worker) closeAccess() {
	for _, f := range w.frontends {
		f.endEntries()
	}
	w.access.close(w.loop.Now())
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
	w.hub.trim()
	for _, f := range w.frontends {
		f.trim()
	}
}

// cutTime is how long clients have, when the time to drain is over, to take what they are told then.
const cutTime = time.Second

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
	for _, f := range w.frontends {
		f.drain()
	}
	w.loop.Schedule(&w.deadline, timeout, w)
	w.endIfDrained()
}

// cutAll ends what is left when the time to drain is over.
func (w *worker) cutAll() {
	for _, f := range w.frontends {
		f.cutAll()
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
	w.loop.Schedule(&w.pulse, wire.Heartbeat, w)
	w.hub.beat(now)
	w.collect()
	w.boundMemory()
	for _, f := range w.frontends {
		f.beat()
	}
}
