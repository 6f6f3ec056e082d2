package cluster

import (
	"context"
	"errors"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/erlmcp/erlmcp/internal/control"
)

// options starts a cluster of n nodes in a directory of its own. What is left of it is stopped at
// the end of the test.
func options(t *testing.T, n int) Options {
	t.Helper()
	dir := shortDir(t)
	t.Cleanup(func() {
		if err := Stop(context.Background(), dir); err != nil && !errors.Is(err, control.ErrNotRunning) {
			t.Error(err)
		}
	})
	return Options{StateDir: dir, Spec: testSpec(t, n), Args: []string{"--state-dir", dir}}
}

func startCluster(t *testing.T, o Options) Status {
	t.Helper()
	if err := Start(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	s, err := Connect(o.StateDir).Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestStartAndStop(t *testing.T) {
	o := options(t, 2)
	seen := map[State]bool{}
	o.Progress = func(n NodeStatus) { seen[n.State] = true }
	s := startCluster(t, o)
	if !s.Healthy() || s.State != PhaseRunning || s.PID == syscall.Getpid() {
		t.Errorf("status is %+v", s)
	}
	if !seen[StateReady] {
		t.Errorf("progress was %v", seen)
	}

	var notes []string
	o.Note = func(text string) { notes = append(notes, text) }
	if again := startCluster(t, o); again.PID != s.PID || again.Nodes[0].PID != s.Nodes[0].PID {
		t.Errorf("the second start made %+v", again)
	}
	o.Spec.NodeMaxConnections = 7
	startCluster(t, o)
	if len(notes) != 1 || !strings.HasPrefix(notes[0], "the cluster runs with another configuration") {
		t.Errorf("notes are %q", notes)
	}

	if err := Stop(t.Context(), o.StateDir); err != nil {
		t.Fatal(err)
	}
	if _, running, err := control.Running(o.StateDir, daemonName); err != nil || running {
		t.Error("the supervisor runs on")
	}
	for _, n := range s.Nodes {
		if alive(n.PID) {
			t.Errorf("%s runs on", n.Name)
		}
	}
	if err := Stop(t.Context(), o.StateDir); !errors.Is(err, control.ErrNotRunning) {
		t.Errorf("stopping nothing: %v", err)
	}
}

func TestTwoStartsAtOnce(t *testing.T) {
	o := options(t, 2)
	var starts sync.WaitGroup
	for range 4 {
		starts.Go(func() {
			if err := Start(t.Context(), o); err != nil {
				t.Error(err)
			}
		})
	}
	starts.Wait()
	if s := startCluster(t, o); !s.Healthy() {
		t.Errorf("status is %+v", s)
	}
}

func TestFailedStartLeavesNothing(t *testing.T) {
	t.Setenv(behaviourEnv, "erlmcp2=crash")
	o := options(t, 2)
	err := Start(t.Context(), o)
	want := "node erlmcp2 failed to start: it exited with status 3; its log ends with\n  last words 0\n  last words 1\n  last words 2"
	if err == nil || err.Error() != want {
		t.Errorf("got %v", err)
	}
	if _, running, err := control.Running(o.StateDir, daemonName); err != nil || running {
		t.Error("the supervisor runs on")
	}
	for _, n := range o.Spec.Nodes {
		if answers(n.TCPAddress()) {
			t.Errorf("%s runs on", n.Name)
		}
	}
}

func TestInterruptedStart(t *testing.T) {
	t.Setenv(behaviourEnv, "erlmcp2=mute")
	o := options(t, 2)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	o.Progress = func(n NodeStatus) {
		if n.Name == "erlmcp1" && n.State == StateReady {
			cancel()
		}
	}
	if err := Start(ctx, o); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if _, running, err := control.Running(o.StateDir, daemonName); err != nil || running {
		t.Error("the supervisor runs on")
	}
	if answers(o.Spec.Nodes[0].TCPAddress()) {
		t.Error("erlmcp1 runs on")
	}
}

func TestKilledSupervisor(t *testing.T) {
	o := options(t, 3)
	s := startCluster(t, o)
	// One node is frozen: it cannot notice anything by itself.
	if err := Connect(o.StateDir).Kill(t.Context(), "erlmcp2", SignalStop, false); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(s.PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	again := startCluster(t, o)
	if again.PID == s.PID || !again.Healthy() {
		t.Errorf("status is %+v", again)
	}
	for _, n := range s.Nodes {
		eventually(t, n.Name+" gone", func() bool { return !alive(n.PID) })
	}
}

// What nodes of a killed supervisor leave behind is ended by the next start.
func TestKilledSupervisorOfFugitives(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("the environment of other processes cannot be read")
	}
	port := freePorts(t, 1)[0]
	t.Setenv(behaviourEnv, "erlmcp1=escape")
	t.Setenv("CLUSTER_TEST_CHILD_PORT", strconv.Itoa(port))
	o := options(t, 1)
	s := startCluster(t, o)
	eventually(t, "child", func() bool { return listens(port) })
	if err := syscall.Kill(s.PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, "end of the node", func() bool { return !alive(s.Nodes[0].PID) })
	if !listens(port) {
		t.Fatal("the child has ended by itself, so the test shows nothing")
	}
	t.Setenv(behaviourEnv, "")
	if again := startCluster(t, o); !again.Healthy() {
		t.Errorf("status is %+v", again)
	}
	if listens(port) {
		t.Error("a child outlives the next start")
	}
}

// A daemon that has emptied its environment cannot be told from those of other nodes, but it is the
// supervisor's child, and ends with it.
func TestHiddenDaemonsEndWithTheCluster(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("orphans go to process 1")
	}
	port := freePorts(t, 1)[0]
	t.Setenv(behaviourEnv, "erlmcp1=hide")
	t.Setenv("CLUSTER_TEST_CHILD_PORT", strconv.Itoa(port))
	o := options(t, 1)
	o.Spec.Containment = ContainProcessGroup
	startCluster(t, o)
	eventually(t, "daemon", func() bool { return listens(port) })
	if err := Stop(t.Context(), o.StateDir); err != nil {
		t.Fatal(err)
	}
	if listens(port) {
		t.Error("a daemon outlives the cluster")
	}
}

func TestFrozenSupervisor(t *testing.T) {
	o := options(t, 1)
	s := startCluster(t, o)
	if err := syscall.Kill(s.PID, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	if err := Stop(t.Context(), o.StateDir); err != nil {
		t.Fatal(err)
	}
	eventually(t, "end of the node", func() bool { return !alive(s.Nodes[0].PID) })
}

func TestTwoStateDirectories(t *testing.T) {
	a, b := options(t, 1), options(t, 1)
	first := startCluster(t, a)
	second := startCluster(t, b)
	if err := Stop(t.Context(), a.StateDir); err != nil {
		t.Fatal(err)
	}
	if alive(first.Nodes[0].PID) || !answers(second.Nodes[0].TCP) {
		t.Error("stopping one cluster did not leave the other alone")
	}
	a.Spec = b.Spec
	err := Start(t.Context(), a)
	if err == nil || !strings.Contains(err.Error(), "in use by") {
		t.Errorf("the same ports twice: %v", err)
	}
}

func TestSilentSupervisor(t *testing.T) {
	o := options(t, 1)
	s := startCluster(t, o)
	if err := syscall.Kill(s.PID, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	client := Connect(o.StateDir)
	var silent *SilentError
	eventually(t, "silence", func() bool {
		_, err := client.Status(t.Context())
		return errors.As(err, &silent)
	})
	if err := client.StartNodes(t.Context(), nil); !errors.As(err, &silent) || silent.Hint() == "" {
		t.Errorf("got %v", err)
	}
	if err := syscall.Kill(s.PID, syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	if err := client.StartNodes(t.Context(), nil); err != nil {
		t.Error(err)
	}
}
