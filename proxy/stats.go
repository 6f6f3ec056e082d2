package proxy

import (
	"time"

	"github.com/erlmcp/erlmcp/healthcheck"
	"github.com/erlmcp/erlmcp/proxy/internal/board"
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
	HTTP    HTTPStats    `json:"http"`
	// Throttles counts pauses of clients over the message rate, Rejects messages answered with
	// "rate limited".
	Throttles        uint64  `json:"throttles"`
	ThrottledSeconds float64 `json:"throttled_s"`
	Rejects          uint64  `json:"rejects"`
	// AccessLogDropped counts lines of the access log that were lost: its file took no more.
	AccessLogDropped uint64       `json:"access_log_dropped"`
	Reload           *ReloadStats `json:"reload,omitempty"` // the last one; nil before the first
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
const (
	NodeUp          = "up"
	NodeDown        = "down"
	NodeDraining    = "draining"
	NodeMaintenance = "maintenance"
)

// NodeStats is one node. Counts begin with the balancer, or when a reload brought the node in.
type NodeStats struct {
	Name           string     `json:"name"`
	Address        string     `json:"address"` // host:port of its TCP listener
	State          string     `json:"state"`   // NodeUp, …
	Since          time.Time  `json:"since"`   // to the nanosecond
	Leaving        bool       `json:"leaving,omitempty"`
	Weight         float64    `json:"weight"`      // of this moment, slow start included
	FullWeight     float64    `json:"full_weight"` // as configured
	Connections    int64      `json:"connections"`
	Pending        int64      `json:"pending"` // HTTP requests under way; streams that end when a side wishes are not
	MaxConnections int64      `json:"max_connections"`
	Pledged        int64      `json:"pledged"`   // connections that clients new to it are expected to add
	Total          uint64     `json:"total"`     // connections
	BytesIn        uint64     `json:"bytes_in"`  // client to node
	BytesOut       uint64     `json:"bytes_out"` // node to client
	Messages       uint64     `json:"messages"`  // client to node
	ConnectErrors  uint64     `json:"connect_errors"`
	Resets         uint64     `json:"resets"`    // cut by the node
	Retries        uint64     `json:"retries"`   // clients that went elsewhere
	Displaced      uint64     `json:"displaced"` // clients cut off when it went down
	Requests       uint64     `json:"requests"`  // over HTTP
	Responses      Responses  `json:"responses"`
	Latency        Latency    `json:"latency"` // from an HTTP request to the head of its response, over the last minute
	StateChanges   uint64     `json:"state_changes"`
	Rates          Rates      `json:"rates"`
	Connect        Latency    `json:"connect"` // time to connect to it, over the last minute
	Check          CheckStats `json:"check"`

	connectTimes []uint64 // histogram, see board.Flow
	answerTimes  []uint64
}

// CheckStats is the last active check of a node.
type CheckStats struct {
	Kind      string            `json:"kind"`
	OK        bool              `json:"ok"`
	Up        bool              `json:"up"`         // what the checks have decided, whatever an operator wants
	LatencyUs int64             `json:"latency_us"` // of the last check that succeeded
	Cause     healthcheck.Cause `json:"cause,omitempty"`
	Error     string            `json:"error,omitempty"`
	At        time.Time         `json:"at,omitzero"` // zero before the first
	// DetectedMs is how long it took, from the first sign of trouble, to mark the node down the
	// last time; 0 if it never was.
	DetectedMs float64 `json:"detected_ms"`
}

// SourceStats is the table of client addresses.
type SourceStats struct {
	Tracked   int    `json:"tracked"`
	Capacity  int    `json:"capacity"`
	Overflows uint64 `json:"overflows"` // look-ups that found it full
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

// each lists the classes.
func (r *Responses) each() [5]uint64 {
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

	Handshake uint64 `json:"handshake"` // clients with whom TLS could not be agreed on
}

// refusedBy counts by reason.
func refusedBy(count func(board.Reason) uint64) RefusedStats {
	return RefusedStats{
		Ban: count(board.ReasonBan), Rate: count(board.ReasonRate), Full: count(board.ReasonFull),
		NoNode: count(board.ReasonNoNode), WorkerFull: count(board.ReasonWorkerFull), PerSource: count(board.ReasonPerSource),
		MessageRate: count(board.ReasonMessageRate), BadRequest: count(board.ReasonBadRequest), TooLarge: count(board.ReasonTooLarge),
		Slow: count(board.ReasonSlow), SessionGone: count(board.ReasonSessionGone), BadReply: count(board.ReasonBadReply),
		NodeLost: count(board.ReasonNodeLost), NodeTimeout: count(board.ReasonNodeTimeout),
		Handshake: count(board.ReasonHandshake),
	}
}

// each calls f for every reason.
func (r *RefusedStats) each(f func(reason string, n uint64)) {
	for reason, n := range map[board.Reason]uint64{
		board.ReasonBan: r.Ban, board.ReasonRate: r.Rate, board.ReasonFull: r.Full,
		board.ReasonNoNode: r.NoNode, board.ReasonWorkerFull: r.WorkerFull, board.ReasonPerSource: r.PerSource,
		board.ReasonMessageRate: r.MessageRate, board.ReasonBadRequest: r.BadRequest, board.ReasonTooLarge: r.TooLarge,
		board.ReasonSlow: r.Slow, board.ReasonSessionGone: r.SessionGone, board.ReasonBadReply: r.BadReply,
		board.ReasonNodeLost: r.NodeLost, board.ReasonNodeTimeout: r.NodeTimeout,
		board.ReasonHandshake: r.Handshake,
	} {
		f(reason.String(), n)
	}
}

// ReloadStats is the last reload.
type ReloadStats struct {
	At    time.Time `json:"at"`
	OK    bool      `json:"ok"`
	Error string    `json:"error,omitempty"`
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
