package loadtest

import (
	"fmt"
	"math"
	"net/netip"
	"runtime"
	"slices"
	"strings"

	"github.com/erlmcp/erlmcp/internal/judge"
	"github.com/erlmcp/erlmcp/internal/prefork"
	"github.com/erlmcp/erlmcp/internal/units"
	"github.com/erlmcp/erlmcp/loadtest/internal/ask"
	"github.com/erlmcp/erlmcp/loadtest/internal/probe"
	"github.com/erlmcp/erlmcp/loadtest/internal/sources"
	"github.com/erlmcp/erlmcp/loadtest/internal/work"
	"github.com/erlmcp/erlmcp/loadtest/machine"
	"github.com/erlmcp/erlmcp/loadtest/system"
)

// Requirements are what a plan needs, in the shape of Report.Preflight.
type Requirements judge.List

// requirementJSON is a requirement as schema erlmcp.loadtest/v1 has it.
type requirementJSON struct {
	Name     string `json:"name"`
	Value    string `json:"value"` // what there is
	Need     string `json:"need"`  // what it takes
	OK       bool   `json:"ok"`
	Advisory bool   `json:"advisory,omitempty"` // does not keep a run from starting
	Usage    bool   `json:"usage,omitempty"`    // what was asked makes no sense, on any machine
	Fix      string `json:"fix,omitempty"`      // what to do when it is not ok
}

// MarshalJSON writes them as schema erlmcp.loadtest/v1 has them.
func (l Requirements) MarshalJSON() ([]byte, error) {
	return judge.JSON(judge.List(l), func(r *judge.Result) requirementJSON {
		return requirementJSON{r.Name, r.Got, r.Want, r.Verdict == judge.OK, r.Worst == judge.Warn, r.Usage, r.Fix}
	})
}

// UnmarshalJSON reads what MarshalJSON writes.
func (l *Requirements) UnmarshalJSON(text []byte) error {
	return readList((*judge.List)(l), text, func(q *requirementJSON) judge.Result {
		r := judge.Result{Name: q.Name, Worst: judge.Fail, Got: q.Value, Want: q.Need, Usage: q.Usage, Fix: q.Fix}
		if q.Advisory {
			r.Worst = judge.Warn
		}
		if !q.OK {
			r.Verdict = r.Worst
		}
		return r
	})
}

// PreflightError says that a run was not begun because its plan cannot work out.
type PreflightError struct {
	Requirements judge.List // all, also those that are met
	Unreachable  bool       // the target does not answer: nothing is wrong with the plan
}

func (e *PreflightError) Error() string {
	var failed []string
	for _, r := range e.Requirements.Failed() {
		failed = append(failed, fmt.Sprintf("%s: %s, needed: %s", r.Name, r.Got, r.Want))
	}
	return "the load test cannot run here: " + strings.Join(failed, "; ")
}

// Hint is what to do about the first obstacle.
func (e *PreflightError) Hint() string {
	for _, r := range e.Requirements.Failed() {
		return r.Fix
	}
	return ""
}

const (
	// agentBytes is what a connection takes on the generator's side, kernel and user together, and
	// systemBytes what it takes when balancer and nodes are on the same machine. Measured on Linux,
	// rounded up generously.
	agentBytes  = 5 << 10
	systemBytes = 24 << 10
	// systemFiles is how many descriptors a connection takes then: client, two of the balancer, node.
	systemFiles = 4
)

// localAgents is how many agents a run starts on this machine.
func localAgents(s *Spec, f *facts) int {
	if s.Agents > 0 || s.RemoteAgents > 0 {
		return s.Agents
	}
	agents := 0
	for _, n := range s.parts() {
		agents += prefork.Copies(min(f.host.Cores, n), n, 1, f.host.Descriptors)
	}
	return agents
}

// subject is what rules judge: a plan, and what is known of machine and system. A rule says nothing of what is not known.
type subject struct {
	judge.List // what they say

	spec      *Spec
	facts     *facts
	fault     system.Fault
	plan      *plan // as it is before the agents have joined; nil with the reason planError
	planError error
	cutError  error // why packets cannot be dropped here, if that is asked for
}

// preflight judges whether a plan can work.
func (x *subject) preflight() judge.List {
	x.target()
	if x.facts.trouble != nil {
		return x.List
	}
	x.machine()
	x.threads()
	x.balancer()
	x.nodes()
	return x.List
}

