package config

import (
	"reflect"

	"github.com/erlmcp/erlmcp/internal/nearest"
)

// enums are the keys that take one of a few words, with these; of a list, each element. The sections check the values:
// what is said here is for suggestions and for the schema.
var enums = map[string][]string{
	"cluster.runtime":       {"embedded", "erlang", "command"},
	"cluster.containment":   {"auto", "cgroup", "process-group"},
	"cluster.command.ready": {"auto", "mcp", "tcp", "http", "none"},
	"lb.balance":            {"leastconn", "roundrobin", "source", "random2"},
	"lb.sticky.tcp":         {"source", "none"},
	"lb.sticky.http":        {"cookie", "none"},
	"lb.limits.action":      {"", "throttle", "reject"},
	"lb.checks.kind":        {"mcp", "http", "tcp"},
	"health.kinds":          {"tcp", "mcp", "http", "tls", "icmp"},
	"loadtest.failover":     {"", "kill", "freeze", "cut", "drain", "rolling", "none"},
	"loadtest.driver":       {"", "socket", "vegeta", "burst", "hey", "wrk", "ab"},
	"loadtest.era":          {"", "session", "stateless"},
	"loadtest.http_version": {"1.1", "2"},
}

// meant is which word of the key at path was meant by the value it has, "" when it has one, or none is like it.
func (c *Config) meant(path string) string {
	words := enums[path]
	v, ok := at(reflect.ValueOf(c).Elem(), path)
	if !ok || v.Kind() != reflect.String {
		return ""
	}
	return nearest.Find(v.String(), words)
}
