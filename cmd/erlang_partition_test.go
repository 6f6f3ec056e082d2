package cmd

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/erlmcp/erlmcp/healthcheck"
	"github.com/erlmcp/erlmcp/internal/erldist"
	"github.com/erlmcp/erlmcp/internal/waittest"
)

// TestErlangPartitionInHealth cuts the connection between two of three real Erlang nodes, which all go on
// serving: status and health call it degraded and say who does not see whom, until the nodes find each other
// again.
func TestErlangPartitionInHealth(t *testing.T) {
	s := newErlangSystem(t, 3)
	s.run(0, "up")
	if text := s.run(0, "health"); !strings.Contains(text, " healthy\n") {
		t.Errorf("before the partition:\n%s", text)
	}
	cookie, err := os.ReadFile(filepath.Join(s.dir, "erlang", ".erlang.cookie"))
	if err != nil {
		t.Fatal(err)
	}
	one := erldist.Node{Name: "n1@127.0.0.1", Cookie: string(cookie), As: "test@127.0.0.1"}
	three := erldist.Atom("n3@127.0.0.1")
	call := func(module, function string, args ...erldist.Term) {
		t.Helper()
		if result, err := one.Call(t.Context(), module, function, args...); err != nil || result != erldist.Atom("true") {
			t.Fatalf("%s:%s: %v, %v", module, function, result, err)
		}
	}
	call("erlang", "set_cookie", three, erldist.Atom("another")) // or else they would be introduced again
	call("erlang", "disconnect_node", three)

	parted := func(r healthcheck.Report) bool { return r.Cluster != nil && r.Cluster.Partitioned }
	r := s.await("a partition", func(r healthcheck.Report) bool {
		return parted(r) && r.Cluster.Nodes[0].State == "degraded" && r.Cluster.Nodes[2].State == "degraded"
	})
	want := []string{"n1 does not see n3: the cluster is partitioned", "n3 does not see n1: the cluster is partitioned"}
	if r.Status != healthcheck.StatusDegraded || !slices.Equal(r.Reasons, want) {
		t.Errorf("health is %s, %q", r.Status, r.Reasons)
	}
	for i, missing := range [][]string{{"n3"}, nil, {"n1"}} {
		n := r.Cluster.Nodes[i]
		if !n.Serves || !n.Mesh || !slices.Equal(n.Missing, missing) || r.Nodes[i].Status != healthcheck.NodeUp {
			t.Errorf("node is %+v, %+v", n, r.Nodes[i])
		}
	}
	text := s.run(1, "health")
	for _, line := range []string{" degraded\n", "\n  n1 does not see n3: the cluster is partitioned\n", "partitioned"} {
		if !strings.Contains(text, line) {
			t.Errorf("health does not say %q:\n%s", line, text)
		}
	}
	text = s.run(1, "cluster", "status")
	for name, words := range map[string]string{"n1": "degraded 1 does not see n3", "n2": "ready 2", "n3": "degraded 1 does not see n1"} {
		if !slices.ContainsFunc(strings.Split(text, "\n"), func(line string) bool { return tells(line, name, words) }) {
			t.Errorf("status does not say of %s %q:\n%s", name, words, text)
		}
	}

	call("erlang", "set_cookie", three, erldist.Atom(cookie))
	s.await("the end of the partition", func(r healthcheck.Report) bool { return !parted(r) && r.Status == healthcheck.StatusHealthy })
	s.run(0, "health")
	s.run(0, "cluster", "status")
}

// tells reports whether a row of a table begins with a name and has these words, in this order.
func tells(line, name, words string) bool {
	fields := strings.Fields(line)
	if len(fields) == 0 || fields[0] != name {
		return false
	}
	for _, word := range strings.Fields(words) {
		i := slices.Index(fields, word)
		if i < 0 {
			return false
		}
		fields = fields[i+1:]
	}
	return true
}

// erlangSystem is a state directory and the environment of commands that run real Erlang nodes n1, n2, …
type erlangSystem struct {
	*testing.T
	dir string
	env []string
}

// newErlangSystem runs nothing yet. What runs at the end of the test is stopped. The test is skipped where
// Erlang is missing.
func newErlangSystem(t *testing.T, n int) *erlangSystem {
	t.Helper()
	for _, program := range []string{"erl", "erlc", "epmd"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("notice: not tested with real Erlang nodes: %v", err)
		}
	}
	dir, err := os.MkdirTemp("", "erlmcp") // short: the path of a unix socket must fit
	if err != nil {
		t.Fatal(err)
	}
	ports := freePorts(t, 2*n+2)
	epmd := ports[2*n+1]
	t.Setenv("ERL_EPMD_PORT", epmd)
	var nodes []string
	for i := range n {
		nodes = append(nodes, `{name: n`+string(rune('1'+i))+`, host: 127.0.0.1, tcp: `+ports[2*i]+`, http: `+ports[2*i+1]+`}`)
	}
	s := &erlangSystem{t, dir, append(os.Environ(), "ERLMCP_STATE_DIR="+dir, "XDG_CONFIG_HOME="+dir, "NO_COLOR=1",
		"ERLMCP_CLUSTER_NODES=["+strings.Join(nodes, ", ")+"]", "ERLMCP_CLUSTER_RUNTIME=erlang", "ERLMCP_CLUSTER_ERLANG_ROOT="+erlangProject(t),
		"ERLMCP_LB_LISTEN_TCP=127.0.0.1:"+ports[2*n], "ERLMCP_LB_LISTEN_HTTP=", "ERLMCP_LB_LISTEN_ADMIN=", "ERLMCP_LB_LISTEN_HEALTH=",
		"ERLMCP_LB_MAX_CONNECTIONS=100")}
	t.Cleanup(func() {
		s.run(0, "down")
		s.poll("the end of the test's epmd", func() bool { return exec.Command("epmd", "-port", epmd, "-kill").Run() == nil })
		_ = os.RemoveAll(dir)
	})
	return s
}

// run runs a command, which must end with that code, and returns its output.
func (s *erlangSystem) run(code int, args ...string) string {
	s.Helper()
	cmd := exec.Command("erlmcp", args...)
	cmd.Env = s.env
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState == nil || cmd.ProcessState.ExitCode() != code {
		s.Errorf("erlmcp %s: %v, want exit code %d\n%s", strings.Join(args, " "), err, code, out)
	}
	return string(out)
}

// await returns the first report of which so is true.
func (s *erlangSystem) await(what string, so func(healthcheck.Report) bool) (r healthcheck.Report) {
	s.Helper()
	s.poll(what, func() bool {
		cmd := exec.Command("erlmcp", "health", "--json")
		cmd.Env = s.env
		out, _ := cmd.Output() // the code tells the status
		r = healthcheck.Report{}
		if err := json.Unmarshal(out, &r); err != nil {
			s.Fatalf("%v: %s", err, out)
		}
		return so(r)
	})
	return r
}

func (s *erlangSystem) poll(what string, so func() bool) {
	s.Helper()
	waittest.Until(s, time.Minute, what, so)
}
