// Package loadtest proves by measurement what a balancer and its nodes hold.
//
//	Run          is the coordinator: it plans, orders, measures from outside and judges
//	agent.Run    is the role a generator plays: it holds the sockets
//
// A run is a plan, then phases, then a verdict:
//
//	preflight ▶ baseline ▶ ramp ▶ hold ▶ sticky ▶ failover ▶ recovery ▶ close ▶ verdict
//
// Agents are processes, on this machine copies of this binary, because descriptors are limited per
// process. Coordinator and agents talk over the bus, about phases and sums only: what happens on a
// connection is decided and counted by the agent that owns it.
package loadtest

import (
	"bufio"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"net/textproto"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/erlmcp/erlmcp/internal/mcp"
	"github.com/erlmcp/erlmcp/loadtest/internal/search"
	"github.com/erlmcp/erlmcp/loadtest/internal/sources"
	"github.com/erlmcp/erlmcp/loadtest/internal/target"
	"github.com/erlmcp/erlmcp/loadtest/system"
)

// Spec says what is proved, and with what. It is the section "loadtest" of erlmcp.yaml: decode it
// over Default, then Validate it.
type Spec struct {
	// Target is where clients connect and how they speak there: HOST:PORT for lines over TCP, or a URL of http, https, ws or
	// wss; :PORT is one of this machine.
	Target string `yaml:"target"`
	// Mix shares the connections out over transports, such as "tcp=70,http=20,sse=5,ws=5", at the listeners of the balancer that
	// runs; empty: all are the target's.
	Mix string `yaml:"mix"`
	// Driver is what clients are made of; DriverAuto chooses by the transport.
	Driver Driver `yaml:"driver"`

	// How to be let in over HTTP: fields of each request, such as "X-Tenant: a", and a file that holds a bearer token.
	Headers   []string `yaml:"headers"`
	TokenFile string   `yaml:"token_file"`
	// How a server is trusted within TLS: the name in its certificate, where that is not the target's host, and a file of
	// certificates in place of the system's. Insecure trusts anybody.
	ServerName string `yaml:"server_name"`
	CA         string `yaml:"ca"`
	Insecure   bool   `yaml:"insecure"`
	// HTTPVersion is "1.1" or "2".
	HTTPVersion string `yaml:"http_version"`
	// Era is which revisions of MCP clients speak over HTTP: EraSession, EraStateless, or EraAuto.
	Era Era `yaml:"era"`
	// AllowRemoteTarget lets a run load a target that is not on this machine.
	AllowRemoteTarget bool `yaml:"allow_remote_target"`

	// What clients ask: a tool with arguments, JSON or @FILE, or a scenario of several steps from a file; without both, what the
	// server is known by.
	Tool     string `yaml:"tool"`
	Args     string `yaml:"args"`
	Scenario string `yaml:"scenario"`
	// Connections are held at a time, for Duration.
	Connections int           `yaml:"connections"`
	Duration    time.Duration `yaml:"duration"`

	// SourceIPs is the prefix the clients' addresses are taken from, and ConnectionsPerSource how
	// many connections one of them opens at most. Empty leaves the one source to the kernel.
	SourceIPs            string `yaml:"source_ips"`
	ConnectionsPerSource int    `yaml:"connections_per_source"`

	// RampRate is how many connections are opened per second, over all agents, and PingRate how
	// many requests are sent per second, over all connections, while they are held. Both are upper
	// bounds: a plan stays well inside the balancer's limits per source.
	RampRate int `yaml:"ramp_rate"`
	PingRate int `yaml:"ping_rate"`
	// RequestTimeout is how long a client waits for a connection with its first answer, or for any
	// later answer, before it gives the connection up.
	RequestTimeout time.Duration `yaml:"request_timeout"`

	// StickySample is how many clients leave and come back to see whether they meet their node.
	StickySample int `yaml:"sticky_sample"`

	// Failover is what happens to a node while connections are held. FailoverNode names it; empty
	// takes the second one that is up.
	Failover     system.Fault `yaml:"failover"`
	FailoverNode string       `yaml:"failover_node"`

	// What the verdict allows.
	TolerancePercent    float64       `yaml:"tolerance_percent"`      // of a node's fair share of connections
	MaxLatencyCVPercent float64       `yaml:"max_latency_cv_percent"` // between the nodes' mean latencies
	MaxFailover         time.Duration `yaml:"max_failover"`           // from a kill to the last client served again
	MaxFreezeFailover   time.Duration `yaml:"max_freeze_failover"`    // the same for a freeze and a cut

	// Want is what figures of the report have to be, such as "latency.p99<=50ms"; each may be several with commas between them.
	Want []string `yaml:"want"`
	// FindLimit has the highest rate looked for at which limits hold, such as "p99<=50ms,errors<=0.1%", and Rates has rates tried
	// one after the other, such as "1000,2000,4000", each for Duration. Both come in place of the fault, unless Failover names one.
	FindLimit string `yaml:"find_limit"`
	Rates     string `yaml:"rates"`

	// Agents is how many generator processes run on this machine; 0 computes it.
	Agents int `yaml:"agents"`
	// RemoteAgents is how many more are awaited from other machines, and Listen where they can
	// join: an address of this machine, which nothing listens at without them.
	RemoteAgents int    `yaml:"remote_agents"`
	Listen       string `yaml:"listen"`
}

