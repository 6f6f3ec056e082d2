package proxy

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"reflect"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/erlmcp/erlmcp/internal/topology"
)

// valid returns a Spec that Validate accepts.
func valid() Spec {
	s := Default()
	s.Nodes = topology.Default(4)
	return s
}

func TestDefaultIsValid(t *testing.T) {
	s := valid()
	if err := s.Validate(); err != nil {
		t.Fatal(err)
	}
}

func TestValidate(t *testing.T) {
	tests := []struct {
		name string
		set  func(s *Spec)
		want string
	}{
		{"no tcp", func(s *Spec) { s.Listen.TCP = "" }, ""},
		{"no listener", func(s *Spec) { s.Listen.TCP, s.Listen.HTTP = "", "" }, `lb.listen: one of tcp, http and https must be set, or nobody can connect`},
		{"no listener for the nodes", func(s *Spec) { s.Listen.HTTP, s.Nodes = "", []topology.Node{{Name: "a", Host: "127.0.0.1", HTTP: 1}} }, `lb.listen: no node has a port for the listeners that are set (tcp)`},
		{"half a pair for nodes", func(s *Spec) { s.NodeTLS.Cert = "a.crt" }, `lb.node_tls: cert and key must be set together`},
		{"name of nodes", func(s *Spec) { s.NodeTLS.ServerName = "a:443" }, `lb.node_tls.server_name: "a:443" is neither a host name nor an address`},
		{"address of nodes", func(s *Spec) { s.NodeTLS.ServerName = "::1" }, ""},
		{"path of checks", func(s *Spec) { s.Checks.Path = "health" }, `lb.checks.path: "health" must be a path that begins with / and has no query`},
		{"no port", func(s *Spec) { s.Listen.TCP = "127.0.0.1" }, `lb.listen.tcp: "127.0.0.1" has no port (like 127.0.0.1:8000 or :8000)`},
		{"port name", func(s *Spec) { s.Listen.Admin = ":http" }, `lb.listen.admin: "http" is not a port (0 to 65535)`},
		{"port range", func(s *Spec) { s.Listen.Health = ":65536" }, `lb.listen.health: "65536" is not a port (0 to 65535)`},
		{"host name", func(s *Spec) { s.Listen.TCP = "example.org:8000" }, `lb.listen.tcp: "example.org" is not an IP address`},
		{"http", func(s *Spec) { s.Listen.HTTP = ":8000" }, `lb.listen.http: :8000 is also listen.tcp`},
		{"keep-alive", func(s *Spec) { s.HTTP.SSEKeepalive = time.Millisecond }, `lb.http.sse_keepalive: must be from 1s to 24h0m0s, is 1ms`},
		{"tool without a name", func(s *Spec) { s.Limits.Tools = []ToolLimit{{"", 5}} }, `lb.limits.tools[0].name: must be of 1 to 256 bytes, is of 0`},
		{"tool without a rate", func(s *Spec) { s.Limits.Tools = []ToolLimit{{"a", 0}} }, `lb.limits.tools[0].per_second: must be from 1 to 1000000, is 0`},
		{"tool twice", func(s *Spec) { s.Limits.Tools = []ToolLimit{{"a", 1}, {"a", 2}} }, `lb.limits.tools[1].name: "a" is already the name of [0]`},
		{"tools", func(s *Spec) {
			for i := range 65 {
				s.Limits.Tools = append(s.Limits.Tools, ToolLimit{fmt.Sprint(i), 1})
			}
		}, `lb.limits.tools: must be at most 64, are 65`},
		{"route", func(s *Spec) { s.HTTP.Routes = []Route{{"mcp", RouteHTTP}} }, `lb.http.routes[0].prefix: "mcp" must be a path that begins with / and has no query`},
		{"route with a query", func(s *Spec) { s.HTTP.Routes = []Route{{"/mcp?a", RouteHTTP}} }, `lb.http.routes[0].prefix: "/mcp?a" must be a path that begins with / and has no query`},
		{"route twice", func(s *Spec) { s.HTTP.Routes = []Route{{"/a", RouteHTTP}, {"/a/", RouteSSE}} }, `lb.http.routes[1].prefix: "/a/" is already the prefix of [0]`},
		{"route to nowhere", func(s *Spec) { s.HTTP.Routes = []Route{{"/a", "tcp"}} }, `lb.http.routes[0].to: must be one of http, websocket, sse, is "tcp"`},
		{"routes", func(s *Spec) {
			s.HTTP.Routes = nil
			for i := range 65 {
				s.HTTP.Routes = append(s.HTTP.Routes, Route{fmt.Sprintf("/%d", i), RouteHTTP})
			}
		}, `lb.http.routes: must be at most 64, are 65`},
		{"keepalive requests", func(s *Spec) { s.HTTP.KeepaliveRequests = -1 }, `lb.http.keepalive_requests: must be from 0 to 1000000, is -1`},
		{"response", func(s *Spec) { s.Timeouts.Response = -1 }, `lb.timeouts.response: must be from 0s to 8760h0m0s, is -1ns`},
		{"https", func(s *Spec) { s.Listen.HTTPS = ":8443" }, `lb.listen.https: needs lb.tls.cert and lb.tls.key (erlmcp lb cert --self-signed makes a pair for development)`},
		{"same port", func(s *Spec) { s.Listen.Health = "127.0.0.1:8000" }, `lb.listen.health: 127.0.0.1:8000 is also listen.tcp`},
		{"node's port", func(s *Spec) { s.Listen.TCP = ":9003" }, `lb.listen.tcp: :9003 is also the address of node erlmcp3`},
		{"admin host", func(s *Spec) { s.Admin.Hosts = []string{"lb.example.org", "lb:8404"} }, `lb.admin.hosts[1]: "lb:8404" is not a host name (like lb.example.org, without a port)`},
		{"half a key pair", func(s *Spec) { s.TLS.Cert = "cert.pem" }, `lb.tls: cert and key must be set together`},
		{"no nodes", func(s *Spec) { s.Nodes = nil }, `lb.nodes: at least one node is needed`},
		{"bad node", func(s *Spec) { s.Nodes[1].TCP = 70000 }, `lb.nodes[1].tcp: port 70000 is not within 1..65535 (0 = not served)`},
		{"node without tcp", func(s *Spec) { s.Nodes[2].TCP = 0 }, ""},
		{"nodes of HTTP alone", func(s *Spec) { s.Nodes = []topology.Node{{Name: "a", Host: "127.0.0.1", HTTP: 1}} }, ""},
		{"many nodes", func(s *Spec) { s.Nodes = topology.Default(65) }, `lb.nodes: must be at most 64, are 65`},
		{"max_connections", func(s *Spec) { s.MaxConnections = 0 }, `lb.max_connections: must be from 1 to 10000000, is 0`},
		{"node_max_connections", func(s *Spec) { s.NodeMaxConnections = -1 }, `lb.node_max_connections: must be from 0 to 10000000, is -1`},
		{"workers", func(s *Spec) { s.Workers = 513 }, `lb.workers: must be from 0 to 512, is 513`},
		{"max_message", func(s *Spec) { s.MaxMessage = 1 }, `lb.max_message: must be from 1KiB to 1GiB, is 1`},
		{"balance", func(s *Spec) { s.Balance = "leastcon" }, `lb.balance: must be one of leastconn, roundrobin, source, random2, is "leastcon"`},
		{"sticky.tcp", func(s *Spec) { s.Sticky.TCP = "cookie" }, `lb.sticky.tcp: must be one of source, none, is "cookie"`},
		{"sticky.http", func(s *Spec) { s.Sticky.HTTP = "source" }, `lb.sticky.http: must be one of cookie, none, is "source"`},
		{"sticky.cookie", func(s *Spec) { s.Sticky.Cookie = "a=b" }, "lb.sticky.cookie: \"a=b\" must be the name of a cookie: at most 64 letters, digits or any of !#$%&'*+-.^_`|~"},
		{"sticky.cookie empty", func(s *Spec) { s.Sticky.Cookie = "" }, "lb.sticky.cookie: \"\" must be the name of a cookie: at most 64 letters, digits or any of !#$%&'*+-.^_`|~"},
		{"sticky.ttl", func(s *Spec) { s.Sticky.TTL = 0 }, `lb.sticky.ttl: must be from 1s to 24h0m0s, is 0s`},
		{"slow_start", func(s *Spec) { s.SlowStart = -time.Second }, `lb.slow_start: must be from 0s to 24h0m0s, is -1s`},
		{"checks.give_up", func(s *Spec) { s.Checks.GiveUp = -time.Second }, `lb.checks.give_up: must be from 0s to 24h0m0s, is -1s`},
		{"timeouts.connect", func(s *Spec) { s.Timeouts.Connect = 0 }, `lb.timeouts.connect: must be from 1ms to 24h0m0s, is 0s`},
		{"timeouts.idle", func(s *Spec) { s.Timeouts.Idle = -1 }, `lb.timeouts.idle: must be from 0s to 8760h0m0s, is -1ns`},
		{"timeouts.request", func(s *Spec) { s.Timeouts.Request = -1 }, `lb.timeouts.request: must be from 0s to 24h0m0s, is -1ns`},
		{"timeouts.keepalive", func(s *Spec) { s.Timeouts.Keepalive = -1 }, `lb.timeouts.keepalive: must be from 0s to 24h0m0s, is -1ns`},
		{"timeouts.drain", func(s *Spec) { s.Timeouts.Drain = 48 * time.Hour }, `lb.timeouts.drain: must be from 0s to 24h0m0s, is 48h0m0s`},
		{"connection rate", func(s *Spec) { s.Limits.ConnectionsPerSecond = -1 }, `lb.limits.connections_per_second: must be from 0 to 1000000, is -1`},
		{"message rate", func(s *Spec) { s.Limits.MessagesPerSecond = 1_000_001 }, `lb.limits.messages_per_second: must be from 0 to 1000000, is 1000001`},
		{"action", func(s *Spec) { s.Limits.Action = "drop" }, `lb.limits.action: must be one of throttle, reject, is "drop"`},
		{"per source", func(s *Spec) { s.Limits.MaxPerSource = -1 }, `lb.limits.max_per_source: must be from 0 to 10000000, is -1`},
		{"violations", func(s *Spec) { s.Limits.Ban.Violations = -1 }, `lb.limits.ban.violations: must be from 0 to 1000000, is -1`},
		{"window", func(s *Spec) { s.Limits.Ban.Window = 0 }, `lb.limits.ban.window: must be from 1s to 24h0m0s, is 0s`},
		{"for", func(s *Spec) { s.Limits.Ban.For = -time.Second }, `lb.limits.ban.for: must be from 1s to 24h0m0s, is -1s`},
		{"violations too many", func(s *Spec) { s.Limits.Ban.Violations, s.Limits.Ban.Window = 51, 5*time.Second }, `lb.limits.ban.violations: must be at most 50 within 5s (one in 100ms counts), are 51`},
		{"exempt", func(s *Spec) { s.Limits.Exempt = []string{"::1", "10.0.0.0/33"} }, `lb.limits.exempt[1]: "10.0.0.0/33" is neither an address nor a prefix`},
		{"source_table", func(s *Spec) { s.SourceTable = 1000 }, `lb.source_table: must be from 1024 to 4194304, is 1000`},
		{"check kind", func(s *Spec) { s.Checks.Kind = "ping" }, `lb.checks.kind: unknown check "ping" (checks: http, icmp, mcp, tcp, tls)`},
		{"check of the host", func(s *Spec) { s.Checks.Kind = "icmp" }, `lb.checks.kind: "icmp" does not tell whether a node serves (use mcp, http or tcp)`},
		{"check without port", func(s *Spec) { s.Checks.Kind = "http"; s.Nodes[0].HTTP = 0 }, `lb.checks.kind: "http" needs the HTTP port of every node, erlmcp1 has none`},
		{"interval", func(s *Spec) { s.Checks.Interval = 2 * time.Hour }, `lb.checks.interval: must be from 10ms to 1h0m0s, is 2h0m0s`},
		{"fast_interval", func(s *Spec) { s.Checks.FastInterval = 0 }, `lb.checks.fast_interval: must be from 10ms to 1h0m0s, is 0s`},
		{"slow fast_interval", func(s *Spec) { s.Checks.FastInterval = 4 * time.Second }, `lb.checks.fast_interval: must not be longer than checks.interval (3s), is 4s`},
		{"timeout", func(s *Spec) { s.Checks.Timeout = 0 }, `lb.checks.timeout: must be from 1ms to 1m0s, is 0s`},
		{"fall", func(s *Spec) { s.Checks.Fall = 0 }, `lb.checks.fall: must be from 1 to 100, is 0`},
		{"rise", func(s *Spec) { s.Checks.Rise = 101 }, `lb.checks.rise: must be from 1 to 100, is 101`},
		{"source", func(s *Spec) { s.Source = "eth0" }, `lb.source: "eth0" is neither an address nor a prefix, nor "auto"`},
		{"accept_from", func(s *Spec) { s.ProxyProtocol.AcceptFrom = []string{"all"} }, `lb.proxy_protocol.accept_from[0]: "all" is neither an address nor a prefix`},
		{"trusted_proxies", func(s *Spec) { s.TrustedProxies = []string{"10.0.0.1", "proxy"} }, `lb.trusted_proxies[1]: "proxy" is neither an address nor a prefix`},
		{"host", func(s *Spec) { s.HTTP.Host = "a b" }, `lb.http.host: must be client, node or a host with an optional port (like mcp.example.org), is "a b"`},
		{"no host", func(s *Spec) { s.HTTP.Host = "" }, `lb.http.host: must be client, node or a host with an optional port (like mcp.example.org), is ""`},
		{"two at once", func(s *Spec) { s.Workers, s.Checks.Fall = -1, 0 }, "lb.workers: must be from 0 to 512, is -1\nlb.checks.fall: must be from 1 to 100, is 0"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := valid()
			test.set(&s)
			got := ""
			if err := s.Validate(); err != nil {
				got = err.Error()
			}
			if got != test.want {
				t.Errorf("\ngot  %s\nwant %s", got, test.want)
			}
		})
	}
}

