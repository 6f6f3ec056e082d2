package cmd

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/erlmcp/erlmcp/cluster"
	"github.com/erlmcp/erlmcp/internal/waittest"
	"github.com/erlmcp/erlmcp/loadtest"
)

var erlangConnections = flag.Int("erlang.connections", 200, "of the load test in TestErlangNodes")

// TestErlangNodes takes four real Erlang nodes through their life: each sees the others, all are healthy,
// a load test passes through them, a killed BEAM is back within seconds, and nothing but epmd is left.
//
//	go test ./cmd -run TestErlangNodes -v -timeout 30m -erlang.connections 20000
func TestErlangNodes(t *testing.T) {
	for _, program := range []string{"erl", "erlc", "epmd"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("notice: not tested with real Erlang nodes: %v", err)
		}
	}
	dir, err := os.MkdirTemp("", "erlmcp") // short: the path of a unix socket must fit
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	ports := freePorts(t, 10)
	epmd := ports[9]
	t.Cleanup(func() { // it refuses while a node lives
		waittest.Until(t, time.Minute, "epmd ends", func() bool { return exec.Command("epmd", "-port", epmd, "-kill").Run() == nil })
	})
	var nodes []string
	for i := range 4 {
		nodes = append(nodes, fmt.Sprintf("{name: erlmcp%d, host: 127.0.0.1, tcp: %s, http: %s}", i+1, ports[2*i], ports[2*i+1]))
	}
	front := "127.0.0.1:" + ports[8]
	env := append(os.Environ(), "ERLMCP_STATE_DIR="+dir, "XDG_CONFIG_HOME="+dir, "ERL_EPMD_PORT="+epmd,
		"ERLMCP_CLUSTER_NODES=["+strings.Join(nodes, ", ")+"]", "ERLMCP_CLUSTER_RUNTIME=erlang", "ERLMCP_CLUSTER_ERLANG_ROOT="+erlangProject(t),
		"ERLMCP_LB_LISTEN_TCP="+front, "ERLMCP_LB_LISTEN_HTTP=", "ERLMCP_LB_LISTEN_ADMIN=", "ERLMCP_LB_LISTEN_HEALTH=",
		"ERLMCP_LB_MAX_CONNECTIONS="+strconv.Itoa(*erlangConnections+1000))
	run := func(args ...string) string {
		t.Helper()
		begin := time.Now()
		var out, said bytes.Buffer
		cmd := exec.Command("erlmcp", args...)
		cmd.Env, cmd.Stdout, cmd.Stderr = env, &out, &said
		if err := cmd.Run(); err != nil {
			t.Fatalf("erlmcp %s: %v\n%s%s", strings.Join(args, " "), err, &out, &said)
		}
		t.Logf("erlmcp %s: %v", strings.Join(args, " "), time.Since(begin).Round(time.Millisecond))
		return out.String()
	}
	status := func() (s cluster.Status) {
		t.Helper()
		cmd := exec.Command("erlmcp", "cluster", "status", "--json")
		cmd.Env = env
		out, _ := cmd.Output() // fails while a node is not ready
		if err := json.Unmarshal(out, &s); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		return s
	}
	t.Cleanup(func() {
		cmd := exec.Command("erlmcp", "down")
		cmd.Env = env
		_ = cmd.Run() // nothing runs when all went well
	})

	run("up")
	before := status()
	if !meshed(before, 4) {
		t.Fatalf("the nodes do not see each other: %+v", before)
	}
	run("health")
	load := exec.Command("erlmcp", "loadtest", strconv.Itoa(*erlangConnections), "20", "--target", front, "--json")
	load.Env = env
	text, _ := load.Output() // fails when something takes longer than it should, which a busy machine decides
	var report struct {
		Verdict loadtest.Verdict
		Reason  string
		Checks  []struct {
			Name, Want, Got string
			Pass            bool
		}
	}
	if err := json.Unmarshal(text, &report); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	t.Logf("load test: %s %s", report.Verdict, report.Reason)
	for _, check := range report.Checks {
		t.Logf("%s: %s, want %s (%t)", check.Name, check.Got, check.Want, check.Pass)
		switch check.Name {
		case "connections", "dropped", "distribution", "requests", "failover_recovered", "node_restored":
			if !check.Pass {
				t.Errorf("load test: %s: %s, want %s", check.Name, check.Got, check.Want)
			}
		}
	}

	victim := status().Nodes[2]
	struck := time.Now()
	if err := syscall.Kill(victim.PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	waittest.For(t, time.Minute, "the killed node is back", func() (s cluster.Status, back bool) {
		s = status()
		return s, s.Nodes[2].PID != victim.PID && meshed(s, 4)
	})
	t.Logf("a killed BEAM is back, and seen by all others, after %v", time.Since(struck).Round(time.Millisecond))
	after := status()
	run("health", "--wait")
	run("down")
	for _, n := range append(before.Nodes, after.Nodes...) {
		if syscall.Kill(n.PID, 0) == nil {
			t.Errorf("%s (pid %d) outlives the cluster", n.Name, n.PID)
		}
	}
}

// meshed reports whether n nodes are ready and each sees all others.
func meshed(s cluster.Status, n int) bool {
	for _, node := range s.Nodes {
		if node.Distribution == nil || len(node.Distribution.Sees) != n-1 {
			return false
		}
	}
	return len(s.Nodes) == n && s.Healthy()
}

// erlangProject compiles the Erlang nodes that the tests have into ROOT/ebin.
func erlangProject(t *testing.T) (root string) {
	t.Helper()
	source, root := filepath.Join("..", "cluster", "testdata", "erlang", "src"), t.TempDir()
	ebin := filepath.Join(root, "ebin")
	if err := os.Mkdir(ebin, 0o700); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(source, "*.erl"))
	if err != nil || len(files) == 0 {
		t.Fatalf("sources are %q, %v", files, err)
	}
	if out, err := exec.Command("erlc", append([]string{"-o", ebin}, files...)...).CombinedOutput(); err != nil {
		t.Fatalf("erlc: %v\n%s", err, out)
	}
	app, err := os.ReadFile(filepath.Join(source, "erlmcp.app.src"))
	if err == nil {
		err = os.WriteFile(filepath.Join(ebin, "erlmcp.app"), app, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	return root
}
