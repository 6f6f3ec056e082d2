package cmd

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/erlmcp/erlmcp/cluster"
	"github.com/erlmcp/erlmcp/healthcheck"
	"github.com/erlmcp/erlmcp/internal/waittest"
	"github.com/erlmcp/erlmcp/proxy"
)

// TestClockJump sets the wall clock of a whole system by hours, forward and backward: nodes are not
// restarted, connections live on, bans, back-off and the wait for a drained node last as long as they
// should, and what is told about times stays right.
func TestClockJump(t *testing.T) {
	for _, jump := range []time.Duration{5 * time.Hour, -7 * time.Hour} {
		t.Run(jump.String(), func(t *testing.T) {
			s := newClockSystem(t)
			s.must("lb", "ban", "add", "192.0.2.7", "--for", "1h")
			clients := s.connect(20)
			before := s.status()
			health := s.watchHealth()

			s.jump(jump)
			health.undisturbed()
			s.undisturbed(before)
			if lost := dead(clients); lost > 0 {
				t.Errorf("%d connections are lost", lost)
			}
			s.ban()
			s.backoff(jump)
			s.drain(clients, jump)
			s.must("down")
			s.nothingIsLeft()
		})
	}
}

// clockSystem is a cluster and a balancer whose clocks a test sets.
type clockSystem struct {
	*chaos
	clocks map[int]*wallClock // of the processes that have one, by pid
	ahead  time.Duration      // what they show beyond the machine's
}

func newClockSystem(t *testing.T) *clockSystem {
	s := &clockSystem{chaos: newChaos(t, 0), clocks: map[int]*wallClock{}}
	s.env = append(s.env, "ERLMCP_LB_STICKY_TCP=none") // both nodes get clients
	s.must("up")
	return s
}

// jump sets the clocks of all processes that run.
func (s *clockSystem) jump(by time.Duration) {
	s.Helper()
	s.ahead += by
	for _, p := range s.processes() {
		if s.clocks[p.pid] == nil {
			s.clocks[p.pid] = takeClock(s.T, p.pid)
		}
		s.clocks[p.pid].set(s.T, s.ahead)
	}
	if off := time.Until(s.status().Time) - s.ahead; off.Abs() > time.Minute {
		s.Fatalf("the supervisor's clock is %v off", off)
	}
	if off := time.Until(s.stats().Time) - s.ahead; off.Abs() > time.Minute {
		s.Fatalf("the balancer's clock is %v off", off)
	}
}

func (s *clockSystem) status() cluster.Status {
	s.Helper()
	status, err := cluster.Connect(s.dir).Status(s.Context())
	if err != nil {
		s.Fatal(err)
	}
	return status
}

func (s *clockSystem) stats() proxy.Stats {
	s.Helper()
	stats, err := s.lb.Stats(s.Context())
	if err != nil {
		s.Fatal(err)
	}
	return stats
}

// recent is longer than a test takes, and far less than a jump.
const recent = 30 * time.Minute

func isRecent(d time.Duration) bool { return d >= 0 && d < recent }

// undisturbed requires that everything runs as it did before, for as long as it does.
func (s *clockSystem) undisturbed(before cluster.Status) {
	s.Helper()
	now, stats := s.status(), s.stats()
	for i, n := range now.Nodes {
		was := before.Nodes[i]
		if n.PID != was.PID || n.Restarts != 0 || n.State != cluster.StateReady {
			s.Errorf("node was %+v, is %+v", was, n)
		}
		if up := now.Time.Sub(n.Since); !isRecent(up) {
			s.Errorf("%s is ready for %v", n.Name, up)
		}
	}
	for _, n := range stats.Nodes {
		if up := stats.Time.Sub(n.Since); n.State != proxy.NodeUp || !isRecent(up) {
			s.Errorf("the balancer has %s %s for %v", n.Name, n.State, up)
		}
		if age := stats.Time.Sub(n.Check.At); !isRecent(age) {
			s.Errorf("the last check of %s was %v ago", n.Name, age)
		}
	}
	if up := time.Duration(stats.UptimeSeconds * float64(time.Second)); !isRecent(up) {
		s.Errorf("the balancer runs for %v", up)
	}
}

// ban requires that what was banned for an hour is banned for about an hour.
func (s *clockSystem) ban() {
	s.Helper()
	list, err := s.lb.Bans(s.Context())
	if err != nil || len(list) != 1 {
		s.Fatalf("bans are %+v, %v", list, err)
	}
	if left := list[0].Until.Sub(s.stats().Time); left > time.Hour || left < time.Hour-recent {
		s.Errorf("banned for %v more", left)
	}
}

