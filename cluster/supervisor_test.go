package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/charmbracelet/log"

	"github.com/erlmcp/erlmcp/internal/control"
	"github.com/erlmcp/erlmcp/internal/units"
)

// quick is a life in milliseconds.
var quick = pace{
	backoffMin: 5 * time.Millisecond, backoffMax: 40 * time.Millisecond, healthy: time.Hour, crashLoop: 3,
	startTimeout: 20 * time.Second, stopGrace: 10 * time.Second, survey: 100 * time.Millisecond,
}

// hasty is the same for nodes whose children do not hear.
var hasty = func() pace {
	p := quick
	p.stopGrace = 200 * time.Millisecond
	return p
}()

// supervise runs a supervisor within this process until the test ends, and returns when its first
// nodes are ready.
func supervise(t *testing.T, spec Spec, o SupervisorOptions) *Client {
	t.Helper()
	c, failed := superviseAsync(t, spec, o)
	eventually(t, "the cluster comes up", func() bool {
		select {
		case err := <-failed:
			t.Fatal(err)
		default:
		}
		s, err := c.Status(t.Context())
		return err == nil && s.State == PhaseRunning
	})
	return c
}

func superviseAsync(t *testing.T, spec Spec, o SupervisorOptions) (*Client, <-chan error) {
	t.Helper()
	if o.StateDir == "" {
		o.StateDir = shortDir(t)
	}
	o.Log = log.New(io.Discard)
	if o.pace == (pace{}) {
		o.pace = quick
	}
	ctx, cancel := context.WithCancel(t.Context())
	failed := make(chan error, 1)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		failed <- Supervise(ctx, spec, o)
	}()
	t.Cleanup(func() {
		cancel()
		<-ended
	})
	return Connect(o.StateDir), failed
}

func node(t *testing.T, c *Client, name string) NodeStatus {
	t.Helper()
	s, err := c.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range s.Nodes {
		if n.Name == name {
			return n
		}
	}
	t.Fatalf("no node %s", name)
	return NodeStatus{}
}

func awaitState(t *testing.T, c *Client, name string, want State) NodeStatus {
	t.Helper()
	eventually(t, name+" "+string(want), func() bool { return node(t, c, name).State == want })
	return node(t, c, name)
}

