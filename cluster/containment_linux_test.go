package cluster

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"

	"github.com/charmbracelet/log"
	"golang.org/x/sys/unix"

	"github.com/erlmcp/erlmcp/cluster/internal/cgroupfs"
	"github.com/erlmcp/erlmcp/cluster/internal/cgroupfs/cgrouptest"
	"github.com/erlmcp/erlmcp/internal/advice"
)

// caged is a Spec whose first node leaves a daemon without a trace behind, and whether that runs.
func caged(t *testing.T, n int) (Spec, func() bool) {
	t.Helper()
	port := freePorts(t, 1)[0]
	t.Setenv(behaviourEnv, "erlmcp1=hide")
	t.Setenv("CLUSTER_TEST_CHILD_PORT", strconv.Itoa(port))
	spec := testSpec(t, n)
	spec.Containment = ContainCgroup
	return spec, func() bool { return listens(port) }
}

func groupOf(t *testing.T, pid int) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "cgroup"))
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Base(cgroupfs.PathOf(string(text)))
}

func TestNothingLeavesACell(t *testing.T) {
	home := cgrouptest.Own(t)
	spec, serves := caged(t, 2)
	dir := shortDir(t)
	c := supervise(t, spec, SupervisorOptions{StateDir: dir, pace: hasty})
	s, err := c.Status(t.Context())
	if err != nil || s.Containment != ContainCgroup {
		t.Fatalf("containment is %q, %v", s.Containment, err)
	}
	if got := groupOf(t, s.Nodes[0].PID); got != "node-erlmcp1" {
		t.Errorf("a node is in %s", got)
	}
	if got := groupOf(t, os.Getpid()); got != "supervisor" {
		t.Errorf("the supervisor is in %s", got)
	}
	ends := []func() error{
		func() error { return c.StopNodes(t.Context(), []string{"erlmcp1"}) },
		func() error {
			err := c.Kill(t.Context(), "erlmcp1", SignalKill, true)
			awaitState(t, c, "erlmcp1", StateHeld)
			return err
		},
		func() error { return c.Shutdown(t.Context()) },
	}
	for i, end := range ends {
		if err := c.StartNodes(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		eventually(t, "daemon", serves)
		if err := c.StopNodes(t.Context(), []string{"erlmcp2"}); err != nil {
			t.Fatal(err)
		}
		if !serves() {
			t.Errorf("%d: a daemon ended with a node that is not its own", i)
		}
		if err := end(); err != nil {
			t.Fatal(err)
		}
		if i < 2 && serves() {
			t.Errorf("%d: a daemon outlives its node", i)
		}
	}
	eventually(t, "end of the cage", func() bool { return len(cgroupfs.Children(home)) == 0 })
	if serves() {
		t.Error("a daemon outlives the cluster")
	}
	if own, err := cgroupfs.Own(); err != nil || own != home {
		t.Errorf("the supervisor was left in %s, %v", own, err)
	}
	eventually(t, "end of the record", func() bool {
		records, _ := filepath.Glob(filepath.Join(dir, "*.cgroup"))
		return len(records) == 0
	})
}

func TestCageOfAKilledSupervisor(t *testing.T) {
	home := cgrouptest.Own(t)
	spec, serves := caged(t, 1)
	o := options(t, 1)
	o.Spec = spec
	s := startCluster(t, o)
	eventually(t, "daemon", serves)
	if err := syscall.Kill(s.PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, "end of the node", func() bool { return !alive(s.Nodes[0].PID) })
	if !serves() {
		t.Fatal("the daemon has ended by itself, so the test shows nothing")
	}
	t.Setenv(behaviourEnv, "")
	o.Spec.Containment = ContainProcessGroup // the next start cleans up whatever it wants itself
	if again := startCluster(t, o); again.Containment != ContainProcessGroup {
		t.Errorf("containment is %q", again.Containment)
	}
	if serves() {
		t.Error("a daemon outlives the next start")
	}
	if left := cgroupfs.Children(home); len(left) != 0 {
		t.Errorf("left are %q", left)
	}
}

func TestCagesAreMadeWhereDelegated(t *testing.T) {
	home := cgrouptest.Own(t)
	record := filepath.Join(t.TempDir(), "record")
	try := func(want Containment) (Containment, error) {
		c, err := contain(want, filepath.Dir(record), log.New(io.Discard))
		if err != nil {
			return "", err
		}
		defer c.Close()
		return containmentBy(c), nil
	}
	if got, err := try(ContainAuto); got != ContainProcessGroup || err != nil {
		t.Errorf("without delegation: %q, %v", got, err)
	}
	if got, err := try(ContainCgroup); got != ContainCgroup || err != nil {
		t.Errorf("on request: %q, %v", got, err)
	}
	if err := unix.Setxattr(home, "user.delegate", []byte("1"), 0); err != nil {
		t.Skipf("cgroups have no attributes: %v", err)
	}
	if got, err := try(ContainAuto); got != ContainCgroup || err != nil {
		t.Errorf("with delegation: %q, %v", got, err)
	}
	if got, err := try(ContainProcessGroup); got != ContainProcessGroup || err != nil {
		t.Errorf("without being wanted: %q, %v", got, err)
	}
	if err := os.WriteFile(filepath.Join(home, "cgroup.max.descendants"), []byte("1"), 0); err != nil {
		t.Fatal(err)
	}
	if got, err := try(ContainAuto); got != ContainProcessGroup || err != nil {
		t.Errorf("where none can be made: %q, %v", got, err)
	}
	var refused *advice.Error
	if _, err := try(ContainCgroup); !errors.As(err, &refused) || refused.Hint() == "" {
		t.Errorf("on request where none can be made: %v", err)
	}
	if left := cgroupfs.Children(home); len(left) != 0 {
		t.Errorf("left are %q", left)
	}
	if own, err := cgroupfs.Own(); err != nil || own != home {
		t.Errorf("this process was left in %s, %v", own, err)
	}
}
