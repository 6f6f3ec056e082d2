package cluster

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"
	"testing"
)

func TestValidate(t *testing.T) {
	tests := []struct {
		name string
		edit func(*Spec)
		want string
	}{
		{"default", func(*Spec) {}, ""},
		{"runtime", func(s *Spec) { s.Runtime = "docker" }, `cluster.runtime: "docker" is not one of embedded, erlang, command`},
		{"erlang", func(s *Spec) { s.Runtime = RuntimeErlang }, ""},
		{"no command", func(s *Spec) { s.Runtime = RuntimeCommand }, `cluster.command.argv: the runtime "command" needs a program to execute`},
		{"command", func(s *Spec) {
			s.Runtime = RuntimeCommand
			s.Command.Argv = []string{"serve", "--port={tcp}", "{name}", `{"json": {}}`}
		}, ""},
		{"placeholder", func(s *Spec) {
			s.Runtime = RuntimeCommand
			s.Command.Argv = []string{"serve", "{port}"}
		}, `cluster.command.argv: unknown placeholder {port} (there are {name} {host} {tcp} {http} {sse})`},
		{"no nodes", func(s *Spec) { s.Nodes = nil }, `cluster.nodes: at least one node is needed`},
		{"node", func(s *Spec) { s.Nodes[1].TCP = 9001 }, `cluster.nodes[1].tcp: port 9001 on 127.0.0.1 is already the tcp port of erlmcp1`},
		{"connections", func(s *Spec) { s.NodeMaxConnections = -1 }, `cluster.node_max_connections: -1 is not within 0..10000000`},
		{"log size", func(s *Spec) { s.Logs.MaxSize = 1000 }, `cluster.logs.max_size: 1kB is less than 128KiB`},
		{"two", func(s *Spec) { s.Logs.Keep = -1; s.Runtime = "" }, "cluster.runtime: \"\" is not one of embedded, erlang, command\ncluster.logs.keep: -1 is not within 0..1000"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := Default()
			test.edit(&s)
			got := ""
			if err := s.Validate(); err != nil {
				got = err.Error()
			}
			if got != test.want {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
		})
	}
}

func TestReadSpec(t *testing.T) {
	want := Default()
	want.Command.Argv = []string{"a", "b"}
	text, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	got, err := ReadSpec(bytes.NewReader(text))
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v", got, err)
	}
	for _, bad := range []string{"", "{", `{"nodez": []}`, `{"nodes": []}`} {
		if _, err := ReadSpec(strings.NewReader(bad)); err == nil {
			t.Errorf("%q is a specification", bad)
		}
	}
}

func TestOnly(t *testing.T) {
	s := Offline("/state", Default())
	two, err := s.Only([]string{"erlmcp4", "erlmcp2"})
	if err != nil || len(two.Nodes) != 2 || two.Nodes[0].Name != "erlmcp2" || two.Nodes[1].Log != "/state/logs/erlmcp4.log" {
		t.Errorf("got %+v, %v", two, err)
	}
	if _, err := s.Only([]string{"x"}); err == nil {
		t.Error("an unknown node has a status")
	}
}
