// Package proxytest is what tests of the balancer have in common: clients, nodes, sites, certificates, and the programs
// that it is measured beside.
package proxytest

import "time"

// AccessLine is a line of the access log.
type AccessLine struct {
	Time      time.Time `json:"time"`
	Frontend  string    `json:"frontend"`
	Client    string    `json:"client"`
	Node      string    `json:"node"`
	Method    string    `json:"method"`
	Path      string    `json:"path"`
	Status    int       `json:"status"`
	Reason    string    `json:"reason"`
	In        int       `json:"bytes_in"`
	Out       int       `json:"bytes_out"`
	Duration  int64     `json:"duration_us"`
	Response  int64     `json:"response_us"`
	Retries   int       `json:"retries"`
	MCPMethod string    `json:"mcp_method"`
	MCPName   string    `json:"mcp_name"`
	Version   string    `json:"version"`
	Session   bool      `json:"session"`
	Agent     string    `json:"user_agent"`
	Omitted   int       `json:"omitted"`
}
