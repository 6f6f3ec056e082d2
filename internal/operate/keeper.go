package operate

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/erlmcp/erlmcp/internal/prefork"
)

// A Keeper is the process behind "loadtest --up" and "up --foreground". It starts what does not run, and takes down what
// it has started when its lifeline ends. Whoever has started it holds the other end of that pipe, so the end comes
// however that one ends: a SIGKILL leaves nothing running either.
//
//	load test ──lifeline──▶ keeper ──▶ cluster, balancer
//	          ◀──"ready"───
type Keeper struct {
	cmd      *exec.Cmd
	lifeline *os.File // held open
}

const (
	keeperReady = "ready"
	// keeperLifeline is the lifeline's descriptor in the keeper.
	keeperLifeline = 3
)

// StartKeeper runs this program with arguments that make it call Keep, and input at its standard input, nil being nothing.
// It returns when cluster and balancer run. When they do not, the keeper has said why: the error is a *KeeperError, or
// context.Canceled.
func StartKeeper(ctx context.Context, args []string, input []byte) (*Keeper, error) {
	exe, err := prefork.Executable()
	if err != nil {
		return nil, err
	}
	end, lifeline, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer end.Close()
	k := &Keeper{cmd: exec.Command(exe, args...), lifeline: lifeline}
	k.cmd.Args[0] = "erlmcp"
	k.cmd.ExtraFiles = []*os.File{end}
	if input != nil {
		k.cmd.Stdin = bytes.NewReader(input)
	}
	k.cmd.Stderr = os.Stderr // itself: a pipe would break with the load test
	// A session of its own: the terminal's Ctrl-C is the load test's to decide about.
	k.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	stdout, err := k.cmd.StdoutPipe()
	if err != nil {
		return nil, errors.Join(err, lifeline.Close())
	}
	if err := k.cmd.Start(); err != nil {
		return nil, errors.Join(err, lifeline.Close())
	}
	defer context.AfterFunc(ctx, func() { _ = lifeline.Close() })()
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err == nil && line == keeperReady+"\n" && ctx.Err() == nil {
		return k, nil
	}
	err = k.TakeDown()
	if ctx.Err() != nil {
		return nil, context.Canceled
	}
	if !errors.As(err, new(*KeeperError)) {
		err = &KeeperError{1}
	}
	return nil, err
}

// TakeDown returns when everything the keeper has started is down.
func (k *Keeper) TakeDown() error {
	_ = k.lifeline.Close()
	err := k.cmd.Wait()
	if exit := new(exec.ExitError); errors.As(err, &exit) && exit.Exited() {
		return &KeeperError{exit.ExitCode()}
	}
	return err
}

// KeeperError is the exit code of a keeper that has said why.
type KeeperError struct{ Code int }

func (e *KeeperError) Error() string { return fmt.Sprintf("exit code %d", e.Code) }

// ErrNoLifeline says that this process was not started as a keeper.
var ErrNoLifeline = errors.New("not started by a load test")

// Keep keeps cluster and balancer up, and says so to ready, until the lifeline of this process or ctx ends.
func (o *Operator) Keep(ctx context.Context, ready io.Writer) error {
	// What it starts must not inherit the lifeline.
	if _, err := unix.FcntlInt(keeperLifeline, unix.F_SETFD, unix.FD_CLOEXEC); err != nil {
		return ErrNoLifeline
	}
	return o.keep(ctx, os.NewFile(keeperLifeline, "lifeline"), ready)
}

func (o *Operator) keep(ctx context.Context, lifeline io.Reader, ready io.Writer) error {
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		_, _ = io.Copy(io.Discard, lifeline)
		cancel()
	}()
	takeDown, err := o.Up(ctx)
	if err != nil {
		return err
	}
	fmt.Fprintln(ready, keeperReady)
	<-ctx.Done()
	return takeDown(ctx)
}
