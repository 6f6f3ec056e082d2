package topology

import (
	"errors"
	"slices"
	"testing"
)

func TestDefaultIsValid(t *testing.T) {
	nodes := Default(4)
	if err := Validate(nodes); err != nil {
		t.Fatal(err)
	}
	last := nodes[3]
	if last.Name != "erlmcp4" || last.TCPAddress() != "127.0.0.1:9004" || last.HTTPAddress() != "127.0.0.1:9104" || last.SSEAddress() != "127.0.0.1:9204" {
		t.Errorf("fourth node is %+v", last)
	}
}

func TestPortsLeaveOutWhatIsNotServed(t *testing.T) {
	n := Node{Name: "a", Host: "::1", HTTP: 80}
	ports := n.Ports()
	if len(ports) != 1 || ports[0] != (Port{"http", "[::1]:80"}) {
		t.Errorf("ports are %+v", ports)
	}
	if n.TCPAddress() != "" {
		t.Errorf("a port of 0 has the address %q", n.TCPAddress())
	}
}

func TestValidate(t *testing.T) {
	node := func(name, host string, tcp, http, sse int) Node {
		return Node{Name: name, Host: host, TCP: tcp, HTTP: http, SSE: sse}
	}
	tests := []struct {
		name  string
		nodes []Node
		want  string
	}{
		{"none", nil, "at least one node is needed"},
		{"bad name", []Node{node("Erl", "h", 1, 0, 0)}, `[0].name: "Erl" must be 1 to 32 of a-z, 0-9, _ and -, beginning with a letter or digit`},
		{"same name", []Node{node("a", "h", 1, 0, 0), node("a", "h", 2, 0, 0)}, `[1].name: "a" is already the name of [0]`},
		{"no host", []Node{node("a", "", 1, 0, 0)}, `[0].host: "" is neither an address nor a host name`},
		{"bad host", []Node{node("a", "a b", 1, 0, 0)}, `[0].host: "a b" is neither an address nor a host name`},
		{"port", []Node{node("a", "h", 1, 65536, 0)}, `[0].http: port 65536 is not within 1..65535 (0 = not served)`},
		{"nowhere", []Node{node("a", "h", 0, 0, 0)}, `[0].http: a listens nowhere; give it a tcp, http or sse port, or a url`},
		{"weight", []Node{{Name: "a", Host: "h", TCP: 1, Weight: 257}}, `[0].weight: 257 is not within 1..256 (0 = 1)`},
		{"one port for several transports", []Node{node("a", "h", 2, 2, 2)}, ""},
		{"path", []Node{{Name: "a", Host: "h", HTTP: 1, Path: "mcp"}}, `[0].path: "mcp" must be a path that begins with / and has no query`},
		{"url", []Node{Node{Name: "a", URL: "https://h:8443/api/mcp"}.Complete()}, ""},
		{"url without scheme", []Node{Node{Name: "a", URL: "h:80/mcp"}.Complete()}, `[0].url: "h:80/mcp" is not the URL of an MCP endpoint, like https://host:port/mcp: it must begin with http:// or https://`},
		{"url with another scheme", []Node{{Name: "a", Host: "h", HTTP: 80, URL: "ftp://h/mcp"}}, `[0].url: "ftp://h/mcp" is not the URL of an MCP endpoint, like https://host:port/mcp: it must begin with http:// or https://`},
		{"url with a query", []Node{{Name: "a", Host: "h", HTTP: 80, URL: "http://h/mcp?a"}}, `[0].url: "http://h/mcp?a" is not the URL of an MCP endpoint, like https://host:port/mcp: it must end with its path`},
		{"url with a secret", []Node{{Name: "a", Host: "h", HTTP: 80, URL: "http://u:p@h/mcp"}}, `[0].url: "…@h/mcp" is not the URL of an MCP endpoint, like https://host:port/mcp: it must not hold a user or password`},
		{"url and another port", []Node{Node{Name: "a", HTTP: 81, URL: "http://h/mcp"}.Complete()}, `[0].http: 81 is not the port of url (80); write only one of them`},
		{"url and another host", []Node{Node{Name: "a", Host: "g", URL: "http://h/mcp"}.Complete()}, `[0].host: "g" is not the host of url (h); write only one of them`},
		{"other's port", []Node{node("a", "localhost", 1, 2, 0), node("b", "127.0.0.1", 3, 1, 0)}, `[1].http: port 1 on 127.0.0.1 is already the tcp port of a`},
		{"wildcard", []Node{node("a", "127.0.0.1", 1, 0, 0), node("b", "0.0.0.0", 1, 0, 0)}, `[1].tcp: port 1 on 0.0.0.0 is already the tcp port of a`},
		{"mapped", []Node{node("a", "127.0.0.1", 1, 0, 0), node("b", "::ffff:127.0.0.1", 1, 0, 0)}, `[1].tcp: port 1 on ::ffff:127.0.0.1 is already the tcp port of a`},
		{"service", []Node{{Name: "a", Host: "_mcp._tcp.h"}}, ""},
		{"service by url", []Node{Node{Name: "a", URL: "https://_mcp._tcp.h/x"}.Complete()}, ""},
		{"service with a port", []Node{{Name: "a", Host: "_mcp._tcp.h", TCP: 1}}, `[0].tcp: the ports of the service _mcp._tcp.h come from DNS; write none`},
		{"service with a port in its url", []Node{Node{Name: "a", URL: "http://_mcp._tcp.h:80/x"}.Complete()}, `[0].url: "http://_mcp._tcp.h:80/x" is not the URL of an MCP endpoint, like https://host:port/mcp: the port of the service _mcp._tcp.h comes from DNS; write none`},
		{"service with a long name", []Node{{Name: "a234567890123456789012345b", Host: "_mcp._tcp.h"}}, `[0].name: "a234567890123456789012345b" must be at most 25 long, as its nodes get names that begin with it`},
		{"a service twice", []Node{{Name: "a", Host: "_mcp._tcp.h"}, {Name: "b", Host: "_MCP._tcp.h"}}, `[1].host: _MCP._tcp.h is already the service of [0]`},
		{"no service", []Node{{Name: "a", Host: "_"}}, `[0].host: "_" is neither an address nor a host name`},
		{"other host", []Node{node("a", "127.0.0.1", 1, 0, 0), node("b", "127.0.0.2", 1, 0, 0)}, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got := ""
			if err := Validate(test.nodes); err != nil {
				got = err.Error()
			}
			if got != test.want {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
		})
	}
}

