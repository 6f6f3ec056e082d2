package healthcheck

import (
	"time"
)

// Schema names the form of a Report in JSON.
const Schema = "erlmcp.health/v1"

// Report is one round of checks: what was found out about the nodes, the balancer before them, and
// how the connections are spread. What could not be found out is null, never 0.
type Report struct {
	Schema       string       `json:"schema"`
	Status       Status       `json:"status"`
	Reasons      []string     `json:"reasons,omitempty"` // why the status is not healthy, the gravest first
	Time         time.Time    `json:"time"`
	LoadBalancer LoadBalancer `json:"load_balancer"`
	Nodes        []NodeHealth `json:"nodes"`
	Cluster      *Cluster     `json:"cluster"` // null when no supervisor runs
	Connections  Connections  `json:"connections"`
}

// LoadBalancer is what is known of the balancer.
type LoadBalancer struct {
	Running   bool       `json:"running"`
	Engine    string     `json:"engine,omitempty"` // "builtin", "haproxy", "nginx" or "unknown"
	PID       int        `json:"pid,omitempty"`
	State     string     `json:"state,omitempty"` // builtin: "running" or "draining"
	Listeners []Listener `json:"listeners"`
	Clients   *int       `json:"clients"`                // connections of clients
	Rate      *float64   `json:"connect_rate,omitempty"` // new clients a second, where the balancer tells
	Checks    []Result   `json:"checks,omitempty"`       // an MCP request through each listener, as a client makes it
	TLS       *Result    `json:"tls,omitempty"`          // the certificate of the HTTPS listener
	Error     string     `json:"error,omitempty"`        // why not more is known
}

// Listener is an address the balancer serves clients at.
type Listener struct {
	Name    string `json:"name"`
	Address string `json:"address"`
	Up      bool   `json:"up"`
}

// NodeHealth is what is known of one node.
type NodeHealth struct {
	Name                string         `json:"name"`
	Status              string         `json:"status"`                   // "up" when every check succeeded, "degraded" when that is true of one of several transports, "down", or "unknown"
	Balancer            string         `json:"balancer_state,omitempty"` // "up", "silent", "degraded", "down", "draining" or "maintenance", as the balancer sees it
	Weight              int            `json:"weight"`
	Connections         *int           `json:"connections"`                    // established, on all its ports
	Ports               map[string]int `json:"ports,omitempty"`                // the same by transport: "tcp", "http", "sse"
	Source              string         `json:"connections_source,omitempty"`   // "kernel", or "balancer" for a node on another host
	BalancerConnections *int           `json:"balancer_connections,omitempty"` // those the balancer counts
	ConnectRate         *float64       `json:"connect_rate,omitempty"`         // new connections a second, where the balancer tells
	Checks              []Result       `json:"checks"`
	Statistics          *Statistics    `json:"statistics,omitempty"` // over the rounds so far, of continuous checks
}

// The values of NodeHealth.Status.
const (
	NodeUp       = "up"
	NodeDegraded = "degraded" // serves clients, but not over all its transports
	NodeDown     = "down"
	NodeUnknown  = "unknown"
)

// Connections sums up the nodes.
type Connections struct {
	Total    *int `json:"total"`
	Capacity int  `json:"capacity"` // clients the balancer admits

	// MaxDeviation is the largest distance of a node that is up from its share of the connections
	// of all nodes that are up, by weight.
	MaxDeviation *int `json:"max_deviation"`

	Error string `json:"error,omitempty"` // why connections could not be counted
}

// Status is the verdict of a round.
type Status string

// Statuses. The exit codes are those of monitoring plugins
// (https://www.monitoring-plugins.org/doc/guidelines.html, Plugin Return Codes).
const (
	StatusHealthy  Status = "healthy"  // 0: the balancer serves, all nodes are up
	StatusDegraded Status = "degraded" // 1: clients are served, but not as planned
	StatusDown     Status = "down"     // 2: clients are not served
	StatusUnknown  Status = "unknown"  // 3: could not be found out
)

// ExitCode is the status as the exit code of a process.
func (s Status) ExitCode() int {
	switch s {
	case StatusHealthy:
		return 0
	case StatusDegraded:
		return 1
	case StatusDown:
		return 2
	}
	return 3
}
