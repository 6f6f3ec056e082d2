package cmd

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/erlmcp/erlmcp/cluster"
	"github.com/erlmcp/erlmcp/cmd/internal/exit"
)

// Users of tests that need two. Nobody else has them.
const (
	victim   = 54321
	stranger = 54322
)

func twoUsers(t *testing.T) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root, to be two other users")
	}
}

// sharedDir is a directory that all users may write to, with a short path.
func sharedDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "erlmcp")
	if err == nil {
		err = os.Chmod(dir, 0o777|os.ModeSticky)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// commandAs is a command line of another user, who has nothing configured.
func commandAs(uid uint32, env []string, args ...string) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.Args[0] = "erlmcp"
	cmd.Dir = "/"
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=/nonexistent", "GORACE=atexit_sleep_ms=0"}, env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
	return cmd
}

// runAs runs it to its end, which must come soon.
func runAs(t *testing.T, uid uint32, env []string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	cmd := commandAs(uid, env, args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	hung := time.AfterFunc(time.Minute, func() { _ = cmd.Process.Kill() })
	_ = cmd.Wait()
	if !hung.Stop() {
		t.Errorf("%q does not end", args)
	}
	return cmd.ProcessState.ExitCode(), out.String(), errs.String()
}

// A stranger who makes the directory that a user's commands look into first has none of them believe it, ask
// its socket or signal what its lock names.
func TestStrangersStateDirectory(t *testing.T) {
	twoUsers(t)
	bait := exec.Command("sleep", "600")
	bait.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: victim, Gid: victim}}
	if err := bait.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = bait.Process.Kill(); _ = bait.Wait() }()
	dir := filepath.Join(sharedDir(t), "state")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"cluster", "lb"} {
		lock := filepath.Join(dir, name+".lock")
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", bait.Process.Pid))
		if err != nil {
			t.Fatal(err)
		}
		began := strings.Fields(string(stat))[21]
		if err := os.WriteFile(lock, fmt.Appendf(nil, "%d %s serving \n", bait.Process.Pid, began), 0o600); err != nil {
			t.Fatal(err)
		}
		f, err := os.Open(lock)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
			t.Fatal(err)
		}
		l, err := net.Listen("unix", filepath.Join(dir, name+".sock"))
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		server := &http.Server{Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			t.Errorf("%s was asked of a stranger's socket", r.URL)
		})}
		go func() { _ = server.Serve(l) }()
		if err := errors.Join(os.Chmod(lock, 0o666), os.Chmod(l.Addr().String(), 0o666),
			os.Chown(lock, stranger, stranger), os.Chown(l.Addr().String(), stranger, stranger)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chown(dir, stranger, stranger); err != nil {
		t.Fatal(err)
	}
	env := []string{"ERLMCP_STATE_DIR=" + dir}
	for _, args := range []string{
		"up", "down", "down --now", "cluster start", "cluster stop", "cluster restart", "cluster status", "cluster events", "cluster kill erlmcp1",
		"cluster add", "lb start", "lb stop", "lb stop --now", "lb status", "lb reload", "lb drain erlmcp1", "lb ban list", "lb explain 192.0.2.1", "lb token", "cluster tail",
	} {
		code, stdout, stderr := runAs(t, victim, env, strings.Fields(args)...)
		if code != exit.Usage || stdout != "" {
			t.Errorf("%s: exit code %d, prints %q", args, code, stdout)
		}
		if !strings.Contains(stderr, "state directory "+dir+" belongs to user 54322, mode 0755, not to user 54321") || !strings.Contains(stderr, "hint: ") {
			t.Errorf("%s: says %q", args, stderr)
		}
	}
	code, stdout, _ := runAs(t, victim, env, "health", "--json")
	if !strings.Contains(stdout, "belongs to user 54322") || code == 0 {
		t.Errorf("health: exit code %d, %q", code, stdout)
	}
	if pid, err := syscall.Wait4(bait.Process.Pid, nil, syscall.WNOHANG, nil); pid != 0 || err != nil {
		t.Error("a process of the victim was killed")
	}
}

// Who may not know whether something runs is not told that it does not.
func TestNoPermissionIsNotStopped(t *testing.T) {
	twoUsers(t)
	c := newChaos(t, 0)
	c.must("up")
	for _, mode := range []os.FileMode{0o700, 0o755} {
		if err := os.Chmod(c.dir, mode); err != nil {
			t.Fatal(err)
		}
		env := []string{"ERLMCP_STATE_DIR=" + c.dir}
		for _, args := range []string{
			"down", "cluster stop", "cluster stop erlmcp1", "cluster status", "cluster start", "cluster restart", "cluster kill erlmcp1", "lb stop", "lb stop --now", "lb status", "lb reload", "up", "cluster tail", "cluster tail --no-follow",
		} {
			code, stdout, stderr := runAs(t, victim, env, strings.Fields(args)...)
			if code != exit.Usage || stdout != "" || strings.Contains(stderr, "not running") || !strings.Contains(stderr, "permission denied to user 54321") {
				t.Errorf("%s: exit code %d, prints %q, says %q", args, code, stdout, stderr)
			}
		}
	}
	c.must("down")
	c.nothingIsLeft()
}

