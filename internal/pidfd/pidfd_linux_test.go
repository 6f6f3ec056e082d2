package pidfd

import (
	"errors"
	"os"
	"os/exec"
	"syscall"
	"testing"

	"github.com/erlmcp/erlmcp/internal/pidfd/pidtest"
)

func TestSignal(t *testing.T) {
	cmd := pidtest.Sleeper(t)
	pid := cmd.Process.Pid
	if err := Signal(pid, syscall.SIGKILL, func() bool { return false }); !errors.Is(err, os.ErrProcessDone) {
		t.Errorf("one that is not meant: %v", err)
	}
	if err := Signal(pid, syscall.SIGHUP, func() bool { return true }); err != nil {
		t.Error(err)
	}
	if got := pidtest.Died(cmd); got != syscall.SIGHUP {
		t.Errorf("ended by %v", got)
	}
	if err := Signal(pid, syscall.SIGKILL, func() bool { return true }); !errors.Is(err, os.ErrProcessDone) {
		t.Errorf("one that has ended: %v", err)
	}
}

// The process ends, and its pid becomes another's, after it was found to be the one that is meant.
func TestSignalToThePidsNextOwner(t *testing.T) {
	meant := pidtest.Sleeper(t)
	var stranger *exec.Cmd
	err := Signal(meant.Process.Pid, syscall.SIGKILL, func() bool {
		pidtest.End(meant)
		stranger = pidtest.Successor(t, meant.Process.Pid)
		return true
	})
	if !errors.Is(err, os.ErrProcessDone) {
		t.Errorf("got %v", err)
	}
	if got := pidtest.Died(stranger); got != syscall.SIGTERM {
		t.Errorf("a stranger got %v", got)
	}
}

func TestBegan(t *testing.T) {
	first := pidtest.Sleeper(t)
	pid := first.Process.Pid
	began := Began(pid)
	if began == "" || began != Began(pid) {
		t.Errorf("began at %q, then at %q", began, Began(pid))
	}
	// Ticks are 10 ms.
	for now := began; now == began; {
		other := pidtest.Sleeper(t)
		now = Began(other.Process.Pid)
		pidtest.End(other)
	}
	pidtest.End(first)
	if got := Began(pid); got != "" {
		t.Errorf("one that has ended began at %q", got)
	}
	if got := Began(pidtest.Successor(t, pid).Process.Pid); got == began {
		t.Errorf("the next owner of the pid began at %q as well", got)
	}
}