// machine has the rules of the machine alone, which doctor has too.
func (x *subject) machine() {
	x.agents()
	x.sources()
	x.ports()
	x.memory()
	x.openFiles()
	x.conntrack()
}

func (x *subject) target() {
	f := x.facts
	for i := range f.aims {
		a := &f.aims[i]
		x.aim(a)
		if a.trouble != nil {
			return
		}
	}
	if len(f.aims) == 0 && f.trouble != nil {
		x.trouble(f.trouble, f.trouble.Need)
	}
}

func (x *subject) trouble(t *probe.Trouble, need string) {
	x.Need("target", false, t.Text, need, fixOf(t, &x.facts.seen)).Misuse()
}

func (x *subject) aim(a *aim) {
	to := probe.Name(a.to.Target)
	if t := a.trouble; t != nil {
		need := t.Need
		if need == "" {
			need = "MCP over " + probe.Prose(a.to.Transport) + " at " + to
		}
		x.trouble(t, need)
		return
	}
	got := "answers " + string(a.who.Question)
	if a.who.Node != "" {
		got = "answered by " + a.who.Node
	}
	if a.who.Server != "" {
		got += " (" + a.who.Server + ")"
	}
	if len(a.others) > 0 {
		got += fmt.Sprintf(" at %s, not at other addresses of %s: %s", a.to.Address.Addr(), a.to.Host, joined(a.others))
	}
	x.Need("target", true, got, "an answer through "+to, "")
	if !a.names() {
		x.Advise("node_names", false, "the answers name no node: "+a.who.Nameless,
			"nodes with the tool "+string(ask.Whoami)+", which gives their name, or responses with "+string(work.ByHeader),
			"distribution, stickiness and failover are not judged, all else is")
	}
}

func joined(list []netip.Addr) string {
	texts := make([]string, len(list))
	for i, a := range list {
		texts[i] = a.String()
	}
	return strings.Join(texts, ", ")
}

func (x *subject) agents() {
	s, f := x.spec, x.facts
	room := prefork.Room(1, f.host.Descriptors)
	n := localAgents(s, f)
	if s.RemoteAgents > 0 {
		x.Need("agents", true, fmt.Sprintf("%d here, %d remote", n, s.RemoteAgents), "what each can hold is seen when it joins", "")
		return
	}
	x.Need("descriptors", n*room >= s.Connections,
		fmt.Sprintf("%d for each of %d agents", room, n), fmt.Sprintf("%d in all", s.Connections),
		"raise the hard limit (ulimit -Hn), or use more --agents").Suggest(f.host.RaiseDescriptors(s.Connections))
}

func (x *subject) sources() {
	s, f := x.spec, x.facts
	p := x.plan
	if x.planError != nil {
		x.Need("sources", false, x.planError.Error(), fmt.Sprintf("%d addresses", fewestSources(s)), "use a larger --source-ips")
		return
	}
	if e := f.unreachable; e != nil && !e.byDefault {
		x.Need("sources", false, e.Error(), "addresses that reach the target", e.fix()).Misuse()
		return
	}
	if f.host.SourceError != nil {
		x.Need("sources", false, f.host.SourceError.Error(), f.sources.String(), sourceFix(f.sources))
		return
	}
	x.Need("sources", true, fmt.Sprintf("%d (%s)", p.sources, p.shares[0].Sources), fmt.Sprintf("%d connections each", p.perSource), "")
	if f.usedBefore > 0 {
		x.Advise("source_reuse", false, fmt.Sprintf("%d of the addresses were used by an earlier load test", f.usedBefore),
			"other ones: a sticky balancer keeps them where they were", "use a larger --source-ips, or wait for lb.sticky.ttl")
	}
	if e := f.unreachable; e != nil {
		x.Advise("source_ips", false, e.Error()+": all clients have one", "several, for a balancer that keeps an address on one node", e.fix())
	}
	nodes := max(len(f.seen.Serving()), 1)
	grain := tolerance(s.TolerancePercent, float64(s.Connections)/float64(nodes))
	x.Advise("source_grain", p.perSource <= grain || nodes == 1, fmt.Sprintf("%d connections a source", p.perSource),
		fmt.Sprintf("at most %d, for an even distribution over %d nodes", grain, nodes),
		"give the clients more addresses (--source-ips), a sticky balancer cannot split one")
}

