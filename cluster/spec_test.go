package cluster

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestValidate(t *testing.T) {
	tests := []struct {
		name string
		edit func(*Spec)
		want string
	}{
		{"default", func(*Spec) {}, ""},
		{"runtime", func(s *Spec) { s.Runtime = "docker" }, `cluster.runtime: "docker" is not one of embedded, erlang, command`},
		{"containment", func(s *Spec) { s.Containment = "cgroups" },
			`cluster.containment: "cgroups" is not one of auto, cgroup, process-group; did you mean cgroup?`},
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
		{"environment", func(s *Spec) {
			s.Runtime = RuntimeCommand
			s.Command.Argv, s.Command.Env = []string{"serve"}, []string{"PORT={tcp}", "=x", "A B=c", "X={y}"}
		}, `cluster.command.env: "=x" is not NAME=value` + "\n" + `cluster.command.env: "A B=c" is not NAME=value` + "\n" +
			`cluster.command.env: unknown placeholder {y} (there are {name} {host} {tcp} {http} {sse})`},
		{"readiness", func(s *Spec) {
			s.Runtime = RuntimeCommand
			s.Command.Argv, s.Command.Ready = []string{"serve"}, "htp"
		}, `cluster.command.ready: "htp" is not one of auto, mcp, tcp, http, none; did you mean http?`},
		{"readiness without port", func(s *Spec) {
			s.Runtime = RuntimeCommand
			s.Command.Argv, s.Command.Ready = []string{"serve"}, ReadyHTTP
			s.Nodes[2].HTTP = 0
		}, `cluster.command.ready: "http" asks for a port that erlmcp3 does not have`},
		{"readiness without path", func(s *Spec) {
			s.Runtime = RuntimeCommand
			s.Command.Argv, s.Command.Ready, s.Command.ReadyPath = []string{"serve"}, ReadyHTTP, "health"
		}, `cluster.command.ready_path: "health" is no path of a URL`},
		{"release", func(s *Spec) { s.Runtime, s.Erlang.Release = RuntimeErlang, "../x" }, `cluster.erlang.release: "../x" is no name of a release`},
		{"application", func(s *Spec) { s.Runtime, s.Erlang.Application = RuntimeErlang, "" }, `cluster.erlang.application: "" is no name of an application`},
		{"address", func(s *Spec) { s.Runtime, s.Erlang.Address = RuntimeErlang, "0.0.0.0" }, `cluster.erlang.address: "0.0.0.0" is not the IPv4 address of an interface`},
		{"heart", func(s *Spec) { s.Runtime, s.Erlang.Args = RuntimeErlang, []string{"-config", "x", "-heart"} }, `cluster.erlang.args: -heart is not allowed: it would start nodes behind the supervisor's back`},
		{"cookie in sight", func(s *Spec) { s.Runtime, s.Erlang.Args = RuntimeErlang, []string{"--setcookie", "x"} }, `cluster.erlang.args: --setcookie is not allowed: a cookie on a command line can be read by everybody; use cluster.erlang.cookie_file`},
		{"no nodes", func(s *Spec) { s.Nodes = nil }, `cluster.nodes: at least one node is needed`},
		{"node", func(s *Spec) { s.Nodes[1].TCP = 9001 }, `cluster.nodes[1].tcp: port 9001 on 127.0.0.1 is already the tcp port of erlmcp1`},
		{"one port for two transports", func(s *Spec) { s.Nodes[1].SSE = 9102 }, `cluster.nodes[1].sse: port 9102 on 127.0.0.1 is already the http port of erlmcp2`},
		{"one port for two transports of a command", func(s *Spec) {
			s.Runtime = RuntimeCommand
			s.Command.Argv, s.Nodes[1].SSE = []string{"serve", "{http}"}, 9102
		}, ""},
		{"connections", func(s *Spec) { s.NodeMaxConnections = -1 }, `cluster.node_max_connections: -1 is not within 0..10000000`},
		{"liveness", func(s *Spec) { s.Liveness = Liveness{Interval: 1} }, "cluster.liveness.interval: 1ns is less than 100ms (0s is off)\ncluster.liveness.failures: 0 is not within 1..1000"},
		{"start timeout", func(s *Spec) { s.StartTimeout = 1 }, "cluster.start_timeout: 1ns is not within 100ms..24h0m0s"},
		{"stop timeout", func(s *Spec) { s.StopTimeout = 48 * time.Hour }, "cluster.stop_timeout: 48h0m0s is not within 100ms..24h0m0s"},
		{"niceness", func(s *Spec) { s.Nice = 20 }, "cluster.nice: 20 is not within 0..19"},
		{"open files", func(s *Spec) { s.OpenFiles = 10 }, "cluster.open_files: 10 is not within 64..1073741824"},
		{"log size", func(s *Spec) { s.Logs.MaxSize = 1000 }, `cluster.logs.max_size: 1kB is less than 128KiB`},
		{"log line", func(s *Spec) { s.Logs.MaxLine = 100 }, `cluster.logs.max_line: 100 is not within 1KiB..64MiB`},
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

// The times of a node's start and end are those of the spec, and the default ones where it has none.
func TestPaceOfSpec(t *testing.T) {
	s := Default()
	s.StartTimeout, s.StopTimeout = time.Minute, 0
	if p := s.pace(); p.startTimeout != time.Minute || p.stopGrace != defaultPace.stopGrace || p.backoffMax != defaultPace.backoffMax {
		t.Errorf("got %+v", p)
	}
}
