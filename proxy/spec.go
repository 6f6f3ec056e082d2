// Package proxy is the balancer: one master process that owns listeners, checks and control, and
// workers that carry the clients' bytes. Both share a board of fixed-size cells.
//
//	Serve    runs the master in the foreground
//	Start    runs it in the background
//	Connect  talks to a running one
//	Worker   is the role a worker process plays; only the master starts it
//
// A Spec is pure data: it is parsed, defaulted, validated and printed without a socket.
package proxy

import (
	"time"

	"github.com/erlmcp/erlmcp/internal/topology"
	"github.com/erlmcp/erlmcp/internal/units"
	"github.com/erlmcp/erlmcp/proxy/internal/accesslog"
)

// Spec says what the balancer does: the section "lb" of erlmcp.yaml. Decode it over Default, so
// that a missing key keeps its default, then Validate it.
type Spec struct {
	Listen Listen `yaml:"listen"`
	Admin  Admin  `yaml:"admin"`
	TLS    TLS    `yaml:"tls"`

	// Nodes are balanced over, at most board.MaxNodes of them. Empty means the cluster's nodes,
	// which the configuration fills in.
	Nodes []topology.Node `yaml:"nodes,omitempty"`

	// MaxConnections is how many clients are served at a time, over all workers.
	MaxConnections int `yaml:"max_connections"`
	// NodeMaxConnections is how many of them one node may get; 0 computes it, see NodeCap.
	NodeMaxConnections int `yaml:"node_max_connections"`
	// Workers is the number of worker processes; 0 starts one a core, and others join when those are full, by the
	// descriptor limit.
	Workers int `yaml:"workers"`

	Balance Balance `yaml:"balance"`
	Sticky  Sticky  `yaml:"sticky"`
	HTTP    HTTP    `yaml:"http"`
	Limits  Limits  `yaml:"limits"`
	// SourceTable is how many client addresses are remembered, rounded up to a power of two.
	SourceTable int `yaml:"source_table"`

	Checks Checks `yaml:"checks"`
	// SlowStart is how long a recovered node's weight takes to grow back; 0 is at once.
	SlowStart time.Duration `yaml:"slow_start"`
	Timeouts  Timeouts      `yaml:"timeouts"`

	// MaxMessage is the longest message a client may send.
	MaxMessage units.Bytes `yaml:"max_message"`
	// Source is where connections to nodes come from: an address, a prefix (worker i takes its
	// i-th address), SourceAuto, or empty for the kernel's choice.
	Source        string        `yaml:"source"`
	ProxyProtocol ProxyProtocol `yaml:"proxy_protocol"`
	AccessLog     AccessLog     `yaml:"access_log"`
}

// SourceAuto as Spec.Source gives every worker a loopback address of its own towards loopback
// nodes on Linux, where one source address reaches one port at most 28,232 times; towards other
// nodes the kernel chooses.
const SourceAuto = "auto"

// Listen holds the addresses to listen on, host:port or :port. Port 0 is any free port; an empty
// address is a listener that is off. TCP is always on.
type Listen struct {
	TCP    string `yaml:"tcp"`
	HTTP   string `yaml:"http"`
	HTTPS  string `yaml:"https"`
	Admin  string `yaml:"admin"`
	Health string `yaml:"health"`
}

// Admin says who is answered on the admin listener.
type Admin struct {
	// Hosts are names that browsers and monitors may call the listener by, besides localhost and IP
	// addresses. Other names are refused: they could have been made to point here by somebody else.
	Hosts []string `yaml:"hosts"`
}

// TLS holds the PEM files of the HTTPS listener.
type TLS struct {
	Cert string `yaml:"cert"`
	Key  string `yaml:"key"`
}

// Balance is how a node is chosen for a client that has none.
type Balance string

