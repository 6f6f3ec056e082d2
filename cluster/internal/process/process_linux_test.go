package process

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/erlmcp/erlmcp/internal/pidfd"
	"github.com/erlmcp/erlmcp/internal/pidfd/pidtest"
)

// unhurt fails when a process has got another signal than the SIGTERM it gets now.
func unhurt(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	if got := pidtest.Died(cmd); got != syscall.SIGTERM {
		t.Errorf("a stranger got %v", got)
	}
}

// forkLeader starts a process as a launcher does.
func forkLeader(t *testing.T, h *handle) (pid int) {
	t.Helper()
	path, err := exec.LookPath("sleep")
	if err != nil {
		t.Fatal(err)
	}
	runtime.LockOSThread() // the death signal
	t.Cleanup(runtime.UnlockOSThread)
	pid, err = syscall.ForkExec(path, []string{"sleep", "600"}, &syscall.ProcAttr{Sys: groupAttr(h)})
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

func TestHandleIsNoPid(t *testing.T) {
	var h handle
	pid := forkLeader(t, &h)
	defer h.close()
	if h.fd < 0 {
		t.Skip("the kernel has no pidfds")
	}
	group := unix.PidfdSendSignal(h.fd, 0, nil, unix.PIDFD_SIGNAL_PROCESS_GROUP) == nil
	if err := h.signal(pid, syscall.SIGSTOP, false); err != nil {
		t.Fatal(err)
	}
	if err := h.signal(pid, syscall.SIGKILL, true); err != nil {
		t.Fatal(err)
	}
	var status syscall.WaitStatus
	if _, err := syscall.Wait4(pid, &status, 0, nil); err != nil || status.Signal() != syscall.SIGKILL {
		t.Fatalf("status %v, %v", status, err)
	}
	stranger := pidtest.Successor(t, pid)
	if err := h.signal(pid, syscall.SIGKILL, false); !errors.Is(err, syscall.ESRCH) {
		t.Errorf("signal to a process that was reaped: %v", err)
	}
	if group {
		if err := h.signal(pid, syscall.SIGKILL, true); !errors.Is(err, syscall.ESRCH) {
			t.Errorf("signal to its group: %v", err)
		}
	}
	unhurt(t, stranger)
}

// Without pidfds, or when a filter of system calls forbids them, signals go by the pid.
func TestSignalWithoutAHandle(t *testing.T) {
	for _, group := range []bool{false, true} {
		var h handle
		pid := forkLeader(t, &h)
		h.close()
		if err := h.signal(pid, syscall.SIGKILL, group); err != nil {
			t.Error(err)
		}
		var status syscall.WaitStatus
		if _, err := syscall.Wait4(pid, &status, 0, nil); err != nil || status.Signal() != syscall.SIGKILL {
			t.Errorf("status %v, %v", status, err)
		}
	}
}

// Signals to a process that has ended go nowhere, whoever has its pid.
func TestSignalToAnEndedProcess(t *testing.T) {
	l, err := NewLauncher(Options{Mark: "X=y"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	drain := func(from io.Reader) { _, _ = io.Copy(io.Discard, from) }
	p, err := l.Launch(Program{Mark: "X=z", Path: filepath.Join("/proc", "self", "exe"), Args: []string{"x", "-test.run=^$"}}, drain)
	if err != nil {
		t.Fatal(err)
	}
	<-p.Ended()
	stranger := pidtest.Successor(t, p.pid)
	for _, send := range []func(syscall.Signal) error{p.Signal, p.Signal} {
		if err := send(syscall.SIGKILL); !errors.Is(err, os.ErrProcessDone) {
			t.Errorf("got %v", err)
		}
	}
	unhurt(t, stranger)
}

// An orphan ends, and its pid becomes another's, after it was found.
func TestOrphanIsToldByItsStart(t *testing.T) {
	meant := pidtest.Sleeper(t)
	pid := meant.Process.Pid
	found, ok := readProcEntry(pid)
	if !ok || found.began == "" || found.began != pidfd.Began(pid) {
		t.Fatalf("found %+v", found)
	}
	// Starts are told apart in ticks of 10 ms.
	eventually(t, "tick", func() bool {
		other := pidtest.Sleeper(t)
		defer pidtest.End(other)
		return pidfd.Began(other.Process.Pid) != found.began
	})
	pidtest.End(meant)
	stranger := pidtest.Successor(t, pid)
	found.kill()
	unhurt(t, stranger)

	meant = pidtest.Sleeper(t)
	found, _ = readProcEntry(meant.Process.Pid)
	found.kill()
	_ = meant.Wait()
	if got := meant.ProcessState.Sys().(syscall.WaitStatus).Signal(); got != syscall.SIGKILL {
		t.Errorf("ended by %v", got)
	}
}
