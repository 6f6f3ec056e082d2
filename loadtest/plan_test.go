package loadtest

import (
	"fmt"
	"net/netip"
	"testing"

	"pgregory.net/rapid"

	"github.com/erlmcp/erlmcp/internal/judge"
	"github.com/erlmcp/erlmcp/internal/prefork"
	"github.com/erlmcp/erlmcp/loadtest/internal/fleet"
	"github.com/erlmcp/erlmcp/loadtest/internal/sources"
	"github.com/erlmcp/erlmcp/loadtest/internal/wire"
	"github.com/erlmcp/erlmcp/loadtest/machine"
	"github.com/erlmcp/erlmcp/loadtest/system"
)

var (
	testTarget  = netip.MustParseAddrPort("127.0.0.1:8000")
	testSources = sources.In(netip.MustParsePrefix("127.1.0.0/16"), maxConnections)
	houseLimits = system.Limits{ConnectionsPerSecond: 100, MessagesPerSecond: 100}
)

func localOffers(n, connections int) []fleet.Offer {
	offers := make([]fleet.Offer, n)
	for i := range offers {
		offers[i] = fleet.Offer{Agent: fleet.LocalName(i), Connections: connections}
	}
	return offers
}

// The machine that the plan was made for: 2 cores, 20,000 descriptors a process.
func TestPlanOfTheReferenceMachine(t *testing.T) {
	s := Default()
	f := facts{host: machine.Facts{Cores: 2, Descriptors: 20_000}}
	agents := localAgents(&s, &f)
	if agents != 6 {
		t.Errorf("%d agents, want 6", agents)
	}
	p, err := makePlan(&s, testSources, houseLimits, localOffers(agents, prefork.Room(1, f.host.Descriptors)))
	if err != nil {
		t.Fatal(err)
	}
	if p.perSource != 100 || p.sources < 1000 || p.sources > 1000+agents {
		t.Errorf("%d sources of up to %d connections", p.sources, p.perSource)
	}
	if p.rampRate != 10_000 || p.pingRate != 5_000 {
		t.Errorf("rates %g and %g", p.rampRate, p.pingRate)
	}
}

// A few connections are not opened in one burst.
func TestPlanOfAShortRamp(t *testing.T) {
	s := Default()
	s.Connections = 400
	p, err := makePlan(&s, testSources, houseLimits, localOffers(1, 20_000))
	if err != nil {
		t.Fatal(err)
	}
	if p.rampRate != 400 {
		t.Errorf("%g a second, want 400: a second in all", p.rampRate)
	}
}

func TestPlanKeepsItsPromises(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := Default()
		s.Connections = rapid.IntRange(1, 300_000).Draw(t, "connections")
		s.ConnectionsPerSource = rapid.IntRange(5, 200).Draw(t, "per source")
		offers := make([]fleet.Offer, rapid.IntRange(1, 40).Draw(t, "agents"))
		room := 0
		for i := range offers {
			offers[i] = fleet.Offer{Agent: fleet.LocalName(i), Connections: rapid.IntRange(1, 60_000).Draw(t, "room")}
			room += offers[i].Connections
		}
		p, err := makePlan(&s, testSources, houseLimits, offers)
		if room < s.Connections {
			if err == nil {
				t.Fatal("planned beyond what the agents hold")
			}
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		held := make(map[string]int)
		for _, o := range offers {
			held[o.Agent] = o.Connections
		}
		total, next := 0, testSources.At(0)
		for _, sh := range p.shares {
			total += sh.Connections
			if sh.Connections == 0 || sh.Connections > held[sh.Agent] {
				t.Fatalf("%s has %d of %d connections", sh.Agent, sh.Connections, held[sh.Agent])
			}
			if sh.Sources.At(0) != next {
				t.Fatalf("sources of %s begin at %s, want %s: used twice, or a gap", sh.Agent, sh.Sources.At(0), next)
			}
			next = sh.Sources.At(sh.Sources.Count)
			if most := ceilDiv(sh.Connections, sh.Sources.Count); most > max(s.ConnectionsPerSource, 1) {
				t.Fatalf("a source of %s has %d connections", sh.Agent, most)
			}
		}
		if total != s.Connections {
			t.Fatalf("%d connections planned, want %d", total, s.Connections)
		}
		if p.rampRate > 0.8*float64(100*p.sources) || p.pingRate > 0.5*float64(100*p.sources) {
			t.Fatalf("rates %g and %g are too much for %d sources", p.rampRate, p.pingRate, p.sources)
		}
	})
}