// sourceFix says how the machine gets its source addresses.
func sourceFix(r sources.Range) string {
	if runtime.GOOS == "darwin" && r.First.IsLoopback() {
		return fmt.Sprintf("macOS has 127.0.0.1 only until aliases are added, one an address: sudo ifconfig lo0 alias %s, and so on; "+
			"or take one source with --source-ips ''", r.First)
	}
	return "add the addresses to an interface, or name others with --source-ips"
}

func (x *subject) ports() {
	ports, p := x.facts.host.EphemeralPorts, x.plan
	if ports == 0 || p == nil {
		return
	}
	// Connections that are opened anew find the old ports in TIME_WAIT.
	need := 2 * p.perSource
	x.Need("ports", ports >= need, fmt.Sprintf("%d for a source", ports), fmt.Sprint(need),
		"use more source addresses (--source-ips, --connections-per-source), or widen net.ipv4.ip_local_port_range").
		Suggest(`sudo sysctl -w net.ipv4.ip_local_port_range="1024 65535"`)
}

// here reports whether balancer and nodes are on this machine.
func (x *subject) here() bool { return x.facts.target().Addr().IsLoopback() }

func (x *subject) memory() {
	h, per := &x.facts.host, int64(agentBytes)
	if x.here() {
		per = systemBytes
	}
	if h.MemoryAvailable == 0 {
		return
	}
	need := int64(x.spec.Connections) * per
	left, fix := units.InMiB(h.MemoryAvailable)+" available", "hold fewer connections, or put the agents on other machines (--remote-agents)"
	command := fmt.Sprintf("erlmcp doctor %d (what there is memory for), or add memory", h.MemoryAvailable/systemBytes/1000*1000)
	if h.MemoryFrom != "" {
		left += " (" + h.MemoryFrom + ")"
		fix = "raise the limit of the container or service (docker run --memory, MemoryMax=), or " + fix
		command = ""
	}
	x.Need("memory", h.MemoryAvailable >= need, left, units.InMiB(need), fix).Suggest(command)
}

func (x *subject) openFiles() {
	h, n := &x.facts.host, int64(x.spec.Connections)
	if h.FilesMax == 0 {
		return
	}
	need := n
	if x.here() {
		need *= systemFiles
	}
	left := fmt.Sprintf("%d left on this machine", h.FilesMax-h.FilesUsed)
	if h.FilesMax > 1<<40 { // systemd sets it to the largest number
		left = "no limit of the machine"
	}
	x.Need("open_files", h.FilesMax-h.FilesUsed >= need, left, fmt.Sprint(need), "raise fs.file-max (sysctl)").
		Suggest(fmt.Sprintf("sudo sysctl -w fs.file-max=%d", machine.RoundUp(h.FilesUsed+5*n)))
}

func (x *subject) conntrack() {
	h, n := &x.facts.host, int64(x.spec.Connections)
	if h.ConntrackMax == 0 {
		return
	}
	need := n
	if x.here() {
		need *= 2 // to the balancer, and from there to the node
	}
	left := h.ConntrackMax - h.ConntrackUsed
	x.Need("conntrack", left >= need, fmt.Sprintf("%d left", left), fmt.Sprint(need),
		"raise net.netfilter.nf_conntrack_max (sysctl), or exempt this traffic from tracking").
		Suggest(fmt.Sprintf("sudo sysctl -w net.netfilter.nf_conntrack_max=%d", machine.RoundUp(h.ConntrackUsed+3*n)))
}

func (x *subject) threads() {
	worst := judge.Fail
	if x.facts.host.Threads.OfKernel() {
		worst = judge.Warn
	}
	x.facts.host.Threads.Judge(&x.List, x.moreProcesses(), worst)
}

// moreProcesses is how many processes of this machine a run adds: agents, and workers that a balancer here starts meanwhile.
func (x *subject) moreProcesses() int {
	n := localAgents(x.spec, x.facts)
	if b := x.facts.seen.Balancer; b != nil {
		n += max(b.MaxWorkers-len(b.Workers), 0)
	}
	return n
}

