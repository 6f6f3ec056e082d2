package node

import (
	"time"

	"golang.org/x/sys/unix"

	"github.com/erlmcp/erlmcp/internal/reactor"
)

const (
	// drainTimeout is how long a worker goes on answering what was asked before it was told to stop.
	drainTimeout = 10 * time.Second

	// linger is how long a connection that is leaving waits for the client to close it.
	linger = time.Second
)

// drain takes no more clients, answers what has been asked, and stops the loop.
func (w *worker) drain() {
	if w.draining {
		return
	}
	w.draining = true
	w.listener.Close()
	if len(w.conns) == 0 {
		w.loop.Stop()
		return
	}
	w.loop.Schedule(&w.deadline, drainTimeout, w)
	for _, c := range w.conns {
		c.finish()
	}
}

// OnTimer ends a drain that takes too long.
func (w *worker) OnTimer(*reactor.Timer) { w.loop.Stop() }

// unread reports whether input waits in the kernel.
func unread(fd int) bool {
	var b [1]byte
	n, _, err := unix.Recvfrom(fd, b[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
	return err == nil && n > 0
}

// farewells are the connections that are leaving, in the order of their deadlines. Some may be closed
// already.
type farewells struct {
	reactor.Timer
	queue []parting
}

type parting struct {
	conn *conn
	at   int64 // when it is closed, on the loop's clock
}

// maxFarewells is how many clients that are one too many may be leaving at a time.
const maxFarewells = 128

// crowded reports whether there is no time for politeness.
func (f *farewells) crowded() bool { return len(f.queue) >= maxFarewells }

// farewell closes a connection that is leaving if the client does not.
func (w *worker) farewell(c *conn) {
	f := &w.farewells
	f.queue = append(f.queue, parting{c, w.loop.Now() + int64(linger)})
	if !f.Pending() {
		w.loop.Schedule(&f.Timer, linger, f)
	}
}

// OnTimer closes those whose time is up.
func (f *farewells) OnTimer(*reactor.Timer) {
	w := f.queue[0].conn.worker
	n := 0
	for n < len(f.queue) && f.queue[n].at <= w.loop.Now() {
		f.queue[n].conn.Close()
		n++
	}
	left := copy(f.queue, f.queue[n:])
	clear(f.queue[left:])
	f.queue = f.queue[:left]
	if left > 0 {
		w.loop.Schedule(&f.Timer, time.Duration(f.queue[0].at-w.loop.Now()), f)
	}
}