// A node of this program's own cannot have one port for two transports.
func TestValidateEmbedded(t *testing.T) {
	nodes := []Node{{Name: "a", Host: "127.0.0.1", TCP: 1, HTTP: 2}, {Name: "b", Host: "localhost", TCP: 3, HTTP: 4, SSE: 4}}
	const want = "[1].sse: port 4 on localhost is already the http port of b"
	if err := ValidateEmbedded(nodes); err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
	if err := Validate(nodes); err != nil {
		t.Error(err)
	}
	nodes[1].SSE = 5
	if err := ValidateEmbedded(nodes); err != nil {
		t.Error(err)
	}
}

// A node of a service is called the same whatever it has besides, and is a valid node.
func TestNodeOfAService(t *testing.T) {
	service := Node{Name: "a234567890123456789012345", URL: "https://_mcp._tcp.h/x"}.Complete()
	n := service.At("Pod-1.h", 8443)
	if n.Host != "Pod-1.h" || n.HTTP != 8443 || n.URL != "https://Pod-1.h:8443/x" || n.Path != "/x" {
		t.Errorf("the node is %+v", n)
	}
	if err := Validate([]Node{n}); err != nil {
		t.Error(err)
	}
	if again := service.At("pod-1.h", 8443); again.Name != n.Name {
		t.Errorf("it is called %s and %s", n.Name, again.Name)
	}
	if other := service.At("pod-1.h", 8444); other.Name == n.Name {
		t.Errorf("two are called %s", n.Name)
	}
	if ports := service.Ports(); len(ports) != 1 || ports[0] != (Port{"http", "_mcp._tcp.h:0"}) {
		t.Errorf("the ports of a service are %+v", ports)
	}
}

func TestComplete(t *testing.T) {
	tests := []struct{ said, want Node }{
		{Node{HTTP: 25101}, Node{Host: "127.0.0.1", HTTP: 25101}},
		{Node{Host: "::1", SSE: 1}, Node{Host: "::1", SSE: 1}},
		{Node{URL: "https://mcp.example.com"}, Node{Host: "mcp.example.com", HTTP: 443}},
		{Node{URL: "http://[::1]:81/"}, Node{Host: "::1", HTTP: 81, Path: "/"}},
		{Node{URL: "HTTPS://h:8443/api/mcp", TCP: 9}, Node{Host: "h", HTTP: 8443, Path: "/api/mcp", TCP: 9}},
	}
	for _, test := range tests {
		test.want.URL = test.said.URL
		if got := test.said.Complete(); got != test.want {
			t.Errorf("%+v is completed to %+v", test.said, got)
		}
		if got := test.said.Complete().Complete(); got != test.want {
			t.Errorf("%+v completed twice is %+v", test.said, got)
		}
	}
	if n := (Node{URL: "HTTPS://h"}); !n.TLS() || n.MCPPath() != "/mcp" {
		t.Errorf("TLS %t, path %s", n.TLS(), n.MCPPath())
	}
}

func TestFind(t *testing.T) {
	nodes := Default(3)
	n, err := Find(nodes, "erlmcp2")
	if err != nil || n != nodes[1] {
		t.Errorf("found %+v, %v", n, err)
	}
	tests := map[string]string{
		"elrcmp": `unknown node "elrcmp" (nodes: erlmcp1, erlmcp2, erlmcp3)`,
		"erlmp3": `unknown node "erlmp3" (nodes: erlmcp1, erlmcp2, erlmcp3); did you mean erlmcp3?`,
		"":       `unknown node "" (nodes: erlmcp1, erlmcp2, erlmcp3)`,
	}
	for name, want := range tests {
		_, err := Find(nodes, name)
		var unknown *UnknownError
		if !errors.As(err, &unknown) || err.Error() != want {
			t.Errorf("got  %v\nwant %s", err, want)
		}
	}
}

func TestResize(t *testing.T) {
	if got := Resize(Default(2), 5); !slices.Equal(got, Default(5)) {
		t.Errorf("two nodes made five: %+v", got)
	}
	if got := Resize(Default(4), 2); !slices.Equal(got, Default(2)) {
		t.Errorf("four nodes made two: %+v", got)
	}
	if got := Resize(nil, 3); !slices.Equal(got, Default(3)) {
		t.Errorf("no nodes made three: %+v", got)
	}
	got := Resize([]Node{{Name: "east", Host: "h", TCP: 1}}, 3)
	want := []Node{{Name: "east", Host: "h", TCP: 1}, {Name: "east2", Host: "h", TCP: 2}, {Name: "east3", Host: "h", TCP: 3}}
	if !slices.Equal(got, want) {
		t.Errorf("got %+v", got)
	}
}
