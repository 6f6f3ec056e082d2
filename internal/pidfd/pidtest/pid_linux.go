// Package pidtest makes processes whose numbers tests need.
package pidtest

import (
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"
)

// patience is for how long processes are made until one has the number.
const patience = time.Minute

// Sleeper is a process that leads a group of its own and does nothing. It ends with the test.
func Sleeper(t testing.TB) *exec.Cmd {
	t.Helper()
	cmd := exec.Command("sleep", "600")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { End(cmd) })
	return cmd
}

// End kills a process and waits for it.
func End(cmd *exec.Cmd) {
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
}

// Successor is a sleeper that has got the number of a process that was reaped.
func Successor(t testing.TB, pid int) *exec.Cmd {
	t.Helper()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		if err := os.WriteFile("/proc/sys/kernel/ns_last_pid", fmt.Append(nil, pid-1), 0); err != nil {
			t.Skipf("pids cannot be chosen here: %v", err)
		}
		cmd := Sleeper(t)
		if cmd.Process.Pid == pid {
			return cmd
		}
		End(cmd)
	}
	t.Fatal("no process has got the pid")
	return nil
}

// Died is the signal that ended a process that gets SIGTERM now.
func Died(cmd *exec.Cmd) syscall.Signal {
	_ = cmd.Process.Signal(syscall.SIGTERM)
	_ = cmd.Wait()
	return cmd.ProcessState.Sys().(syscall.WaitStatus).Signal()
}
