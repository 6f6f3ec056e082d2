package loadtest

import (
	"errors"
	"net/netip"
	"runtime"

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

	SourceError error // why clients cannot connect from the addresses of the spec
}

// ThisMachine looks at this one. It raises the soft limit of descriptors to the hard one, as a load
// test does.
func ThisMachine(s *Spec) (Machine, error) {
	m := Machine{Cores: runtime.NumCPU()}
	var err error
	if m.Descriptors, err = prefork.Limit(); err != nil {
		return m, err
	}
	h := hostLimits()
	m.EphemeralPorts, m.MemoryAvailable = h.ephemeralPorts, h.memoryAvailable
	m.FilesMax, m.FilesUsed = h.filesMax, h.filesUsed
	m.ConntrackMax, m.ConntrackUsed = h.conntrackMax, h.conntrackUsed
	if sources := commonSources(s, localTarget(s)); sources.First.IsValid() {
		m.SourceError = errors.Join(bindable(sources.at(0)), bindable(sources.at(sources.Count-1)))
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
			conntrackMax: m.ConntrackMax, conntrackUsed: m.ConntrackUsed,
		},
	}
	for range nodes {
		f.seen.Nodes = append(f.seen.Nodes, NodeView{Up: true})
	}
	f.sources = commonSources(s, f.target)
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