// Driver is what clients are made of.
type Driver string

// The drivers.
const (
	DriverAuto   Driver = ""       // DriverVegeta for Streamable HTTP, else DriverSocket
	DriverSocket Driver = "socket" // sockets of an event loop, for scale; all transports
	DriverVegeta Driver = "vegeta" // the library of that name
	DriverBurst  Driver = "burst"  // the first that is there of DriverWrk, DriverAB and DriverHey
	DriverHey    Driver = "hey"    // the library of that name: a closed loop
	DriverWrk    Driver = "wrk"    // the program of that name: a closed loop
	DriverAB     Driver = "ab"     // the program of that name: a closed loop
)

// Default returns the Spec of an empty configuration.
func Default() Spec {
	return Spec{
		Target:               "127.0.0.1:8000",
		HTTPVersion:          "1.1",
		Connections:          100_000,
		Duration:             60 * time.Second,
		SourceIPs:            "127.1.0.0/16",
		ConnectionsPerSource: 100,
		RampRate:             10_000,
		PingRate:             5_000,
		RequestTimeout:       10 * time.Second,
		StickySample:         1_000,
		TolerancePercent:     2,
		MaxLatencyCVPercent:  5,
		MaxFailover:          5 * time.Second,
		MaxFreezeFailover:    8 * time.Second,
		Listen:               "127.0.0.1:0",
	}
}

// maxConnections is far beyond any machine and keeps all arithmetic small.
const maxConnections = sources.Max

// Validate reports every key that has a value it cannot have, by its path in the configuration.
func (s *Spec) Validate() error {
	var errs []error
	bad := func(key, format string, args ...any) {
		errs = append(errs, fmt.Errorf("loadtest."+key+": "+format, args...))
	}
	number := func(key string, v, low, high int) {
		if v < low || v > high {
			bad(key, "%d is not between %d and %d", v, low, high)
		}
	}
	positive := func(key string, d time.Duration) {
		if d <= 0 {
			bad(key, "%s is not a time span above zero", d)
		}
	}
	percent := func(key string, p float64) {
		if !(p > 0 && p <= 100) {
			bad(key, "%g is not a percentage above 0 and up to 100", p)
		}
	}
	to, err := target.Parse(s.Target)
	if err != nil {
		bad("target", "%v", err)
	}
	mix, err := parseMix(s.Mix)
	if err != nil {
		bad("mix", "%v", err)
	}
	if mix != nil && slices.Contains(s.parts(), 0) {
		bad("mix", "%s of %d connections leaves a transport without any", s.Mix, s.Connections)
	}
	if !slices.Contains(drivers, s.Driver) {
		bad("driver", "%q is not one of socket, vegeta, burst, hey, wrk, ab", s.Driver)
	} else if s.Driver != DriverAuto && s.Driver != DriverSocket && mix == nil && to.Transport != "" && to.Transport != target.HTTP {
		bad("driver", "%s speaks Streamable HTTP only, the target is of %s", s.Driver, to.Transport)
	}
	if s.Driver.closed() && mix != nil {
		bad("driver", "%s runs against one target, not against a mix", s.Driver)
	}
	for _, h := range s.Headers {
		if _, err := parseHeader(h); err != nil {
			bad("headers", "%v", err)
		}
	}
	if !slices.Contains([]Era{EraAuto, EraSession, EraStateless}, s.Era) {
		bad("era", "%q is not one of session, stateless", s.Era)
	}
	switch s.HTTPVersion {
	case "1.1", "2":
	default:
		bad("http_version", "%q is not one of 1.1, 2", s.HTTPVersion)
	}
	switch {
	case s.Tool != "" && s.Scenario != "":
		bad("scenario", "it is given beside a tool: one of both says what clients ask")
	case s.Args != "" && s.Tool == "":
		bad("args", "they are of no tool")
	}
	if err := checkHostPort(s.Listen, 0); err != nil {
		bad("listen", "%v", err)
	}
	if s.SourceIPs != "" {
		if p, err := netip.ParsePrefix(s.SourceIPs); err != nil {
			bad("source_ips", "%q is not a prefix such as 127.1.0.0/16", s.SourceIPs)
		} else if p.Masked() != p {
			bad("source_ips", "%s has bits set behind the prefix; write %s", p, p.Masked())
		}
	}
	number("connections", s.Connections, 1, maxConnections)
	number("connections_per_source", s.ConnectionsPerSource, 1, maxConnections)
	number("ramp_rate", s.RampRate, 1, maxConnections)
	number("ping_rate", s.PingRate, 1, maxConnections)
	number("sticky_sample", s.StickySample, 0, maxConnections)
	number("agents", s.Agents, 0, maxAgents)
	number("remote_agents", s.RemoteAgents, 0, maxAgents)
	positive("duration", s.Duration)
	positive("request_timeout", s.RequestTimeout)
	positive("max_failover", s.MaxFailover)
	positive("max_freeze_failover", s.MaxFreezeFailover)
	percent("tolerance_percent", s.TolerancePercent)
	percent("max_latency_cv_percent", s.MaxLatencyCVPercent)
	if !slices.Contains(system.Faults, s.Failover) {
		bad("failover", "%q is not one of kill, freeze, cut, drain, rolling, none", s.Failover)
	}
	if _, err := parseWants(s.Want); err != nil {
		bad("want", "%v", err)
	}
	if _, err := search.ParseLimits(s.FindLimit); s.FindLimit != "" && err != nil {
		bad("find_limit", "%v", err)
	}
	if _, err := search.ParseRates(s.Rates); s.Rates != "" && err != nil {
		bad("rates", "%v", err)
	}
	if s.Driver.closed() && s.triesRates() {
		bad("driver", "%s is a closed loop, whose rate nobody sets: rates take socket or vegeta", s.Driver)
	}
	return errors.Join(errs...)
}