// Root can see and end what a service's user runs.
func TestRootCommandsAService(t *testing.T) {
	twoUsers(t)
	dir := filepath.Join(sharedDir(t), "state")
	ports := freePorts(t, 2)
	env := []string{
		"ERLMCP_STATE_DIR=" + dir, "ERLMCP_CLUSTER_NODES=[{name: a, host: 127.0.0.1, tcp: " + ports[0] + "}]", "ERLMCP_LB_LISTEN_TCP=127.0.0.1:" + ports[1],
		"ERLMCP_LB_LISTEN_HTTP=", "ERLMCP_LB_LISTEN_ADMIN=", "ERLMCP_LB_LISTEN_HEALTH=", "ERLMCP_LB_MAX_CONNECTIONS=100",
	}
	if code, _, stderr := runAs(t, victim, env, "up"); code != 0 {
		t.Fatal(stderr)
	}
	defer runAs(t, victim, env, "down", "--now")
	for args, want := range map[string]string{"cluster status": "a ", "lb status": "balancer "} {
		code, stdout, stderr := runAs(t, 0, env, strings.Fields(args)...)
		if code != 0 || !strings.Contains(stdout, want) {
			t.Errorf("%s: exit code %d, %q, %q", args, code, stdout, stderr)
		}
	}
	if code, _, stderr := runAs(t, 0, env, "down"); code != 0 || !strings.Contains(stderr, "lb stopped") || !strings.Contains(stderr, "cluster stopped") {
		t.Errorf("down: exit code %d, %q", code, stderr)
	}
	if code, _, stderr := runAs(t, 0, env, "cluster", "start"); code != exit.Usage || !strings.Contains(stderr, "belongs to user 54321, not to user 0 (root): what runs in it runs as its owner") {
		t.Errorf("start: exit code %d, %q", code, stderr)
	}
}

// The environment of another user, as sudo -E and su leave it, is in nobody's way and leaves nothing behind.
func TestEnvironmentOfAnotherUser(t *testing.T) {
	twoUsers(t)
	shared := sharedDir(t)
	home, runtimeDir := filepath.Join(shared, "home"), filepath.Join(shared, "run")
	config := filepath.Join(home, ".config", "erlmcp", "erlmcp.yaml")
	if err := errors.Join(os.MkdirAll(filepath.Dir(config), 0o755), os.WriteFile(config, []byte("lb: {balance: random2}\n"), 0o600),
		os.Mkdir(runtimeDir, 0o700), os.Chown(runtimeDir, stranger, stranger)); err != nil {
		t.Fatal(err)
	}
	check := func(uid uint32, want string, env ...string) {
		t.Helper()
		code, stdout, stderr := runAs(t, uid, env, "config", "check")
		if code != 0 || !strings.HasSuffix(stdout, ": ok\n") || !strings.Contains(stderr, want) || want == "" && stderr != "" {
			t.Errorf("%q: exit code %d, %q, %q", env, code, stdout, stderr)
		}
	}
	leftOut := "/erlmcp.yaml: permission denied; it is left out, as it is not this user's"
	check(victim, leftOut, "HOME="+home)
	check(victim, leftOut, "XDG_CONFIG_HOME="+home+"/.config")
	if err := os.Chmod(home, 0o700); err != nil {
		t.Fatal(err)
	}
	check(victim, leftOut, "HOME="+home)
	check(victim, "", "HOME=/dev/null")
	check(victim, "", "HOME=/nonexistent")
	if err := errors.Join(os.Chown(home, victim, victim), os.Chown(config, victim, victim), os.Chmod(config, 0), os.Chmod(filepath.Dir(config), 0o755)); err != nil {
		t.Fatal(err)
	}
	if code, _, stderr := runAs(t, victim, []string{"HOME=" + home}, "config", "check"); code != exit.Usage || !strings.Contains(stderr, "permission denied") {
		t.Errorf("a file of one's own that cannot be read: exit code %d, %q", code, stderr)
	}

	for _, uid := range []uint32{0, victim} {
		code, _, stderr := runAs(t, uid, []string{"XDG_RUNTIME_DIR=" + runtimeDir}, "lb", "stop")
		want := fmt.Sprintf("warning: XDG_RUNTIME_DIR, %s, is not used: it belongs to user 54322, not to user %d: the state directory is /tmp/erlmcp-%d\n", runtimeDir, uid, uid)
		if code != 0 || strings.Count(stderr, want) != 1 || strings.Count(stderr, "XDG_RUNTIME_DIR") != 1 {
			t.Errorf("as %d: exit code %d, %q", uid, code, stderr)
		}
	}
	if left, err := os.ReadDir(runtimeDir); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	if code, _, stderr := runAs(t, stranger, []string{"XDG_RUNTIME_DIR=" + runtimeDir}, "lb", "stop"); code != 0 || stderr != "erlmcp: lb is not running\n" {
		t.Errorf("as its owner: exit code %d, %q", code, stderr)
	}
}

