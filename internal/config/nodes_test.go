package config

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/erlmcp/erlmcp/internal/topology"
)

func TestDecodeNodes(t *testing.T) {
	for _, test := range []struct{ name, text, want string }{
		{"yaml", "- {name: a, http: 80}\n- name: b\n  url: http://h/mcp\n", ""},
		{"json", `[{"name": "a", "http": 80}, {"name": "b", "url": "http://h/mcp"}]`, ""},
		{"empty", " \n", "f: the file is empty"},
		{"comments", "# later\n", "f: lists no node"},
		{"empty list", "[]", "f: lists no node"},
		{"null", "~", "f: lists no node"},
		{"cut off", `[{"name": "a", "http": 80},`, "f:1: did not find expected node content"},
		{"mapping", "nodes: []", "f:1:1: is a mapping, but must be a list"},
		{"unknown key", "- {name: a, htp: 80}", "f:1:13: [0].htp: unknown key; did you mean http?"},
		{"text for a port", `[{"name": "a", "http": "80"}]`, `f:1:24: [0].http: "80" is not a whole number`},
		{"name twice", "- {name: a, http: 80}\n- {name: a, http: 81}", `f: [1].name: "a" is already the name of [0]`},
		{"two documents", "- {name: a, http: 80}\n---\n- {name: b, http: 80}", "f:2: a second document begins here, but only one is read"},
	} {
		nodes, err := DecodeNodes("f", []byte(test.text))
		switch {
		case test.want == "" && (err != nil || len(nodes) != 2 || nodes[0].Host != "127.0.0.1" || nodes[1].HTTP != 80):
			t.Errorf("%s: %+v, %v", test.name, nodes, err)
		case test.want != "" && (err == nil || err.Error() != test.want):
			t.Errorf("%s: %v, want %s", test.name, err, test.want)
		}
	}
}

func TestNodesFrom(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	names := func(c *Config) (names []string, doubts string) {
		nodes, _ := c.AllNodes()
		return topology.Names(nodes), strings.Join(c.Doubts(), "\n")
	}
	write("erlmcp.yaml", "lb: {nodes_from: nodes.yaml}")
	c, err := Load(Options{File: filepath.Join(dir, "erlmcp.yaml")})
	if err != nil {
		t.Fatal(err)
	}
	if c.LB.NodesFrom != filepath.Join(dir, "nodes.yaml") || len(c.LB.Nodes) != 0 {
		t.Errorf("nodes from %q and %+v", c.LB.NodesFrom, c.LB.Nodes)
	}
	want := "lb.nodes_from: " + c.LB.NodesFrom + ": no such file or directory; its nodes are not there until it can be taken"
	if got, doubts := names(c); len(got) != 0 || doubts != want {
		t.Errorf("without the file: %v, %s", got, doubts)
	}
	write("nodes.yaml", "- {name: b, http: 81}")
	write("erlmcp.yaml", "lb: {nodes_from: nodes.yaml, nodes: [{name: a, http: 80}]}")
	if c, err = Load(Options{File: filepath.Join(dir, "erlmcp.yaml")}); err != nil {
		t.Fatal(err)
	}
	if got, doubts := names(c); !slices.Equal(got, []string{"a", "b"}) || doubts != "" {
		t.Errorf("with the file: %v, %s", got, doubts)
	}
	write("nodes.yaml", "- {name: a, http: 81}")
	want = "lb.nodes_from: " + c.LB.NodesFrom + `, together with lb.nodes: lb.nodes[1].name: "a" is already the name of [0]; its nodes are not there until it can be taken`
	if got, doubts := names(c); !slices.Equal(got, []string{"a"}) || doubts != want {
		t.Errorf("with a name twice: %v, %s", got, doubts)
	}
}

// FuzzDecodeNodes reads any text as a file of nodes. What is accepted is valid, and complete.
func FuzzDecodeNodes(f *testing.F) {
	for _, text := range []string{"- {name: a, http: 80}\n- name: b\n  url: https://h/mcp\n", `[{"name": "a", "host": "_mcp._tcp.h"}]`, "[]", "&a [*a]"} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		nodes, err := DecodeNodes("f", text)
		if err != nil {
			return
		}
		if err := topology.Validate(nodes); err != nil {
			t.Error(err)
		}
		if again := topology.Complete(nodes); !slices.Equal(again, nodes) {
			t.Errorf("%+v is completed to %+v", nodes, again)
		}
	})
}