// Clients of one source that all fail at once stay within its rate.
func TestPatienceOfManyClients(t *testing.T) {
	if p := patienceFor(1, houseLimits); p != wire.LeastPatience {
		t.Errorf("%+v", p)
	}
	if p := patienceFor(100, system.Limits{}); p != wire.LeastPatience {
		t.Errorf("%+v", p)
	}
	for _, clients := range []int{100, 1000} {
		p := patienceFor(clients, houseLimits)
		for n := 1; n < 10; n++ {
			if rate := float64(clients) / p.After(n, 1).Seconds(); rate > 100 {
				t.Errorf("%d clients come back at %.0f/s after %d failures", clients, rate, n)
			}
		}
		if rate := float64(clients) / p.Spread.Seconds(); rate > 100 {
			t.Errorf("%d clients come back at %.0f/s", clients, rate)
		}
	}
}

func TestPlanOfOneSource(t *testing.T) {
	s := Default()
	s.Connections = 1000
	p, err := makePlan(&s, sources.KernelsChoice, houseLimits, localOffers(1, 20_000))
	if err != nil {
		t.Fatal(err)
	}
	if p.sources != 1 || p.perSource != 1000 || p.rampRate != 80 || p.pingRate != 50 {
		t.Errorf("%+v", p)
	}
}

func TestPlanWithTheAgentsOwnSources(t *testing.T) {
	s := Default()
	s.Connections = 1000
	own := sources.In(netip.MustParsePrefix("10.0.0.0/24"), maxConnections)
	offers := []fleet.Offer{{Agent: "agent1", Connections: 500, Sources: sources.Range{}}, {Agent: "remote1", Connections: 500, Sources: own}}
	p, err := makePlan(&s, testSources, system.Limits{}, offers)
	if err != nil {
		t.Fatal(err)
	}
	if a, b := p.shares[0].Sources, p.shares[1].Sources; a.At(0) != testSources.At(0) || a.Count != 500 || b != own {
		t.Errorf("%v and %v", a, b)
	}
	if p.perSource != 2 {
		t.Errorf("%d connections a source, want 500 from 254", p.perSource)
	}
}

func TestPlanWithFewSources(t *testing.T) {
	s := Default()
	s.Connections = 1000
	p, err := makePlan(&s, testSources.Slice(0, 30), system.Limits{}, localOffers(2, 20_000))
	if err != nil {
		t.Fatal(err)
	}
	if p.sources > 30 || p.sources < 28 || p.perSource > 36 {
		t.Errorf("%d sources of up to %d connections", p.sources, p.perSource)
	}
}

func TestPlanNeedsSources(t *testing.T) {
	s := Default()
	_, err := makePlan(&s, testSources.Slice(0, 10), system.Limits{}, localOffers(6, 20_000))
	if err == nil {
		t.Error("planned 100,000 connections from 10 addresses at 100 each")
	}
}

func TestTolerance(t *testing.T) {
	for _, c := range []struct {
		fair float64
		want int
	}{{25_000, 500}, {33_333, 667}, {250, 5}, {25, 5}} {
		if got := tolerance(2, c.fair); got != c.want {
			t.Errorf("tolerance of %g is %d, want %d", c.fair, got, c.want)
		}
	}
}

