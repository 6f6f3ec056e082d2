package loadtest

import (
	"errors"
	"fmt"
	"math"
	"net/netip"
	"runtime"
	"strings"

	"github.com/erlmcp/erlmcp/internal/prefork"
)

// Machine is what a preflight looks at on the machine itself, for those who want to know before
// anything runs. Zero means not known, or no limit.
type Machine struct {
	Cores           int
	Descriptors     uint64 // hard limit of a process
	EphemeralPorts  int    // for one pair of source and destination
	MemoryAvailable int64  // bytes
	FilesMax        int64  // open files of the whole machine
	FilesUsed       int64
	ConntrackMax    int64 // 0 when connections are not tracked
	ConntrackUsed   int64

	Threads    Threads
	MemoryFrom string  // the control group's file that limits memory, where that is less than the machine has
	CPUs       float64 // quota of a control group, 0 without one
	CPUsFrom   string

	SourceError error // why clients cannot connect from the addresses of the spec
}

// Threads are limits of processes and threads together.
type Threads struct {
	Max  int64 // 0: not known, or no limit
	Used int64
	From string // whose limit that is: "kernel.pid_max", "ulimit -u", or the file of a control group
}

// NeedThreads judges whether so many more processes of this program may run; known is false where there is no telling.
func NeedThreads(t Threads, processes int) (q Requirement, known bool) {
	var all requirements
	if all.threads(t, processes); len(all) == 0 {
		return q, false
	}
	return all[0], true
}

// Left is how many more there may be.
func (t Threads) Left() int64 { return max(t.Max-t.Used, 0) }

// OfKernel reports whether the limit is the machine's, not the user's or a control group's. Of such a one it cannot be told
// how much is used in a container.
func (t Threads) OfKernel() bool { return strings.HasPrefix(t.From, "kernel.") }

// Fix is how to have so many more.
func (t Threads) Fix(need int64) string {
	switch {
	case strings.HasPrefix(t.From, "/"):
		return fmt.Sprintf("raise the limit of the container or service to %d (docker run --pids-limit, TasksMax=)", RoundUp(t.Used+need))
	case strings.HasPrefix(t.From, "ulimit"):
		return fmt.Sprintf("%s %d (as root; for a service LimitNPROC=)", t.From, RoundUp(t.Used+need))
	}
	return fmt.Sprintf("sudo sysctl -w %s=%d", t.From, RoundUp(t.Used+need))
}

// tighter returns the one that has less left.
func (t Threads) tighter(other Threads) Threads {
	if t.Max == 0 || other.Max != 0 && other.Left() < t.Left() {
		return other
	}
	return t
}

// RoundUp is the next power of two: numbers that people meet in settings.
func RoundUp(n int64) int64 {
	up := int64(1)
	for up < n {
		up <<= 1
	}
	return up
}

// usableCores is how many processors there are for a process with that quota, 0 being none.
func usableCores(quota float64) int {
	if quota <= 0 {
		return runtime.NumCPU()
	}
	return max(min(runtime.NumCPU(), int(math.Ceil(quota))), 1)
}

// ThisHost is ThisMachine without what depends on a plan, and without a change of the limit of descriptors.
func ThisHost() (m Machine) {
	h := hostLimits()
	m.Cores = usableCores(h.cpus)
	m.EphemeralPorts, m.MemoryAvailable, m.MemoryFrom = h.ephemeralPorts, h.memoryAvailable, h.memoryFrom
	m.FilesMax, m.FilesUsed = h.filesMax, h.filesUsed
	m.ConntrackMax, m.ConntrackUsed = h.conntrackMax, h.conntrackUsed
	m.Threads, m.CPUs, m.CPUsFrom = h.threads, h.cpus, h.cpusFrom
	return m
}

// ThisMachine looks at this one. It raises the soft limit of descriptors to the hard one, as a load
// test does.
func ThisMachine(s *Spec) (Machine, error) {
	m := ThisHost()
	var err error
	if m.Descriptors, err = prefork.Limit(); err != nil {
		return m, err
	}
	if sources, _ := commonSources(s, localTarget(s)); sources.First.IsValid() {
		m.SourceError = errors.Join(bindable(sources.At(0)), bindable(sources.At(sources.Count-1)))
	}
	return m, nil
}

// Check is the preflight's judgement of the machine alone, for a balancer and so many nodes on the same one:
// the requirements "descriptors", "sources", "source_grain", "ports", "memory", "open_files" and "conntrack",
// without those nothing is known of.
func (m Machine) Check(s *Spec, nodes int) []Requirement {
	f := &facts{
		cores: m.Cores, nofile: m.Descriptors, target: localTarget(s), sourceError: m.SourceError,
		host: hostFacts{
			ephemeralPorts: m.EphemeralPorts, memoryAvailable: m.MemoryAvailable,
			filesMax: m.FilesMax, filesUsed: m.FilesUsed,
			conntrackMax: m.ConntrackMax, conntrackUsed: m.ConntrackUsed, memoryFrom: m.MemoryFrom,
		},
	}
	for range nodes {
		f.seen.Nodes = append(f.seen.Nodes, NodeView{Up: true})
	}
	f.sources, f.unreachable = commonSources(s, f.target)
	offers := make([]offer, max(localAgents(s, f), 1))
	for i := range offers {
		offers[i] = offer{agent: localName(i), connections: s.Connections}
	}
	p, planError := makePlan(s, f.target, f.sources, Limits{}, offers)
	var q requirements
	q.agents(s, f)
	q.sources(s, f, p, planError)
	q.host(s, f, p)
	return q
}

// localTarget is the target where it is an address of the loopback interface, or one there.
func localTarget(s *Spec) netip.AddrPort {
	if t, err := netip.ParseAddrPort(s.Target); err == nil && t.Addr().IsLoopback() {
		return t
	}
	return netip.MustParseAddrPort("127.0.0.1:8000")
}
