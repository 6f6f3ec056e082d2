package loadtest

import (
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/erlmcp/erlmcp/internal/judge"
	"github.com/erlmcp/erlmcp/loadtest/internal/ask"
	"github.com/erlmcp/erlmcp/loadtest/internal/probe"
	"github.com/erlmcp/erlmcp/loadtest/internal/sources"
	"github.com/erlmcp/erlmcp/loadtest/internal/target"
	"github.com/erlmcp/erlmcp/loadtest/internal/work"
	"github.com/erlmcp/erlmcp/loadtest/machine"
	"github.com/erlmcp/erlmcp/loadtest/system"
)

// goodFacts are those of the reference machine with everything running.
func goodFacts() *facts {
	f := &facts{
		aims: []aim{{
			to:   target.Endpoint{Target: target.Target{Transport: target.TCP, Host: "127.0.0.1", Port: 8000}, Address: testTarget},
			who:  probe.Introduction{Question: ask.Whoami, Naming: work.ByAnswer, Node: "erlmcp1"},
			work: work.Work{Verify: ask.Whoami, Naming: work.ByAnswer}, driver: DriverSocket,
		}},
		sources: testSources,
		host: machine.Facts{
			Cores: 2, Descriptors: 20_000, EphemeralPorts: 28_232, MemoryAvailable: 20 << 30, FilesMax: 2_000_000, FilesUsed: 1_000,
			ConntrackMax: 262_144, ConntrackUsed: 10,
		},
		seen: system.Observation{
			Balancer: &system.BalancerView{Max: 100_000, Limits: houseLimits},
			CanBreak: true,
		},
	}
	for range 12 {
		f.seen.Balancer.Workers = append(f.seen.Balancer.Workers, 9_872)
	}
	for _, name := range []string{"erlmcp1", "erlmcp2", "erlmcp3", "erlmcp4"} {
		f.seen.Nodes = append(f.seen.Nodes, system.NodeView{Name: name, Up: true, Max: 35_000})
	}
	return f
}

func requirementsOf(s *Spec, f *facts) judge.List {
	p, err := makePlan(s, f.sources, f.seen.Balancer.Limits, localOffers(6, 20_000))
	x := subject{spec: s, facts: f, fault: s.Failover, plan: p, planError: err}
	return x.preflight()
}

func TestPreflightOfTheReferenceMachine(t *testing.T) {
	s := Default()
	s.Failover = system.FaultKill
	all := requirementsOf(&s, goodFacts())
	if len(all) != 15 {
		t.Errorf("%d requirements", len(all))
	}
	for _, q := range all {
		if q.Verdict != judge.OK || q.Fix != "" {
			t.Errorf("%+v", q)
		}
	}
}

// A limit that is none is not told as a number.
func TestNoLimitOfFiles(t *testing.T) {
	s, f := Default(), goodFacts()
	f.host.FilesMax = math.MaxInt64
	for _, q := range requirementsOf(&s, f) {
		if q.Name == "open_files" && (q.Verdict != judge.OK || q.Got != "no limit of the machine") {
			t.Errorf("%+v", q)
		}
	}
}

func TestEachRequirementCanFail(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*Spec, *facts)
		value  string
	}{
		{"descriptors", func(s *Spec, _ *facts) { s.Agents = 5 }, "19744 for each of 5 agents"},
		{"sources", func(_ *Spec, f *facts) { f.sources = testSources.Slice(0, 100) }, "100 source addresses are not enough"},
		{"sources", func(_ *Spec, f *facts) { f.host.SourceError = errors.New("no such address") }, "no such address"},
		{"ports", func(_ *Spec, f *facts) { f.host.EphemeralPorts = 150 }, "150 for a source"},
		{"memory", func(_ *Spec, f *facts) { f.host.MemoryAvailable = 1 << 30 }, "1024 MiB available"},
		{"open_files", func(_ *Spec, f *facts) { f.host.FilesMax = 300_000 }, "299000 left on this machine"},
		{"conntrack", func(_ *Spec, f *facts) { f.host.ConntrackMax = 65_536 }, "65526 left"},
		{"balancer", func(_ *Spec, f *facts) { f.seen.Balancer.Connections = 7 }, "99993 of 100000 connections free"},
		{"balancer_workers", func(_ *Spec, f *facts) { f.seen.Balancer.Workers[3] = 8_500 }, "12 workers for 8500 each"},
		{"max_per_source", func(_ *Spec, f *facts) { f.seen.Balancer.Limits.MaxPerSource = 50 }, "50"},
		{"fault_control", func(_ *Spec, f *facts) { f.seen.CanBreak = false }, "not under control"},
		{"failover_node", func(s *Spec, _ *facts) { s.FailoverNode = "erlmcp9" }, "serving: erlmcp1, erlmcp2, erlmcp3, erlmcp4"},
		{"node_capacity", func(s *Spec, f *facts) {
			s.Failover = system.FaultNone
			for i := range f.seen.Nodes {
				f.seen.Nodes[i].Max = 24_000
			}
		}, "96000 connections"},
		{"failover_capacity", func(_ *Spec, f *facts) {
			for i := range f.seen.Nodes {
				f.seen.Nodes[i].Max = 25_000
			}
		}, "75000 connections without one node"},
	} {
		s, f := Default(), goodFacts()
		s.Failover = system.FaultKill
		c.change(&s, f)
		found := false
		for _, q := range requirementsOf(&s, f) {
			if (q.Verdict == judge.OK) == (q.Name == c.name) {
				t.Errorf("%s: %+v", c.name, q)
			}
			if q.Name == c.name {
				found = true
				if !strings.Contains(q.Got, c.value) || q.Want == "" || q.Fix == "" || q.Verdict != judge.Fail {
					t.Errorf("%s: %+v", c.name, q)
				}
			}
		}
		if !found {
			t.Errorf("%s was not looked at", c.name)
		}
	}
}