func TestCommonSources(t *testing.T) {
	s := Default()
	if r, err := commonSources(&s, testTarget); r.Count != 65_534 || err != nil {
		t.Error("loopback sources are not used for a loopback target:", r, err)
	}
	for _, target := range []string{"192.0.2.1:8000", "[::1]:8000"} {
		if r, err := commonSources(&s, netip.MustParseAddrPort(target)); r != sources.KernelsChoice || err == nil || !err.byDefault {
			t.Errorf("%s is to be reached from %s (%v)", target, r, err)
		}
	}
	s.SourceIPs = "10.9.9.0/24" // of this machine or not: that is looked at elsewhere
	if r, err := commonSources(&s, testTarget); r.Count != 254 || err != nil {
		t.Error("other addresses are not used for a loopback target:", r, err)
	}
	if r, err := commonSources(&s, netip.MustParseAddrPort("[::1]:8000")); r != sources.KernelsChoice || err == nil || err.byDefault {
		t.Errorf("::1 is to be reached from %s (%v)", r, err)
	}
}

// Addresses that were asked for and cannot reach the target are refused; the usual ones are done without, and it is said.
func TestPreflightTellsOfSourcesThatCannotReach(t *testing.T) {
	for prefix, want := range map[string]string{
		Default().SourceIPs: "source_ips",
		"127.2.0.0/16":      "sources",
		"10.9.9.0/24":       "sources",
		"":                  "",
	} {
		s, f := Default(), goodFacts()
		s.SourceIPs, s.Connections = prefix, 100
		f.aims[0].to.Address = netip.MustParseAddrPort("[::1]:8000")
		f.sources, f.unreachable = commonSources(&s, f.target())
		told := ""
		for _, q := range requirementsOf(&s, f) {
			if q.Verdict != judge.OK && (q.Name == "sources" || q.Name == "source_ips") {
				told += q.Name
				if q.Fix == "" || q.Usage != (q.Name == "sources") || (q.Verdict == judge.Warn) == q.Usage {
					t.Errorf("%q: %+v", prefix, q)
				}
			}
		}
		if told != want {
			t.Errorf("%q: told %q, want %q", prefix, told, want)
		}
	}
}

// A mix has the connections that it asks for, of each transport, and none of its agents holds more than it can or is of two.
func TestPlanOfAMix(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := Default()
		s.Connections = rapid.IntRange(100, 300_000).Draw(t, "connections")
		http := rapid.IntRange(1, 98).Draw(t, "http")
		ws := rapid.IntRange(1, 99-http).Draw(t, "ws")
		s.Mix = fmt.Sprintf("http=%d,ws=%d,tcp=%d", http, ws, 100-http-ws)
		f := facts{host: machine.Facts{Cores: rapid.IntRange(1, 8).Draw(t, "cores"), Descriptors: 20_000}}
		p, err := makePlan(&s, testSources, houseLimits, localOffers(localAgents(&s, &f), prefork.Room(1, f.host.Descriptors)))
		if err != nil {
			t.Fatal(err)
		}
		got := make([]int, 3)
		of := make(map[string]int)
		for _, sh := range p.shares {
			got[sh.Part] += sh.Connections
			if part, seen := of[sh.Agent]; seen && part != sh.Part {
				t.Fatalf("%s is of two parts", sh.Agent)
			}
			of[sh.Agent] = sh.Part
			if sh.Connections > prefork.Room(1, f.host.Descriptors) {
				t.Fatalf("%s has %d connections", sh.Agent, sh.Connections)
			}
		}
		total := 0
		for i, percent := range []int{http, ws, 100 - http - ws} {
			total += got[i]
			if fair := s.Connections * percent / 100; got[i] < fair-1 || got[i] > fair+1 {
				t.Fatalf("part %d has %d connections of %d", i, got[i], s.Connections)
			}
		}
		if total != s.Connections {
			t.Fatalf("%d connections of %d", total, s.Connections)
		}
	})
}
