package cmd

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

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/erlmcp/erlmcp/internal/prefork"
)

// A keeper is the process behind "loadtest --up". It starts what does not run, and takes down what it
// has started when its lifeline ends. The load test holds the other end of that pipe, so the end comes
// however the load test ends: a SIGKILL leaves nothing running either.
//
//	load test ──lifeline──▶ keeper ──▶ cluster, balancer
//	          ◀──"ready"───
type keeper struct {
	cmd      *exec.Cmd
	lifeline *os.File // held open
}

const (
	keeperReady = "ready"
	// keeperLifeline is the lifeline's descriptor in the keeper.
	keeperLifeline = 3
)

// startKeeper returns when cluster and balancer run. When they do not, the keeper has said why and the
// error is silent, with the keeper's exit code.
func (a *app) startKeeper(ctx context.Context) (*keeper, error) {
	exe, err := prefork.Executable()
	if err != nil {
		return nil, err
	}
	args, err := a.globalArgs()
	if err != nil {
		return nil, err
	}
	if a.flags.quiet {
		args = append(args, "--quiet")
	}
	end, lifeline, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer end.Close()
	k := &keeper{cmd: exec.Command(exe, append(args, "loadtest", "keeper")...), lifeline: lifeline}
	k.cmd.Args[0] = "erlmcp"
	k.cmd.ExtraFiles = []*os.File{end}
	if a.configText != nil {
		k.cmd.Stdin = bytes.NewReader(a.configText)
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
	err = k.takeDown()
	if ctx.Err() != nil {
		return nil, context.Canceled
	}
	return nil, errors.Join(err, exitWith(exitFailure))
}

// takeDown returns when everything the keeper has started is down.
func (k *keeper) takeDown() error {
	_ = k.lifeline.Close()
	err := k.cmd.Wait()
	if exit := new(exec.ExitError); errors.As(err, &exit) && exit.Exited() {
		return exitWith(exit.ExitCode()) // it has said why
	}
	return err
}

func newLoadtestKeeperCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:    "keeper",
		Short:  "Keep cluster and balancer up as long as a load test lives",
		Hidden: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			// What it starts must not inherit the lifeline.
			if _, err := unix.FcntlInt(keeperLifeline, unix.F_SETFD, unix.FD_CLOEXEC); err != nil {
				return hinted(usagef("not started by a load test"), "erlmcp loadtest --up")
			}
			return a.keep(cmd.Context(), os.NewFile(keeperLifeline, "lifeline"))
		},
	}
}

// keep keeps cluster and balancer up until the lifeline or ctx ends.
func (a *app) keep(ctx context.Context, lifeline io.Reader) error {
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		_, _ = io.Copy(io.Discard, lifeline)
		cancel()
	}()
	takeDown, err := a.bringUp(ctx)
	if err != nil {
		return err
	}
	fmt.Fprintln(a.stdout, keeperReady)
	<-ctx.Done()
	return takeDown(ctx)
}
