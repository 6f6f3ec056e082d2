package loadtest

import (
	"fmt"
	"math"
	"runtime"
	"slices"
	"strings"

	"github.com/erlmcp/erlmcp/internal/prefork"
	"github.com/erlmcp/erlmcp/internal/units"
	"github.com/erlmcp/erlmcp/loadtest/internal/ask"
	"github.com/erlmcp/erlmcp/loadtest/internal/sources"
)

// Requirement is one thing a plan needs.
type Requirement struct {
	Name  string `json:"name"`
	Value string `json:"value"` // what there is
	Need  string `json:"need"`  // what it takes
	OK    bool   `json:"ok"`
	// Advisory ones do not keep a run from starting.
	Advisory bool `json:"advisory,omitempty"`
	// Usage tells that what was asked makes no sense, on any machine.
	Usage bool   `json:"usage,omitempty"`
	Fix   string `json:"fix,omitempty"` // what to do when it is not ok
}

// PreflightError says that a run was not begun because its plan cannot work out.
type PreflightError struct {
	Requirements []Requirement // all, also those that are met
	Unreachable  bool          // the target does not answer: nothing is wrong with the plan
}

func (e *PreflightError) Error() string {
	var failed []string
	for _, r := range e.Requirements {
		if !r.OK && !r.Advisory {
			failed = append(failed, fmt.Sprintf("%s: %s, needed: %s", r.Name, r.Value, r.Need))
		}
	}
	return "the load test cannot run here: " + strings.Join(failed, "; ")
}