// The balancing algorithms. All of them honour weights and skip nodes at their cap.
const (
	BalanceLeastConn  Balance = "leastconn"  // the node with the fewest connections
	BalanceRoundRobin Balance = "roundrobin" // each in turn
	BalanceSource     Balance = "source"     // by rendezvous hash of the client's address
	BalanceRandom2    Balance = "random2"    // the better of two drawn at random
)

// Sticky says what keeps a client on its node.
type Sticky struct {
	TCP  string `yaml:"tcp"`  // StickySource or StickyNone
	HTTP string `yaml:"http"` // StickyCookie or StickyNone
	// MCPSession routes an MCP session to the node that opened it.
	MCPSession bool `yaml:"mcp_session"`
	// TTL is how long an idle client is remembered.
	TTL time.Duration `yaml:"ttl"`
	// KeyFile holds the secret by which sessions and cookies name their node. Balancers with the
	// same one serve each other's clients. Empty is one made at the first start, in the state
	// directory.
	KeyFile string `yaml:"key_file"`
}

// HTTP is what the listeners for HTTP have beyond the others.
type HTTP struct {
	// Routes send paths to ports of the nodes; the longest prefix wins. What no route names goes to
	// the HTTP port.
	Routes []Route `yaml:"routes"`
	// KeepaliveRequests is how many requests one connection of a client may carry; 0 is no limit.
	KeepaliveRequests int `yaml:"keepalive_requests"`
	// Gzip compresses responses of text for clients that take it, where the node has not.
	Gzip bool `yaml:"gzip"`
	// SSEKeepalive is how long an event stream may be silent before its client gets a comment, so that
	// nothing between them takes the connection for dead; 0 is never. Such a stream is not idle.
	SSEKeepalive time.Duration `yaml:"sse_keepalive"`
}

// Route says where requests go whose path is Prefix or lies under it.
type Route struct {
	Prefix string `yaml:"prefix"`
	To     string `yaml:"to"` // RouteHTTP, RouteWebSocket or RouteSSE
}

// The values of Route.To. Clients of the last two stay with their node by source.
const (
	RouteHTTP      = "http"      // the HTTP port
	RouteWebSocket = "websocket" // the HTTP port
	RouteSSE       = "sse"       // the SSE port, or else the HTTP port
)

// The values of Sticky.TCP and Sticky.HTTP.
const (
	StickySource = "source"
	StickyCookie = "cookie"
	StickyNone   = "none"
)

// Limits bounds what one source (an IPv4 address or an IPv6 /64) may do. Bursts are one second's
// worth.
type Limits struct {
	ConnectionsPerSecond int    `yaml:"connections_per_second"` // 0 is no limit
	MessagesPerSecond    int    `yaml:"messages_per_second"`    // 0 is no limit
	Action               Action `yaml:"action"`
	MaxPerSource         int    `yaml:"max_per_source"` // connections at a time; 0 is no limit
	Ban                  Ban    `yaml:"ban"`
	// Tools bounds calls of single tools besides, over HTTP in the stateless era, at most 64 of them.
	Tools []ToolLimit `yaml:"tools"`
	// Exempt lists addresses and prefixes that no limit and no ban applies to.
	Exempt []string `yaml:"exempt"`
}

// ToolLimit bounds how often one source may call a tool. Calls over it are answered with status 429.
type ToolLimit struct {
	Name      string `yaml:"name"` // as tools/call has it, case included
	PerSecond int    `yaml:"per_second"`
}

// Action is what happens to a message over the rate.
type Action string

// The actions. ActionDefault is ActionThrottle on TCP and ActionReject on HTTP.
const (
	ActionDefault  Action = ""
	ActionThrottle Action = "throttle" // stop reading until it conforms; nothing is lost
	ActionReject   Action = "reject"   // answer it with JSON-RPC error -32019, on HTTP with status 429
)

// Ban shuts a source out for a while after Violations breaches of a rate within Window.
type Ban struct {
	Violations int           `yaml:"violations"` // 0 never bans
	Window     time.Duration `yaml:"window"`
	For        time.Duration `yaml:"for"`
}

