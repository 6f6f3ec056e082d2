package doctor

import (
	"encoding/json"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/erlmcp/erlmcp/internal/judge"
	"github.com/erlmcp/erlmcp/loadtest"
	"github.com/erlmcp/erlmcp/loadtest/machine"
)

// good is the plan of 100,000 connections on a machine that can hold them.
func good() (*Plan, *Facts) {
	p := &Plan{
		Loadtest: loadtest.Default(), MaxConnections: 100_000, NodeCap: 35_000, Nodes: 4,
		LogBytes: 1 << 30, StateDir: "/run/erlmcp",
		Listeners: []Listener{
			{Name: "lb.listen.tcp", Address: "127.0.0.1:8000", Key: "ERLMCP_LB_LISTEN_TCP", Daemon: "lb"},
			{Name: "erlmcp1 tcp", Address: "127.0.0.1:9001", Daemon: "cluster"},
		},
	}
	f := &Facts{
		Machine: machine.Facts{
			Cores: 2, Descriptors: 20_000, DescriptorsMax: 1 << 20, EphemeralPorts: 28_232, MemoryAvailable: 20 << 30,
			FilesMax: 2_000_000, FilesUsed: 1000, ConntrackMax: 262_144,
			Threads: machine.Threads{Max: 32_768, Used: 200, From: "kernel.pid_max"},
		},
		Kernel: Kernel{
			SoMaxConn: 4096, SynBacklog: 2048, TCPMemoryPages: 575_802, TCPMemoryUsed: 79, PageSize: 4096,
			Ping: PingAllowed,
		},
		StateDirFree: 10 << 30, ClockSource: "tsc",
		Tools: map[string]string{"haproxy": "/usr/sbin/haproxy"},
		Drivers: []Driver{
			{Name: "wrk", Path: "/usr/bin/wrk", Version: "4.1.0", Install: "sudo apt-get install wrk"},
			{Name: "ab", Error: errors.New("ab is not in PATH"), Install: "sudo apt-get install apache2-utils"},
		},
		Held: make([]Holder, 2),
	}
	return p, f
}

func TestGoodMachine(t *testing.T) {
	p, f := good()
	r := Examine(p, f)
	if !r.OK || r.Problems != 0 || r.Warnings != 0 {
		t.Errorf("%+v", r)
	}
	for _, x := range r.Findings {
		if x.Verdict != judge.OK && x.Verdict != judge.Unjudged || x.Verdict == judge.OK && x.Fix != "" {
			t.Errorf("%+v", x)
		}
	}
}

