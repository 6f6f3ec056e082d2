package process

import (
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"testing"

	"github.com/charmbracelet/log"

	"github.com/erlmcp/erlmcp/cluster/internal/cgroupfs"
	"github.com/erlmcp/erlmcp/cluster/internal/cgroupfs/cgrouptest"
	"github.com/erlmcp/erlmcp/internal/pidfd/pidtest"
)

// What serves other programs too stays when a node ends, and when the cluster does.
func TestSharedProcessesLeaveTheirCell(t *testing.T) {
	home := cgrouptest.Own(t)
	sleep, err := exec.LookPath("sleep")
	if err != nil {
		t.Fatal(err)
	}
	epmd := filepath.Join(t.TempDir(), "epmd")
	if err := os.Symlink(sleep, epmd); err != nil {
		t.Fatal(err)
	}
	c, err := NewCage(filepath.Join(t.TempDir(), "record"), false, log.New(io.Discard))
	if err != nil {
		t.Fatal(err)
	}
	cell, err := c.cell("a")
	if err != nil {
		t.Fatal(err)
	}
	begin := func(program string) *exec.Cmd {
		cmd := exec.Command(program, "600")
		cmd.SysProcAttr = &syscall.SysProcAttr{}
		cell.admit(cmd.SysProcAttr)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { pidtest.End(cmd) })
		return cmd
	}
	shared, own := begin(epmd), begin(sleep)
	if in := cgroupfs.Members(cell.dir); !slices.Contains(in, shared.Process.Pid) || !slices.Contains(in, own.Process.Pid) {
		t.Fatalf("in the cell are %v", in)
	}
	cell.clear()
	if in := cgroupfs.Members(c.leaf()); !alive(shared.Process.Pid) || !slices.Contains(in, shared.Process.Pid) {
		t.Errorf("in the supervisor's cgroup are %v", in)
	}
	if alive(own.Process.Pid) {
		t.Error("another process outlives its cell")
	}
	c.Close()
	if in := cgroupfs.Members(home); !slices.Contains(in, shared.Process.Pid) || len(cgroupfs.Children(home)) != 0 {
		t.Errorf("left are %v and %q", in, cgroupfs.Children(home))
	}
	unhurt(t, shared)
}

// A record that names what is no cage, or holds this process, is harmless.
func TestSweepLeavesOthersAlone(t *testing.T) {
	home := cgrouptest.Own(t)
	record := filepath.Join(t.TempDir(), "record")
	other := filepath.Join(home, "other")
	if err := os.Mkdir(other, 0o755); err != nil {
		t.Fatal(err)
	}
	cage := filepath.Join(home, cagePrefix+"x")
	if err := os.MkdirAll(filepath.Join(cage, "node-a"), 0o755); err != nil {
		t.Fatal(err)
	}
	note := func(dir string) {
		if err := os.WriteFile(record, []byte(dir), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, dir := range []string{other, "", "/", filepath.Join(home, cagePrefix+"gone")} {
		note(dir)
		_ = Sweep(record)
		if got := len(cgroupfs.Children(home)); got != 2 {
			t.Errorf("%q leaves %d of 2 cgroups", dir, got)
		}
	}
	if err := cgroupfs.Join(filepath.Join(cage, "node-a"), 0); err != nil {
		t.Fatal(err)
	}
	note(cage)
	if err := Sweep(record); err == nil {
		t.Error("this process has swept itself away")
	}
	if err := cgroupfs.Join(home, 0); err != nil {
		t.Fatal(err)
	}
	if err := Sweep(record); err != nil {
		t.Error(err)
	}
	if got := cgroupfs.Children(home); !slices.Equal(got, []string{other}) {
		t.Errorf("left are %q", got)
	}
	if err := Sweep(record); err != nil {
		t.Errorf("without a record: %v", err)
	}
}
