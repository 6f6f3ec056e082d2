// Package doctor says whether this machine can do what a plan asks of it, and what to do where it
// cannot: [Gather] finds out [Facts], [Examine] judges them without asking anybody.
package doctor

import (
	"cmp"
	"fmt"
	"strings"

	"github.com/erlmcp/erlmcp/internal/advice"
	"github.com/erlmcp/erlmcp/internal/judge"
	"github.com/erlmcp/erlmcp/internal/units"
	"github.com/erlmcp/erlmcp/loadtest"
	"github.com/erlmcp/erlmcp/loadtest/machine"
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
	Machine machine.Facts
	Kernel
	StateDirFree  int64             // bytes
	StateDirError error             // why it cannot be written to
	ClockSource   string            // of the kernel
	Tools         map[string]string // paths of programs
	Drivers       []Driver          // of load tests that are programs
	Held          []Holder          // by the plan's listeners
}

// Driver is a program that a load test can have make its load.
type Driver struct {
	Name          string
	Path, Version string // an empty version is one that it does not tell
	Error         error  // it is not there, or cannot be used
	Install       string // what installs it
}

// Kernel are settings of Linux.
type Kernel struct {
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

// Report is all findings.
type Report struct {
	Schema      string   `json:"schema"`
	OK          bool     `json:"ok"` // there is no problem
	Connections int      `json:"connections"`
	Problems    int      `json:"problems"`
	Warnings    int      `json:"warnings"`
	Findings    Findings `json:"findings"`
}

// Findings are what was looked at. What to do about one is a command, or a setting where no command can help.
type Findings judge.List

// Levels are what people read of how grave a finding is: the plan cannot work, or not as well as it could, or it may be
// so or not.
var Levels = map[judge.Verdict]string{judge.OK: "ok", judge.Unjudged: "info", judge.Warn: "warning", judge.Fail: "problem"}

// MarshalJSON writes them as schema erlmcp.doctor/v1 has them.
func (l Findings) MarshalJSON() ([]byte, error) {
	type finding struct {
		Name  string `json:"name"`
		Level string `json:"level"`
		Value string `json:"value"`
		Need  string `json:"need,omitempty"`
		Fix   string `json:"fix,omitempty"`
	}
	return judge.JSON(judge.List(l), func(r *judge.Result) finding {
		return finding{r.Name, Levels[r.Verdict], r.Got, r.Want, r.Fix}
	})
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
	e.drivers()
	r := Report{Schema: Schema, Connections: p.Loadtest.Connections, Findings: Findings(e.List), Problems: len(e.Failed())}
	for _, x := range e.List {
		if x.Verdict == judge.Warn {
			r.Warnings++
		}
	}
	r.OK = r.Problems == 0
	return r
}

type examination struct {
	judge.List
	plan  *Plan
	facts *Facts
}

// machine is the judgement of the load test's preflight.
func (e *examination) machine() {
	m, s := &e.facts.Machine, &e.plan.Loadtest
	cores, more := fmt.Sprint(m.Cores), "give the machine another core"
	if m.CPUs > 0 && m.CPUs <= float64(m.Cores) {
		cores = fmt.Sprintf("%.3g (%s)", m.CPUs, m.CPUsFrom)
		more = "raise the quota of the container or service (docker run --cpus, CPUQuota=)"
	}
	e.Judge("cores", m.Cores >= 2, judge.Warn, cores, "2", more)
	for _, r := range loadtest.CheckMachine(*m, s, e.plan.Nodes) {
		r.Fix = cmp.Or(r.Command, r.Fix)
		e.List = append(e.List, r)
	}
}

func (e *examination) kernel() {
	k, n := &e.facts.Kernel, e.plan.Loadtest.Connections
	if k.SoMaxConn > 0 {
		e.Judge("somaxconn", k.SoMaxConn >= 1024, judge.Warn, fmt.Sprint(k.SoMaxConn), "1024, for bursts of connections",
			"sudo sysctl -w net.core.somaxconn=4096")
	}
	if k.SynBacklog > 0 {
		e.Judge("syn_backlog", k.SynBacklog >= 1024, judge.Warn, fmt.Sprint(k.SynBacklog), "1024, for bursts of connections",
			"sudo sysctl -w net.ipv4.tcp_max_syn_backlog=4096")
	}
	if k.TCPMemoryPages > 0 {
		// Idle sockets have no buffers. Those of one connection in two hold a page at a time at most.
		need := int64(n)/2 + k.TCPMemoryUsed
		up := machine.RoundUp(2 * need)
		e.Judge("tcp_memory", k.TCPMemoryPages >= need, judge.Fail, units.InMiB(k.TCPMemoryPages*k.PageSize), units.InMiB(need*k.PageSize),
			fmt.Sprintf(`sudo sysctl -w net.ipv4.tcp_mem="%d %d %d"`, up/2, up*3/4, up))
	}
}

// processes judges what all of the set-up runs: agents, workers of the balancer, and those of the nodes.
func (e *examination) processes() {
	// By descriptors each holds at most so many.
	room := max(int64(e.facts.Machine.Descriptors)/2, 1)
	copies := 4*int64(e.plan.Loadtest.Connections)/room + int64(4*e.facts.Machine.Cores+3*e.plan.Nodes+4)
	e.facts.Machine.Threads.Judge(&e.List, int(copies), judge.Fail)
}

// leastFree is what a state directory needs beside logs: sockets, locks and keys.
const leastFree = 16 << 20

func (e *examination) disk() {
	f := e.facts
	if f.StateDirError != nil {
		e.Judge("state_dir", false, judge.Fail, f.StateDirError.Error(), "a directory of ours, to write to",
			"mkdir -p -m 700 "+quoted(e.plan.StateDir)+" (or export ERLMCP_STATE_DIR=DIR)")
		return
	}
	if f.StateDirFree == 0 {
		return
	}
	fix := "df -h " + quoted(e.plan.StateDir) + " (free some, or export ERLMCP_STATE_DIR=DIR)"
	if f.StateDirFree < leastFree {
		e.Judge("disk", false, judge.Fail, units.InMiB(f.StateDirFree)+" free", units.InMiB(leastFree), fix)
		return
	}
	need := e.plan.LogBytes + leastFree
	e.Judge("disk", f.StateDirFree >= need, judge.Warn, units.InMiB(f.StateDirFree)+" free", units.InMiB(need)+", with the most of logs",
		"export ERLMCP_CLUSTER_LOGS_MAX_SIZE=8MiB ERLMCP_CLUSTER_LOGS_KEEP=1, or: "+fix)
}

// slowClocks take a system call, or a bus cycle, for each look at the clock.
var slowClocks = map[string]bool{"hpet": true, "acpi_pm": true, "jiffies": true, "refined-jiffies": true, "pit": true}

func (e *examination) clock() {
	if source := e.facts.ClockSource; source != "" {
		e.Judge("clock", !slowClocks[source], judge.Warn, source, "one that is read without the kernel, such as tsc",
			"echo tsc | sudo tee /sys/devices/system/clocksource/clocksource0/current_clocksource")
	}
}

func (e *examination) ping() {
	if e.facts.Ping == PingUnknown {
		return
	}
	bad, need := judge.Unjudged, "for the health check icmp alone, which is not made"
	if e.plan.ICMP {
		bad, need = judge.Warn, "for the health check icmp"
	}
	value := "allowed"
	if e.facts.Ping == PingForbidden {
		value = "not allowed"
	}
	e.Judge("icmp", e.facts.Ping == PingAllowed, bad, value, need, `sudo sysctl -w net.ipv4.ping_group_range="0 2147483647"`)
}

// configured are limits of our own.
func (e *examination) configured() {
	p, n := e.plan, e.plan.Loadtest.Connections
	value, fix := "start", ""
	if p.Fits != nil {
		value = p.Fits.Error()
		fix, _ = advice.Of(p.Fits)
	}
	e.Judge("start", p.Fits == nil, judge.Fail, value, "balancer and nodes start", fix)
	e.Judge("lb.max_connections", p.MaxConnections >= n, judge.Fail, fmt.Sprint(p.MaxConnections), fmt.Sprint(n),
		fmt.Sprintf("export ERLMCP_LB_MAX_CONNECTIONS=%d", n))
	e.Judge("lb.node_max_connections", p.NodeCap*p.Nodes >= n, judge.Fail,
		fmt.Sprintf("%d for each of %d nodes", p.NodeCap, p.Nodes), fmt.Sprintf("%d in all", n),
		fmt.Sprintf("export ERLMCP_LB_NODE_MAX_CONNECTIONS=%d", (n*21/20)/max(p.Nodes-1, 1)+1))
	if ports := e.facts.Machine.EphemeralPorts; p.OneSource && ports > 0 && p.Nodes > 0 {
		// After the loss of a node the others have its share, too.
		need := n / max(p.Nodes-1, 1)
		e.Judge("ports_to_nodes", ports >= need, judge.Fail, fmt.Sprintf("%d for each node", ports), fmt.Sprint(need),
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
			e.Judge(name, true, judge.Fail, l.Address+" is ours", need, "")
		case h.Taken:
			who, fix := "a process of another user", "sudo ss -ltnp (shows whose it is)"
			if h.PID != 0 {
				who, fix = fmt.Sprintf("%s (process %d)", h.Process, h.PID), fmt.Sprintf("kill %d", h.PID)
			}
			if move != "" {
				fix += ", or: " + move
			}
			e.Judge(name, false, judge.Fail, fmt.Sprintf("%s is in use by %s", l.Address, who), need, fix)
		case h.Error != nil:
			e.Judge(name, false, judge.Fail, fmt.Sprintf("%s: %v", l.Address, h.Error), need, move)
		default:
			e.Judge(name, true, judge.Fail, l.Address+" is free", need, "")
		}
	}
}

// toolPackages are programs that the product meets or is compared with, and their packages in Debian.
var toolPackages = []struct{ program, packageName string }{
	{"haproxy", "haproxy"}, {"nginx", "nginx-light"}, {"erl", "erlang-base"}, {"epmd", "erlang-base"},
}

func (e *examination) tools() {
	for _, t := range toolPackages {
		path := e.facts.Tools[t.program]
		level, need := judge.Unjudged, "optional"
		if t.packageName == "erlang-base" {
			if !e.plan.Erlang {
				continue
			}
			level, need = judge.Fail, "for cluster.runtime: erlang"
		}
		value := path
		if path == "" {
			value = "not found"
		}
		fix := "sudo apt-get install " + t.packageName
		e.Judge(t.program, path != "", level, value, need, fix)
	}
}

func (e *examination) drivers() {
	for _, d := range e.facts.Drivers {
		value := d.Path + ", version " + cmp.Or(d.Version, "not told")
		if d.Error != nil {
			value = d.Error.Error()
		}
		e.Judge(d.Name, d.Error == nil, judge.Unjudged, value, "optional, for load tests over HTTP", d.Install)
	}
}

// quoted makes a path one word of a shell.
func quoted(path string) string {
	if strings.Trim(path, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-") == "" {
		return path
	}
	return "'" + strings.ReplaceAll(path, "'", `'\''`) + "'"
}
