package loadtest

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	charm "github.com/charmbracelet/log"
	"github.com/nats-io/nats.go"

	"github.com/erlmcp/erlmcp/internal/judge"
	"github.com/erlmcp/erlmcp/internal/mcp"
	"github.com/erlmcp/erlmcp/loadtest/agent"
	"github.com/erlmcp/erlmcp/loadtest/internal/wire"
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
	if f := r.Failover; f.Node != "node2" || f.Fault != FaultKill || f.OnNode != 250 || f.Recovered != 250 || f.DetectedBy != "balancer" {
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
	s.SourceIPs, s.Failover = "127.1.0.0/26", FaultNone
	r := mustRun(t, s, Options{System: f})
	if failed(r) != "" || r.Plan.Sources != 60 || r.Plan.ConnectionsPerSource != 11 || r.Connections.Verified != 640 {
		t.Errorf("%s %+v %+v", failed(r), r.Plan, r.Connections)
	}
}

func TestRunAwaitsSlowStart(t *testing.T) {
	f := startFake(t, 2)
	f.nodes[1].slow.Store(3)
	s := testSpec(f, 50, 100*time.Millisecond)
	s.Failover = FaultNone
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
	s.Failover, s.FailoverNode = FaultFreeze, "node3"
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
	s.Failover = FaultNone
	r := mustRun(t, s, Options{System: f})
	if failed(r) != "sticky" {
		t.Error(failed(r))
	}
}

func TestRunSeesDroppedConnections(t *testing.T) {
	f := startFake(t, 4)
	s := testSpec(f, 200, time.Second)
	s.Failover = FaultNone
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
	s.Failover = FaultKill
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
	s.Failover = FaultFreeze
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

func TestLostAgentEndsTheRun(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("finds processes in /proc")
	}
	f := startFake(t, 4)
	var killed int
	begun := time.Now()
	r := mustRun(t, testSpec(f, 100, time.Hour), Options{System: f, Progress: func(p Progress) {
		if p.Phase == PhaseHold && p.Done > 0 && killed == 0 {
			killed = children(t, os.Getpid())[1]
			if err := syscall.Kill(killed, syscall.SIGKILL); err != nil {
				t.Error(err)
			}
		}
	}})
	if r.Verdict != Fail || !strings.Contains(r.Reason, "lost load agent") || !strings.Contains(r.Reason, strconv.Itoa(killed)) {
		t.Errorf("%s: %s", r.Verdict, r.Reason)
	}
	if time.Since(begun) > testPatience {
		t.Error("it took", time.Since(begun))
	}
	awaitNoChildren(t)
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

func TestRemoteAgent(t *testing.T) {
	f := startFake(t, 4)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := testSpec(f, 100, 100*time.Millisecond)
	s.Agents, s.RemoteAgents, s.Listen = 0, 1, l.Addr().String()
	l.Close()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error, 1)
	said, log := io.Pipe()
	t.Cleanup(func() { log.Close() })
	go func() {
		defer func() { _, _ = io.Copy(io.Discard, said) }()
		told, err := bufio.NewReader(said).ReadString('\n')
		found := regexp.MustCompile(` url=(\S+) pin=(\S+) `).FindStringSubmatch(told)
		if err != nil || found == nil {
			ended <- fmt.Errorf("the coordinator says %q, %w", told, err)
			return
		}
		ended <- agent.Run(ctx, agent.Options{Join: found[1], Pin: found[2], Token: "secret", SourceIPs: "127.3.0.0/16"})
	}()
	r := mustRun(t, s, Options{System: f, Token: "secret", Log: charm.New(log)})
	if failed(r) != "" {
		t.Error(failed(r))
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	foreign := 0
	for source := range f.sticky {
		if strings.HasPrefix(source.String(), "127.3.") {
			foreign++
		}
	}
	if foreign != 100 {
		t.Errorf("%d connections from the agent's own sources", foreign)
	}
}

func TestStrangersStayOutside(t *testing.T) {
	b, err := startBus("127.0.0.1:0", "", 1)
	if err != nil {
		t.Fatal(err)
	}
	defer b.close()
	if len(b.token) != 64 {
		t.Error("the token has", len(b.token), "digits")
	}
	if err := agent.Run(t.Context(), agent.Options{Join: b.url(), Pin: b.pin, Token: "guess"}); err == nil || !strings.Contains(err.Error(), "uthorization") {
		t.Error(err)
	}
	if _, err := nats.Connect("nats://"+b.server.Addr().String(), nats.Token(b.token), nats.Timeout(200*time.Millisecond)); err == nil {
		t.Error("somebody is let in without TLS")
	}
	if err := agent.Run(t.Context(), agent.Options{}); err == nil {
		t.Error("an agent ran without a coordinator")
	}
}

// An agent says its token to nobody but the coordinator that it was told of.
func TestTokenIsSaidToThePinnedOneOnly(t *testing.T) {
	other, err := startBus("127.0.0.1:0", "", 1)
	if err != nil {
		t.Fatal(err)
	}
	defer other.close()
	_, pin, err := busCertificate()
	if err != nil {
		t.Fatal(err)
	}
	// Another coordinator that has the address now, with TLS.
	o := agent.Options{Join: other.url(), Pin: pin, Token: other.token}
	if err := agent.Run(t.Context(), o); !errors.Is(err, agent.ErrNotPinned) {
		t.Errorf("with the certificate of another: %v", err)
	}
	// One without TLS, that hears all it is told.
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	heard := make(chan []byte, 1)
	go func() {
		c, err := ln.Accept()
		if err != nil {
			heard <- nil
			return
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(time.Second))
		_, _ = io.WriteString(c, `INFO {"server_id":"x","version":"2.10.0","proto":1,"max_payload":1048576,"tls_required":false}`+"\r\n")
		text, _ := io.ReadAll(c)
		heard <- text
	}()
	o = agent.Options{Join: "tls://" + ln.Addr().String(), Pin: pin, Token: "the secret of this run"}
	if err := agent.Run(t.Context(), o); err == nil {
		t.Error("it has joined")
	}
	if text := <-heard; len(text) == 0 || bytes.Contains(text, []byte("secret")) {
		t.Errorf("it was told %q", text)
	}
	for _, pin := range []string{"", "sha256:", "6b86b273", "md5:" + pin[7:], pin + "00", "sha256:zz" + pin[9:]} {
		if err := agent.Run(t.Context(), agent.Options{Join: other.url(), Pin: pin, Token: other.token}); err == nil || !strings.Contains(err.Error(), "is no pin") {
			t.Errorf("with the pin %q: %v", pin, err)
		}
	}
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