func logOf(t *testing.T, n NodeStatus) string {
	t.Helper()
	text, err := os.ReadFile(n.Log)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestLifeOfACluster(t *testing.T) {
	spec := testSpec(t, 3)
	dir := shortDir(t)
	c := supervise(t, spec, SupervisorOptions{StateDir: dir, Names: []string{"erlmcp1", "erlmcp2"}})
	s, err := c.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if s.Schema != "erlmcp.cluster/v1" || s.PID != os.Getpid() || s.Healthy() {
		t.Errorf("status is %+v", s)
	}
	for i, n := range s.Nodes[:2] {
		if n.State != StateReady || !alive(n.PID) || n.TCP != spec.Nodes[i].TCPAddress() || !answers(n.TCP) || n.Restarts != 0 {
			t.Errorf("node is %+v", n)
		}
	}
	if n := s.Nodes[2]; n.State != StateStopped || n.PID != 0 || answers(n.TCP) {
		t.Errorf("the node not asked for is %+v", n)
	}

	if err := c.StartNodes(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	if third := node(t, c, "erlmcp3"); third.State != StateReady {
		t.Errorf("third node is %+v", third)
	}
	if again := node(t, c, "erlmcp1"); again.PID != s.Nodes[0].PID {
		t.Errorf("starting what runs made pid %d of %d", again.PID, s.Nodes[0].PID)
	}
	if err := c.StopNodes(t.Context(), []string{"erlmcp2"}); err != nil {
		t.Fatal(err)
	}
	if n := node(t, c, "erlmcp2"); n.State != StateStopped || n.PID != 0 || answers(n.TCP) || alive(s.Nodes[1].PID) {
		t.Errorf("stopped node is %+v", n)
	}
	if err := c.RestartNodes(t.Context(), []string{"erlmcp1", "erlmcp2"}); err != nil {
		t.Fatal(err)
	}
	if n := node(t, c, "erlmcp1"); n.State != StateReady || n.PID == s.Nodes[0].PID {
		t.Errorf("restarted node is %+v", n)
	}
	if got := logOf(t, s.Nodes[0]); strings.Count(got, "erlmcp1 ends\n") != 1 || strings.Count(got, "erlmcp1 serves\n") != 2 {
		t.Errorf("log is\n%s", got)
	}

	err = c.StopNodes(t.Context(), []string{"erlmcp"})
	var refusal *control.Error
	if !errors.As(err, &refusal) || refusal.ExitCode() != 2 || !strings.HasPrefix(err.Error(), `unknown node "erlmcp" (nodes: erlmcp1,`) {
		t.Errorf("unknown node: %v", err)
	}

	if err := c.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "end", func() bool { _, running, err := control.Running(dir, daemonName); return err == nil && !running })
	for _, n := range spec.Nodes {
		if answers(n.TCPAddress()) {
			t.Errorf("%s outlives the cluster", n.Name)
		}
	}
	if _, err := c.Status(t.Context()); !errors.Is(err, control.ErrNotRunning) {
		t.Errorf("status of a stopped cluster: %v", err)
	}
}

func TestKill(t *testing.T) {
	c := supervise(t, testSpec(t, 2), SupervisorOptions{})
	first := node(t, c, "erlmcp1")
	if err := c.Kill(t.Context(), "erlmcp1", SignalKill, false); err != nil {
		t.Fatal(err)
	}
	eventually(t, "restart", func() bool { n := node(t, c, "erlmcp1"); return n.State == StateReady && n.PID != first.PID })
	if n := node(t, c, "erlmcp1"); n.Restarts != 1 {
		t.Errorf("node is %+v", n)
	}
	if got := logOf(t, first); !strings.Contains(got, "erlmcp1 was killed by SIGKILL\n") {
		t.Errorf("log is\n%s", got)
	}

	if err := c.Kill(t.Context(), "erlmcp1", SignalKill, true); err != nil {
		t.Fatal(err)
	}
	held := awaitState(t, c, "erlmcp1", StateHeld)
	if held.Reason != "was killed by SIGKILL" || held.PID != 0 {
		t.Errorf("held node is %+v", held)
	}
	err := c.Kill(t.Context(), "erlmcp1", SignalKill, false)
	if err == nil || err.Error() != "erlmcp1 does not run (held)" {
		t.Errorf("killing a dead node: %v", err)
	}
	if err := c.StartNodes(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	if n := node(t, c, "erlmcp1"); n.State != StateReady {
		t.Errorf("node is %+v", n)
	}
	// A start right after a kill is not told that the node is ready.
	before := node(t, c, "erlmcp1")
	if err := c.Kill(t.Context(), "erlmcp1", SignalKill, false); err != nil {
		t.Fatal(err)
	}
	if err := c.StartNodes(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	if n := node(t, c, "erlmcp1"); n.State != StateReady || n.PID == before.PID {
		t.Errorf("node is %+v", n)
	}
	err = c.Kill(t.Context(), "erlmcp1", "TERM", false)
	if err == nil || err.Error() != `unknown signal "TERM" (there are KILL, STOP, CONT)` {
		t.Errorf("unknown signal: %v", err)
	}
}

func TestFreeze(t *testing.T) {
	c := supervise(t, testSpec(t, 1), SupervisorOptions{})
	n := node(t, c, "erlmcp1")
	if err := c.Kill(t.Context(), "erlmcp1", SignalStop, false); err != nil {
		t.Fatal(err)
	}
	if n = node(t, c, "erlmcp1"); n.State != StateReady || n.Reason != "frozen by SIGSTOP" {
		t.Errorf("frozen node is %+v", n)
	}
	if err := errors.Join(c.DrainNodes(t.Context(), nil), c.ResumeNodes(t.Context(), nil)); err != nil {
		t.Fatal(err)
	}
	if n = node(t, c, "erlmcp1"); n.State != StateReady || n.Reason != "frozen by SIGSTOP" {
		t.Errorf("frozen node that was to be stopped is %+v", n)
	}
	eventually(t, "silence", func() bool { return !answers(n.TCP) })
	if err := c.Kill(t.Context(), "erlmcp1", SignalCont, false); err != nil {
		t.Fatal(err)
	}
	if n = node(t, c, "erlmcp1"); n.Reason != "" || !answers(n.TCP) {
		t.Errorf("thawed node is %+v", n)
	}
	if err := c.Kill(t.Context(), "erlmcp1", SignalStop, false); err != nil {
		t.Fatal(err)
	}
	if err := c.StopNodes(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	if got := logOf(t, n); !strings.Contains(got, "erlmcp1 exited with status 0\n") {
		t.Errorf("a frozen node did not end gracefully; log is\n%s", got)
	}
}

func TestCrashLoop(t *testing.T) {
	c := supervise(t, testSpec(t, 1), SupervisorOptions{})
	states := map[State]bool{}
	reason := ""
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	_ = c.Watch(ctx, func(n NodeStatus) {
		states[n.State] = true
		switch n.State {
		case StateCrashLoop:
			reason = n.Reason
			cancel()
		case StateReady:
			if err := syscall.Kill(n.PID, syscall.SIGKILL); err != nil {
				t.Error(err)
			}
		}
	})
	if want := "was killed by SIGKILL; failed 3 times in a row, next start after 20ms"; reason != want {
		t.Errorf("got %q, want %q", reason, want)
	}
	if !states[StateBackoff] || !states[StateStarting] {
		t.Errorf("passed through %v", states)
	}
	if n := awaitState(t, c, "erlmcp1", StateReady); n.Restarts < 3 {
		t.Errorf("node is %+v", n)
	}
}

func TestBackoffDoubles(t *testing.T) {
	var got []time.Duration
	for failures := 1; failures <= 8; failures++ {
		got = append(got, defaultPace.wait(failures))
	}
	if fmt.Sprint(got) != "[200ms 400ms 800ms 1.6s 3.2s 6.4s 10s 10s]" {
		t.Errorf("got %v", got)
	}
}

func TestFailedStart(t *testing.T) {
	t.Setenv(behaviourEnv, "erlmcp2=crash")
	spec := testSpec(t, 3)
	_, failed := superviseAsync(t, spec, SupervisorOptions{})
	err := <-failed
	want := "node erlmcp2 failed to start: it exited with status 3; its log ends with\n  last words 0\n  last words 1\n  last words 2"
	if err == nil || err.Error() != want {
		t.Errorf("got %v", err)
	}
	for _, n := range spec.Nodes {
		if answers(n.TCPAddress()) {
			t.Errorf("%s is left running", n.Name)
		}
	}
}

func TestFailedStartOfOneNode(t *testing.T) {
	t.Setenv(behaviourEnv, "erlmcp3=crash")
	c := supervise(t, testSpec(t, 3), SupervisorOptions{Names: []string{"erlmcp1"}})
	err := c.StartNodes(t.Context(), nil)
	if err == nil || !strings.HasPrefix(err.Error(), "node erlmcp3 failed to start: it exited with status 3") {
		t.Errorf("got %v", err)
	}
	for name, want := range map[string]State{"erlmcp1": StateReady, "erlmcp2": StateStopped, "erlmcp3": StateStopped} {
		if n := node(t, c, name); n.State != want {
			t.Errorf("node is %+v", n)
		}
	}
}

func TestInterruptedStartOfNodes(t *testing.T) {
	t.Setenv(behaviourEnv, "erlmcp3=mute")
	c := supervise(t, testSpec(t, 3), SupervisorOptions{Names: []string{"erlmcp1"}})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() {
		awaitState(t, c, "erlmcp2", StateReady)
		cancel()
	}()
	if err := c.StartNodes(ctx, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	awaitState(t, c, "erlmcp2", StateStopped)
	awaitState(t, c, "erlmcp3", StateStopped)
	awaitState(t, c, "erlmcp1", StateReady)
}

// Whoever interrupts a restart leaves no node behind that is down.
func TestInterruptedRestart(t *testing.T) {
	t.Setenv(behaviourEnv, "erlmcp1=deaf") // stopping takes it as long as that may
	p := quick
	p.stopGrace = time.Second
	c := supervise(t, testSpec(t, 2), SupervisorOptions{pace: p})
	before := []int{node(t, c, "erlmcp1").PID, node(t, c, "erlmcp2").PID}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() {
		awaitState(t, c, "erlmcp1", StateStopping)
		cancel()
	}()
	if err := c.RestartNodes(ctx, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	eventually(t, "erlmcp1 anew", func() bool {
		n := node(t, c, "erlmcp1")
		return n.State == StateReady && n.PID != before[0]
	})
	if err := c.RestartNodes(t.Context(), []string{"erlmcp1"}); err != nil { // time enough for erlmcp2's turn
		t.Error(err)
	}
	if n := node(t, c, "erlmcp2"); n.State != StateReady || n.PID != before[1] {
		t.Errorf("node is %+v", n)
	}
}

func TestMuteNode(t *testing.T) {
	t.Setenv(behaviourEnv, "erlmcp1=mute")
	p := quick
	p.startTimeout = 100 * time.Millisecond
	_, failed := superviseAsync(t, testSpec(t, 1), SupervisorOptions{pace: p})
	err := <-failed
	if err == nil || !strings.HasPrefix(err.Error(), "node erlmcp1 failed to start: it did not answer within 100ms") {
		t.Errorf("got %v", err)
	}
}

func TestDeafNode(t *testing.T) {
	t.Setenv(behaviourEnv, "erlmcp1=deaf")
	p := quick
	p.stopGrace = 50 * time.Millisecond
	c := supervise(t, testSpec(t, 1), SupervisorOptions{pace: p})
	if err := c.StopNodes(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	if n := node(t, c, "erlmcp1"); n.State != StateStopped || n.Reason != "did not end within 50ms and was killed" {
		t.Errorf("node is %+v", n)
	}
}

// What a node has started goes with it, however the node ends, and has ended when the node has.
func TestDescendants(t *testing.T) {
	port := freePorts(t, 1)[0]
	t.Setenv(behaviourEnv, "erlmcp1=family")
	t.Setenv("CLUSTER_TEST_CHILD_PORT", strconv.Itoa(port))
	c := supervise(t, testSpec(t, 1), SupervisorOptions{pace: hasty})
	serves := func() bool { return listens(port) }
	eventually(t, "child", serves)
	if err := c.StopNodes(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	if serves() {
		t.Error("a child outlives its node that ended")
	}
	if err := c.StartNodes(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	eventually(t, "child", serves)
	if err := c.Kill(t.Context(), "erlmcp1", SignalKill, true); err != nil {
		t.Fatal(err)
	}
	awaitState(t, c, "erlmcp1", StateHeld)
	if serves() {
		t.Error("a child outlives its node that was killed")
	}
}

// What has left the process group of its node goes with the node as well.
func TestEscapedDescendants(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("the environment of other processes cannot be read")
	}
	port := freePorts(t, 1)[0]
	t.Setenv(behaviourEnv, "erlmcp1=escape")
	t.Setenv("CLUSTER_TEST_CHILD_PORT", strconv.Itoa(port))
	c := supervise(t, testSpec(t, 2), SupervisorOptions{pace: hasty})
	serves := func() bool { return listens(port) }
	eventually(t, "child", serves)
	if err := c.StopNodes(t.Context(), []string{"erlmcp2"}); err != nil {
		t.Fatal(err)
	}
	if !serves() {
		t.Error("a child ended with a node that is not its own")
	}
	if err := c.StopNodes(t.Context(), []string{"erlmcp1"}); err != nil {
		t.Fatal(err)
	}
	if serves() {
		t.Error("a child outlives its node")
	}
}

// So does a daemon: its parent has ended, so it is the supervisor's child.
func TestDaemonsOfNodes(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("orphans go to process 1")
	}
	port := freePorts(t, 1)[0]
	t.Setenv(behaviourEnv, "erlmcp1=fork")
	t.Setenv("CLUSTER_TEST_CHILD_PORT", strconv.Itoa(port))
	spec := testSpec(t, 2)
	spec.Containment = ContainProcessGroup
	c := supervise(t, spec, SupervisorOptions{pace: hasty})
	if s, err := c.Status(t.Context()); err != nil || s.Containment != ContainProcessGroup {
		t.Errorf("containment is %q, %v", s.Containment, err)
	}
	serves := func() bool { return listens(port) }
	eventually(t, "daemon", serves)
	if err := c.StopNodes(t.Context(), []string{"erlmcp2"}); err != nil {
		t.Fatal(err)
	}
	if !serves() {
		t.Error("a daemon ended with a node that is not its own")
	}
	if err := c.Kill(t.Context(), "erlmcp1", SignalKill, true); err != nil {
		t.Fatal(err)
	}
	awaitState(t, c, "erlmcp1", StateHeld)
	if serves() {
		t.Error("a daemon outlives its node")
	}
}

func TestFloodingNode(t *testing.T) {
	t.Setenv(behaviourEnv, "erlmcp1=flood")
	const most = 128 * units.KiB
	spec := testSpec(t, 2)
	spec.Logs.MaxSize, spec.Logs.Keep = most, 2
	c := supervise(t, spec, SupervisorOptions{})
	n := node(t, c, "erlmcp1")
	eventually(t, "rotation", func() bool { _, err := os.Stat(n.Log + ".2"); return err == nil })
	if !answers(n.TCP) {
		t.Error("a flooding node does not answer")
	}
	if err := c.StopNodes(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(n.Log + "*")
	if err != nil || len(files) != 3 {
		t.Errorf("files are %q", files)
	}
	for _, f := range files {
		if info, err := os.Stat(f); err != nil || info.Size() > int64(most) {
			t.Errorf("%s: %v, %v", f, info.Size(), err)
		}
	}
}

func TestBusyPorts(t *testing.T) {
	spec := testSpec(t, 3)
	for _, port := range []int{spec.Nodes[0].TCP, spec.Nodes[2].SSE} {
		l, err := net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(port))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
	}
	_, failed := superviseAsync(t, spec, SupervisorOptions{})
	err := <-failed
	var ports *PortsError
	if !errors.As(err, &ports) || len(ports.Conflicts) != 2 {
		t.Fatalf("got %v", err)
	}
	first, second := ports.Conflicts[0], ports.Conflicts[1]
	if first.Node != "erlmcp1" || first.Transport != "tcp" || first.PID != os.Getpid() || second.Node != "erlmcp3" || second.Transport != "sse" {
		t.Errorf("got %+v", ports)
	}
	if want := fmt.Sprintf("cannot listen on %s (tcp of erlmcp1): in use by %s (pid %d), ", spec.Nodes[0].TCPAddress(), first.Process, os.Getpid()); !strings.HasPrefix(err.Error(), want) {
		t.Errorf("got %v\nwant %s…", err, want)
	}
}

func TestForeignAddress(t *testing.T) {
	spec := testSpec(t, 1)
	spec.Nodes[0].Host = "192.0.2.1" // RFC 5737: nobody's
	_, failed := superviseAsync(t, spec, SupervisorOptions{})
	err := <-failed
	if err == nil || !strings.Contains(err.Error(), "(tcp of erlmcp1): cannot assign requested address") {
		t.Errorf("got %v", err)
	}
}

func TestSecondSupervisor(t *testing.T) {
	dir := shortDir(t)
	supervise(t, testSpec(t, 1), SupervisorOptions{StateDir: dir})
	err := Supervise(t.Context(), testSpec(t, 1), SupervisorOptions{StateDir: dir, Log: log.New(io.Discard)})
	if !errors.Is(err, control.ErrRunning) {
		t.Errorf("got %v", err)
	}
}
