package proc

import (
	"os"
	"os/exec"
	"slices"
	"syscall"
	"testing"
)

func TestRead(t *testing.T) {
	state, err := Read(os.Getpid())
	if err != nil || state.RSS < 1<<20 || state.CPU < 0 || state.Descriptors < 3 {
		t.Errorf("got %+v, %v", state, err)
	}
	cmd := exec.Command("true")
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	if state, err := Read(cmd.Process.Pid); err == nil {
		t.Errorf("one that has ended is %+v", state)
	}
}

func TestKin(t *testing.T) {
	cmd := exec.Command("sleep", "100")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}()
	pid := cmd.Process.Pid
	if children := ChildrenOf([]int{os.Getpid()}); !slices.Contains(children, pid) || slices.Contains(children, os.Getpid()) {
		t.Errorf("children of %d are %v, without %d", os.Getpid(), children, pid)
	}
	if group := InGroups([]int{pid}); !slices.Equal(group, []int{pid}) {
		t.Errorf("in the group of %d are %v", pid, group)
	}
	if none := ChildrenOf(nil); none != nil {
		t.Errorf("children of nobody are %v", none)
	}
}
