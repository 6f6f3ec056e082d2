// Package doctor says whether this machine can do what a plan asks of it, and what to do where it
// cannot: [Gather] finds out [Facts], [Examine] judges them without asking anybody.
package doctor

import (
	"errors"
	"fmt"
	"strings"

	"github.com/erlmcp/erlmcp/loadtest"
)

// Schema names the form of a Report in JSON.
const Schema = "erlmcp.doctor/v1"

// Plan is what the machine is to do.
type Plan struct {
	Loadtest loadtest.Spec // its connections are those of the plan

	MaxConnections int // of the balancer
	NodeCap        int // of each node
	Nodes          int
	Erlang         bool  // the nodes need Erlang/OTP
	ICMP           bool  // health checks send echo requests
	LogBytes       int64 // the most that log files grow to
	OneSource      bool  // the balancer connects to its nodes from one address

	// Fits is why balancer or nodes would not start here, nil if they would. It may have a method Hint() string.
	Fits error

	StateDir  string
	Listeners []Listener
}

// Listener is an address of the plan.
type Listener struct {
	Name    string // for people: "lb.listen.tcp", or "erlmcp1 tcp"
	Address string // host:port
	Key     string // variable that moves it elsewhere, if there is one
	Daemon  string // of the state directory that would listen: "lb" or "cluster"
}

// Facts are what is so. Zero means not known, unless said otherwise.
type Facts struct {
	Machine loadtest.Machine
	Kernel
	StateDirFree  int64  // bytes
	StateDirError error  // why it cannot be written to
	ClockSource   string // of the kernel
	Tools         map[string]string
	Held          []Holder // by the plan's listeners
}

// Kernel are settings of Linux.
type Kernel struct {
	NrOpen         int64 // highest hard limit of descriptors a process may be given
	SoMaxConn      int64 // connections that wait to be accepted
	SynBacklog     int64 // and for the end of the handshake
	TCPMemoryPages int64 // the most that the buffers of all TCP sockets may take
	TCPMemoryUsed  int64 // pages
	PageSize       int64
	Ping           Ping
}

// Ping says whether a process like this one may send echo requests.
type Ping int

// The values of Ping.
const (
	PingUnknown Ping = iota
	PingAllowed
	PingForbidden
)

// Holder is who listens at an address.
type Holder struct {
	PID     int    // 0 when it is another user's
	Process string // "" when nobody listens, or it is not known
	Taken   bool
	Ours    bool  // the daemon of this state directory
	Error   error // why it cannot be told, or why the address cannot be listened at
}

// Level is how grave a finding is.
type Level string

// Levels.
const (
	OK      Level = "ok"
	Info    Level = "info"    // may be so or not
	Warning Level = "warning" // the plan works, though not as well as it could
	Problem Level = "problem" // the plan cannot work
)

// Finding is one thing that was looked at.
type Finding struct {
	Name  string `json:"name"`
	Level Level  `json:"level"`
	Value string `json:"value"`
	Need  string `json:"need,omitempty"`
	Fix   string `json:"fix,omitempty"` // a command, or a setting where no command can help
}

// Report is all findings.
type Report struct {
	Schema      string    `json:"schema"`
	OK          bool      `json:"ok"` // there is no problem
	Connections int       `json:"connections"`
	Problems    int       `json:"problems"`
	Warnings    int       `json:"warnings"`
	Findings    []Finding `json:"findings"`
}

// Examine judges.
func Examine(p *Plan, f *Facts) Report {
	e := examination{plan: p, facts: f}
	e.machine()
	e.kernel()
	e.processes()
	e.disk()
	e.clock()
	e.ping()
	e.configured()
	e.listeners()
	e.tools()
	r := Report{Schema: Schema, Connections: p.Loadtest.Connections, Findings: e.findings}
	for _, x := range e.findings {
		switch x.Level {
		case Problem:
			r.Problems++
		case Warning:
			r.Warnings++
		}
	}
	r.OK = r.Problems == 0
	return r
}

type examination struct {
	plan     *Plan
	facts    *Facts
	findings []Finding
}

// find adds a finding that is ok, or of the level bad.
func (e *examination) find(name string, ok bool, bad Level, value, need, fix string) {
	level := OK
	if !ok {
		level = bad
	} else {
		fix = ""
	}
	e.findings = append(e.findings, Finding{name, level, value, need, fix})
}

// machine is the judgement of the load test's preflight, with commands for what it asks for.
func (e *examination) machine() {
	m, s := &e.facts.Machine, &e.plan.Loadtest
	cores, more := fmt.Sprint(m.Cores), "give the machine another core"
	if m.CPUs > 0 && m.CPUs <= float64(m.Cores) {
		cores = fmt.Sprintf("%.3g (%s)", m.CPUs, m.CPUsFrom)
		more = "raise the quota of the container or service (docker run --cpus, CPUQuota=)"
	}
	e.find("cores", m.Cores >= 2, Warning, cores, "2", more)
	for _, q := range m.Check(s, e.plan.Nodes) {
		level := Problem
		if q.Advisory {
			level = Warning
		}
		fix := e.command(q.Name)
		if fix == "" {
			fix = q.Fix
		}
		e.find(q.Name, q.OK, level, q.Value, q.Need, fix)
	}
}