// Era is a family of revisions of MCP.
type Era string

// The eras.
const (
	EraAuto      Era = ""          // sessions, where the server has them
	EraSession   Era = "session"   // up to 2025-11-25
	EraStateless Era = "stateless" // from 2026-07-28 on
)

// eras are those to try, in their order.
func (s *Spec) eras() []mcp.Era {
	switch s.Era {
	case EraSession:
		return []mcp.Era{mcp.SessionEra}
	case EraStateless:
		return []mcp.Era{mcp.StatelessEra}
	}
	return []mcp.Era{mcp.SessionEra, mcp.StatelessEra}
}

var drivers = []Driver{DriverAuto, DriverSocket, DriverVegeta, DriverBurst, DriverHey, DriverWrk, DriverAB}

// triesRates reports whether the run tries rates beside the one of the hold.
func (s *Spec) triesRates() bool { return s.FindLimit != "" || s.Rates != "" }

// share100 is how many per cent of the connections are of a transport.
type share100 struct {
	transport target.Transport
	percent   int
}

// parseMix reads "tcp=70,http=30"; an empty text is none.
func parseMix(text string) (mix []share100, err error) {
	if text == "" {
		return nil, nil
	}
	sum := 0
	for part := range strings.SplitSeq(text, ",") {
		name, number, _ := strings.Cut(strings.TrimSpace(part), "=")
		t := target.Transport(name)
		n, err := strconv.Atoi(number)
		switch {
		case !slices.Contains(target.Transports, t):
			return nil, fmt.Errorf("%q is not one of tcp, http, sse, ws", name)
		case err != nil || n < 1 || n > 100:
			return nil, fmt.Errorf("%s: %q is not a whole number of per cent between 1 and 100", name, number)
		case slices.ContainsFunc(mix, func(s share100) bool { return s.transport == t }):
			return nil, fmt.Errorf("%s is given twice", name)
		}
		mix = append(mix, share100{t, n})
		sum += n
	}
	if sum != 100 {
		return nil, fmt.Errorf("%s is %d per cent in all, not 100", text, sum)
	}
	return mix, nil
}

// parts are the connections of each transport of a mix, or of the one target.
func (s *Spec) parts() []int {
	mix, _ := parseMix(s.Mix)
	if len(mix) == 0 {
		return []int{s.Connections}
	}
	list := make([]int, len(mix))
	percent, given := 0, 0
	for i, m := range mix {
		percent += m.percent
		list[i] = s.Connections*percent/100 - given
		given += list[i]
	}
	return list
}

// parseHeader reads "Name: value". The error never holds the value: it may be a secret.
func parseHeader(text string) (target.Field, error) {
	name, _, ok := strings.Cut(text, ":")
	if !ok {
		name = "one"
	}
	header, err := textproto.NewReader(bufio.NewReader(strings.NewReader(text + "\r\n\r\n"))).ReadMIMEHeader()
	if err != nil || len(header) != 1 || strings.ContainsAny(text, "\r\n") {
		return target.Field{}, fmt.Errorf("%s is not of the form NAME: VALUE", name)
	}
	name = slices.Collect(maps.Keys(header))[0]
	return target.Field{Name: name, Value: header.Get(name)}, nil
}

// maxAgents bounds the processes of a run.
const maxAgents = 1000

func checkHostPort(address string, lowest int) error {
	host, port, err := net.SplitHostPort(address)
	if err != nil || host == "" {
		return fmt.Errorf("%q is not of the form host:port", address)
	}
	if n, err := strconv.Atoi(port); err != nil || n < lowest || n > 65535 {
		return fmt.Errorf("%q is not a port between %d and 65535", port, lowest)
	}
	return nil
}

// failoverLimit is how long the last displaced client may wait for a node.
func (s *Spec) failoverLimit(f system.Fault) time.Duration {
	if f.Silent() {
		return s.MaxFreezeFailover
	}
	return s.MaxFailover
}
