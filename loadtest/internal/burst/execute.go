package burst

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"time"

	"github.com/erlmcp/erlmcp/internal/prefork"
	"github.com/erlmcp/erlmcp/loadtest/internal/ask"
)

// command is a program that is to be run.
type command struct {
	name     string // for people
	path     string
	argv0    string // empty: the path
	args     []string
	stdin    []byte
	patience time.Duration
	most     int // bytes that it may print
}

// output is what a program has left.
type output struct {
	stdout []byte
	stderr string // its beginning
	use    Process
}

// ProgramError says how a program failed.
type ProgramError struct {
	Program string
	Err     error
	Said    string // by the program
}

func (e *ProgramError) Error() string {
	text := fmt.Sprintf("%s failed: %v", e.Program, e.Err)
	if e.Said != "" {
		text += ": " + e.Said
	}
	return text
}

func (e *ProgramError) Unwrap() error { return e.Err }

// straggling is how long the pipes of a program that has ended are read on.
const straggling = time.Second

var errFlood = errors.New("it prints without end")

// run runs the program to its end. The end of the context ends it, with what it has started.
func (c *command) run(parent context.Context) (output, error) {
	if _, err := prefork.Limit(); err != nil { // which the program inherits
		return output{}, err
	}
	ctx, stop := context.WithCancelCause(parent)
	defer stop(nil)
	ctx, cancel := context.WithTimeoutCause(ctx, c.patience, fmt.Errorf("it did not end within %s", c.patience))
	defer cancel()
	stdout := &bounded{most: c.most, full: func() { stop(errFlood) }}
	stderr := &beginning{}
	p := exec.CommandContext(ctx, c.path, c.args...)
	if c.argv0 != "" {
		p.Args[0] = c.argv0
	}
	p.Env = append(os.Environ(), "LC_ALL=C") // numbers with points
	p.Stdin, p.Stdout, p.Stderr = bytes.NewReader(c.stdin), stdout, stderr
	p.SysProcAttr, p.WaitDelay = attributes(), straggling
	p.Cancel = func() error { return syscall.Kill(-p.Process.Pid, syscall.SIGKILL) } // its group
	// The kernel ends the program with the thread that has started it.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	err := p.Run()
	o := output{stdout.taken, stderr.String(), used(p.ProcessState)}
	switch {
	case parent.Err() != nil:
		return o, context.Cause(parent)
	case ctx.Err() != nil:
		err = context.Cause(ctx)
	}
	if err != nil {
		return o, &ProgramError{c.name, err, ask.Clean(o.stderr)}
	}
	return o, nil
}

// used is what a process has used in its life.
func used(s *os.ProcessState) (p Process) {
	if s == nil {
		return p
	}
	p.CPU = s.UserTime() + s.SystemTime()
	if r, ok := s.SysUsage().(*syscall.Rusage); ok {
		p.RSSBytes = r.Maxrss
		if runtime.GOOS == "linux" {
			p.RSSBytes <<= 10
		}
	}
	return p
}

// bounded takes so many bytes.
type bounded struct {
	taken []byte
	most  int
	full  func()
}

func (b *bounded) Write(p []byte) (int, error) {
	if len(b.taken)+len(p) > b.most {
		b.full()
		return 0, errFlood
	}
	b.taken = append(b.taken, p...)
	return len(p), nil
}

// beginning keeps what is said first.
type beginning struct{ text []byte }

const mostSaid = 2 << 10

func (b *beginning) Write(p []byte) (int, error) {
	b.text = append(b.text, p[:min(len(p), mostSaid-len(b.text))]...)
	return len(p), nil
}

func (b *beginning) String() string { return string(b.text) }