// backoff kills a node again and again, jumps before, and back while it waits to be started. That it was
// ready for hours, by the wall clock, must not make its failures forgotten; nor may it wait for hours.
func (s *clockSystem) backoff(jump time.Duration) {
	s.Helper()
	for failures := 1; failures <= 4; failures++ {
		s.jump(jump)
		if err := syscall.Kill(s.status().Nodes[0].PID, syscall.SIGKILL); err != nil {
			s.Fatal(err)
		}
		s.await("its end", func() bool { return s.status().Nodes[0].State != cluster.StateReady })
		s.jump(-jump)
		s.await("its next life", func() bool {
			n := s.status().Nodes[0]
			return n.State == cluster.StateReady && n.Restarts == failures
		})
		want := fmt.Sprintf("was killed by SIGKILL; next start after %v", 100*time.Millisecond<<failures)
		if got := s.lastBackoff(); got != want {
			s.Errorf("after %d failures: %s, want %s", failures, got, want)
		}
	}
	s.await("both nodes", func() bool { return s.status().Healthy() })
}

// lastBackoff is why a node last waited to be started.
func (s *clockSystem) lastBackoff() (reason string) {
	s.Helper()
	err := cluster.Connect(s.dir).Events(s.Context(), false, func(e cluster.Event) error {
		if e.State == cluster.StateBackoff {
			reason = e.Reason
		}
		return nil
	})
	if err != nil {
		s.Fatal(err)
	}
	return reason
}

// drain stops a node that has clients: jumps neither end the wait for them, nor prolong it.
func (s *clockSystem) drain(clients []net.Conn, jump time.Duration) {
	s.Helper()
	s.await("nodes found by the balancer", func() bool {
		stats := s.stats()
		n := stats.Node("b")
		return n.State == proxy.NodeUp && n.Connections > 0
	})
	stop := s.command("cluster", "stop", "b", "--drain-timeout", "2h")
	var said strings.Builder
	stop.Stderr = &said
	if err := stop.Start(); err != nil {
		s.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- stop.Wait() }()
	s.await("draining", func() bool { return s.status().Nodes[1].State == cluster.StateDraining })
	s.jump(jump)
	s.jump(-jump)
	for range 3 { // looks of the command, one every 100 ms
		at := s.stats().Time
		s.await("another look", func() bool { return s.stats().Time.Sub(at) > 100*time.Millisecond })
		select {
		case err := <-ended:
			s.Fatalf("the clients of a drained node were not waited for: %v, %s", err, &said)
		default:
		}
	}
	for _, c := range clients {
		_ = c.Close()
	}
	select {
	case err := <-ended:
		if err != nil || strings.Contains(said.String(), "left") {
			s.Errorf("stop: %v, %s", err, &said)
		}
	case <-time.After(time.Minute):
		s.Error("stop does not end when the clients have gone")
	}
	s.must("cluster", "start")
}

// healthWatch is `health --continuous`, whose clock jumps as well.
type healthWatch struct {
	*clockSystem
	cmd   *exec.Cmd
	lines *bufio.Scanner
	last  healthcheck.Report
}

func (s *clockSystem) watchHealth() *healthWatch {
	s.Helper()
	w := &healthWatch{clockSystem: s, cmd: s.command("health", "--json", "--continuous", "0.1")}
	out, err := w.cmd.StdoutPipe()
	if err == nil {
		err = w.cmd.Start()
	}
	if err != nil {
		s.Fatal(err)
	}
	w.lines = bufio.NewScanner(out)
	w.lines.Buffer(nil, 1<<20)
	w.await(2)
	return w
}

// await reads so many rounds.
func (w *healthWatch) await(rounds int) {
	w.Helper()
	for range rounds {
		if !w.lines.Scan() {
			w.Fatalf("health ended: %v", w.lines.Err())
		}
		w.last = healthcheck.Report{}
		if err := json.Unmarshal(w.lines.Bytes(), &w.last); err != nil {
			w.Fatal(err)
		}
	}
}

// undisturbed requires that the rounds go on, and that what they say of all of them is true. It ends the
// watch.
func (w *healthWatch) undisturbed() {
	w.Helper()
	waittest.For(w, time.Minute, "the clock of health is right", func() (time.Time, bool) {
		w.await(1)
		return w.last.Time, (time.Until(w.last.Time) - w.ahead).Abs() <= time.Minute
	})
	w.await(3)
	for _, n := range w.last.Nodes {
		s := n.Statistics
		if s == nil || s.Rounds == 0 || s.Up != s.Rounds || s.Flaps != 0 || s.AvailabilityPercent != 100 {
			w.Errorf("statistics of %s are %+v", n.Name, s)
			continue
		}
		if longest := time.Duration(s.MaximumUS) * time.Microsecond; !isRecent(longest) || s.MinimumUS <= 0 {
			w.Errorf("latencies of %s are from %d to %d µs", n.Name, s.MinimumUS, s.MaximumUS)
		}
		if up := w.last.Time.Sub(s.Since); !isRecent(up) {
			w.Errorf("%s is up for %v", n.Name, up)
		}
	}
	if err := w.cmd.Process.Signal(syscall.SIGINT); err != nil {
		w.Fatal(err)
	}
	_ = w.cmd.Wait() // with the code of the last round, or of the interruption
}
