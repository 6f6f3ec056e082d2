package loadtest

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/erlmcp/erlmcp/internal/judge"
	"github.com/erlmcp/erlmcp/internal/mcp"
	"github.com/erlmcp/erlmcp/loadtest/internal/wire"
	"github.com/erlmcp/erlmcp/loadtest/system"
)

func mustRun(t *testing.T, s Spec, o Options) *Report {
	t.Helper()
	if err := s.Validate(); err != nil {
		t.Fatal(err)
	}
	r, err := Run(t.Context(), s, o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// failed lists the checks that did not pass, without those that a busy machine can fail.
func failed(r *Report) string {
	names := []string{r.Reason}
	for _, c := range r.Checks {
		switch c.Name {
		case "ramp", "latency_variance", "failover_detected", "failover_rerouted", "generator_lag":
		default:
			if c.Verdict == judge.Fail {
				names = append(names, c.Name)
			}
		}
	}
	return strings.TrimSpace(strings.Join(names, " "))
}

func phases(r *Report) string {
	var names []string
	for _, p := range r.Phases {
		names = append(names, string(p.Name))
	}
	return strings.Join(names, ", ")
}

func TestRun(t *testing.T) {
	f := startFake(t, 4)
	s := testSpec(f, 1000, time.Second)
	var progress []Progress
	r := mustRun(t, s, Options{System: f, Progress: func(p Progress) { progress = append(progress, p) }})
	if failed(r) != "" {
		t.Error(failed(r))
	}
	if got, want := phases(r), "preflight, baseline, ramp, hold, sticky, failover, recovery, sticky_after_failover, close"; got != want {
		t.Error(got)
	}
	if c := r.Connections; c.Established != 1000 || c.Verified != 1000 || c.Dropped != 0 || c.RampMs <= 0 {
		t.Errorf("%+v", c)
	}
	if f := r.Failover; f.Node != "node2" || f.Fault != system.FaultKill || f.OnNode != 250 || f.Recovered != 250 || f.DetectedBy != "balancer" {
		t.Errorf("%+v", f)
	}
	if len(r.Nodes) != 4 || r.Nodes[3].Name != "node4" || r.Nodes[3].Latency.Count == 0 {
		t.Errorf("%+v", r.Nodes)
	}
	if r.Resources.Agents.Processes != 2 || r.Resources.Agents.RSSBytes == 0 {
		t.Errorf("%+v", r.Resources)
	}
	if r.Baseline.Count != 80 || r.Sticky.Sampled != 100 || r.StickyAfter.Sampled != 100 || r.Generator.Agents != 2 {
		t.Errorf("%+v", r)
	}
	last := progress[len(progress)-1]
	if last.Phase != PhaseClose || !last.Ended || last.Err != nil || last.Done != 1000 {
		t.Errorf("%+v", last)
	}
	awaitNoChildren(t)
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, n := range f.nodes {
		if len(n.conns) != 0 {
			t.Errorf("%s still has %d connections", n.name, len(n.conns))
		}
	}
}

// Clients that the fault of one run has moved to another node are none of the next run's.
func TestRunAfterRun(t *testing.T) {
	f := startFake(t, 4)
	s := testSpec(f, 100, 100*time.Millisecond)
	dir := t.TempDir()
	for range 3 {
		r := mustRun(t, s, Options{System: f, StateDir: dir, StickyTTL: time.Hour})
		if failed(r) != "" || r.Failover.OnNode != 25 || r.Plan.SourceAddresses == "" || r.Plan.SourcesUsedBefore != 0 {
			t.Errorf("%s %+v %+v", failed(r), r.Distribution, r.Plan)
		}
	}
	s.SourceIPs = "127.9.0.0/25" // 126 addresses
	for run, want := range []int{0, 82} {
		r := mustRun(t, s, Options{System: f, StateDir: dir, StickyTTL: time.Hour})
		said := slices.ContainsFunc(r.Preflight, func(q judge.Result) bool { return q.Name == "source_reuse" && q.Verdict != judge.OK })
		if r.Plan.SourcesUsedBefore != want || said != (want > 0) {
			t.Errorf("run %d: %+v %+v", run, r.Plan, r.Preflight)
		}
	}
}

// With several connections a source, every source opens its first one before any opens another.
func TestRunOfFewSources(t *testing.T) {
	f := startFake(t, 4)
	s := testSpec(f, 640, 100*time.Millisecond)
	s.SourceIPs, s.Failover = "127.1.0.0/26", system.FaultNone
	r := mustRun(t, s, Options{System: f})
	if failed(r) != "" || r.Plan.Sources != 60 || r.Plan.ConnectionsPerSource != 11 || r.Connections.Verified != 640 {
		t.Errorf("%s %+v %+v", failed(r), r.Plan, r.Connections)
	}
}

func TestRunAwaitsSlowStart(t *testing.T) {
	f := startFake(t, 2)
	f.nodes[1].slow.Store(3)
	s := testSpec(f, 50, 100*time.Millisecond)
	s.Failover = system.FaultNone
	r := mustRun(t, s, Options{System: f})
	if failed(r) != "" || !strings.HasPrefix(phases(r), "preflight, settle, baseline, ") {
		t.Error(failed(r), phases(r))
	}
	if n := f.nodes[1].slow.Load(); n >= 0 {
		t.Errorf("it began %d observations early", n)
	}
}

func TestRunFreezes(t *testing.T) {
	f := startFake(t, 3)
	s := testSpec(f, 90, 100*time.Millisecond)
	s.Failover, s.FailoverNode = system.FaultFreeze, "node3"
	r := mustRun(t, s, Options{System: f})
	if failed(r) != "" {
		t.Error(failed(r))
	}
	if f := r.Failover; f.Node != "node3" || f.DetectedMs < 200 || f.ReroutedMs < f.DetectedMs || f.Recovered != 30 {
		t.Errorf("%+v", f)
	}
}

// A target about which nothing else is known can be tested too.
func TestRunOfAnUnknownSystem(t *testing.T) {
	f := startFake(t, 2)
	r := mustRun(t, testSpec(f, 100, 100*time.Millisecond), Options{})
	if failed(r) != "" || r.Failover != nil {
		t.Errorf("%s %+v", failed(r), r.Failover)
	}
	if len(r.Nodes) != 2 || r.Distribution.TargetPerNode != 50 {
		t.Errorf("%+v", r.Nodes)
	}
}

func TestRunSeesForgetfulBalancer(t *testing.T) {
	f := startFake(t, 4)
	f.forgetful = true
	s := testSpec(f, 200, 100*time.Millisecond)
	s.Failover = system.FaultNone
	r := mustRun(t, s, Options{System: f})
	if failed(r) != "sticky" {
		t.Error(failed(r))
	}
}

func TestRunSeesDroppedConnections(t *testing.T) {
	f := startFake(t, 4)
	s := testSpec(f, 200, time.Second)
	s.Failover = system.FaultNone
	var once sync.Once
	r := mustRun(t, s, Options{System: f, Progress: func(p Progress) {
		if p.Phase != PhaseHold || p.Done == 0 {
			return
		}
		once.Do(func() {
			f.mu.Lock()
			defer f.mu.Unlock()
			for conn := range f.nodes[0].conns {
				conn.Close()
				break
			}
		})
	}})
	if !strings.HasPrefix(failed(r), "dropped") || r.Connections.Dropped != 1 {
		t.Errorf("%s %+v", failed(r), r.Connections)
	}
}

func TestRunOfAFullBalancer(t *testing.T) {
	f := startFake(t, 1)
	s := testSpec(f, 20, 100*time.Millisecond)
	r := mustRun(t, s, Options{System: f, Progress: func(p Progress) {
		if p.Phase == PhaseBaseline && p.Ended {
			f.refuse.Store(mcp.CodeUnavailable)
		}
	}})
	if r.Verdict != Fail || !strings.Contains(r.Reason, "ramp: no connection was verified") {
		t.Errorf("%s: %s", r.Verdict, r.Reason)
	}
	if c := r.Connections; c.Failed != 20 || c.Failures["unavailable"] != 20*wire.MaxAttempts {
		t.Errorf("%+v", c)
	}
}

// When everything breaks down during the ramp, the run does not wait for clients who never give up.
func TestRunStalls(t *testing.T) {
	f := startFake(t, 2)
	s := testSpec(f, 400, time.Second)
	s.RampRate, s.RequestTimeout = 200, time.Second
	var once sync.Once
	r := mustRun(t, s, Options{System: f, Progress: func(p Progress) {
		if p.Phase == PhaseRamp && p.Done > 0 {
			once.Do(func() {
				f.refuse.Store(mcp.CodeUnavailable)
				f.mu.Lock()
				defer f.mu.Unlock()
				for _, n := range f.nodes {
					n.drop()
				}
			})
		}
	}})
	if r.Verdict != Fail || !strings.Contains(r.Reason, "ramp: nobody was served for 2s; 0 clients are (") {
		t.Errorf("%s: %s", r.Verdict, r.Reason)
	}
}

func TestPreflightErrors(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := Default()
	s.Target = l.Addr().String()
	l.Close()
	var e *PreflightError
	if _, err := Run(t.Context(), s, Options{}); !errors.As(err, &e) || !e.Unreachable {
		t.Error(err)
	}
	f := startFake(t, 2)
	s = testSpec(f, 10, time.Second)
	s.Failover = system.FaultKill
	if _, err := Run(t.Context(), s, Options{}); !errors.As(err, &e) || e.Unreachable || !strings.Contains(err.Error(), "fault_control") {
		t.Error(err)
	}
	f.refuse.Store(mcp.CodeBanned)
	if _, err := Run(t.Context(), s, Options{}); !errors.As(err, &e) || !e.Unreachable || !strings.Contains(err.Error(), "ban") {
		t.Error(err)
	}
}

func TestInterruptedRun(t *testing.T) {
	f := startFake(t, 4)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	r, err := Run(ctx, testSpec(f, 100, time.Hour), Options{System: f, Progress: func(p Progress) {
		if p.Phase == PhaseHold && p.Done > 0 {
			cancel()
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	if r.Verdict != Interrupted || r.Reason != "interrupted" || r.Connections.Verified != 100 || r.Distribution == nil {
		t.Errorf("%+v", r)
	}
	awaitNoChildren(t)
}

// A node that the run has broken is mended whatever happens.
func TestInterruptedFailoverIsMended(t *testing.T) {
	f := startFake(t, 4)
	f.detection = time.Hour
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	s := testSpec(f, 100, 100*time.Millisecond)
	s.Failover = system.FaultFreeze
	r, err := Run(ctx, s, Options{System: f, Progress: func(p Progress) {
		if p.Phase == PhaseFailover && p.Took > progressInterval {
			cancel()
		}
	}})
	if err != nil || r.Verdict != Interrupted {
		t.Fatal(r.Verdict, r.Reason, err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if n := f.node("node2"); n.frozen != nil {
		t.Error("the node is still frozen")
	}
}

// Agents do not outlive a coordinator that had no chance to send them home.
func TestKilledCoordinatorLeavesNothing(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("finds processes in /proc")
	}
	f := startFake(t, 4)
	text, err := json.Marshal(testSpec(f, 100, time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	coordinator := exec.Command(os.Args[0])
	coordinator.Env = append(os.Environ(), coordinatorVariable+"="+string(text))
	coordinator.Stderr = os.Stderr
	out, err := coordinator.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := coordinator.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	agents := children(t, coordinator.Process.Pid)
	if len(agents) != 2 {
		t.Errorf("%d agents", len(agents))
	}
	if err := coordinator.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = coordinator.Wait()
	await(t, "the agents' end", func() bool { return !slices.ContainsFunc(agents, alive) })
}

// children lists the processes a process has started, oldest first.
func children(t *testing.T, parent int) []int {
	t.Helper()
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		t.Fatal(err)
	}
	var pids []int
	for _, dir := range dirs {
		if state, ppid := processParent(dir); ppid == parent && state != "Z" {
			pid, _ := strconv.Atoi(filepath.Base(dir))
			pids = append(pids, pid)
		}
	}
	slices.Sort(pids)
	return pids
}

func alive(pid int) bool {
	state, _ := processParent("/proc/" + strconv.Itoa(pid))
	return state != "" && state != "Z"
}

func processParent(dir string) (state string, parent int) {
	text, err := os.ReadFile(dir + "/stat")
	if err != nil {
		return "", 0
	}
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	parent, _ = strconv.Atoi(fields[1])
	return fields[0], parent
}

func awaitNoChildren(t *testing.T) {
	t.Helper()
	if runtime.GOOS == "linux" {
		await(t, "the end of all agents", func() bool { return len(children(t, os.Getpid())) == 0 })
	}
}
