package reactor

import (
	"runtime"
	"sync"
	"time"

	"github.com/erlmcp/erlmcp/internal/mono"
)

// Options configure a Loop. The zero value is good.
type Options struct {
	// ScratchBytes is how much one read takes at most. 0 means 64 KiB.
	ScratchBytes int
}

// A Loop runs connections, listeners and timers on one thread.
type Loop struct {
	poller  *poller
	wheel   wheel
	pool    pool
	scratch []byte
	opened  []byte // what a layer made of scratch
	now     int64

	conns     []*Conn          // by descriptor
	layers    map[int32]*layer // likewise
	listeners []*Listener      // few
	ready     []*Conn          // have something to do without a new event
	spare     []*Conn          // the ready list of the turn before, to be filled again
	dying     []dying

	mu      sync.Mutex
	posted  []func()
	running []func() // the posted list of the turn before
	stopped bool
}

// dying is a connection closed in this turn.
type dying struct {
	conn *Conn
	err  error
}

// event is what a poller says of a descriptor; fd -1 is a wake-up.
type event struct {
	fd                 int
	readable, writable bool
	eof                bool // the peer's end of stream is (or may be) waiting behind the data
	failed             bool // the socket has an error
}

// NewLoop makes a loop. It holds descriptors until Run has returned.
func NewLoop(o Options) (*Loop, error) {
	if o.ScratchBytes == 0 {
		o.ScratchBytes = 64 << 10
	}
	p, err := newPoller()
	if err != nil {
		return nil, err
	}
	l := &Loop{poller: p, scratch: make([]byte, o.ScratchBytes), layers: make(map[int32]*layer), now: mono.Now()}
	l.wheel.now = l.now / tick
	return l, nil
}

// Now returns the time of this turn on the machine's monotonic clock
// (internal/mono), in nanoseconds.
func (l *Loop) Now() int64 { return l.now }

// Post has fn run on the loop, in a later turn. Any goroutine may call it.
// After Stop, fn is dropped.
func (l *Loop) Post(fn func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.stopped {
		return
	}
	l.posted = append(l.posted, fn)
	if len(l.posted) == 1 {
		l.poller.wake() // under the lock: Run closes the poller only after stopped is set
	}
}

// Stop makes Run close every connection and return. Any goroutine may call it,
// any number of times, also before Run.
func (l *Loop) Stop() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.stopped {
		l.stopped = true
		l.poller.wake()
	}
}

// Schedule has e told after d, and not earlier. A timer that is pending is
// moved. The resolution is a millisecond.
func (l *Loop) Schedule(t *Timer, d time.Duration, e Expirer) {
	l.wheel.schedule(t, max((l.now+int64(d)+tick-1)/tick, l.now/tick+1), e)
}

// Cancel stops a timer; it may be one that is not pending.
func (l *Loop) Cancel(t *Timer) {
	if t.pending {
		l.wheel.unlink(t)
	}
}

// Trim drops what is kept for reuse.
func (l *Loop) Trim() { l.pool = pool{lent: l.pool.lent, spent: l.pool.spent} }

// Held is how many bytes of buffers are in use, for what was not consumed or not written yet.
func (l *Loop) Held() int { return l.pool.lent }

// Run runs the loop on the calling goroutine until Stop. Every connection has
// been closed, with OnClose called, when it returns. It may be called once.
func (l *Loop) Run() error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var err error
	for err == nil && !l.isStopped() {
		err = l.turn()
	}
	l.shutdown()
	return err
}

func (l *Loop) isStopped() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.stopped
}

func (l *Loop) turn() error {
	n, err := l.poller.wait(l.timeout())
	if err != nil {
		return err
	}
	l.now = mono.Now()
	// Ends come first: what else happens in this turn must not use a connection that is known to be over.
	for i := range n {
		if ev := l.poller.event(i); ev.eof || ev.failed {
			l.dispatch(ev)
		}
	}
	for i := range n {
		if ev := l.poller.event(i); !ev.eof && !ev.failed {
			l.dispatch(ev)
		}
	}
	l.runReady()
	l.wheel.advance(l.now / tick)
	l.runPosted()
	l.bury()
	return nil
}

func (l *Loop) dispatch(ev event) {
	if ev.fd < 0 {
		return
	}
	if c := l.conn(ev.fd); c != nil {
		c.onEvent(ev)
	} else if ln := l.listener(ev.fd); ln != nil {
		ln.accept()
	}
}

// timeout is how long this turn may wait, in milliseconds; -1 is for ever.
func (l *Loop) timeout() int {
	if len(l.ready) > 0 || len(l.dying) > 0 {
		return 0
	}
	at, ok := l.wheel.next()
	if !ok {
		return -1
	}
	wait := at*tick - mono.Now()
	return int(max(0, min((wait+tick-1)/tick, 1<<30)))
}

func (l *Loop) runReady() {
	if len(l.ready) == 0 {
		return
	}
	list := l.ready
	l.ready = l.spare[:0]
	for i, c := range list {
		list[i] = nil
		c.flags &^= flagQueued
		c.read()
	}
	l.spare = list
}

func (l *Loop) runPosted() {
	l.mu.Lock()
	list := l.posted
	l.posted = l.running[:0]
	l.mu.Unlock()
	for i, fn := range list {
		list[i] = nil
		fn()
	}
	l.running = list
}

// bury gives what this turn's closed connections had back and tells
// their handlers, who may close more.
func (l *Loop) bury() {
	for i := 0; i < len(l.dying); i++ {
		c, err := l.dying[i].conn, l.dying[i].err
		l.dying[i] = dying{}
		l.conns[c.fd] = nil
		if c.has(flagLayered) {
			delete(l.layers, c.fd)
		}
		closeFD(int(c.fd))
		h := c.handler
		c.flags = 0
		h.OnClose(c, err)
	}
	l.dying = l.dying[:0]
	l.pool.settle()
}

func (l *Loop) shutdown() {
	l.Stop() // also when the poller failed: nothing may be posted any more
	for _, ln := range l.listeners {
		closeFD(ln.fd)
	}
	l.listeners = nil
	for _, c := range l.conns {
		if c != nil {
			c.Close()
		}
	}
	l.bury()
	l.mu.Lock() // a Post that saw the loop alive may still be waking it
	l.poller.close()
	l.mu.Unlock()
}

func (l *Loop) conn(fd int) *Conn {
	if fd < len(l.conns) {
		return l.conns[fd]
	}
	return nil
}

func (l *Loop) listener(fd int) *Listener {
	for _, ln := range l.listeners {
		if ln.fd == fd {
			return ln
		}
	}
	return nil
}

// adopt enters a connection under its descriptor.
func (l *Loop) adopt(c *Conn) {
	for int(c.fd) >= len(l.conns) {
		l.conns = append(l.conns, make([]*Conn, max(64, len(l.conns)))...)
	}
	l.conns[c.fd] = c
}
