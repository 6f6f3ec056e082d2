package prefork

import (
	"context"
	"runtime"
	"syscall"
	"time"
)

// end reports the end of a process.
type end struct {
	process *process
	err     error
}

// vacancy is the back-off of one copy.
type vacancy struct {
	wait time.Duration // the latest one, 0 = none yet
	due  time.Time     // of the replacement, zero = none is due
}

// keep is the pool's state machine. It starts the copies, replaces those that end, and returns when
// Stop was called and all are gone.
//
// All forks happen here, and the goroutine is locked to its thread for life: the kernel sends the
// death signal of a copy when the thread that forked it ends, not the process, and the Go runtime
// is free to end any other thread.
func (p *Pool) keep(ctx context.Context, started chan<- error) {
	runtime.LockOSThread()
	defer close(p.done)

	live, err := p.spawnAll(ctx)
	stopping := err != nil
	if stopping {
		p.signal(syscall.SIGKILL)
	}
	started <- err

	stop, abort := p.stop, p.abort
	vacancies := make([]vacancy, p.cfg.Copies)
	for live > 0 || !stopping {
		var due <-chan time.Time
		if at := earliest(vacancies); !stopping && !at.IsZero() {
			due = time.After(time.Until(at))
		}
		select {
		case e := <-p.ended:
			live--
			if !stopping {
				v := &vacancies[e.process.index]
				v.postpone(p.cfg.Backoff, time.Since(e.process.started))
				p.cfg.Log.Warn("copy ended", "pool", p.cfg.Name, "copy", e.process.index,
					"pid", e.process.cmd.Process.Pid, "err", e.err, "restart_in", v.wait)
			}
		case <-due:
			live += p.fill(vacancies, time.Now())
		case <-stop:
			stop, stopping = nil, true
			p.terminate()
		case <-abort:
			stop, abort, stopping = nil, nil, true
			p.killed = p.signal(syscall.SIGKILL)
		}
	}
}

// spawnAll starts every copy until ctx ends or one fails. It returns how many live.
func (p *Pool) spawnAll(ctx context.Context) (int, error) {
	for i := range p.cfg.Copies {
		if err := ctx.Err(); err != nil {
			return i, err
		}
		if err := p.spawn(i); err != nil {
			return i, err
		}
	}
	return p.cfg.Copies, nil
}

// fill starts the replacements that are due and returns how many it could start.
func (p *Pool) fill(vacancies []vacancy, now time.Time) (n int) {
	for i := range vacancies {
		v := &vacancies[i]
		if v.due.IsZero() || v.due.After(now) {
			continue
		}
		if err := p.spawn(i); err != nil {
			v.postpone(p.cfg.Backoff, 0)
			p.cfg.Log.Error("copy not restarted", "pool", p.cfg.Name, "copy", i, "err", err, "retry_in", v.wait)
			continue
		}
		v.due = time.Time{}
		n++
	}
	return n
}

// postpone sets when the replacement of a copy that lived for lived is due.
func (v *vacancy) postpone(b Backoff, lived time.Duration) {
	v.wait = b.next(v.wait, lived)
	v.due = time.Now().Add(v.wait)
}

// earliest is when the next replacement is due, zero when none is.
func earliest(vacancies []vacancy) (at time.Time) {
	for _, v := range vacancies {
		if !v.due.IsZero() && (at.IsZero() || v.due.Before(at)) {
			at = v.due
		}
	}
	return at
}