func (x *subject) balancer() {
	s, b, p := x.spec, x.facts.seen.Balancer, x.plan
	if b == nil {
		return
	}
	if b.Max > 0 {
		x.Need("balancer", b.Max-b.Connections >= s.Connections, fmt.Sprintf("%d of %d connections free", b.Max-b.Connections, b.Max),
			fmt.Sprint(s.Connections), "raise lb.max_connections")
	}
	if len(b.Workers) > 0 {
		room := math.MaxInt
		for _, w := range b.Workers {
			room = min(room, w)
		}
		x.workers(max(b.MaxWorkers, len(b.Workers)), room, b.MaxWorkers > len(b.Workers))
	}
	if limit := b.Limits.MaxPerSource; limit > 0 && p != nil {
		x.Need("max_per_source", limit >= p.perSource, fmt.Sprint(limit), fmt.Sprint(p.perSource),
			"lower --connections-per-source, or raise lb.limits.max_per_source (or share_percent)")
	}
	if limit := b.Limits.ConnectionsPerSecond; limit > 0 && p != nil {
		slow := p.rampRate < float64(s.RampRate) && float64(s.Connections)/p.rampRate > minRamp.Seconds()
		x.Advise("rate_limits", !slow, fmt.Sprintf("%.0f connections/s from %d sources", p.rampRate, p.sources),
			fmt.Sprintf("%d/s, at %d/s a source", s.RampRate, limit), "give the clients more addresses (--source-ips); the ramp is slowed down")
	}
}

// workers judges those of the balancer. Where more can join, each is filled before the next one.
func (x *subject) workers(n, room int, growing bool) {
	s := x.spec
	const name, fix = "balancer_workers", "raise lb.workers or the hard limit of descriptors (ulimit -Hn)"
	if growing {
		x.Need(name, n*room >= s.Connections, fmt.Sprintf("up to %d workers for %d each", n, room), fmt.Sprintf("%d in all", s.Connections), fix)
		return
	}
	// The kernel spreads by hash: the fullest worker gets more than its share.
	m := float64(s.Connections) / float64(n)
	need := min(s.Connections, int(m+4*math.Sqrt(m)))
	x.Need(name, room >= need, fmt.Sprintf("%d workers for %d each", n, room), fmt.Sprintf("%d each", need), fix)
}

func (x *subject) nodes() {
	s, f, fault := x.spec, x.facts, x.fault
	if fault != system.FaultNone {
		x.breaking()
	}
	if len(f.seen.Nodes) == 0 {
		return
	}
	serving := f.seen.Serving()
	need := 1
	if fault != system.FaultNone {
		need = 2
	}
	x.Need("nodes", len(serving) >= need, fmt.Sprintf("%d of %d serving", len(serving), len(f.seen.Nodes)), fmt.Sprintf("at least %d", need),
		"start the nodes (erlmcp cluster start)")
	room, largest := 0, 0
	for _, n := range f.seen.Nodes {
		if n.Max == 0 {
			return // no limit, or not known
		}
		if n.Up {
			room, largest = room+n.Max, max(largest, n.Max)
		}
	}
	x.Need("node_capacity", room >= s.Connections, fmt.Sprintf("%d connections", room), fmt.Sprint(s.Connections),
		"raise lb.node_max_connections, or run more nodes")
	if fault != system.FaultNone {
		x.Need("failover_capacity", room-largest >= s.Connections, fmt.Sprintf("%d connections without one node", room-largest),
			fmt.Sprint(s.Connections), "raise lb.node_max_connections, run more nodes, or leave failover out (--failover none)")
	}
}

// breaking judges whether a node can be broken.
func (x *subject) breaking() {
	s, f, fault := x.spec, x.facts, x.fault
	value := "the cluster is under control"
	if !f.seen.CanBreak {
		value = system.ErrCannotBreak.Error()
	}
	x.Need("fault_control", f.seen.CanBreak, value, "control of the nodes, for --failover "+string(fault),
		"run the load test where the cluster runs, or leave it out (--failover none)")
	if fault == system.FaultCut {
		value := "nft drops packets"
		if x.cutError != nil {
			value = x.cutError.Error()
		}
		x.Need("fault_cut", x.cutError == nil, value, "rules of nftables, for --failover cut",
			"install nftables and run as root (CAP_NET_ADMIN), or freeze the node instead (--failover freeze)")
	}
	if !f.names() && fault != system.FaultRolling {
		x.Need("failover_names", false, "the answers name no node", "nodes with the tool "+string(ask.Whoami)+", for --failover "+string(fault),
			"leave it out (--failover none)")
	}
	if name := s.FailoverNode; name != "" && f.seen.CanBreak {
		x.Need("failover_node", slices.Contains(f.seen.Serving(), name), "serving: "+strings.Join(f.seen.Serving(), ", "), name,
			"name a node that serves, or none (--failover-node)").Misuse()
	}
}
