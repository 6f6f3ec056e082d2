package proxy

import (
	"reflect"
	"strings"
	"time"

	"github.com/erlmcp/erlmcp/healthcheck"
)

// StatsSchema names the form of Stats in JSON.
const StatsSchema = "erlmcp.stats/v1"

// Stats is what the balancer is doing: /stats.json of the admin listener, and Client.Stats. Numbers
// are read one after the other while work goes on, so sums agree nearly and not exactly.
type Stats struct {
	Schema        string          `json:"schema"` // StatsSchema
	Time          time.Time       `json:"time"`
	PID           int             `json:"pid"` // of the master
	Version       string          `json:"version"`
	UptimeSeconds float64         `json:"uptime_s"`
	State         string          `json:"state"` // StateRunning, StateDraining
	Listeners     []ListenerStats `json:"listeners"`
	// Certificate is the one of the https listener; nil without that listener.
	Certificate *CertificateStats `json:"certificate,omitempty"`
	Connections struct {
		Active int64  `json:"active"`
		Max    int    `json:"max"`
		Total  uint64 `json:"total"` // accepted, refused ones included
	} `json:"connections"`
	Rates   Rates         `json:"rates"` // connections include refused ones
	Workers []WorkerStats `json:"workers"`
	// MaxWorkers is how many workers there may be: others join when those that there are get full.
	MaxWorkers int `json:"max_workers"`

	Nodes   []NodeStats  `json:"nodes"`
	Sources SourceStats  `json:"sources"`
	Refused RefusedStats `json:"refused"`
	Cut     CutStats     `json:"cut"`
	HTTP    HTTPStats    `json:"http"`
	// Throttles counts pauses of clients over the message rate, Rejects messages answered with
	// "rate limited".
	Throttles        uint64  `json:"throttles"`
	ThrottledSeconds float64 `json:"throttled_s"`
	Rejects          uint64  `json:"rejects"`
	// AccessLogDropped counts lines of the access log that were lost: its file took no more.
	AccessLogDropped uint64       `json:"access_log_dropped"`
	Reload           *ReloadStats `json:"reload,omitempty"` // the last one; nil before the first
	// NodesFrom is the file of nodes; nil without lb.nodes_from.
	NodesFrom *NodeFileStats `json:"nodes_from,omitempty"`
}

// The states of a balancer. StateStopped is what others say of one that is not there.
const (
	StateRunning  = "running"
	StateDraining = "draining"
	StateStopped  = "stopped"
)

// ListenerStats is one address that is listened on.
type ListenerStats struct {
	Name    string `json:"name"` // its key in Listen
	Address string `json:"address"`
	Up      bool   `json:"up"` // false while it only drains
}

// CertificateStats is the certificate that https clients get.
type CertificateStats struct {
	Subject   string    `json:"subject"`
	Names     []string  `json:"names"` // hosts and IP addresses it is for
	NotBefore time.Time `json:"not_before"`
	NotAfter  time.Time `json:"not_after"`
}

// WorkerStats is one worker process.
type WorkerStats struct {
	Index     int    `json:"index"` // its row of the board
	PID       int    `json:"pid"`   // 0 between two lives
	Active    int64  `json:"active"`
	Max       int    `json:"max"`
	Accepted  uint64 `json:"accepted"`
	Messages  uint64 `json:"messages"` // from clients
	Restarts  uint64 `json:"restarts"`
	RSSBytes  uint64 `json:"rss_bytes"`   // includes the pages of the board it has touched
	LoopLagUs int64  `json:"loop_lag_us"` // how late its loop last woke, or by now is
}

// The states of a node. One that an operator has disabled is in maintenance, and a drained one that is down.
// A node is degraded while its transports are not all in the same state. One that is silent does not answer its
// checks, or answers no: it gets no new clients while another node is up, and keeps those it has.
const (
	NodeUp          = "up"
	NodeSilent      = "silent"
	NodeDegraded    = "degraded"
	NodeDown        = "down"
	NodeDraining    = "draining"
	NodeMaintenance = "maintenance"
)

// NodeStats is one node. Counts begin with the balancer, or when a reload brought the node in.
type NodeStats struct {
	Name string `json:"name"`
	// Address is host:port of its first transport as configured, or where that was found if another node on
	// its way out is configured alike.
	Address string    `json:"address"`
	State   string    `json:"state"` // NodeUp, …
	Since   time.Time `json:"since"` // to the nanosecond
	// Transports are those that the node serves and a listener needs.
	Transports     []TransportStats `json:"transports"`
	Leaving        bool             `json:"leaving,omitempty"`
	Weight         float64          `json:"weight"`      // of this moment, slow start included
	FullWeight     float64          `json:"full_weight"` // as configured
	Connections    int64            `json:"connections"`
	Pending        int64            `json:"pending"` // HTTP requests under way; streams that end when a side wishes are not
	MaxConnections int64            `json:"max_connections"`
	Pledged        int64            `json:"pledged"`   // connections that clients new to it are expected to add
	Total          uint64           `json:"total"`     // connections
	BytesIn        uint64           `json:"bytes_in"`  // client to node
	BytesOut       uint64           `json:"bytes_out"` // node to client
	Messages       uint64           `json:"messages"`  // client to node
	ConnectErrors  uint64           `json:"connect_errors"`
	Resets         uint64           `json:"resets"`    // cut by the node
	Retries        uint64           `json:"retries"`   // clients that went elsewhere
	Displaced      uint64           `json:"displaced"` // clients cut off when it went down
	Requests       uint64           `json:"requests"`  // over HTTP
	Responses      Responses        `json:"responses"`
	Latency        Latency          `json:"latency"` // from an HTTP request to the head of its response, over the last minute
	StateChanges   uint64           `json:"state_changes"`
	Rates          Rates            `json:"rates"`
	Connect        Latency          `json:"connect"` // time to connect to it, over the last minute
	// Check is that of the first transport that is not as it should be, or else of the first one.
	Check CheckStats `json:"check"`
	// Note is what is wrong with its name, whose last answer stays.
	Note string `json:"note,omitempty"`
}

