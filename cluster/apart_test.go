package cluster

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// superviseApart runs a supervisor as a process of its own, in the foreground, until the test ends, and returns when
// its first nodes are ready. adapt changes how it is executed.
func superviseApart(t *testing.T, spec Spec, stateDir string, adapt func(*exec.Cmd)) *exec.Cmd {
	t.Helper()
	text, err := json.Marshal(spec)
	if err != nil {
		t.Fatal(err)
	}
	var said lockedBuffer
	cmd := exec.Command("/proc/self/exe", "cluster", "supervise", "--state-dir", stateDir)
	cmd.Stdin, cmd.Stdout, cmd.Stderr, cmd.Dir = bytes.NewReader(text), &said, &said, "/"
	adapt(cmd)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		_ = cmd.Wait()
		close(ended)
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		<-ended
		if t.Failed() {
			t.Logf("the supervisor, which ended with %v, said:\n%s", cmd.ProcessState, said.String())
		}
	})
	eventually(t, "the nodes", func() bool {
		select {
		case <-ended:
			t.Fatalf("the supervisor ended: %v\n%s", cmd.ProcessState, said.String())
		default:
		}
		s, err := Connect(stateDir).Status(t.Context())
		return err == nil && s.State == PhaseRunning
	})
	return cmd
}

type lockedBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// Nodes have the limit of open files that the supervisor was started with, unless the configuration says another one.
func TestOpenFilesOfNodes(t *testing.T) {
	if _, err := os.Stat("/proc/self/exe"); err != nil {
		t.Skip("this binary can play a supervisor on Linux only")
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct{ configured, want int }{{0, 700}, {300, 300}} {
		spec, dir := shellSpec(t, "ulimit -Sn > limit.new\nmv limit.new limit\nexec sleep 1000\n", nil)
		spec.OpenFiles = test.configured
		state := shortDir(t)
		superviseApart(t, spec, state, func(cmd *exec.Cmd) {
			cmd.Args = append([]string{"sh", "-c", `ulimit -Sn 700; exec "$0" "$@"`, self}, cmd.Args[1:]...)
			cmd.Path = "/bin/sh"
		})
		eventually(t, "the node's limit", exists(dir, "limit"))
		text, err := os.ReadFile(dir + "/limit")
		if got, _ := strconv.Atoi(strings.TrimSpace(string(text))); err != nil || got != test.want {
			t.Errorf("configured %d: the node may open %s files, %v", test.configured, text, err)
		}
	}
	spec := testSpec(t, 1)
	spec.OpenFiles = maxOpenFiles
	if err := Check(spec); err == nil || !strings.Contains(err.Error(), "is more than the hard limit of ") {
		t.Errorf("got %v", err)
	}
}

// Nodes are as nice as the configuration says, and so is the session of the supervisor where it leads one. Who starts them is
// not.
func TestNicenessOfNodes(t *testing.T) {
	if _, err := os.Stat("/proc/self/exe"); err != nil {
		t.Skip("this binary can play a supervisor on Linux only")
	}
	own, err := exec.Command("nice").Output()
	if err != nil {
		t.Fatal(err)
	}
	least, err := strconv.Atoi(strings.TrimSpace(string(own)))
	if err != nil {
		t.Fatal(err)
	}
	mine, _ := os.ReadFile("/proc/self/autogroup")
	_, others, _ := strings.Cut(strings.TrimSpace(string(mine)), " nice ")
	for _, test := range []struct {
		configured int
		leads      bool
	}{{0, true}, {7, false}, {7, true}} {
		spec, dir := shellSpec(t, "(nice; cat /proc/self/autogroup || echo) > nice.new\nmv nice.new nice\nexec sleep 1000\n", nil)
		spec.Nice = test.configured
		supervisor := superviseApart(t, spec, shortDir(t), func(cmd *exec.Cmd) {
			cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: test.leads}
		})
		eventually(t, "the node's niceness", exists(dir, "nice"))
		text, err := os.ReadFile(dir + "/nice")
		if err != nil {
			t.Fatal(err)
		}
		got, group, _ := strings.Cut(string(text), "\n")
		want := max(least, test.configured)
		if os.Getuid() == 0 && test.configured > 0 { // who may take niceness back too
			want = test.configured
		}
		if got != strconv.Itoa(want) {
			t.Errorf("%+v: the node's niceness is %s", test, got)
		}
		if _, of, ok := strings.Cut(strings.TrimSpace(group), " nice "); ok && test.leads && of != strconv.Itoa(test.configured) {
			t.Errorf("%+v: the niceness of the node's session is %q", test, of)
		} else if ok && !test.leads && of != others {
			t.Errorf("%+v: the niceness of somebody else's session is %q", test, of)
		}
		if priority, err := unix.Getpriority(unix.PRIO_PROCESS, supervisor.Process.Pid); err != nil || 20-priority != least {
			t.Errorf("%+v: the supervisor's own niceness is %d, %v", test, 20-priority, err)
		}
	}
}