func TestPreflightNeedsNodesForAFault(t *testing.T) {
	s, f := Default(), goodFacts()
	s.Failover = system.FaultFreeze
	for i := range f.seen.Nodes[1:] {
		f.seen.Nodes[1+i].Up = false
	}
	failed := failedNames(requirementsOf(&s, f))
	if failed != "nodes node_capacity failover_capacity" {
		t.Error(failed)
	}
}

func TestPreflightWithoutTarget(t *testing.T) {
	s, f := Default(), goodFacts()
	f.trouble = &probe.Trouble{Text: "nobody is there"}
	f.aims[0].trouble = f.trouble
	all := requirementsOf(&s, f)
	if len(all) != 1 || all[0].Verdict != judge.Fail || all[0].Got != "nobody is there" {
		t.Errorf("%+v", all)
	}
}

func TestPreflightAdvises(t *testing.T) {
	s, f := Default(), goodFacts()
	s.Connections = 20_000
	f.sources = sources.KernelsChoice
	for _, q := range requirementsOf(&s, f) {
		bad := q.Name == "source_grain" || q.Name == "rate_limits" || q.Name == "ports"
		if (q.Verdict == judge.OK) == bad || bad && (q.Verdict == judge.Fail) != (q.Name == "ports") {
			t.Errorf("%+v", q)
		}
	}
}

func TestPreflightErrorNamesTheObstacles(t *testing.T) {
	e := &PreflightError{Requirements: judge.List{
		{Name: "target"},
		{Name: "rate_limits", Verdict: judge.Warn, Fix: "no"},
		{Name: "memory", Verdict: judge.Fail, Got: "1 MiB", Want: "2 MiB", Fix: "buy some"},
	}}
	if got, want := e.Error(), "the load test cannot run here: memory: 1 MiB, needed: 2 MiB"; got != want {
		t.Errorf("got %s", got)
	}
	if e.Hint() != "buy some" {
		t.Error(e.Hint())
	}
}

// The report's shape, of every kind of requirement.
func TestRequirementsInJSON(t *testing.T) {
	var l judge.List
	l.Need("a", true, "1", "2", "unused")
	l.Need("b", false, "1 <", "2", "x && y")
	l.Need("c", false, "1", "2", "other").Misuse()
	l.Advise("d", true, "1", "2", "")
	l.Advise("e", false, "1", "2", "more")
	text, err := Requirements(l).MarshalJSON()
	want := `[{"name":"a","value":"1","need":"2","ok":true},` +
		`{"name":"b","value":"1 <","need":"2","ok":false,"fix":"x && y"},` +
		`{"name":"c","value":"1","need":"2","ok":false,"usage":true,"fix":"other"},` +
		`{"name":"d","value":"1","need":"2","ok":true,"advisory":true},` +
		`{"name":"e","value":"1","need":"2","ok":false,"advisory":true,"fix":"more"}]` + "\n"
	if err != nil || string(text) != want {
		t.Errorf("%s, %v", text, err)
	}
}

func failedNames(all judge.List) string {
	var names []string
	for _, q := range all {
		if q.Verdict != judge.OK {
			names = append(names, q.Name)
		}
	}
	return strings.Join(names, " ")
}

// Limits of processes are a reason not to begin where it is known how much of them is used.
func TestPreflightLooksAtThreads(t *testing.T) {
	for from, verdict := range map[string]judge.Verdict{"kernel.pid_max": judge.Warn, "ulimit -u": judge.Fail, "/sys/fs/cgroup/pids.max": judge.Fail} {
		s, f := Default(), goodFacts()
		f.host.Threads = machine.Threads{Max: 20, Used: 10, From: from}
		found := false
		for _, q := range requirementsOf(&s, f) {
			if q.Name == "threads" {
				found = true
				if q.Verdict != verdict || q.Got != "10 left of 20 ("+from+")" || q.Fix == "" {
					t.Errorf("%s: %+v", from, q)
				}
			}
		}
		if !found {
			t.Errorf("%s is not looked at", from)
		}
	}
}
