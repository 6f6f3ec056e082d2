package pidfd

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"
)

func sleeper(t *testing.T) *exec.Cmd {
	t.Helper()
	cmd := exec.Command("sleep", "600")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { end(cmd) })
	return cmd
}

func end(cmd *exec.Cmd) {
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
}

// successor is a process that has got the pid of one that was reaped.
func successor(t *testing.T, pid int) *exec.Cmd {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); {
		if err := os.WriteFile("/proc/sys/kernel/ns_last_pid", fmt.Append(nil, pid-1), 0); err != nil {
			t.Skipf("pids cannot be chosen here: %v", err)
		}
		cmd := sleeper(t)
		if cmd.Process.Pid == pid {
			return cmd
		}
		end(cmd)
	}
	t.Fatal("no process has got the pid")
	return nil
}

// died is the signal that ended a process that gets SIGTERM now.
func died(cmd *exec.Cmd) syscall.Signal {
	_ = cmd.Process.Signal(syscall.SIGTERM)
	_ = cmd.Wait()
	return cmd.ProcessState.Sys().(syscall.WaitStatus).Signal()
}

func TestSignal(t *testing.T) {
	cmd := sleeper(t)
	pid := cmd.Process.Pid
	if err := Signal(pid, syscall.SIGKILL, func() bool { return false }); !errors.Is(err, os.ErrProcessDone) {
		t.Errorf("one that is not meant: %v", err)
	}
	if err := Signal(pid, syscall.SIGHUP, func() bool { return true }); err != nil {
		t.Error(err)
	}
	if got := died(cmd); got != syscall.SIGHUP {
		t.Errorf("ended by %v", got)
	}
	if err := Signal(pid, syscall.SIGKILL, func() bool { return true }); !errors.Is(err, os.ErrProcessDone) {
		t.Errorf("one that has ended: %v", err)
	}
}

// The process ends, and its pid becomes another's, after it was found to be the one that is meant.
func TestSignalToThePidsNextOwner(t *testing.T) {
	meant := sleeper(t)
	var stranger *exec.Cmd
	err := Signal(meant.Process.Pid, syscall.SIGKILL, func() bool {
		end(meant)
		stranger = successor(t, meant.Process.Pid)
		return true
	})
	if !errors.Is(err, os.ErrProcessDone) {
		t.Errorf("got %v", err)
	}
	if got := died(stranger); got != syscall.SIGTERM {
		t.Errorf("a stranger got %v", got)
	}
}

func TestBegan(t *testing.T) {
	first := sleeper(t)
	pid := first.Process.Pid
	began := Began(pid)
	if began == "" || began != Began(pid) {
		t.Errorf("began at %q, then at %q", began, Began(pid))
	}
	// Ticks are 10 ms.
	for now := began; now == began; {
		other := sleeper(t)
		now = Began(other.Process.Pid)
		end(other)
	}
	end(first)
	if got := Began(pid); got != "" {
		t.Errorf("one that has ended began at %q", got)
	}
	if got := Began(successor(t, pid).Process.Pid); got == began {
		t.Errorf("the next owner of the pid began at %q as well", got)
	}
}