// Hint is what to do about the first obstacle.
func (e *PreflightError) Hint() string {
	for _, r := range e.Requirements {
		if !r.OK && !r.Advisory {
			return r.Fix
		}
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
	cores := min(f.cores, s.Connections)
	return prefork.Copies(cores, s.Connections, 1, f.nofile)
}

// preflight judges whether a plan with these facts can work. p is the plan as it is before the agents
// have joined, nil with the reason planError.
func preflight(s *Spec, f *facts, fault Fault, p *plan, planError error) []Requirement {
	var q requirements
	q.target(s, f)
	if f.targetError != nil {
		return q
	}
	q.agents(s, f)
	q.sources(s, f, p, planError)
	q.host(s, f, p)
	q.threads(f.host.threads, moreProcesses(s, f))
	if b := f.seen.Balancer; b != nil {
		q.balancer(s, b, p)
	}
	q.nodes(s, f, fault)
	return q
}

type requirements []Requirement

func (q *requirements) need(name string, ok bool, value, need, fix string) {
	if ok {
		fix = ""
	}
	*q = append(*q, Requirement{Name: name, Value: value, Need: need, OK: ok, Fix: fix})
}

func (q *requirements) advise(name string, ok bool, value, need, fix string) {
	q.need(name, ok, value, need, fix)
	(*q)[len(*q)-1].Advisory = true
}

// usage marks the last requirement as one about what was asked.
func (q *requirements) usage() { (*q)[len(*q)-1].Usage = !(*q)[len(*q)-1].OK }

func (q *requirements) target(s *Spec, f *facts) {
	if e := f.targetError; e != nil {
		q.need("target", false, e.Error(), "MCP over newline-delimited TCP at "+s.Target, e.fix(&f.seen))
		q.usage()
		return
	}
	if f.question.Names() {
		q.need("target", true, "answered by "+f.targetNode, "an answer through "+s.Target, "")
		return
	}
	q.need("target", true, "answers "+string(f.question), "an answer through "+s.Target, "")
	q.advise("node_names", false, "the answers name no node: "+f.nameless,
		"nodes with the tool "+string(ask.Whoami)+", which gives their name",
		"distribution, stickiness and failover are not judged, all else is")
}

func (q *requirements) agents(s *Spec, f *facts) {
	room := prefork.Room(1, f.nofile)
	n := localAgents(s, f)
	if s.RemoteAgents > 0 {
		q.need("agents", true, fmt.Sprintf("%d here, %d remote", n, s.RemoteAgents), "what each can hold is seen when it joins", "")
		return
	}
	q.need("descriptors", n*room >= s.Connections,
		fmt.Sprintf("%d for each of %d agents", room, n), fmt.Sprintf("%d in all", s.Connections),
		"raise the hard limit (ulimit -Hn), or use more --agents")
}

func (q *requirements) sources(s *Spec, f *facts, p *plan, planError error) {
	if planError != nil {
		q.need("sources", false, planError.Error(), fmt.Sprintf("%d addresses", fewestSources(s)), "use a larger --source-ips")
		return
	}
	if e := f.unreachable; e != nil && !e.byDefault {
		q.need("sources", false, e.Error(), "addresses that reach the target", e.fix())
		q.usage()
		return
	}
	if f.sourceError != nil {
		q.need("sources", false, f.sourceError.Error(), f.sources.String(), sourceFix(f.sources))
		return
	}
	q.need("sources", true, fmt.Sprintf("%d (%s)", p.sources, p.shares[0].sources), fmt.Sprintf("%d connections each", p.perSource), "")
	if f.usedBefore > 0 {
		q.advise("source_reuse", false, fmt.Sprintf("%d of the addresses were used by an earlier load test", f.usedBefore),
			"other ones: a sticky balancer keeps them where they were", "use a larger --source-ips, or wait for lb.sticky.ttl")
	}
	if e := f.unreachable; e != nil {
		q.advise("source_ips", false, e.Error()+": all clients have one", "several, for a balancer that keeps an address on one node", e.fix())
	}
	nodes := max(len(f.seen.serving()), 1)
	grain := tolerance(s.TolerancePercent, float64(s.Connections)/float64(nodes))
	q.advise("source_grain", p.perSource <= grain || nodes == 1, fmt.Sprintf("%d connections a source", p.perSource),
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

func (q *requirements) host(s *Spec, f *facts, p *plan) {
	h := &f.host
	if h.ephemeralPorts > 0 && p != nil {
		// Connections that are opened anew find the old ports in TIME_WAIT.
		need := 2 * p.perSource
		q.need("ports", h.ephemeralPorts >= need, fmt.Sprintf("%d for a source", h.ephemeralPorts), fmt.Sprint(need),
			"use more source addresses (--source-ips, --connections-per-source), or widen net.ipv4.ip_local_port_range")
	}
	perConnection, files := agentBytes, 1
	if f.target.Addr().IsLoopback() {
		perConnection, files = systemBytes, systemFiles
	}
	if h.memoryAvailable > 0 {
		need := int64(s.Connections) * int64(perConnection)
		left, fix := mib(h.memoryAvailable)+" available", "hold fewer connections, or put the agents on other machines (--remote-agents)"
		if h.memoryFrom != "" {
			left += " (" + h.memoryFrom + ")"
			fix = "raise the limit of the container or service (docker run --memory, MemoryMax=), or " + fix
		}
		q.need("memory", h.memoryAvailable >= need, left, mib(need), fix)
	}
	if h.filesMax > 0 {
		need := int64(s.Connections * files)
		left := fmt.Sprintf("%d left on this machine", h.filesMax-h.filesUsed)
		if h.filesMax > 1<<40 { // systemd sets it to the largest number
			left = "no limit of the machine"
		}
		q.need("open_files", h.filesMax-h.filesUsed >= need, left, fmt.Sprint(need),
			"raise fs.file-max (sysctl)")
	}
	if h.conntrackMax > 0 {
		need := int64(s.Connections)
		if f.target.Addr().IsLoopback() {
			need *= 2 // to the balancer, and from there to the node
		}
		q.need("conntrack", h.conntrackMax-h.conntrackUsed >= need, fmt.Sprintf("%d left", h.conntrackMax-h.conntrackUsed), fmt.Sprint(need),
			"raise net.netfilter.nf_conntrack_max (sysctl), or exempt this traffic from tracking")
	}
}

// threadsPerProcess is what a copy of this program has at most: the Go runtime's and a few that wait.
const threadsPerProcess = 16

// threads judges whether so many more processes of this program may run.
func (q *requirements) threads(t Threads, processes int) {
	if t.Max == 0 {
		return
	}
	need := int64(processes) * threadsPerProcess
	judge := q.need
	if t.OfKernel() {
		judge = q.advise
	}
	judge("threads", t.Left() >= need, fmt.Sprintf("%d left of %d (%s)", t.Left(), t.Max, t.From), fmt.Sprint(need), t.Fix(need))
}

func (q *requirements) balancer(s *Spec, b *BalancerView, p *plan) {
	if b.Max > 0 {
		q.need("balancer", b.Max-b.Connections >= s.Connections, fmt.Sprintf("%d of %d connections free", b.Max-b.Connections, b.Max),
			fmt.Sprint(s.Connections), "raise lb.max_connections")
	}
	if len(b.Workers) > 0 {
		room := math.MaxInt
		for _, w := range b.Workers {
			room = min(room, w)
		}
		q.workers(s, max(b.MaxWorkers, len(b.Workers)), room, b.MaxWorkers > len(b.Workers))
	}
	if limit := b.Limits.MaxPerSource; limit > 0 && p != nil {
		q.need("max_per_source", limit >= p.perSource, fmt.Sprint(limit), fmt.Sprint(p.perSource),
			"lower --connections-per-source, or raise lb.limits.max_per_source (or share_percent)")
	}
	if limit := b.Limits.ConnectionsPerSecond; limit > 0 && p != nil {
		slow := p.rampRate < float64(s.RampRate) && float64(s.Connections)/p.rampRate > minRamp.Seconds()
		q.advise("rate_limits", !slow, fmt.Sprintf("%.0f connections/s from %d sources", p.rampRate, p.sources),
			fmt.Sprintf("%d/s, at %d/s a source", s.RampRate, limit), "give the clients more addresses (--source-ips); the ramp is slowed down")
	}
}

// workers judges those of the balancer. Where more can join, each is filled before the next one.
func (q *requirements) workers(s *Spec, n, room int, growing bool) {
	const name, fix = "balancer_workers", "raise lb.workers or the hard limit of descriptors (ulimit -Hn)"
	if growing {
		q.need(name, n*room >= s.Connections, fmt.Sprintf("up to %d workers for %d each", n, room), fmt.Sprintf("%d in all", s.Connections), fix)
		return
	}
	// The kernel spreads by hash: the fullest worker gets more than its share.
	m := float64(s.Connections) / float64(n)
	need := min(s.Connections, int(m+4*math.Sqrt(m)))
	q.need(name, room >= need, fmt.Sprintf("%d workers for %d each", n, room), fmt.Sprintf("%d each", need), fix)
}

func (q *requirements) nodes(s *Spec, f *facts, fault Fault) {
	if fault == FaultKill || fault == FaultFreeze {
		q.fault(s, f, fault)
	}
	if len(f.seen.Nodes) == 0 {
		return
	}
	serving := f.seen.serving()
	need := 1
	if fault != FaultNone {
		need = 2
	}
	q.need("nodes", len(serving) >= need, fmt.Sprintf("%d of %d serving", len(serving), len(f.seen.Nodes)), fmt.Sprintf("at least %d", need),
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
	q.need("node_capacity", room >= s.Connections, fmt.Sprintf("%d connections", room), fmt.Sprint(s.Connections),
		"raise lb.node_max_connections, or run more nodes")
	if fault != FaultNone {
		q.need("failover_capacity", room-largest >= s.Connections, fmt.Sprintf("%d connections without one node", room-largest),
			fmt.Sprint(s.Connections), "raise lb.node_max_connections, run more nodes, or leave failover out (--failover none)")
	}
}

// moreProcesses is how many processes of this machine a run adds: agents, and workers that a balancer here starts meanwhile.
func moreProcesses(s *Spec, f *facts) int {
	n := localAgents(s, f)
	if b := f.seen.Balancer; b != nil {
		n += max(b.MaxWorkers-len(b.Workers), 0)
	}
	return n
}

func (q *requirements) fault(s *Spec, f *facts, fault Fault) {
	value := "the cluster is under control"
	if !f.seen.CanBreak {
		value = errCannotBreak.Error()
	}
	q.need("fault_control", f.seen.CanBreak, value, "control of the nodes, for --failover "+string(fault),
		"run the load test where the cluster runs, or leave it out (--failover none)")
	if !f.question.Names() {
		q.need("failover_names", false, "the answers name no node", "nodes with the tool "+string(ask.Whoami)+", for --failover "+string(fault),
			"leave it out (--failover none)")
	}
	if name := s.FailoverNode; name != "" && f.seen.CanBreak {
		q.need("failover_node", slices.Contains(f.seen.serving(), name), "serving: "+strings.Join(f.seen.serving(), ", "), name,
			"name a node that serves, or none (--failover-node)")
		q.usage()
	}
}

func mib(n int64) string { return fmt.Sprintf("%d MiB", n/int64(units.MiB)) }
