package loadtest

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/erlmcp/erlmcp/loadtest/series"
	"github.com/erlmcp/erlmcp/loadtest/system"

	charm "github.com/charmbracelet/log"
	"github.com/nats-io/nats-server/v2/server"

	"github.com/erlmcp/erlmcp/internal/judge"
	"github.com/erlmcp/erlmcp/loadtest/agent"
)

// told reads the flags of the command that a coordinator prints, and has its log go on.
func told(said io.Reader) (join, pin, bus string, err error) {
	in := bufio.NewReader(said)
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return "", "", "", fmt.Errorf("the coordinator said no command: %w", err)
		}
		if found := regexp.MustCompile(`command="erlmcp loadtest agent (?:--join (\S+) --pin (\S+)|--bus (\S+))"`).FindStringSubmatch(line); found != nil {
			go func() { _, _ = io.Copy(io.Discard, in) }()
			return found[1], found[2], found[3], nil
		}
	}
}

// runRemotely runs a spec whose agents run beside it as if they were on other machines.
func runRemotely(t *testing.T, s Spec, o Options, agents int, secret string) (*Report, []error) {
	t.Helper()
	said, log := io.Pipe()
	t.Cleanup(func() { log.Close() })
	o.Log = charm.New(log)
	ended := make(chan error, agents)
	go func() {
		join, pin, bus, err := told(said)
		for i := range agents {
			a := agent.Options{Join: join, Pin: pin, Token: o.Token, Bus: bus, BusSecret: secret, SourceIPs: fmt.Sprintf("127.%d.0.0/16", 3+i)}
			go func() {
				if err != nil {
					ended <- err
					return
				}
				ended <- agent.Run(t.Context(), a)
			}()
		}
	}()
	s.Agents, s.RemoteAgents = 0, agents
	r := mustRun(t, s, o)
	var errs []error
	for range agents {
		errs = append(errs, <-ended)
	}
	return r, errs
}

func TestRemoteAgents(t *testing.T) {
	f := startFake(t, 4)
	s := testSpec(f, 100, 100*time.Millisecond)
	r, errs := runRemotely(t, s, Options{System: f, Token: "secret"}, 2, "")
	if failed(r) != "" || errs[0] != nil || errs[1] != nil {
		t.Error(failed(r), errs)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	foreign := 0
	for source := range f.sticky {
		if strings.HasPrefix(source.String(), "127.3.") || strings.HasPrefix(source.String(), "127.4.") {
			foreign++
		}
	}
	if foreign != 100 {
		t.Errorf("%d connections from the agents' own sources", foreign)
	}
}

func startNATS(t *testing.T, o *server.Options) string {
	t.Helper()
	o.Host, o.Port, o.NoLog, o.NoSigs = "127.0.0.1", server.RANDOM_PORT, true, true
	s, err := server.NewServer(o)
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() {
		s.Shutdown()
		s.WaitForShutdown()
	})
	if !s.ReadyForConnections(testPatience) {
		t.Fatal("the NATS server is not ready")
	}
	return "nats://" + s.Addr().String()
}

// Two runs at one NATS server do not hear of each other.
func TestRunsAtOneNATSServer(t *testing.T) {
	url := startNATS(t, &server.Options{Username: "u", Password: "p"})
	t.Run("both", func(t *testing.T) {
		for _, connections := range []int{60, 100} {
			t.Run(fmt.Sprint(connections), func(t *testing.T) {
				t.Parallel()
				f := startFake(t, 2)
				r, errs := runRemotely(t, testSpec(f, connections, 500*time.Millisecond), Options{System: f, Bus: Bus{URL: url, Secret: "u:p"}}, 2, "u:p")
				if failed(r) != "" || errs[0] != nil || errs[1] != nil || r.Connections.Verified != connections {
					t.Errorf("%s %v %+v", failed(r), errs, r.Connections)
				}
			})
		}
	})
}

