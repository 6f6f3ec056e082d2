// Package daemon starts a copy of this binary in the background and waits until it is up.
//
// Starter and daemon share one pipe. The daemon writes one JSON object to it, {"ready": true} or
// its error, and closes it; an end of the pipe without a word means that it died.
package daemon

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/erlmcp/erlmcp/internal/control"
	"github.com/erlmcp/erlmcp/internal/prefork"
)

// Options say what to start.
type Options struct {
	Args    []string      // command line without the program's name; it shows in ps
	Env     []string      // added to this process's environment
	Input   []byte        // what the daemon reads from its standard input; nil is /dev/null
	LogFile string        // standard output and error are appended here; lies in a state directory
	Timeout time.Duration // until ready; 0 is a minute
	Grace   time.Duration // between SIGTERM and SIGKILL for a daemon that is not wanted any more; 0 is 15 s
}

const (
	defaultTimeout = time.Minute
	defaultGrace   = 15 * time.Second
	quotedLines    = 10
)

// Report is what the daemon tells its starter, and whoever waits for [Become].
type Report struct {
	Ready   bool   `json:"ready,omitempty"`
	Message string `json:"message,omitempty"`
	Hint    string `json:"hint,omitempty"`
	Exit    int    `json:"exit,omitempty"`
}

// Err is why the daemon did not come up, nil if it did: an *[Error].
func (r *Report) Err() error {
	if r.Ready {
		return nil
	}
	return &Error{Message: r.Message, Advice: r.Hint, Exit: r.Exit}
}

// Error says why a daemon did not come up.
type Error struct {
	Message string // the daemon's own, or how it died
	Advice  string // the daemon's own hint
	Exit    int    // the exit code the daemon asked for; 0 means 1
	Log     string // the last lines it wrote, when it died without a word
}

func (e *Error) Error() string {
	if e.Log == "" {
		return e.Message
	}
	return e.Message + "; it wrote:\n" + e.Log
}

// Hint is the daemon's advice.
func (e *Error) Hint() string { return e.Advice }

// ExitCode is what the command that started it ends with.
func (e *Error) ExitCode() int { return max(e.Exit, 1) }

// Start executes this binary in a session of its own, with the root directory as working directory,
// and returns when the daemon calls [Ready]. When it calls [Fail] or dies, the error is an
// *[Error]. When ctx ends first, the daemon is told to stop, waited for, and ctx's error returned.
func Start(ctx context.Context, o Options) (pid int, err error) {
	log, err := openLog(o.LogFile)
	if err != nil {
		return 0, err
	}
	defer log.Close()
	begin, err := log.Seek(0, io.SeekEnd)
	if err != nil {
		return 0, fmt.Errorf("open log: %w", err)
	}
	cmd, err := command(o)
	if err != nil {
		return 0, err
	}
	cmd.Stdout, cmd.Stderr = log, log
	reports, theirs, err := os.Pipe()
	if err != nil {
		return 0, fmt.Errorf("start daemon: %w", err)
	}
	defer reports.Close()
	cmd.ExtraFiles = []*os.File{theirs}
	err = cmd.Start()
	theirs.Close()
	if err != nil {
		return 0, fmt.Errorf("start daemon: %w", err)
	}
	p := process{cmd.Process, cmp.Or(o.Grace, defaultGrace), make(chan struct{})}
	go func() {
		_ = cmd.Wait() // reaps it, also long after Start
		close(p.ended)
	}()
	if err := p.await(ctx, reports, cmp.Or(o.Timeout, defaultTimeout)); err != nil {
		var silent *Error
		if errors.As(err, &silent) && silent.Message == "" {
			silent.Message = fmt.Sprintf("%s (pid %d) died before it was ready: %s", cmd.Args[0], p.Pid, cmd.ProcessState)
			silent.Log = lastLines(log, begin)
		}
		return 0, err
	}
	return p.Pid, nil
}

// openLog opens the log for appending and for quoting from it.
func openLog(path string) (*os.File, error) {
	if err := control.PrepareDir(filepath.Dir(path)); err != nil {
		return nil, err
	}
	log, err := os.OpenFile(path, os.O_RDWR|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open log: %w", err)
	}
	return log, nil
}

func command(o Options) (*exec.Cmd, error) {
	path, err := prefork.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(path)
	cmd.Args = append([]string{"erlmcp"}, o.Args...)
	cmd.Env = append(append(os.Environ(), o.Env...), fmt.Sprintf("%s=%d", reportEnv, reportFD))
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if o.Input != nil {
		cmd.Stdin = bytes.NewReader(o.Input)
	}
	return cmd, nil
}

type process struct {
	*os.Process
	grace time.Duration // see Options
	ended chan struct{} // closed when it is reaped
}

// await returns nil when the daemon is ready; otherwise the daemon has ended. An *Error without a
// message means that it died without a word.
func (p process) await(ctx context.Context, reports io.Reader, timeout time.Duration) error {
	said := make(chan Report, 1)
	go func() {
		var r Report
		_ = json.NewDecoder(reports).Decode(&r) // nothing said is the zero Report
		said <- r
	}()
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	select {
	case r := <-said:
		err := r.Err()
		if err != nil {
			p.stop() // it is ending
		}
		return err
	case <-timer.C:
		p.stop()
		return &Error{Message: fmt.Sprintf("daemon was not ready within %v and was stopped", timeout)}
	case <-ctx.Done():
		p.stop()
		return ctx.Err()
	}
}

// stop ends the daemon: it gets SIGTERM and time to take down what it had begun, then SIGKILL.
func (p process) stop() {
	_ = p.Signal(syscall.SIGTERM)
	select {
	case <-p.ended:
	case <-time.After(p.grace):
		_ = p.Kill()
		<-p.ended
	}
}
