package prefork

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"sync/atomic"
	"time"
)

// straggling is how long, after a process ended, the ends of its pipes and its control stream that
// others may still hold are waited for.
const straggling = time.Second

// process is one life of a copy.
type process struct {
	index   int
	stream  *stream
	cmd     *exec.Cmd
	started time.Time
	proc    *os.Process // nil until started; guarded by Pool.mu

	dismissed atomic.Bool // it was not needed any more
}

// spawn starts copy i of a lane. It runs on the pool's thread only.
func (p *Pool) spawn(i, lane int) error {
	files := append(slices.Clone(p.cfg.Files), p.cfg.PerLane(lane)...)
	if err := checkFiles(files); err != nil {
		return err
	}
	s, copysEnd, err := controlPair()
	if err != nil {
		return err
	}
	defer copysEnd.Close()
	s.hold()
	q := &process{index: i, stream: s}
	p.publish(q)
	if err := p.start(q, files, copysEnd); err != nil {
		p.withdraw(q)
		s.close()
		return err
	}
	p.cfg.OnStart(i, q.cmd.Process.Pid)
	p.cfg.Log.Debug("copy started", "pool", p.cfg.Name, "copy", i, "pid", q.cmd.Process.Pid)
	go p.watch(q)
	return nil
}

// start makes the greeting and executes the binary.
func (p *Pool) start(q *process, files []File, copysEnd *os.File) error {
	var hello []byte
	if kind, data := p.cfg.Hello(q.index); kind != "" {
		var err error
		if hello, err = encode(kind, data); err != nil {
			return err
		}
	}
	in := inheritance{Index: q.index, Copies: p.cfg.Most, Intake: p.first}
	open := []*os.File{copysEnd}
	for _, f := range files {
		in.Files = append(in.Files, f.Name)
		open = append(open, f.File)
	}
	env, err := in.environ()
	if err != nil {
		return err
	}
	q.cmd = &exec.Cmd{
		Path:        p.exe,
		Args:        append([]string{processName}, p.cfg.Args...),
		Env:         slices.Concat(os.Environ(), p.cfg.Env, []string{env}),
		Stdout:      p.cfg.Stdout,
		Stderr:      p.cfg.Stderr,
		ExtraFiles:  open,
		SysProcAttr: spawnAttr(p.cfg.Apart),
		WaitDelay:   straggling,
	}
	q.started = time.Now()
	if err := q.cmd.Start(); err != nil {
		return fmt.Errorf("start copy %d: %w", q.index, err)
	}
	p.mu.Lock()
	q.proc = q.cmd.Process
	p.mu.Unlock()
	if err := q.stream.release(hello); err != nil {
		_ = q.proc.Kill() // so much was sent since publish that the copy would miss some of it
	}
	return nil
}

// watch accompanies a process from its start to its end and reports that to the pool.
func (p *Pool) watch(q *process) {
	read := make(chan struct{})
	go func() {
		defer close(read)
		p.read(q)
	}()
	err := q.cmd.Wait()
	p.withdraw(q)
	// What it wrote before it ended is still to be read. Only a descendant that was forked before
	// Inherit can keep the stream open.
	select {
	case <-read:
	case <-time.After(straggling):
		_ = q.stream.conn.CloseRead()
		<-read
	}
	q.stream.close()
	if q.dismissed.Load() {
		err = ErrDismissed
	}
	p.cfg.OnExit(q.index, q.cmd.Process.Pid, err)
	p.ended <- end{q, err}
}

// read delivers the messages of a process.
func (p *Pool) read(q *process) {
	for {
		m, err := q.stream.receive()
		if err != nil {
			var malformed *malformedError
			if errors.As(err, &malformed) || errors.Is(err, errTooLarge) {
				p.cfg.Log.Error("copy killed", "pool", p.cfg.Name, "copy", q.index, "err", err)
				p.kill(q)
			}
			return
		}
		if m.Kind != messageLevel {
			p.cfg.OnMessage(q.index, m)
			continue
		}
		var level Level
		if err := json.Unmarshal(m.Data, &level); err == nil {
			p.levels <- levelOf{q, level} // until its end was taken note of, this is received
		}
	}
}