func TestEachFinding(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*Plan, *Facts)
		level  judge.Verdict
		fix    string // is in it
	}{
		{"cores", func(_ *Plan, f *Facts) { f.Machine.Cores = 1 }, judge.Warn, "core"},
		{"descriptors", func(p *Plan, f *Facts) { f.Machine.Descriptors, p.Loadtest.Agents = 4096, 6 }, judge.Fail, "ulimit -Hn 20000 && ulimit -Sn 20000"},
		{"sources", func(_ *Plan, f *Facts) { f.Machine.SourceError = errors.New("no") }, judge.Fail, "--source-ips"},
		{"ports", func(_ *Plan, f *Facts) { f.Machine.EphemeralPorts = 100 }, judge.Fail, `sudo sysctl -w net.ipv4.ip_local_port_range="1024 65535"`},
		{"memory", func(_ *Plan, f *Facts) { f.Machine.MemoryAvailable = 1 << 30 }, judge.Fail, "erlmcp doctor 43000"},
		{"open_files", func(_ *Plan, f *Facts) { f.Machine.FilesMax = 100_000 }, judge.Fail, "sudo sysctl -w fs.file-max=524288"},
		{"conntrack", func(_ *Plan, f *Facts) { f.Machine.ConntrackMax = 65_536 }, judge.Fail, "sudo sysctl -w net.netfilter.nf_conntrack_max=524288"},
		{"somaxconn", func(_ *Plan, f *Facts) { f.SoMaxConn = 128 }, judge.Warn, "sudo sysctl -w net.core.somaxconn=4096"},
		{"syn_backlog", func(_ *Plan, f *Facts) { f.SynBacklog = 128 }, judge.Warn, "sudo sysctl -w net.ipv4.tcp_max_syn_backlog=4096"},
		{"tcp_memory", func(_ *Plan, f *Facts) { f.TCPMemoryPages = 10_000 }, judge.Fail, `sudo sysctl -w net.ipv4.tcp_mem="65536 98304 131072"`},
		{"threads", func(_ *Plan, f *Facts) { f.Machine.Threads.Max = 512 }, judge.Fail, "sudo sysctl -w kernel.pid_max="},
		{"threads", func(_ *Plan, f *Facts) {
			f.Machine.Threads = machine.Threads{Max: 100, Used: 20, From: "/sys/fs/cgroup/pids.max"}
		}, judge.Fail, "--pids-limit"},
		{"threads", func(_ *Plan, f *Facts) { f.Machine.Threads = machine.Threads{Max: 100, Used: 20, From: "ulimit -u"} }, judge.Fail, "ulimit -u 2048"},
		{"memory", func(_ *Plan, f *Facts) {
			f.Machine.MemoryAvailable, f.Machine.MemoryFrom = 1<<30, "/sys/fs/cgroup/memory.max"
		}, judge.Fail, "MemoryMax="},
		{"cores", func(_ *Plan, f *Facts) {
			f.Machine.Cores, f.Machine.CPUs, f.Machine.CPUsFrom = 1, 0.5, "/sys/fs/cgroup/cpu.max"
		}, judge.Warn, "CPUQuota="},
		{"state_dir", func(_ *Plan, f *Facts) { f.StateDirError = errors.New("no") }, judge.Fail, "mkdir -p -m 700 /run/erlmcp"},
		{"disk", func(_ *Plan, f *Facts) { f.StateDirFree = 1 << 20 }, judge.Fail, "df -h /run/erlmcp"},
		{"disk", func(_ *Plan, f *Facts) { f.StateDirFree = 1 << 29 }, judge.Warn, "ERLMCP_CLUSTER_LOGS_KEEP"},
		{"clock", func(_ *Plan, f *Facts) { f.ClockSource = "hpet" }, judge.Warn, "echo tsc | sudo tee"},
		{"icmp", func(p *Plan, f *Facts) { f.Ping, p.ICMP = PingForbidden, true }, judge.Warn, "ping_group_range"},
		{"icmp", func(_ *Plan, f *Facts) { f.Ping = PingForbidden }, judge.Unjudged, "ping_group_range"},
		{"lb.max_connections", func(p *Plan, _ *Facts) { p.MaxConnections = 10 }, judge.Fail, "export ERLMCP_LB_MAX_CONNECTIONS=100000"},
		{"lb.node_max_connections", func(p *Plan, _ *Facts) { p.NodeCap = 10_000 }, judge.Fail, "export ERLMCP_LB_NODE_MAX_CONNECTIONS=35001"},
		{"ports_to_nodes", func(p *Plan, _ *Facts) { p.OneSource = true }, judge.Fail, "export ERLMCP_LB_SOURCE=auto"},
		{"lb.listen.tcp", func(_ *Plan, f *Facts) { f.Held[0] = Holder{PID: 7, Process: "nginx", Taken: true} }, judge.Fail,
			"kill 7, or: export ERLMCP_LB_LISTEN_TCP=HOST:PORT"},
		{"lb.listen.tcp", func(_ *Plan, f *Facts) { f.Held[0] = Holder{Taken: true} }, judge.Fail, "ss -ltnp"},
		{"lb.listen.tcp", func(_ *Plan, f *Facts) { f.Held[0] = Holder{Error: syscall.EADDRNOTAVAIL} }, judge.Fail, "export ERLMCP_LB_LISTEN_TCP"},
		{"lb.listen.tcp", func(_ *Plan, f *Facts) { f.Held[0] = Holder{PID: 7, Taken: true, Ours: true} }, judge.OK, ""},
		{"erl", func(p *Plan, _ *Facts) { p.Erlang = true }, judge.Fail, "sudo apt-get install erlang-base"},
		{"wrk", func(*Plan, *Facts) {}, judge.OK, ""},
		{"wrk", func(_ *Plan, f *Facts) { f.Drivers[0].Version = "" }, judge.OK, ""},
		{"ab", func(*Plan, *Facts) {}, judge.Unjudged, "sudo apt-get install apache2-utils"},
	} {
		p, f := good()
		c.change(p, f)
		r := Examine(p, f)
		found := false
		for _, x := range r.Findings {
			if x.Name == c.name {
				found = true
				if x.Verdict != c.level || !strings.Contains(x.Fix, c.fix) || x.Verdict != judge.OK && x.Fix == "" || x.Got == "" {
					t.Errorf("%s: %+v", c.name, x)
				}
			}
		}
		if !found {
			t.Errorf("%s was not looked at", c.name)
		}
		if r.OK != (c.level != judge.Fail) {
			t.Errorf("%s: ok is %t", c.name, r.OK)
		}
	}
}

// What is not known is not judged.
func TestUnknownFacts(t *testing.T) {
	p, f := good()
	f.Kernel, f.Machine.Threads, f.ClockSource, f.StateDirFree = Kernel{}, machine.Threads{}, "", 0
	for _, x := range Examine(p, f).Findings {
		switch x.Name {
		case "somaxconn", "syn_backlog", "tcp_memory", "threads", "disk", "clock", "icmp":
			t.Errorf("%+v", x)
		}
	}
}

