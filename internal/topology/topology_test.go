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
		{"nowhere", []Node{node("a", "h", 0, 0, 0)}, `[0].tcp: a listens nowhere; give it a tcp, http or sse port`},
		{"weight", []Node{{Name: "a", Host: "h", TCP: 1, Weight: 257}}, `[0].weight: 257 is not within 1..256 (0 = 1)`},
		{"own port", []Node{node("a", "h", 1, 2, 2)}, `[0].sse: port 2 on h is already the http port of a`},
		{"other's port", []Node{node("a", "localhost", 1, 2, 0), node("b", "127.0.0.1", 3, 1, 0)}, `[1].http: port 1 on 127.0.0.1 is already the tcp port of a`},
		{"wildcard", []Node{node("a", "127.0.0.1", 1, 0, 0), node("b", "0.0.0.0", 1, 0, 0)}, `[1].tcp: port 1 on 0.0.0.0 is already the tcp port of a`},
		{"mapped", []Node{node("a", "127.0.0.1", 1, 0, 0), node("b", "::ffff:127.0.0.1", 1, 0, 0)}, `[1].tcp: port 1 on ::ffff:127.0.0.1 is already the tcp port of a`},
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
