// Package proxy is the balancer, as it is told and asked: one master process (package master) that owns listeners, checks
// and control, and workers (package worker) that carry the clients' bytes. Connect talks to a running one.
//
// A Spec is pure data: it is parsed, defaulted, validated and printed without a socket.
package proxy

import (
	"slices"
	"time"

	"github.com/erlmcp/erlmcp/internal/topology"
	"github.com/erlmcp/erlmcp/internal/units"
	"github.com/erlmcp/erlmcp/proxy/internal/accesslog"
	"github.com/erlmcp/erlmcp/proxy/internal/board"
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
	// NodesFrom is a file with a list of further nodes, or "". When it changes, its nodes come and go; see
	// master.Options.DecodeNodes. With it there may be no Nodes.
	NodesFrom string `yaml:"nodes_from"`
	// NodeTLS is about those with a URL that begins with https.
	NodeTLS NodeTLS `yaml:"node_tls"`

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
	// TrustedProxies are addresses and prefixes of the proxies in front that are believed over HTTP where
	// a request came from. No limit and no ban applies to themselves.
	TrustedProxies []string `yaml:"trusted_proxies"`
	Limits         Limits   `yaml:"limits"`
	// SourceTable is how many client addresses are remembered, rounded up to a power of two.
	SourceTable int `yaml:"source_table"`

	Resolve Resolve `yaml:"resolve"`
	Checks  Checks  `yaml:"checks"`
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
// address is a listener that is off. See Spec.Listening for those that no node needs.
type Listen struct {
	TCP    string `yaml:"tcp"`
	HTTP   string `yaml:"http"`
	HTTPS  string `yaml:"https"`
	Admin  string `yaml:"admin"`
	Health string `yaml:"health"`
}

// Keys of Listen: the listeners that workers accept clients on.
const (
	ListenTCP   = "tcp"
	ListenHTTP  = "http"
	ListenHTTPS = "https"
)

// Listener is one address of Listen.
type Listener struct{ Name, Address string } // its key, and the value of that

// All lists the addresses of l, empty ones included.
func (l *Listen) All() []Listener {
	return []Listener{{ListenTCP, l.TCP}, {ListenHTTP, l.HTTP}, {ListenHTTPS, l.HTTPS}, {"admin", l.Admin}, {"health", l.Health}}
}

// ForClients lists the addresses of l that workers accept clients on; empty ones are off.
func (l *Listen) ForClients() []Listener { return listening(l.All()[:3]) }

// ForOperators lists those that the master itself serves.
func (l *Listen) ForOperators() []Listener { return listening(l.All()[3:]) }

// listening leaves those of a list that are on.
func listening(list []Listener) []Listener {
	return slices.DeleteFunc(list, func(at Listener) bool { return at.Address == "" })
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
	// HSTS is the value of Strict-Transport-Security in answers over HTTPS, unless the node has set it; empty is none.
	HSTS string `yaml:"hsts"`
}

// NodeTLS says how TLS is spoken to nodes. Its PEM files are read again when they change.
type NodeTLS struct {
	// CA has the certificates of authorities that are trusted, and no others; empty is those of the system.
	CA string `yaml:"ca"`
	// ServerName is asked for, and what the certificates have to be for; empty is the host of each node.
	ServerName string `yaml:"server_name"`
	// Cert and Key are shown to nodes that ask for a certificate.
	Cert string `yaml:"cert"`
	Key  string `yaml:"key"`
	// Insecure takes every certificate.
	Insecure bool `yaml:"insecure"`
}

// Balance is how a node is chosen for a client that has none.
type Balance string

// The balancing algorithms. All of them honour weights and skip nodes at their cap.
const (
	BalanceLeastConn  Balance = "leastconn"  // the node with the fewest connections for its weight, equals in turn
	BalanceRoundRobin Balance = "roundrobin" // each in turn, by weight, over all workers
	BalanceSource     Balance = "source"     // by rendezvous hash of the client's address
	BalanceRandom2    Balance = "random2"    // the better of two drawn at random
)

// Sticky says what keeps a client on its node.
type Sticky struct {
	TCP  string `yaml:"tcp"`  // StickySource or StickyNone
	HTTP string `yaml:"http"` // StickyCookie or StickyNone
	// Cookie is the name of the cookie that names a client's node. Of several balancers in a row each
	// needs one of its own.
	Cookie string `yaml:"cookie"`
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
	// nothing between them takes the connection for dead; 0 is never. Such a stream is not idle while its
	// client takes the comments.
	SSEKeepalive time.Duration `yaml:"sse_keepalive"`
	// Host is what the nodes get as Host: HostClient, HostNode, or anything else as it is.
	Host string `yaml:"host"`
}

// The values of HTTP.Host that are no names.
const (
	HostClient = "client" // what the client has asked for
	HostNode   = "node"   // host and port of the node, as configured
)

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
// worth. A connection over the rate is held for up to five seconds, and refused if that would not do.
type Limits struct {
	ConnectionsPerSecond int `yaml:"connections_per_second"` // 0 is no limit
	// MessagesPerSecond counts a long message as one for each 16 KiB of it, up to five seconds' worth. 0 is no limit.
	MessagesPerSecond int    `yaml:"messages_per_second"`
	Action            Action `yaml:"action"`
	// MaxPerSource is for connections, or requests through trusted proxies, at a time. 0 is SharePercent of
	// Spec.MaxConnections, of which 100 is no limit: see Spec.PerSource.
	MaxPerSource int `yaml:"max_per_source"`
	SharePercent int `yaml:"share_percent"`
	Ban          Ban `yaml:"ban"`
	// Tools bounds calls of single tools besides, over HTTP in the stateless era, at most 64 of them.
	Tools []ToolLimit `yaml:"tools"`
	// Exempt lists addresses and prefixes that no limit and no ban applies to: by default what the
	// machine itself asks, and no other loopback address.
	Exempt []string `yaml:"exempt"`
}

// MaxToolName is the longest name of a tool that can be limited, in bytes.
const MaxToolName = 256

// ToolLimit bounds how often one source may call a tool. Calls over it are answered with status 429.
type ToolLimit struct {
	Name      string `yaml:"name"` // as tools/call has it, case included
	PerSecond int    `yaml:"per_second"`
}

// Action is what happens to a message over the rate.
type Action string

// The actions. ActionDefault is ActionThrottle on TCP; a request over HTTP it holds for up to five seconds, and
// rejects it if that would not do.
const (
	ActionDefault  Action = ""
	ActionThrottle Action = "throttle" // stop reading until it conforms; nothing is lost
	ActionReject   Action = "reject"   // answer it with JSON-RPC error -32019, on HTTP with status 429
)

// ActionHold is what MessageState says of ActionDefault over HTTP.
const ActionHold Action = "hold"

// Ban shuts the newcomers of a source out for a while after Violations within Window: refusals for being
// over a rate, of which those within a tenth of a second are one. Who was let in before goes on.
type Ban struct {
	Violations int           `yaml:"violations"` // 0 never bans
	Window     time.Duration `yaml:"window"`
	For        time.Duration `yaml:"for"`
}

// Resolve says how the hosts of nodes are looked up that are names. A node that is down is looked up every
// second.
type Resolve struct {
	Interval time.Duration `yaml:"interval"`
	Timeout  time.Duration `yaml:"timeout"` // of one look-up
	// Servers are DNS servers, address or address:port, asked in turn. Without any the system's are.
	Servers []string `yaml:"servers"`
}

// Checks says how the nodes are watched.
type Checks struct {
	// Kind is a probe of package healthcheck: "mcp" or "tcp" at each port of a node, or "http" at its HTTP
	// port, for all of them.
	Kind string `yaml:"kind"`
	// Path is what kind "http" asks for, "" is /health. Kind "mcp" asks at the path of the node's MCP endpoint.
	Path string `yaml:"path"`
	// HeadersFile has header fields for checks over HTTP, "Name: value" one a line, as for a token. It is
	// read before each check. Empty is none.
	HeadersFile string `yaml:"headers_file"`
	// Interval between checks of a node in a settled state; up to a tenth of it is subtracted at
	// random. FastInterval applies while the last result disagrees with the node's state.
	Interval     time.Duration `yaml:"interval"`
	FastInterval time.Duration `yaml:"fast_interval"`
	Timeout      time.Duration `yaml:"timeout"`
	Fall         int           `yaml:"fall"` // failures in a row that take a node out
	Rise         int           `yaml:"rise"` // successes in a row that mark it up again
	// GiveUp is for how long a node may be silent, that is give checks no answer in time and its clients not
	// a byte, and keep its connections and sessions. It gets no new clients meanwhile, unless there is no other
	// node. Refusals and resets end them at once, and with a GiveUp of no more than Timeout so do Fall failures
	// of any kind. 0 is DefaultGiveUp.
	GiveUp time.Duration `yaml:"give_up"`
}

// DefaultGiveUp lets a server that does one thing at a time compute for minutes. Where a host is gone, the
// connections to it fail by themselves before.
const DefaultGiveUp = 10 * time.Minute

// GivesUpAfter is for how long a node may say nothing until it is down.
func (c *Checks) GivesUpAfter() time.Duration {
	if c.GiveUp == 0 {
		return DefaultGiveUp
	}
	return c.GiveUp
}

// Keeps reports whether a node that gives no answer in time keeps what it has.
func (c *Checks) Keeps() bool { return c.GivesUpAfter() > c.Timeout }

// Timeouts of clients' connections. 0 is no timeout, except for Connect.
//
// A call that is under way, a stream and a connection that has been used have none by default: they
// live as long as their node and their client do. Checks tell of the node, the kernel of the client.
type Timeouts struct {
	Connect  time.Duration `yaml:"connect"`  // to reach any node
	Idle     time.Duration `yaml:"idle"`     // without a byte in either direction: of a response, a stream, a WebSocket, a TCP connection
	Request  time.Duration `yaml:"request"`  // HTTP request head, and between two parts of its body
	Response time.Duration `yaml:"response"` // HTTP response head, from the end of the request
	// Send is how long a client may take nothing of what is there for it, or acknowledge nothing.
	Send time.Duration `yaml:"send"`
	// Keepalive is how long a connection may wait for its next HTTP request, or for the first byte that a
	// client says over TCP.
	Keepalive time.Duration `yaml:"keepalive"`
	Drain     time.Duration `yaml:"drain"` // for connections to end by themselves at stop; 0 waits for none
}

// ProxyProtocol carries the client's address across balancers (PROXY protocol, versions 1 and 2).
type ProxyProtocol struct {
	AcceptFrom []string `yaml:"accept_from"` // addresses and prefixes of trusted peers
	Send       bool     `yaml:"send"`        // to the nodes, over TCP, in version 2
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
		Sticky:         Sticky{TCP: StickySource, HTTP: StickyCookie, Cookie: "SERVERID", MCPSession: true, TTL: 30 * time.Minute},
		HTTP: HTTP{
			Routes: []Route{
				{Prefix: "/mcp/ws", To: RouteWebSocket},
				{Prefix: "/mcp/sse", To: RouteSSE},
				{Prefix: "/sse", To: RouteSSE},
			},
			KeepaliveRequests: 1000,
			Gzip:              true,
			Host:              HostClient,
			SSEKeepalive:      15 * time.Second,
		},
		Limits: Limits{
			ConnectionsPerSecond: 100,
			MessagesPerSecond:    100,
			SharePercent:         50,
			Ban:                  Ban{Violations: 100, Window: time.Minute, For: time.Minute},
			Exempt:               []string{"127.0.0.1", "::1"},
		},
		SourceTable: 131_072,
		// After 5 s without an answer the next server of the system is asked.
		Resolve: Resolve{Interval: 10 * time.Second, Timeout: 6 * time.Second},
		Checks: Checks{
			Kind:         "mcp",
			Path:         "/health",
			Interval:     3 * time.Second,
			FastInterval: 250 * time.Millisecond,
			Timeout:      750 * time.Millisecond,
			Fall:         2,
			Rise:         2,
		},
		SlowStart: time.Minute,
		Timeouts: Timeouts{
			Connect:   5 * time.Second,
			Request:   30 * time.Second,
			Send:      5 * time.Minute,
			Keepalive: 5 * time.Minute,
			Drain:     30 * time.Second,
		},
		MaxMessage: 16 * units.MiB,
		Source:     SourceAuto,
	}
}