// command is what fixes a requirement of the load test, "" where only its own words do.
func (e *examination) command(name string) string {
	m, n := &e.facts.Machine, int64(e.plan.Loadtest.Connections)
	switch name {
	case "descriptors":
		need := max(int64(20_000), n/8)
		fix := fmt.Sprintf("ulimit -Hn %d && ulimit -Sn %[1]d (as root; for a service LimitNOFILE=%[1]d)", need)
		if limit := e.facts.NrOpen; limit > 0 && limit < need {
			fix = fmt.Sprintf("sudo sysctl -w fs.nr_open=%d && ", need) + fix
		}
		return fix
	case "ports":
		return `sudo sysctl -w net.ipv4.ip_local_port_range="1024 65535"`
	case "open_files":
		return fmt.Sprintf("sudo sysctl -w fs.file-max=%d", loadtest.RoundUp(m.FilesUsed+5*n))
	case "conntrack":
		return fmt.Sprintf("sudo sysctl -w net.netfilter.nf_conntrack_max=%d", loadtest.RoundUp(m.ConntrackUsed+3*n))
	case "memory":
		if m.MemoryFrom != "" {
			return ""
		}
		return fmt.Sprintf("erlmcp doctor %d (what there is memory for), or add memory", m.MemoryAvailable/(24<<10)/1000*1000)
	}
	return ""
}

func (e *examination) kernel() {
	k, n := &e.facts.Kernel, e.plan.Loadtest.Connections
	if k.SoMaxConn > 0 {
		e.find("somaxconn", k.SoMaxConn >= 1024, Warning, fmt.Sprint(k.SoMaxConn), "1024, for bursts of connections",
			"sudo sysctl -w net.core.somaxconn=4096")
	}
	if k.SynBacklog > 0 {
		e.find("syn_backlog", k.SynBacklog >= 1024, Warning, fmt.Sprint(k.SynBacklog), "1024, for bursts of connections",
			"sudo sysctl -w net.ipv4.tcp_max_syn_backlog=4096")
	}
	if k.TCPMemoryPages > 0 {
		// Idle sockets have no buffers. Those of one connection in two hold a page at a time at most.
		need := int64(n)/2 + k.TCPMemoryUsed
		mebi := func(pages int64) string { return fmt.Sprintf("%d MiB", pages*k.PageSize>>20) }
		up := loadtest.RoundUp(2 * need)
		e.find("tcp_memory", k.TCPMemoryPages >= need, Problem, mebi(k.TCPMemoryPages), mebi(need),
			fmt.Sprintf(`sudo sysctl -w net.ipv4.tcp_mem="%d %d %d"`, up/2, up*3/4, up))
	}
}

// processes judges what all of the set-up runs: agents, workers of the balancer, and those of the nodes.
func (e *examination) processes() {
	// By descriptors each holds at most so many.
	room := max(int64(e.facts.Machine.Descriptors)/2, 1)
	copies := 4*int64(e.plan.Loadtest.Connections)/room + int64(4*e.facts.Machine.Cores+3*e.plan.Nodes+4)
	if q, known := loadtest.NeedThreads(e.facts.Machine.Threads, int(copies)); known {
		e.find(q.Name, q.OK, Problem, q.Value, q.Need, q.Fix)
	}
}

// leastFree is what a state directory needs beside logs: sockets, locks and keys.
const leastFree = 16 << 20

func (e *examination) disk() {
	f := e.facts
	if f.StateDirError != nil {
		e.find("state_dir", false, Problem, f.StateDirError.Error(), "a directory of ours, to write to",
			"mkdir -p -m 700 "+quoted(e.plan.StateDir)+" (or export ERLMCP_STATE_DIR=DIR)")
		return
	}
	if f.StateDirFree == 0 {
		return
	}
	mebi := func(n int64) string { return fmt.Sprintf("%d MiB", n>>20) }
	fix := "df -h " + quoted(e.plan.StateDir) + " (free some, or export ERLMCP_STATE_DIR=DIR)"
	if f.StateDirFree < leastFree {
		e.find("disk", false, Problem, mebi(f.StateDirFree)+" free", mebi(leastFree), fix)
		return
	}
	need := e.plan.LogBytes + leastFree
	e.find("disk", f.StateDirFree >= need, Warning, mebi(f.StateDirFree)+" free", mebi(need)+", with the most of logs",
		"export ERLMCP_CLUSTER_LOGS_MAX_SIZE=8MiB ERLMCP_CLUSTER_LOGS_KEEP=1, or: "+fix)
}