func TestReportInJSON(t *testing.T) {
	p, f := good()
	b, err := json.Marshal(Examine(p, f))
	if err != nil || !strings.HasPrefix(string(b), `{"schema":"erlmcp.doctor/v1","ok":true,"connections":100000,"problems":0,"warnings":0,"findings":[{"name":"cores","level":"ok"`) {
		t.Errorf("%s, error %v", b, err)
	}
}

func TestFindingsInJSON(t *testing.T) {
	var l judge.List
	l.Need("a", true, "1", "2", "unused")
	l.Judge("b", false, judge.Unjudged, "1", "", "x && y")
	l.Advise("c", false, "1", "2", "y")
	l.Need("d", false, "1", "2", "z")
	text, err := Findings(l).MarshalJSON()
	want := `[{"name":"a","level":"ok","value":"1","need":"2"},{"name":"b","level":"info","value":"1","fix":"x && y"},` +
		`{"name":"c","level":"warning","value":"1","need":"2","fix":"y"},{"name":"d","level":"problem","value":"1","need":"2","fix":"z"}]` + "\n"
	if err != nil || string(text) != want {
		t.Errorf("%s, %v", text, err)
	}
}

// TestGather finds a listener of this very process, a free address and one this machine does not have.
func TestGather(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	vacated, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	vacant := vacated.Addr().String()
	vacated.Close()
	p, _ := good()
	p.StateDir = filepath.Join(t.TempDir(), "not", "there")
	p.Listeners = []Listener{
		{Name: "taken", Address: taken.Addr().String(), Daemon: "lb"}, {Name: "vacant", Address: vacant},
		{Name: "elsewhere", Address: "203.0.113.1:1234"}, {Name: "any", Address: "127.0.0.1:0"}, {Name: "wrong", Address: "nonsense"},
	}
	f, err := Gather(p)
	if err != nil {
		t.Fatal(err)
	}
	if h := f.Held[0]; !h.Taken || h.Ours || h.PID != os.Getpid() && h.PID != 0 {
		t.Errorf("taken: %+v", h)
	}
	if h := f.Held[1]; h.Taken || h.Error != nil {
		t.Errorf("vacant: %+v", h)
	}
	if h := f.Held[2]; h.Taken || !errors.Is(h.Error, syscall.EADDRNOTAVAIL) {
		t.Errorf("elsewhere: %+v", h)
	}
	if h := f.Held[3]; h != (Holder{}) {
		t.Errorf("any: %+v", h)
	}
	if f.Held[4].Error == nil {
		t.Error("wrong: no error")
	}
	if f.StateDirFree == 0 || f.StateDirError != nil {
		t.Errorf("state directory: %d, error %v", f.StateDirFree, f.StateDirError)
	}
}

// Programs that make load are found with their versions, or with what installs them.
func TestDrivers(t *testing.T) {
	bin := t.TempDir()
	t.Setenv("PATH", bin)
	script := "#!/bin/sh\necho 'This is ApacheBench, Version 2.3 <$Revision: 1923142 $>'\n"
	if err := os.WriteFile(filepath.Join(bin, "ab"), []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	p, f := good()
	f.Drivers = drivers()
	want := map[string]struct {
		verdict  judge.Verdict
		got, fix string
	}{
		"wrk": {judge.Unjudged, "wrk is not in PATH", "sudo apt-get install wrk (Fedora: sudo dnf install wrk; Alpine: apk add wrk; Homebrew: brew install wrk)"},
		"ab":  {judge.OK, filepath.Join(bin, "ab") + ", version 2.3 (revision 1923142)", ""},
	}
	for _, x := range Examine(p, f).Findings {
		if w, ok := want[x.Name]; ok {
			if x.Verdict != w.verdict || x.Got != w.got || x.Fix != w.fix {
				t.Errorf("%+v", x)
			}
			delete(want, x.Name)
		}
	}
	if len(want) > 0 {
		t.Errorf("%v were not looked at", want)
	}
}

func TestDescends(t *testing.T) {
	if !descends(os.Getpid(), os.Getpid()) || !descends(os.Getpid(), os.Getppid()) {
		t.Error("not of its own family")
	}
	if descends(os.Getppid(), os.Getpid()) || descends(0, 0) {
		t.Error("a parent descends from its child")
	}
}

func TestStateDirectoryThatIsAFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o400); err != nil {
		t.Fatal(err)
	}
	if _, err := free(filepath.Join(file, "state")); !errors.Is(err, syscall.ENOTDIR) {
		t.Errorf("error %v", err)
	}
}

func TestQuoted(t *testing.T) {
	for path, want := range map[string]string{"/a-b/c_1.d": "/a-b/c_1.d", "/a b": "'/a b'", "/it's": `'/it'\''s'`} {
		if got := quoted(path); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}