// Checks says how the nodes are watched.
type Checks struct {
	Kind string `yaml:"kind"` // a probe of package healthcheck: "mcp", "tcp", or "http" at the HTTP port
	// Interval between checks of a node in a settled state; up to a tenth of it is subtracted at
	// random. FastInterval applies while the last result disagrees with the node's state.
	Interval     time.Duration `yaml:"interval"`
	FastInterval time.Duration `yaml:"fast_interval"`
	Timeout      time.Duration `yaml:"timeout"`
	Fall         int           `yaml:"fall"` // failures in a row that mark a node down
	Rise         int           `yaml:"rise"` // successes in a row that mark it up again
}

// Timeouts of clients' connections. 0 is no timeout, except for Connect.
type Timeouts struct {
	Connect   time.Duration `yaml:"connect"`  // to reach any node
	Idle      time.Duration `yaml:"idle"`     // without a byte in either direction
	Request   time.Duration `yaml:"request"`  // HTTP request head, and between two parts of its body
	Response  time.Duration `yaml:"response"` // HTTP response head, from the end of the request
	Keepalive time.Duration `yaml:"keepalive"`
	Drain     time.Duration `yaml:"drain"` // for connections to end by themselves at stop; 0 waits for none
}

// ProxyProtocol carries the client's address across balancers (PROXY protocol version 2).
type ProxyProtocol struct {
	AcceptFrom []string `yaml:"accept_from"` // addresses and prefixes of trusted peers
	Send       bool     `yaml:"send"`        // to the nodes, over TCP
}

// AccessLog is about finished requests and connections, one line of JSON each.
type AccessLog struct {
	// File is appended to; StandardOutput is that of the balancer, empty is off.
	File string `yaml:"file"`
}

// StandardOutput is the AccessLog.File that is no file.
const StandardOutput = accesslog.Standard

// Default returns the Spec of a configuration that says nothing. It has no nodes.
func Default() Spec {
	return Spec{
		Listen:         Listen{TCP: ":8000", HTTP: ":8080", Admin: "127.0.0.1:8404", Health: "127.0.0.1:8888"},
		MaxConnections: 100_000,
		Balance:        BalanceLeastConn,
		Sticky:         Sticky{TCP: StickySource, HTTP: StickyCookie, MCPSession: true, TTL: 30 * time.Minute},
		HTTP: HTTP{
			Routes:            []Route{{Prefix: "/mcp/ws", To: RouteWebSocket}, {Prefix: "/mcp/sse", To: RouteSSE}},
			KeepaliveRequests: 1000,
			Gzip:              true,
		},
		Limits: Limits{
			ConnectionsPerSecond: 100,
			MessagesPerSecond:    100,
			Ban:                  Ban{Violations: 100, Window: time.Minute, For: time.Minute},
		},
		SourceTable: 131_072,
		Checks: Checks{
			Kind:         "mcp",
			Interval:     3 * time.Second,
			FastInterval: 250 * time.Millisecond,
			Timeout:      750 * time.Millisecond,
			Fall:         2,
			Rise:         2,
		},
		SlowStart: time.Minute,
		Timeouts: Timeouts{
			Connect:   5 * time.Second,
			Idle:      5 * time.Minute,
			Request:   30 * time.Second,
			Response:  5 * time.Minute,
			Keepalive: 5 * time.Minute,
			Drain:     30 * time.Second,
		},
		MaxMessage: 16 * units.MiB,
		Source:     SourceAuto,
	}
}

// NodeCap returns how many connections one node may get: NodeMaxConnections if set, otherwise
// 1.05 × MaxConnections ÷ (nodes − 1), so that the loss of one node can be absorbed.
func (s *Spec) NodeCap() int {
	if s.NodeMaxConnections > 0 {
		return s.NodeMaxConnections
	}
	others := len(s.Nodes) - 1
	if others < 2 {
		return s.MaxConnections
	}
	return (s.MaxConnections*105 + others*100 - 1) / (others * 100)
}
