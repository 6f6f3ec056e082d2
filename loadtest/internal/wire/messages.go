// Package wire is what the coordinator of a load test and its agents tell each other: values that travel as JSON.
package wire

import (
	"time"

	"github.com/erlmcp/erlmcp/loadtest/internal/latency"
	"github.com/erlmcp/erlmcp/loadtest/internal/sources"
	"github.com/erlmcp/erlmcp/loadtest/internal/target"
	"github.com/erlmcp/erlmcp/loadtest/internal/work"
)

// Kinds of messages, and what they carry. An agent begins with a Hello, the coordinator answers with a Welcome. From then on
// the agent asks for the clock now and then, which also shows that both are there, and sends reports.
const (
	KindHello   = "hello"   // Hello, to the coordinator
	KindWelcome = "welcome" // Welcome, to the agent
	KindClock   = "clock"   // Clock, to the coordinator and back
	KindOrder   = "order"   // Numbered, to the agent
	KindAnswer  = "answer"  // Answer, to the coordinator
	KindReport  = "report"  // Counts, to the coordinator
)

// Numbered is an order with its number, which its answer has too.
type Numbered struct {
	Number int   `json:"number"`
	Order  Order `json:"order"`
}

// Answer is what an agent says to an order.
type Answer struct {
	Number int `json:"number"`
	Ack    Ack `json:"ack"`
}

// Hello is how an agent introduces itself; the answer is a Welcome.
type Hello struct {
	PID         int           `json:"pid"`
	Host        string        `json:"host"`
	Version     string        `json:"version"`     // ProtocolVersion
	Connections int           `json:"connections"` // it can hold
	Sources     sources.Range `json:"sources"`     // it can use; none: what the coordinator gives it
}

// ProtocolVersion changes with the messages of this file.
const ProtocolVersion = "4"

// Welcome tells an agent who it is in the run.
type Welcome struct {
	Run   string `json:"run"`
	Agent string `json:"agent"`
	Error string `json:"error,omitempty"` // not welcome
}

// Clock is what an agent's clock said when it asked, and what the coordinator's did then.
type Clock struct {
	Sent int64 `json:"sent"`
	Now  int64 `json:"now"`
}

// OrderKind is what agents are told to do.
type OrderKind string

// The orders.
const (
	OrderOpen    OrderKind = "open"    // begin to open connections, one of every source
	OrderRest    OrderKind = "rest"    // open the others
	OrderPing    OrderKind = "ping"    // send requests, for a time or until OrderQuiet
	OrderQuiet   OrderKind = "quiet"   // send no more requests
	OrderSticky  OrderKind = "sticky"  // have a sample of clients leave and come back
	OrderArm     OrderKind = "arm"     // a node is about to fail; from now on its clients are displaced
	OrderDisarm  OrderKind = "disarm"  // the fault is over
	OrderCollect OrderKind = "collect" // answer with what was measured
	OrderClose   OrderKind = "close"   // close everything
	OrderStop    OrderKind = "stop"    // leave
)

// Order is one message from the coordinator. The agent's answer is an Ack, sent when the order has
// been begun; how it goes on is seen in the reports. Instants are on the coordinator's clock.
type Order struct {
	Kind   OrderKind    `json:"kind"`
	At     int64        `json:"at,omitempty"`   // open, rest, ping: when to begin
	Rate   float64      `json:"rate,omitempty"` // open, ping, sticky, close: per second, of this agent
	Open   *OpenOrder   `json:"open,omitempty"`
	Ping   *PingOrder   `json:"ping,omitempty"`
	Sticky *StickyOrder `json:"sticky,omitempty"`
	Node   string       `json:"node,omitempty"` // arm: its name, or EveryNode
}

// EveryNode arms all nodes.
const EveryNode = "*"

// Driver is what clients are made of.
type Driver string

// The drivers that agents have.
const (
	Socket Driver = "socket" // sockets of an event loop
	Vegeta Driver = "vegeta" // net/http under the attacker of that library
)

// OpenOrder is what to open: a share of the plan.
type OpenOrder struct {
	Driver      Driver          `json:"driver"`
	Endpoint    target.Endpoint `json:"endpoint"`
	Work        work.Work       `json:"work"`
	Connections int             `json:"connections"`
	Sources     sources.Range   `json:"sources"`
	Timeout     time.Duration   `json:"timeout"`
	Patience    Patience        `json:"patience"`
}

// PingOrder is about the requests to send.
type PingOrder struct {
	For    time.Duration `json:"for,omitempty"`
	Record bool          `json:"record,omitempty"` // the latencies count, up to the next order of requests
	Limits []int64       `json:"limits,omitempty"` // microseconds: how many answers take longer than each is counted, see Measured.Windows
}

// StickyOrder is how many clients to have leave.
type StickyOrder struct {
	Sample int `json:"sample"`
}

// Ack is an agent's answer to an order.
type Ack struct {
	Error    string    `json:"error,omitempty"`
	OnNode   int       `json:"on_node,omitempty"`  // arm: clients on the node
	Measured *Measured `json:"measured,omitempty"` // collect
}

// Measured is an agent's part of the latencies: those of answers are of the last order that was to be recorded.
type Measured struct {
	Nodes map[string]latency.Message `json:"nodes"`           // of answers, by node
	Steps map[string]latency.Message `json:"steps,omitempty"` // of answers, by step of the script
	// Of all nodes together, second by second, the requests of the last order that was to be recorded.
	Windows latency.Windows `json:"windows,omitempty"`
	// Of connections, by what they had to wait for: see the stages of Setup.
	Setup map[Stage]latency.Message `json:"setup,omitempty"`
	// How much later than due the agent did things: all of them so far, and what was due in the last order that was to be recorded.
	Lag     latency.Message `json:"lag"`
	HoldLag latency.Message `json:"hold_lag"`
}

// Stage is a part of what a client goes through until it is verified.
type Stage string

// The stages.
const (
	StageConnect Stage = "connect"     // of TCP
	StageTLS     Stage = "tls"         // the handshake
	StageSession Stage = "session"     // from the connection to the answer to initialize
	StageEvent   Stage = "first_event" // from the request for a stream to its first event, or its head
)
