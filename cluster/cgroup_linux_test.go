package cluster

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/charmbracelet/log"
	"golang.org/x/sys/unix"
)

func TestUnifiedPath(t *testing.T) {
	tests := map[string]string{
		"12:pids:/user.slice\n1:name=systemd:/user.slice\n": "",
		"9:name=systemd:/\n4:memory:/a\n0::/\n":             "/",
		"0::/system.slice/erlmcp-cluster.service\n":         "/system.slice/erlmcp-cluster.service",
		"1:name=systemd:/\n0::/user.slice/app-a:b.scope\n":  "/user.slice/app-a:b.scope",
		"0::/../../machine.slice/other\n":                   "/../../machine.slice/other",
		"10:cpu:/0::/trap\n":                                "",
		"":                                                  "",
	}
	for text, want := range tests {
		if got := unifiedPath(text); got != want {
			t.Errorf("%q gives %q, want %q", text, got, want)
		}
	}
}

func TestUnifiedDirs(t *testing.T) {
	const (
		root   = "27 1 254:0 / / rw,relatime - ext4 /dev/vda rw\n"
		v1     = "32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime shared:9 - cgroup cgroup rw,cpu\n"
		hybrid = root + v1 + "41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n"
		v2     = root + "30 24 0:26 / /sys/fs/cgroup rw,nosuid shared:4 master:2 - cgroup2 cgroup2 rw,nsdelegate\n"
		bound  = root + "600 590 0:26 /docker/4f5e /sys/fs/cgroup ro,nosuid - cgroup2 cgroup rw\n"
		above  = root + "600 590 0:26 /.. /sys/fs/cgroup ro,nosuid - cgroup2 cgroup rw\n"
		blank  = root + `600 590 0:26 /a\040b /mnt/c\134d\040e rw - cgroup2 cgroup rw` + "\n"
		trap   = root + "601 590 0:99 / /mnt/cgroup2 rw - fuse.x cgroup2 rw\nnonsense\n - cgroup2\n\n"
	)
	tests := []struct{ name, mountinfo, path, want string }{
		{"v1", root + v1, "", ""},
		{"v1 with a path", root + v1, "/", ""},
		{"hybrid", hybrid, "/", "/sys/fs/cgroup/unified"},
		{"hybrid below", hybrid, "/a/b", "/sys/fs/cgroup/unified/a/b"},
		{"no path", hybrid, "", ""},
		{"v2", v2, "/system.slice/x.service", "/sys/fs/cgroup/system.slice/x.service"},
		{"outside of the namespace", v2, "/../x", ""},
		{"a name with dots", v2, "/..x", "/sys/fs/cgroup/..x"},
		{"container", bound, "/docker/4f5e", "/sys/fs/cgroup"},
		{"container below", bound, "/docker/4f5e/init", "/sys/fs/cgroup/init"},
		{"another container", bound, "/docker/4f5e6", ""},
		{"host", bound, "/", ""},
		{"mount from above the namespace", above, "/", ""},
		{"blanks", blank, "/a b/c", `/mnt/c\d e/c`},
		{"two mounts", v2 + bound, "/docker/4f5e", "/sys/fs/cgroup/docker/4f5e /sys/fs/cgroup"},
		{"another file system", trap, "/", ""},
	}
	for _, test := range tests {
		if got := strings.Join(unifiedDirs(test.mountinfo, test.path), " "); got != test.want {
			t.Errorf("%s: got %q, want %q", test.name, got, test.want)
		}
	}
}

// ownGroup has this process run in a cgroup of its own until the test ends, and returns that.
func ownGroup(t *testing.T) string {
	t.Helper()
	before, err := ownCgroup()
	if err != nil {
		t.Skipf("no cgroup v2: %v", err)
	}
	dir, err := os.MkdirTemp(before, "test-")
	if err != nil {
		t.Skipf("cgroups cannot be made: %v", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "cgroup.kill")); err != nil {
		_ = os.Remove(dir)
		t.Skipf("the kernel is older than 5.14: %v", err)
	}
	t.Cleanup(func() {
		_ = join(before, 0)
		_ = write(filepath.Join(dir, "cgroup.kill"), "1")
		if err := errors.Join(awaitEmpty(dir), removeTree(dir)); err != nil {
			t.Error(err)
		}
	})
	if err := join(dir, 0); err != nil {
		t.Skipf("cgroups cannot be changed: %v", err)
	}
	return dir
}

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
	return filepath.Base(unifiedPath(string(text)))
}