// Rates is how fast things went within the last second.
type Rates struct {
	Connections  float64 `json:"connections_per_s"` // new ones
	Messages     float64 `json:"messages_per_s"`    // from clients
	BytesIn      float64 `json:"bytes_in_per_s"`
	BytesOut     float64 `json:"bytes_out_per_s"`
	Errors       float64 `json:"errors_per_s"`        // connect errors and resets
	Requests     float64 `json:"requests_per_s"`      // HTTP requests: of clients, or sent to a node
	ClientErrors float64 `json:"client_errors_per_s"` // HTTP responses 4xx
	ServerErrors float64 `json:"server_errors_per_s"` // HTTP responses 5xx
	Refused      float64 `json:"refused_per_s"`       // of the balancer as a whole; 0 for a node
}

// Latency is a distribution of times in µs, estimated from buckets of powers of two: a percentile is
// right to within its bucket. All are 0 when Count is.
type Latency struct {
	Count uint64  `json:"count"`
	Mean  float64 `json:"mean_us"`
	P50   float64 `json:"p50_us"`
	P90   float64 `json:"p90_us"`
	P99   float64 `json:"p99_us"`
}

// Plus is the count and mean of both together, without percentiles.
func (l Latency) Plus(o Latency) Latency {
	sum := Latency{Count: l.Count + o.Count}
	if sum.Count > 0 {
		sum.Mean = (l.Mean*float64(l.Count) + o.Mean*float64(o.Count)) / float64(sum.Count)
	}
	return sum
}

// TransportStats is one transport of a node.
type TransportStats struct {
	Name         string     `json:"name"`    // "tcp", "http" or "sse"
	Address      string     `json:"address"` // host:port as configured
	Found        string     `json:"found"`   // address:port it is connected to
	State        string     `json:"state"`   // NodeUp, NodeSilent, NodeDown, NodeDraining or NodeMaintenance
	Since        time.Time  `json:"since"`
	StateChanges uint64     `json:"state_changes"`
	Idle         int64      `json:"idle"` // connections that are kept for requests to come, beside those in NodeStats.Connections
	Check        CheckStats `json:"check"`
}

// Over returns the transport by which the node serves clients of a listener, "tcp", "http" or "https", or nil.
// Where it has no port for HTTP, that is the one for SSE.
func (n *NodeStats) Over(listener string) *TransportStats {
	web := listener == ListenHTTP || listener == ListenHTTPS
	for i := range n.Transports {
		if t := &n.Transports[i]; t.Name == listener || web && t.Name != ListenTCP {
			return t
		}
	}
	return nil
}

// Missing says over which transports a node is not up, "down over http".
func (n *NodeStats) Missing() string {
	var parts []string
	for i := range n.Transports {
		if t := &n.Transports[i]; t.State != NodeUp {
			parts = append(parts, t.State+" over "+t.Name)
		}
	}
	return strings.Join(parts, ", ")
}

// TakesClients reports whether new clients of a listener, as Over has it, may go to the node, if only because no
// other is up.
func (n *NodeStats) TakesClients(name string) bool {
	t := n.Over(name)
	return t != nil && (t.State == NodeUp || t.State == NodeSilent)
}

// CheckStats is the last active check of a node over one transport.
type CheckStats struct {
	Kind      string            `json:"kind"`
	OK        bool              `json:"ok"`
	Up        bool              `json:"up"`         // what the checks have decided, whatever an operator wants; of a node: over all transports
	LatencyUs int64             `json:"latency_us"` // of the last check that succeeded
	Cause     healthcheck.Cause `json:"cause,omitempty"`
	Error     string            `json:"error,omitempty"`
	Advice    string            `json:"advice,omitempty"` // what to write instead, where a server answers but not with MCP
	At        time.Time         `json:"at,omitzero"`      // zero before the first
	// DetectedMs is how long it took, from the first sign of trouble, to mark the node down the
	// last time; 0 if it never was.
	DetectedMs float64 `json:"detected_ms"`
}

