package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/erlmcp/erlmcp/internal/advice"
	"github.com/erlmcp/erlmcp/internal/topology"
)

// commandSpec is a cluster of n nodes that this binary plays, as any program would be executed.
func commandSpec(t *testing.T, n int) Spec {
	t.Helper()
	s := testSpec(t, n)
	s.Runtime = RuntimeCommand
	s.Command.Dir = t.TempDir()
	s.Command.Argv = []string{os.Args[0], "node", "serve", "--name={name}", "--host={host}", "--tcp={tcp}", "--http={http}", "--sse={sse}"}
	return s
}

func TestCommandCluster(t *testing.T) {
	o := options(t, 0)
	o.Spec = commandSpec(t, 2)
	o.Spec.Command.Env = []string{behaviourEnv + "={name}=environment"}
	s := startCluster(t, o)
	if !s.Healthy() || s.Nodes[0].Distribution != nil {
		t.Errorf("status is %+v", s)
	}
	for i, n := range s.Nodes {
		node := o.Spec.Nodes[i]
		want := fmt.Sprintf("%s on %s %d %d %d in %s\n", node.Name, node.Host, node.TCP, node.HTTP, node.SSE, o.Spec.Command.Dir)
		if got := logOf(t, n); !strings.Contains(got, want) {
			t.Errorf("the log lacks %q:\n%s", want, got)
		}
	}
}

func TestReadinessOfCommands(t *testing.T) {
	health := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/health" {
			http.Redirect(w, r, "/health", http.StatusFound)
		}
	}))
	defer health.Close()
	var port int
	if _, err := fmt.Sscanf(health.URL, "http://127.0.0.1:%d", &port); err != nil {
		t.Fatal(err)
	}
	closed := freePorts(t, 1)[0]
	tests := []struct {
		name string
		node topology.Node
		kind string
		path string
		want string
	}{
		{"none", topology.Node{TCP: closed}, ReadyNone, "", ""},
		{"tcp", topology.Node{TCP: port, HTTP: port}, ReadyTCP, "", ""},
		{"not tcp", topology.Node{TCP: port, HTTP: closed}, ReadyTCP, "", fmt.Sprintf("http: nothing listens on 127.0.0.1:%d; it serves tcp: leave out of cluster.nodes what it does not", closed)},
		{"http", topology.Node{TCP: closed, HTTP: port}, ReadyHTTP, "/health", ""},
		{"not http", topology.Node{HTTP: port}, ReadyHTTP, "/else", fmt.Sprintf("http: GET http://127.0.0.1:%d/else answers 302 Found", port)},
		{"mcp over HTTP", topology.Node{HTTP: port}, ReadyMCP, "", ""},
		{"not mcp", topology.Node{TCP: port}, ReadyMCP, "", "tcp: speaks HTTP, not newline-delimited JSON-RPC: write http instead of tcp"},
		{"not mcp over HTTP", topology.Node{HTTP: port, Path: "/health"}, ReadyMCP, "", "http: POST /health: 200 OK with no content type, not an MCP reply"},
		{"auto over HTTP alone", topology.Node{HTTP: port}, ReadyAuto, "", ""},
		{"auto over SSE alone", topology.Node{SSE: port}, ReadyAuto, "", ""},
		{"not auto", topology.Node{TCP: closed, HTTP: port}, ReadyAuto, "", fmt.Sprintf("tcp: nothing listens on 127.0.0.1:%d; it serves http: leave out of cluster.nodes what it does not", closed)},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			test.node.Host = "127.0.0.1"
			c := command{Command: Command{Ready: test.kind, ReadyPath: test.path}}
			got := ""
			if err := c.Ready(t.Context(), test.node); err != nil {
				got = err.Error()
			}
			if got != test.want {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
		})
	}
}

