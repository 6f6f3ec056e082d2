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
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"time"

	"github.com/erlmcp/erlmcp/loadtest/internal/sources"
)

// Spec says what is proved, and with what. It is the section "loadtest" of erlmcp.yaml: decode it
// over Default, then Validate it.
type Spec struct {
	// Target is the balancer's TCP listener, host:port, or :port for this machine.
	Target string `yaml:"target"`
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
	Failover     Fault  `yaml:"failover"`
	FailoverNode string `yaml:"failover_node"`

	// What the verdict allows.
	TolerancePercent    float64       `yaml:"tolerance_percent"`      // of a node's fair share of connections
	MaxLatencyCVPercent float64       `yaml:"max_latency_cv_percent"` // between the nodes' mean latencies
	MaxFailover         time.Duration `yaml:"max_failover"`           // from a kill to the last client served again
	MaxFreezeFailover   time.Duration `yaml:"max_freeze_failover"`    // the same for a freeze

	// Agents is how many generator processes run on this machine; 0 computes it.
	Agents int `yaml:"agents"`
	// RemoteAgents is how many more are awaited from other machines, and Listen where they can
	// join: an address of this machine, which nothing listens at without them.
	RemoteAgents int    `yaml:"remote_agents"`
	Listen       string `yaml:"listen"`
}

// Fault is what a failover test does to a node.
type Fault string

// The faults.
const (
	FaultAuto   Fault = ""       // FaultKill when the cluster can be controlled, else FaultNone
	FaultKill   Fault = "kill"   // SIGKILL: the kernel resets its connections
	FaultFreeze Fault = "freeze" // SIGSTOP: its connections stay open and silent
	FaultNone   Fault = "none"
)

// Default returns the Spec of an empty configuration.
func Default() Spec {
	return Spec{
		Target:               "127.0.0.1:8000",
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
	if err := checkHostPort(completeTarget(s.Target), 1); err != nil {
		bad("target", "%v", err)
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
	switch s.Failover {
	case FaultAuto, FaultKill, FaultFreeze, FaultNone:
	default:
		bad("failover", "%q is not one of kill, freeze, none", s.Failover)
	}
	return errors.Join(errs...)
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
func (s *Spec) failoverLimit(f Fault) time.Duration {
	if f == FaultFreeze {
		return s.MaxFreezeFailover
	}
	return s.MaxFailover
}