// SourceStats is the table of client addresses.
type SourceStats struct {
	Tracked   int    `json:"tracked"`
	Capacity  int    `json:"capacity"`
	Overflows uint64 `json:"overflows"` // look-ups that found it full of sources that hold something
	Evictions uint64 `json:"evictions"` // sources forgotten before lb.sticky.ttl, for the sake of others
	Banned    int    `json:"banned"`
}

// HTTPStats counts what the HTTP frontend was asked and what it answered.
type HTTPStats struct {
	Requests  uint64    `json:"requests"`
	Responses Responses `json:"responses"` // the balancer's own refusals included
	// Methods counts forwarded POST requests by MCP method, "other" included; those that never came
	// are missing.
	Methods map[string]uint64 `json:"methods"`
}

// Responses counts HTTP responses by the class of their status.
type Responses struct {
	Informational uint64 `json:"1xx"` // upgrades
	Successful    uint64 `json:"2xx"`
	Redirection   uint64 `json:"3xx"`
	ClientError   uint64 `json:"4xx"`
	ServerError   uint64 `json:"5xx"`
}

// Each lists the classes.
func (r *Responses) Each() [5]uint64 {
	return [5]uint64{r.Informational, r.Successful, r.Redirection, r.ClientError, r.ServerError}
}

// RefusedStats counts clients that were turned away, and HTTP requests that were not answered by a
// node, by reason.
type RefusedStats struct {
	Ban        uint64 `json:"ban"`
	Rate       uint64 `json:"rate"`
	Full       uint64 `json:"full"`        // max_connections, or every node at its cap
	NoNode     uint64 `json:"no_node"`     // no node is up
	WorkerFull uint64 `json:"worker_full"` // the worker is out of descriptors
	PerSource  uint64 `json:"per_source"`

	// HTTP requests.
	MessageRate uint64 `json:"message_rate"`
	BadRequest  uint64 `json:"bad_request"`
	TooLarge    uint64 `json:"too_large"`
	Slow        uint64 `json:"slow"`         // the client sent it too slowly
	SessionGone uint64 `json:"session_gone"` // its node is gone
	BadReply    uint64 `json:"bad_reply"`    // the node's answer is not HTTP
	NodeLost    uint64 `json:"node_lost"`    // the node closed the connection instead
	NodeTimeout uint64 `json:"node_timeout"`

	NodeDown uint64 `json:"node_down"` // the node was marked down before it answered
	Drain    uint64 `json:"drain"`     // the balancer stopped before the node answered

	Handshake uint64 `json:"handshake"` // clients with whom TLS could not be agreed on
}

// Each calls f for every reason.
func (r *RefusedStats) Each(f func(reason string, n uint64)) { eachCount(*r, f) }

// Total is how many clients were turned away.
func (r *RefusedStats) Total() uint64 {
	return r.Ban + r.Rate + r.Full + r.NoNode + r.WorkerFull + r.PerSource
}

// CutStats counts what was under way and ended before its end, by reason: responses, event streams,
// WebSockets and TCP connections.
type CutStats struct {
	Drain      uint64 `json:"drain"`       // the balancer stopped, or left the address
	Idle       uint64 `json:"idle"`        // nothing passed for timeouts.idle
	Untaken    uint64 `json:"untaken"`     // the client took nothing for timeouts.send
	NodeDown   uint64 `json:"node_down"`   // the node was marked down
	NodeLost   uint64 `json:"node_lost"`   // the node closed the connection, or it failed
	BadReply   uint64 `json:"bad_reply"`   // the node went on with something that is not HTTP
	ClientGone uint64 `json:"client_gone"` // the client left, or its connection failed
	GaveWay    uint64 `json:"gave_way"`    // others needed the place, and its source held most; connections that rested included
	BadRequest uint64 `json:"bad_request"` // the client went on with something that is not HTTP
	TooLarge   uint64 `json:"too_large"`   // a message or body is over max_message
}

// Each calls f for every reason.
func (c *CutStats) Each(f func(reason string, n uint64)) { eachCount(*c, f) }

// eachCount calls f for every field of counts, all of them uint64, by its name in JSON.
func eachCount(counts any, f func(name string, n uint64)) {
	v := reflect.ValueOf(counts)
	for i := range v.NumField() {
		f(v.Type().Field(i).Tag.Get("json"), v.Field(i).Uint())
	}
}

// NodeFileStats is the file that nodes come from.
type NodeFileStats struct {
	File  string `json:"file"`
	Nodes int    `json:"nodes"`           // taken from it
	Error string `json:"error,omitempty"` // what is wrong with it now: its nodes are those of before
}

// ReloadStats is the last reload.
type ReloadStats struct {
	At    time.Time `json:"at"`
	OK    bool      `json:"ok"`
	Error string    `json:"error,omitempty"`
}

// NodeNames lists the nodes.
func (s *Stats) NodeNames() []string {
	names := make([]string, len(s.Nodes))
	for i := range s.Nodes {
		names[i] = s.Nodes[i].Name
	}
	return names
}

// Node returns the node called name that is not on its way out, or nil.
func (s *Stats) Node(name string) *NodeStats {
	for i := range s.Nodes {
		if n := &s.Nodes[i]; n.Name == name && !n.Leaving {
			return n
		}
	}
	return nil
}
