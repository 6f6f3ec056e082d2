package prefork

import (
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/charmbracelet/log"
)

// Config describes a pool. Callbacks may use the pool except for Stop, which waits for them, and
// must return soon: their copy, OnStart all copies, are not looked after meanwhile.
type Config struct {
	Name   string   // for logs and errors
	Args   []string // arguments of a copy, e.g. {"lb", "worker"}; ps shows them after "erlmcp"
	Copies int      // to start with, at least 1, see the function [Copies]
	Env    []string // "KEY=value", added to this process's own

	// Apart has every copy lead a session of its own. Linux may share out processors by sessions (sched(7), autogroup), and
	// then copies that are in one have the share of one program together. No terminal and no signal to a group reaches them.
	Apart bool

	// Most is how many copies there may be. The pool grows when copies get full, see [Gate], and shrinks when
	// copies that were added were empty for Linger (zero means a minute). 0 means Copies: it does neither.
	Most   int
	Linger time.Duration

	Files   []File                // inherited by every copy
	PerLane func(lane int) []File // inherited by the copies of a lane, 0 … Copies−1; asked anew for every copy

	// Hello makes the first message for copy i, before anything sent with Send or Broadcast. What
	// is sent from the call on follows it, so a copy that starts while the state changes misses
	// nothing. Kind "" = no message.
	Hello func(i int) (kind string, data any)

	// OnStart is called after copy i was started, before its first OnMessage. The first time that
	// is before Start returned the pool: what a copy must be told belongs into Hello.
	OnStart func(i, pid int)
	// OnMessage is called for every message of copy i, on one goroutine a copy.
	OnMessage func(i int, m Message)
	// OnExit is called after copy i ended and its last message was delivered, and before its
	// replacement starts. err is nil for exit status 0, else usually an *exec.ExitError, and
	// [ErrDismissed] for a copy that is not replaced because it was not needed any more.
	OnExit func(i, pid int, err error)

	Backoff Backoff

	// Stdout and Stderr of the copies; nil = this process's own. A Writer that is not an *os.File
	// is fed by one goroutine a copy and must take that.
	Stdout, Stderr io.Writer

	Log *log.Logger // nil = silent
}

// withDefaults returns the configuration with every optional field set.
func (c Config) withDefaults() Config {
	c.Most = max(c.Most, c.Copies)
	if c.Linger <= 0 {
		c.Linger = time.Minute
	}
	if c.PerLane == nil {
		c.PerLane = func(int) []File { return nil }
	}
	if c.Hello == nil {
		c.Hello = func(int) (string, any) { return "", nil }
	}
	if c.OnStart == nil {
		c.OnStart = func(int, int) {}
	}
	if c.OnMessage == nil {
		c.OnMessage = func(int, Message) {}
	}
	if c.OnExit == nil {
		c.OnExit = func(int, int, error) {}
	}
	if c.Stdout == nil {
		c.Stdout = os.Stdout
	}
	if c.Stderr == nil {
		c.Stderr = os.Stderr
	}
	if c.Log == nil {
		c.Log = log.New(io.Discard)
	}
	c.Backoff = c.Backoff.withDefaults()
	return c
}

func (c Config) validate() error {
	switch {
	case c.Name == "":
		return errors.New("prefork: a pool needs a name")
	case c.Copies < 1:
		return fmt.Errorf("%s: %w", c.Name, ErrLimit)
	}
	if err := checkFiles(c.Files); err != nil {
		return fmt.Errorf("%s: %w", c.Name, err)
	}
	return nil
}