func TestCommandsThatAreNotThere(t *testing.T) {
	dir := t.TempDir()
	programs := map[string]string{
		"bin/mine": "", "own-erlmcp1/own": "", "script": "#! /no/such/shell -e\n", "dos": "#!/bin/sh\r\n", "sound": "#!/bin/sh\n",
	}
	files(t, dir, programs)
	files(t, dir, map[string]string{"text": ""})
	for name := range programs {
		if err := os.Chmod(filepath.Join(dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	tests := []struct {
		argv0, path, dir, want string
	}{
		{"no-such-program-here", "", dir, "cluster.command.argv: the program no-such-program-here is not in PATH"},
		{"./none", "", dir, "cluster.command.argv: the program " + dir + "/none is not there"},
		{"./text", "", dir, "cluster.command.argv: the program " + dir + "/text is not executable"},
		{"./script", "", dir, "cluster.command.argv: the program " + dir + `/script has the interpreter "/no/such/shell", which is not there`},
		{"./dos", "", dir, "cluster.command.argv: the program " + dir + `/dos has the interpreter "/bin/sh\r", which is not there`},
		{"./sound", "", dir, ""},
		{"sh", "", dir + "/none", "cluster.command.dir: there is no directory " + dir + "/none"},
		{"sh", "", dir, ""},
		{"./{name}", "", dir, "cluster.command.argv: the program " + dir + "/erlmcp1 is not there"},
		{"mine", "PATH=" + dir + "/bin", dir, ""},
		{"mine", "PATH=/none:bin", dir, ""}, // begins at dir
		{"own", "PATH=" + dir + "/own-{name}", dir, ""},
		{"text", "PATH=" + dir, dir, "cluster.command.argv: the program text is not executable"},
		{"sh", "PATH=" + dir + "/bin", dir, "cluster.command.argv: the program sh is not in PATH"},
		{"sh", "PATH=", "", "cluster.command.argv: the program sh is not in PATH"},
	}
	for _, test := range tests {
		spec := testSpec(t, 1)
		spec.Runtime = RuntimeCommand
		spec.Command.Argv, spec.Command.Dir = []string{test.argv0}, test.dir
		if test.path != "" {
			spec.Command.Env = []string{"PATH=/elsewhere", test.path}
		}
		err := Check(spec)
		var missing *advice.Error
		if test.want == "" && err != nil || test.want != "" && (!errors.As(err, &missing) || err.Error() != test.want || missing.Hint() == "") {
			t.Errorf("%s: got %v, want %s", test.argv0, err, test.want)
		}
	}
	c, err := newCommand(Command{Argv: []string{"./{name}"}, Dir: dir}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Program(topology.Node{Name: "none"}); err == nil {
		t.Error("a program that depends on the node and is not there can be started")
	}
}

// fakeMesh is a runtime of nodes that this binary plays, which know each other as the test says.
type fakeMesh struct {
	Runtime
	ask func(n topology.Node) ([]string, error)
	met func(n topology.Node, peer string)
}

func (f *fakeMesh) Peer(n topology.Node) string { return n.Name + "@here" }

func (f *fakeMesh) Sees(_ context.Context, n topology.Node) ([]string, error) { return f.ask(n) }

func (f *fakeMesh) Introduce(_ context.Context, n topology.Node, peer string) error {
	f.met(n, peer)
	return nil
}

func TestNodesThatKnowEachOther(t *testing.T) {
	links := newLinks()
	f := &fakeMesh{Runtime: embedded{}, ask: links.of, met: links.add}
	c := supervise(t, testSpec(t, 3), SupervisorOptions{runtime: f})
	s, err := c.Status(t.Context())
	if err != nil || !s.Healthy() {
		t.Fatalf("status is %+v, %v", s, err)
	}
	eventually(t, "the first node to see the others", func() bool {
		d := node(t, c, "erlmcp1").Distribution
		return d != nil && d.Name == "erlmcp1@here" && slices.Equal(d.Sees, []string{"erlmcp2", "erlmcp3"})
	})

	// Introduced nodes that lose each other are introduced again.
	links.cut("erlmcp1", "erlmcp2@here")
	eventually(t, "repair", func() bool { names, _ := links.of(topology.Node{Name: "erlmcp1"}); return len(names) == 2 })

	// Those that cannot see each other are degraded, and the reason says which.
	links.refuse("erlmcp1", "erlmcp2@here")
	if n := awaitState(t, c, "erlmcp1", StateDegraded); n.Reason != "does not see erlmcp2" || !slices.Equal(n.Distribution.Sees, []string{"erlmcp3"}) {
		t.Errorf("node is %+v", n)
	}
	if err := c.StartNodes(t.Context(), nil); err != nil {
		t.Errorf("starting a degraded node: %v", err)
	}
	links.refuse("", "")
	awaitState(t, c, "erlmcp1", StateReady)

	// A node that has ended is missed by nobody.
	if err := c.StopNodes(t.Context(), []string{"erlmcp3"}); err != nil {
		t.Fatal(err)
	}
	links.refuse("erlmcp1", "erlmcp3@here")
	eventually(t, "the others' view", func() bool {
		n := node(t, c, "erlmcp1")
		return n.State == StateReady && n.Distribution != nil && slices.Equal(n.Distribution.Sees, []string{"erlmcp2"})
	})
	if n := node(t, c, "erlmcp3"); n.Distribution != nil {
		t.Errorf("the stopped node still has %+v", n.Distribution)
	}

	// One that does not answer is degraded.
	links.silence("erlmcp2")
	if n := awaitState(t, c, "erlmcp2", StateDegraded); n.Reason != "its distribution does not answer: "+io.ErrUnexpectedEOF.Error() ||
		n.Distribution == nil || n.Distribution.Sees != nil {
		t.Errorf("node is %+v", n)
	}
}