func TestNothingLeavesACell(t *testing.T) {
	home := ownGroup(t)
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
	if got := groupOf(t, os.Getpid()); got != supervisorLeaf {
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
	eventually(t, "end of the cage", func() bool { return len(children(home)) == 0 })
	if serves() {
		t.Error("a daemon outlives the cluster")
	}
	if own, err := ownCgroup(); err != nil || own != home {
		t.Errorf("the supervisor was left in %s, %v", own, err)
	}
	eventually(t, "end of the record", func() bool {
		records, _ := filepath.Glob(filepath.Join(dir, "*.cgroup"))
		return len(records) == 0
	})
}

func TestCageOfAKilledSupervisor(t *testing.T) {
	home := ownGroup(t)
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
	if left := children(home); len(left) != 0 {
		t.Errorf("left are %q", left)
	}
}

func TestCagesAreMadeWhereDelegated(t *testing.T) {
	home := ownGroup(t)
	record := filepath.Join(t.TempDir(), "record")
	try := func(want Containment) (Containment, error) {
		c, err := contain(want, filepath.Dir(record), log.New(io.Discard))
		l := launcher{cage: c}
		defer c.close()
		return l.containment(), err
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
	if err := write(filepath.Join(home, "cgroup.max.descendants"), "1"); err != nil {
		t.Fatal(err)
	}
	if got, err := try(ContainAuto); got != ContainProcessGroup || err != nil {
		t.Errorf("where none can be made: %q, %v", got, err)
	}
	var refused *ContainmentError
	if _, err := try(ContainCgroup); !errors.As(err, &refused) || refused.Hint() == "" {
		t.Errorf("on request where none can be made: %v", err)
	}
	if left := children(home); len(left) != 0 {
		t.Errorf("left are %q", left)
	}
	if own, err := ownCgroup(); err != nil || own != home {
		t.Errorf("this process was left in %s, %v", own, err)
	}
}

// What serves other programs too stays when a node ends, and when the cluster does.
func TestSharedProcessesLeaveTheirCell(t *testing.T) {
	home := ownGroup(t)
	sleep, err := exec.LookPath("sleep")
	if err != nil {
		t.Fatal(err)
	}
	epmd := filepath.Join(t.TempDir(), "epmd")
	if err := os.Symlink(sleep, epmd); err != nil {
		t.Fatal(err)
	}
	c, err := newCage(home, filepath.Join(t.TempDir(), "record"), log.New(io.Discard))
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
		t.Cleanup(func() { endSleeper(cmd) })
		return cmd
	}
	shared, own := begin(epmd), begin(sleep)
	if in := members(cell.dir); !slices.Contains(in, shared.Process.Pid) || !slices.Contains(in, own.Process.Pid) {
		t.Fatalf("in the cell are %v", in)
	}
	cell.clear()
	if got := groupOf(t, shared.Process.Pid); !alive(shared.Process.Pid) || got != supervisorLeaf {
		t.Errorf("epmd is in %s", got)
	}
	if alive(own.Process.Pid) {
		t.Error("another process outlives its cell")
	}
	c.close()
	if in := members(home); !slices.Contains(in, shared.Process.Pid) || len(children(home)) != 0 {
		t.Errorf("left are %v and %q", in, children(home))
	}
	unhurt(t, shared)
}

// A record that names what is no cage, or holds this process, is harmless.
func TestSweepLeavesOthersAlone(t *testing.T) {
	home := ownGroup(t)
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
		_ = sweep(record)
		if got := len(children(home)); got != 2 {
			t.Errorf("%q leaves %d of 2 cgroups", dir, got)
		}
	}
	if err := join(filepath.Join(cage, "node-a"), 0); err != nil {
		t.Fatal(err)
	}
	note(cage)
	if err := sweep(record); err == nil {
		t.Error("this process has swept itself away")
	}
	if err := join(home, 0); err != nil {
		t.Fatal(err)
	}
	if err := sweep(record); err != nil {
		t.Error(err)
	}
	if got := children(home); !slices.Equal(got, []string{other}) {
		t.Errorf("left are %q", got)
	}
	if err := sweep(record); err != nil {
		t.Errorf("without a record: %v", err)
	}
}