// slowClocks take a system call, or a bus cycle, for each look at the clock.
var slowClocks = map[string]bool{"hpet": true, "acpi_pm": true, "jiffies": true, "refined-jiffies": true, "pit": true}

func (e *examination) clock() {
	if source := e.facts.ClockSource; source != "" {
		e.find("clock", !slowClocks[source], Warning, source, "one that is read without the kernel, such as tsc",
			"echo tsc | sudo tee /sys/devices/system/clocksource/clocksource0/current_clocksource")
	}
}

func (e *examination) ping() {
	if e.facts.Ping == PingUnknown {
		return
	}
	bad, need := Info, "for the health check icmp alone, which is not made"
	if e.plan.ICMP {
		bad, need = Warning, "for the health check icmp"
	}
	value := "allowed"
	if e.facts.Ping == PingForbidden {
		value = "not allowed"
	}
	e.find("icmp", e.facts.Ping == PingAllowed, bad, value, need, `sudo sysctl -w net.ipv4.ping_group_range="0 2147483647"`)
}

// configured are limits of our own.
func (e *examination) configured() {
	p, n := e.plan, e.plan.Loadtest.Connections
	value, fix := "start", ""
	if p.Fits != nil {
		value = p.Fits.Error()
		var hinted interface{ Hint() string }
		if errors.As(p.Fits, &hinted) {
			fix = hinted.Hint()
		}
	}
	e.find("start", p.Fits == nil, Problem, value, "balancer and nodes start", fix)
	e.find("lb.max_connections", p.MaxConnections >= n, Problem, fmt.Sprint(p.MaxConnections), fmt.Sprint(n),
		fmt.Sprintf("export ERLMCP_LB_MAX_CONNECTIONS=%d", n))
	e.find("lb.node_max_connections", p.NodeCap*p.Nodes >= n, Problem,
		fmt.Sprintf("%d for each of %d nodes", p.NodeCap, p.Nodes), fmt.Sprintf("%d in all", n),
		fmt.Sprintf("export ERLMCP_LB_NODE_MAX_CONNECTIONS=%d", (n*21/20)/max(p.Nodes-1, 1)+1))
	if ports := e.facts.Machine.EphemeralPorts; p.OneSource && ports > 0 && p.Nodes > 0 {
		// After the loss of a node the others have its share, too.
		need := n / max(p.Nodes-1, 1)
		e.find("ports_to_nodes", ports >= need, Problem, fmt.Sprintf("%d for each node", ports), fmt.Sprint(need),
			"export ERLMCP_LB_SOURCE=auto (an address of its own for each worker), or more nodes: export ERLMCP_LB_SOURCE=PREFIX where they are on other machines")
	}
}

func (e *examination) listeners() {
	for i, l := range e.plan.Listeners {
		h := e.facts.Held[i]
		move := ""
		if l.Key != "" {
			move = fmt.Sprintf("export %s=HOST:PORT", l.Key)
		}
		name, need := l.Name, "free, or ours"
		switch {
		case h.Ours:
			e.find(name, true, Problem, l.Address+" is ours", need, "")
		case h.Taken:
			who, fix := "a process of another user", "sudo ss -ltnp (shows whose it is)"
			if h.PID != 0 {
				who, fix = fmt.Sprintf("%s (process %d)", h.Process, h.PID), fmt.Sprintf("kill %d", h.PID)
			}
			if move != "" {
				fix += ", or: " + move
			}
			e.find(name, false, Problem, fmt.Sprintf("%s is in use by %s", l.Address, who), need, fix)
		case h.Error != nil:
			e.find(name, false, Problem, fmt.Sprintf("%s: %v", l.Address, h.Error), need, move)
		default:
			e.find(name, true, Problem, l.Address+" is free", need, "")
		}
	}
}

// toolPackages are programs that the product meets or is compared with, and their packages in Debian.
var toolPackages = []struct{ program, packageName string }{
	{"haproxy", "haproxy"}, {"nginx", "nginx-light"}, {"wrk", "wrk"}, {"ab", "apache2-utils"}, {"hey", "hey"},
	{"erl", "erlang-base"}, {"epmd", "erlang-base"},
}

func (e *examination) tools() {
	for _, t := range toolPackages {
		path := e.facts.Tools[t.program]
		level, need := Info, "optional"
		if t.packageName == "erlang-base" {
			if !e.plan.Erlang {
				continue
			}
			level, need = Problem, "for cluster.runtime: erlang"
		}
		value := path
		if path == "" {
			value = "not found"
		}
		fix := "sudo apt-get install " + t.packageName
		e.find(t.program, path != "", level, value, need, fix)
	}
}

// quoted makes a path one word of a shell.
func quoted(path string) string {
	if strings.Trim(path, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-") == "" {
		return path
	}
	return "'" + strings.ReplaceAll(path, "'", `'\''`) + "'"
}