// What a killed supervisor has left is found by whatever name its directory has.
func TestOrphansByAnotherNameOfTheDirectory(t *testing.T) {
	c := newChaos(t, 0)
	link := c.dir + ".link"
	if err := os.Symlink(c.dir, link); err != nil {
		t.Fatal(err)
	}
	defer os.Remove(link)
	// A child of a node that is nobody's: out of its group, and without what ends it with the supervisor.
	c.env = append(c.env, "ERLMCP_CLUSTER_CONTAINMENT=process-group", "ERLMCP_CLUSTER_RUNTIME=command",
		`ERLMCP_CLUSTER_COMMAND_ARGV=["sh", "-c", "setsid sleep 601 & exec erlmcp node serve --name \"$1\" --host 127.0.0.1 --tcp \"$2\" --http \"$3\" --sse \"$4\"", "sh", "{name}", "{tcp}", "{http}", "{sse}"]`)
	c.must("--state-dir", link, "cluster", "start")
	s, err := cluster.Connect(c.dir).Status(c.Context())
	if err != nil {
		t.Fatal(err)
	}
	left := c.pids("sleep 601")
	if len(left) != 2 {
		t.Fatalf("the nodes have started %v", left)
	}
	if err := syscall.Kill(s.PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	c.must("--state-dir", c.dir, "cluster", "start")
	c.await("the end of what was left", func() bool {
		return !slices.ContainsFunc(c.pids("sleep 601"), func(pid int) bool { return slices.Contains(left, pid) })
	})
	c.must("cluster", "stop")
	c.nothingIsLeft()
}

// A node writes what it likes. A terminal gets it as text, anything else as it is.
func TestTailCannotSteerTheTerminal(t *testing.T) {
	dir := sharedDir(t)
	logs := filepath.Join(dir, "logs")
	const line = "\x1b]0;owned\a\x1b[2J\x1b[31mred\x1b[8mhidden\rfake"
	if err := errors.Join(os.Chmod(dir, 0o700), os.Mkdir(logs, 0o700), os.WriteFile(filepath.Join(logs, "a.log"), []byte(line+"\n"), 0o600)); err != nil {
		t.Fatal(err)
	}
	tail := func() *exec.Cmd {
		cmd := exec.Command("erlmcp", "cluster", "tail", "--no-follow")
		cmd.Env = append(os.Environ(), "ERLMCP_STATE_DIR="+dir, "XDG_CONFIG_HOME="+dir, "ERLMCP_CLUSTER_NODES=[{name: a, host: 127.0.0.1, tcp: 9001}]", "TERM=xterm", "NO_COLOR=")
		return cmd
	}
	plain, err := tail().Output()
	if err != nil || string(plain) != "a | "+line+"\n" {
		t.Errorf("a pipe gets %q, %v", plain, err)
	}
	cmd := tail()
	screen := onTerminal(t, cmd)
	want := "\x1b[36ma |\x1b[0m \\x1b]0;owned\\x07\\x1b[2J\x1b[31mred\\x1b[8mhidden\\x0dfake\x1b[0m\r\n"
	if screen != want {
		t.Errorf("a terminal gets\n%q, want\n%q", screen, want)
	}
}

// onTerminal runs a command on a terminal, and returns what it shows.
func onTerminal(t *testing.T, cmd *exec.Cmd) string {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("no terminals: %v", err)
	}
	defer master.Close()
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	slave, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("no terminals: %v", err)
	}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
	err = cmd.Start()
	slave.Close()
	if err != nil {
		t.Fatal(err)
	}
	var shown bytes.Buffer
	_, _ = io.Copy(&shown, master) // EIO when the last has closed the other end
	if err := cmd.Wait(); err != nil {
		t.Errorf("%v: %q", err, shown.String())
	}
	return shown.String()
}

// A log that may not be read is not one without lines.
func TestTailOfALogThatMayNotBeRead(t *testing.T) {
	twoUsers(t)
	logs := sharedDir(t)
	if err := os.WriteFile(filepath.Join(logs, "a.log"), []byte("secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	env := []string{"ERLMCP_STATE_DIR=" + logs + "/none", "ERLMCP_CLUSTER_LOGS_DIR=" + logs, "ERLMCP_CLUSTER_NODES=[{name: a, host: 127.0.0.1, tcp: 9001}]"}
	code, stdout, stderr := runAs(t, victim, env, "cluster", "tail")
	if code == 0 || stdout != "" || !strings.Contains(stderr, "a.log: permission denied") {
		t.Errorf("exit code %d, %q, %q", code, stdout, stderr)
	}
}
