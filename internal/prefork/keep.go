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

// levelOf reports how full a copy is.
type levelOf struct {
	process *process
	level   Level
}

// vacancy is the back-off of one copy.
type vacancy struct {
	wait time.Duration // the latest one, 0 = none yet
	due  time.Time     // of the replacement, zero = none is due
}

// keeper is the pool's state machine.
type keeper struct {
	*Pool
	lanes     *lanes
	live      int       // processes
	vacancies []vacancy // by copy
	barren    time.Time // when growing is tried again, zero = now
}

// barrenTime is how long a pool that could not start another copy waits before it tries again.
const barrenTime = time.Second

// keep starts the copies, replaces those that end, adds and dismisses some, and returns when Stop was called and all
// are gone.
//
// All forks happen here, and the goroutine is locked to its thread for life: the kernel sends the
// death signal of a copy when the thread that forked it ends, not the process, and the Go runtime
// is free to end any other thread.
func (p *Pool) keep(ctx context.Context, started chan<- error) {
	runtime.LockOSThread()
	defer close(p.done)

	k := &keeper{Pool: p, lanes: newLanes(p.cfg.Copies, p.cfg.Most), vacancies: make([]vacancy, p.cfg.Most)}
	p.first = k.lanes.first()
	err := k.spawnAll(ctx)
	stopping := err != nil
	if stopping {
		p.signal(syscall.SIGKILL)
	}
	started <- err

	stop, abort := p.stop, p.abort
	for k.live > 0 || !stopping {
		var due <-chan time.Time
		if at := k.next(); !stopping && !at.IsZero() {
			due = time.After(time.Until(at))
		}
		select {
		case e := <-p.ended:
			k.live--
			if !stopping {
				k.lost(e)
			}
		case l := <-p.levels:
			if !stopping {
				k.heard(l)
			}
		case <-due:
			k.fill(time.Now())
			k.regrow(time.Now())
			k.thin(time.Now())
		case <-stop:
			stop, stopping = nil, true
			p.terminate()
		case <-abort:
			stop, abort, stopping = nil, nil, true
			p.killed = p.signal(syscall.SIGKILL)
		}
	}
}

// spawnAll starts the first copies until ctx ends or one fails.
func (k *keeper) spawnAll(ctx context.Context) error {
	for i := range k.cfg.Copies {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := k.spawn(i, i); err != nil {
			return err
		}
	}
	return nil
}

// spawn starts copy i of a lane, and has its lane use it.
func (k *keeper) spawn(i, lane int) error {
	if err := k.Pool.spawn(i, lane); err != nil {
		return err
	}
	k.live++
	k.lanes.occupy(i, lane)
	k.assign(lane)
	return nil
}

// assign tells the copies of a lane what to take.
func (k *keeper) assign(lane int) {
	if k.lanes.fixed() {
		return
	}
	k.lanes.assign(lane, func(i int, intake Intake) {
		_ = k.Send(i, MessageIntake, intake) // who does not run is replaced, and told then
	})
}

// heard takes note of how full a copy is.
func (k *keeper) heard(l levelOf) {
	i := l.process.index
	if k.process(i) != l.process {
		return // its last words
	}
	k.lanes.hear(i, l.level, time.Now())
	k.settle(k.lanes.seats[i].lane)
}

// settle adds a copy to a lane that needs one, and tells the copies what to take.
func (k *keeper) settle(lane int) {
	if k.lanes.wanting(lane) && k.barren.IsZero() {
		k.grow(lane)
	}
	k.assign(lane)
}

// grow adds a copy to a lane, if there may be another one.
func (k *keeper) grow(lane int) {
	i := k.lanes.vacant()
	if i < 0 {
		return
	}
	if err := k.spawn(i, lane); err != nil {
		k.barren = time.Now().Add(barrenTime)
		k.cfg.Log.Error("no further copy", "pool", k.cfg.Name, "copies", k.live, "err", err, "retry_in", barrenTime)
		return
	}
	k.cfg.Log.Info("added a copy", "pool", k.cfg.Name, "copy", i, "lane", lane, "copies", k.live)
}

// regrow tries again to grow where that failed.
func (k *keeper) regrow(now time.Time) {
	if k.barren.IsZero() || k.barren.After(now) {
		return
	}
	k.barren = time.Time{}
	k.settleAll()
}

func (k *keeper) settleAll() {
	for lane := range k.lanes.n {
		k.settle(lane)
	}
}

// thin dismisses a copy that was idle for long enough.
func (k *keeper) thin(now time.Time) {
	i, since := k.lanes.superfluous()
	if i < 0 || since.Add(k.cfg.Linger).After(now) {
		return
	}
	k.lanes.seats[i].leaving = true
	k.cfg.Log.Info("dismissed a copy", "pool", k.cfg.Name, "copy", i)
	k.dismiss(i)
}

// lost takes note of the end of a process.
func (k *keeper) lost(e end) {
	i := e.process.index
	lane := k.lanes.seats[i].lane
	if e.process.dismissed.Load() {
		k.lanes.ended(i, false)
		k.settleAll() // another lane may have waited for the place
		return
	}
	k.lanes.ended(i, true)
	v := &k.vacancies[i]
	v.postpone(k.cfg.Backoff, time.Since(e.process.started))
	k.cfg.Log.Warn("copy ended", "pool", k.cfg.Name, "copy", i,
		"pid", e.process.cmd.Process.Pid, "err", e.err, "restart_in", v.wait)
	k.settle(lane)
}

// fill starts the replacements that are due.
func (k *keeper) fill(now time.Time) {
	for i := range k.vacancies {
		v := &k.vacancies[i]
		if v.due.IsZero() || v.due.After(now) {
			continue
		}
		if err := k.spawn(i, k.lanes.seats[i].lane); err != nil {
			v.postpone(k.cfg.Backoff, 0)
			k.cfg.Log.Error("copy not restarted", "pool", k.cfg.Name, "copy", i, "err", err, "retry_in", v.wait)
			continue
		}
		v.due = time.Time{}
	}
}

// postpone sets when the replacement of a copy that lived for lived is due.
func (v *vacancy) postpone(b Backoff, lived time.Duration) {
	v.wait = b.next(v.wait, lived)
	v.due = time.Now().Add(v.wait)
}

// next is when there is something to do, zero when nothing is.
func (k *keeper) next() (at time.Time) {
	sooner := func(t time.Time) {
		if !t.IsZero() && (at.IsZero() || t.Before(at)) {
			at = t
		}
	}
	for _, v := range k.vacancies {
		sooner(v.due)
	}
	sooner(k.barren)
	if i, since := k.lanes.superfluous(); i >= 0 {
		sooner(since.Add(k.cfg.Linger))
	}
	return at
}