// The run goes on without an agent that was lost. What that held is not judged.
func TestLostAgentVoidsItsPartOnly(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("finds processes in /proc")
	}
	for _, phase := range []series.Phase{PhaseRamp, PhaseHold} {
		t.Run(string(phase), func(t *testing.T) {
			f := startFake(t, 2)
			s := testSpec(f, 300, 2*time.Second)
			s.Agents = 3
			if phase == PhaseRamp {
				s.RampRate = 200
			}
			var killed int
			r := mustRun(t, s, Options{System: f, Progress: func(p Progress) {
				if p.Phase == phase && p.Done > 0 && killed == 0 {
					killed = children(t, os.Getpid())[1]
					if err := syscall.Kill(killed, syscall.SIGKILL); err != nil {
						t.Error(err)
					}
				}
			}})
			if failed(r) != "" || len(r.LostAgents) != 1 || r.Reason != "" {
				t.Fatalf("%s: %s %+v", failed(r), r.Reason, r.LostAgents)
			}
			if l := r.LostAgents[0]; l.PID != killed || l.Connections != 100 || l.AtS <= 0 || !strings.Contains(l.Why, "killed") || len(r.Notes) != 1 {
				t.Errorf("%+v %q", l, r.Notes)
			}
			if c := r.Connections; c.Target != 200 || c.Verified != 200 || c.Dropped != 0 {
				t.Errorf("%+v", c)
			}
			if q := r.Requests; q.Sent == 0 || q.Answered != q.Sent || q.Lost != 0 {
				t.Errorf("%+v", q)
			}
			held, answers := 0, int64(0)
			for _, n := range r.Nodes {
				held, answers = held+n.Connections, answers+n.Latency.Count
			}
			// Requests that an agent sends in the last tick of the hold may be beyond its record.
			if unrecorded := r.Requests.Answered - answers; held != 200 || unrecorded < 0 || unrecorded > 20 || r.Failover == nil || r.Failover.Recovered != r.Failover.OnNode {
				t.Errorf("%d held, %d answers, %+v", held, answers, r.Failover)
			}
			said := false
			for _, c := range r.Checks {
				said = said || c.Name == "agents" && c.Verdict == judge.Unjudged && strings.Contains(c.Why, fmt.Sprint(killed))
			}
			if !said {
				t.Errorf("%+v", r.Checks)
			}
			awaitNoChildren(t)
		})
	}
}

// When more than half of the connections are gone with agents, the system is not to blame.
func TestTooManyAgentsLost(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("finds processes in /proc")
	}
	f := startFake(t, 2)
	s := testSpec(f, 90, time.Hour)
	s.Agents = 3
	killed := false
	r := mustRun(t, s, Options{System: f, Progress: func(p Progress) {
		if p.Phase == PhaseHold && p.Done > 0 && !killed {
			killed = true
			for _, pid := range children(t, os.Getpid())[:2] {
				if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
					t.Error(err)
				}
			}
		}
	}})
	if r.Verdict != Inconclusive || !strings.Contains(r.Reason, "60 of 90 connections were lost with load agents") || len(r.LostAgents) != 2 || len(r.Advice) != 1 {
		t.Errorf("%s: %s %+v %q", r.Verdict, r.Reason, r.LostAgents, r.Advice)
	}
	awaitNoChildren(t)
}

// A frozen agent of this machine is given up, and ended.
func TestSilentAgent(t *testing.T) {
	if runtime.GOOS != "linux" || testing.Short() {
		t.Skip("waits until an agent has been silent for long enough, and finds processes in /proc")
	}
	t.Parallel()
	f := startFake(t, 2)
	s := testSpec(f, 60, 20*time.Second)
	s.Agents, s.Failover, s.StickySample = 2, system.FaultNone, 0
	ctx, cancel := context.WithTimeout(t.Context(), testPatience)
	defer cancel()
	frozen := 0
	r, err := Run(ctx, s, Options{System: f, Progress: func(p Progress) {
		if p.Phase == PhaseHold && p.Done > 0 && frozen == 0 {
			frozen = children(t, os.Getpid())[0]
			if err := syscall.Kill(frozen, syscall.SIGSTOP); err != nil {
				t.Error(err)
			}
		}
	}})
	if err != nil || failed(r) != "" || len(r.LostAgents) != 1 || r.LostAgents[0].PID != frozen || r.Connections.Target != 30 {
		t.Errorf("%v %s %+v %+v", err, failed(r), r.LostAgents, r.Connections)
	}
	if alive(frozen) {
		t.Error("it was left frozen")
	}
}
