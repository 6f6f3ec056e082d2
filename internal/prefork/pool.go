package prefork

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"syscall"
)

// ErrNotRunning says that a copy is between two lives. Its replacement gets Config.Hello.
var ErrNotRunning = errors.New("not running")

// ErrKilled says that copies did not stop in time.
var ErrKilled = errors.New("did not stop in time and were killed")

// ErrDismissed says that a copy has ended because it was not needed any more.
var ErrDismissed = errors.New("not needed any more")

// Pool keeps copies of this binary running until Stop. Its methods may be called from any
// goroutine.
type Pool struct {
	cfg   Config
	exe   string
	first Intake // of every copy

	ended  chan end     // from watch
	levels chan levelOf // from read

	stop, abort         chan struct{} // closed by Stop: ask the copies to end, make them
	stopOnce, abortOnce sync.Once
	done                chan struct{} // closed when every copy was reaped
	killed              int           // copies alive at abort; read after done

	mu      sync.Mutex
	running []*process // by index, nil between two lives
}

// Start starts the copies of a pool. It returns when all processes exist (not when they are ready
// for anything: let them send a message), or with an error and none of them. ctx bounds Start only;
// the pool lives until Stop.
//
// A copy that ends is replaced after Config.Backoff. A copy that does not read its control stream
// or breaks its framing is killed and replaced.
func Start(ctx context.Context, c Config) (*Pool, error) {
	if err := c.validate(); err != nil {
		return nil, err
	}
	exe, err := Executable()
	if err != nil {
		return nil, err
	}
	c = c.withDefaults()
	p := &Pool{
		cfg:     c,
		exe:     exe,
		ended:   make(chan end),
		levels:  make(chan levelOf),
		stop:    make(chan struct{}),
		abort:   make(chan struct{}),
		done:    make(chan struct{}),
		running: make([]*process, c.Most),
	}
	started := make(chan error, 1)
	go p.keep(ctx, started)
	if err := <-started; err != nil {
		<-p.done
		return nil, fmt.Errorf("%s: %w", c.Name, err)
	}
	return p, nil
}

// Send sends copy i a message: data as JSON, nothing for nil. It does not block; messages wait
// until the copy reads them. The error is [ErrNotRunning] between two lives of the copy, and
// [ErrBacklog] when too much waits already: the copy hangs, and is killed so that its replacement
// starts afresh. No copy ever runs on with messages missing.
func (p *Pool) Send(i int, kind string, data any) error {
	line, err := encode(kind, data)
	if err != nil {
		return fmt.Errorf("%s: %w", p.cfg.Name, err)
	}
	return p.sendLine(i, line)
}

// Broadcast sends every running copy a message. Copies that do not run get Config.Hello later;
// what else can go wrong is logged.
func (p *Pool) Broadcast(kind string, data any) {
	line, err := encode(kind, data)
	if err != nil {
		p.cfg.Log.Error("message not sent", "pool", p.cfg.Name, "kind", kind, "err", err)
		return
	}
	for i := range p.running {
		if err := p.sendLine(i, line); err != nil && !errors.Is(err, ErrNotRunning) {
			p.cfg.Log.Warn("message not sent", "pool", p.cfg.Name, "kind", kind, "err", err)
		}
	}
}

func (p *Pool) sendLine(i int, line []byte) error {
	q := p.process(i)
	if q == nil {
		return fmt.Errorf("%s: copy %d: %w", p.cfg.Name, i, ErrNotRunning)
	}
	err := q.stream.send(line)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, ErrBacklog):
		p.kill(q)
	default:
		err = ErrNotRunning // the stream breaks when the copy ends, a moment before that is noticed
	}
	return fmt.Errorf("%s: copy %d: %w", p.cfg.Name, i, err)
}

// PID is the process id of copy i, 0 between two lives.
func (p *Pool) PID(i int) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if q := p.running[i]; q != nil && q.proc != nil {
		return q.proc.Pid
	}
	return 0
}

// Kill kills copy i, for instance because it hangs; it is replaced like one that crashed.
func (p *Pool) Kill(i int) {
	if q := p.process(i); q != nil {
		p.kill(q)
	}
}

// Stop ends the pool: no more replacements, SIGTERM to every copy, SIGKILL to those that remain
// when ctx ends ([ErrKilled]). It returns when all are reaped and their OnExit has returned. It may
// be called again, also while it runs, to hasten the end with a shorter ctx.
func (p *Pool) Stop(ctx context.Context) error {
	p.stopOnce.Do(func() { close(p.stop) })
	select {
	case <-p.done:
	case <-ctx.Done():
		p.abortOnce.Do(func() { close(p.abort) })
		<-p.done
	}
	if p.killed > 0 {
		return fmt.Errorf("%s: %d copies %w", p.cfg.Name, p.killed, ErrKilled)
	}
	return nil
}

func (p *Pool) process(i int) *process {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.running[i]
}

func (p *Pool) publish(q *process) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.running[q.index] = q
}

func (p *Pool) withdraw(q *process) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.running[q.index] = nil
}

// kill ends one life of a copy. Once it was reaped this does nothing: os.Process knows.
func (p *Pool) kill(q *process) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if q.proc != nil {
		_ = q.proc.Kill()
	}
}

// signal sends all running copies signals.
func (p *Pool) signal(signals ...os.Signal) (n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, q := range p.running {
		if q == nil || q.proc == nil {
			continue
		}
		n++
		for _, s := range signals {
			_ = q.proc.Signal(s)
		}
	}
	return n
}

// terminate asks all copies to end. A frozen one must thaw to do so.
func (p *Pool) terminate() { p.signal(syscall.SIGTERM, syscall.SIGCONT) }

// dismiss asks copy i to end for good.
func (p *Pool) dismiss(i int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if q := p.running[i]; q != nil && q.proc != nil {
		q.dismissed.Store(true)
		_ = q.proc.Signal(syscall.SIGTERM)
	}
}