func TestValidateAccepts(t *testing.T) {
	for name, set := range map[string]func(s *Spec){
		"listeners off":  func(s *Spec) { s.Listen.Admin, s.Listen.Health = "", "" },
		"any free ports": func(s *Spec) { s.Listen = Listen{TCP: ":0", Admin: "localhost:0", Health: "[::1]:0"} },
		"same port, other address": func(s *Spec) {
			s.Listen = Listen{TCP: "127.0.0.2:9001", Health: "127.0.0.3:9001"}
		},
		"limits off": func(s *Spec) {
			s.Limits.ConnectionsPerSecond, s.Limits.MessagesPerSecond, s.Limits.Ban.Violations = 0, 0, 0
		},
		"prefixes": func(s *Spec) {
			s.Limits.Exempt = []string{"10.0.0.1", "10.0.0.0/8", "::1", "fd00::/8", "::ffff:10.0.0.0/104"}
		},
		"hosts":   func(s *Spec) { s.HTTP.Host = "[2001:db8::1]:8080" },
		"host":    func(s *Spec) { s.HTTP.Host = "mcp.example.org" },
		"node":    func(s *Spec) { s.HTTP.Host = HostNode },
		"source":  func(s *Spec) { s.Source = "127.2.0.0/16" },
		"at once": func(s *Spec) { s.SlowStart, s.Timeouts.Drain = 0, 0 },
	} {
		s := valid()
		set(&s)
		if err := s.Validate(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestParsePrefix(t *testing.T) {
	for text, want := range map[string]string{
		"10.1.2.3":            "10.1.2.3/32",
		"10.1.2.3/8":          "10.0.0.0/8",
		"::ffff:10.1.2.3":     "10.1.2.3/32",
		"::ffff:10.0.0.0/104": "10.0.0.0/8",
		"fd00::1":             "fd00::1/128",
	} {
		got, err := ParsePrefix(text)
		if err != nil || got != netip.MustParsePrefix(want) {
			t.Errorf("%s: got %v, %v; want %s", text, got, err, want)
		}
	}
	for _, text := range []string{"", "localhost", "10.0.0", "fe80::1%eth0", "10.0.0.0/"} {
		if got, err := ParsePrefix(text); err == nil {
			t.Errorf("%q is read as %v", text, got)
		}
	}
}

func TestNodeCap(t *testing.T) {
	for _, test := range []struct{ nodes, total, set, want int }{
		{1, 100_000, 0, 100_000},
		{2, 100_000, 0, 100_000},
		{3, 100_000, 0, 52_500},
		{4, 100_000, 0, 35_000},
		{4, 10, 0, 4}, // 3.5 rounded up
		{4, 100_000, 25_000, 25_000},
	} {
		s := Spec{Nodes: topology.Default(test.nodes), MaxConnections: test.total, NodeMaxConnections: test.set}
		if got := s.NodeCap(); got != test.want {
			t.Errorf("%+v: got %d", test, got)
		}
	}
}

// A Spec crosses a file as YAML and a control stream as JSON.
func TestSpecSurvivesEncoding(t *testing.T) {
	want := valid()
	want.Limits.Exempt = []string{"::1"}
	want.Limits.Tools = []ToolLimit{{"search", 5}}
	want.Admin.Hosts = []string{"lb.example.org"}
	want.ProxyProtocol.AcceptFrom = []string{"10.0.0.0/8"}
	want.TrustedProxies = []string{"10.0.0.1"}
	want.Resolve.Servers = []string{"10.0.0.53"}
	for name, codec := range map[string]struct {
		encode func(any) ([]byte, error)
		decode func([]byte, any) error
	}{
		"yaml": {yaml.Marshal, yaml.Unmarshal},
		"json": {json.Marshal, json.Unmarshal},
	} {
		text, err := codec.encode(want)
		if err != nil {
			t.Fatal(name, err)
		}
		var got Spec
		if err := codec.decode(text, &got); err != nil {
			t.Fatal(name, err)
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %+v\nwant %+v", name, got, want)
		}
	}
}

// Listeners that no node has a port for are off.
func TestListening(t *testing.T) {
	all := Listen{TCP: ":1", HTTP: ":2", HTTPS: ":3", Admin: ":4", Health: ":5"}
	for _, c := range []struct {
		nodes []topology.Node
		want  Listen
	}{
		{nil, all},
		{[]topology.Node{{TCP: 1}}, Listen{TCP: ":1", Admin: ":4", Health: ":5"}},
		{[]topology.Node{{HTTP: 1}}, Listen{HTTP: ":2", HTTPS: ":3", Admin: ":4", Health: ":5"}},
		{[]topology.Node{{SSE: 1}}, Listen{HTTP: ":2", HTTPS: ":3", Admin: ":4", Health: ":5"}},
		{[]topology.Node{{TCP: 1}, {SSE: 1}}, all},
	} {
		s := Spec{Listen: all, Nodes: c.nodes}
		if got := s.Listening(); got != c.want {
			t.Errorf("with %+v: %+v", c.nodes, got)
		}
	}
}