// leastShare is a share of few places.
const leastShare = 10

// PerSource returns how many connections one source may hold, 0 being no limit.
func (s *Spec) PerSource() int {
	switch l := &s.Limits; {
	case l.MaxPerSource > 0:
		return l.MaxPerSource
	case l.SharePercent >= 100:
		return 0
	default:
		return max((s.MaxConnections*l.SharePercent+99)/100, leastShare)
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

// Listening is Listen without the listeners for clients that no node has a port for: with nodes that serve
// HTTP alone there is no TCP listener. A Spec without nodes leaves all of them, and so does one with a file of
// nodes, as any may come.
func (s *Spec) Listening() Listen {
	l := s.Listen
	if len(s.Nodes) == 0 || s.NodesFrom != "" {
		return l
	}
	if !slices.ContainsFunc(s.Nodes, func(n topology.Node) bool { return n.TCP != 0 }) {
		l.TCP = ""
	}
	if !slices.ContainsFunc(s.Nodes, func(n topology.Node) bool { return n.HTTP != 0 || n.SSE != 0 || n.IsService() }) {
		l.HTTP, l.HTTPS = "", ""
	}
	return l
}

// stopGrace is what the whole balancer may take to end beyond the time to drain.
const stopGrace = 30 * time.Second

// StopsWithin is how long a balancer may take to end once it is told to.
func (s *Spec) StopsWithin() time.Duration { return s.Timeouts.Drain + stopGrace }

// Needs reports whether there is a listener whose clients are served over a transport.
func (l *Listen) Needs(t board.Transport) bool {
	if t == board.TCP {
		return l.TCP != ""
	}
	return l.HTTP != "" || l.HTTPS != ""
}
