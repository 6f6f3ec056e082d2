package cmd

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/erlmcp/erlmcp/cluster"
)

// A supervisor that a service manager runs is restarted without leaving it.
func TestRestartOfAService(t *testing.T) {
	s := startService(t, nil, "cluster", "supervise")
	before := s.status()
	if before.PID != s.cmd.Process.Pid || !before.Foreground {
		t.Fatalf("status is %+v", before)
	}

	// With everything as it should be, for another configuration.
	s.configure("  node_max_connections: 77\n")
	if said := s.run(0, "cluster", "restart"); !strings.Contains(said, "erlmcp: restarted n1, n2 in ") || !strings.Contains(said, ", in place (pid ") {
		t.Errorf("it says %s", said)
	}
	s.await("READY=1", "READY=1")
	after := s.status()
	if after.PID != before.PID || !after.Foreground || after.Nodes[0].PID == before.Nodes[0].PID {
		t.Errorf("status was %+v and is %+v", before, after)
	}
	spec, err := cluster.Connect(s.dir).Spec(t.Context())
	if err != nil || spec.NodeMaxConnections != 77 {
		t.Errorf("the configuration is %+v, %v", spec, err)
	}
	for _, pid := range []int{after.PID, after.Nodes[0].PID} {
		environ, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
		if err != nil || !bytes.Contains(environ, []byte("ONLY_THE_SERVICE=has-it")) {
			t.Errorf("process %d has the environment %q, %v", pid, environ, err)
		}
	}

	// With anything missing nothing is stopped.
	for name, broken := range map[string]struct{ more, want string }{
		"configuration": {"  no_such_key: 1\n", "no_such_key"},
		"logs":          {"  logs: {dir: /proc/nope}\n", "cannot keep logs in /proc/nope: "},
		"program":       {"  runtime: command\n  command: {argv: [no-such-program-here]}\n", "the program no-such-program-here is not in PATH"},
	} {
		s.configure(broken.more)
		out := s.run(map[bool]int{true: 2, false: 1}[name == "configuration"], "cluster", "restart")
		if !strings.Contains(out, broken.want) {
			t.Errorf("%s: it says %s", name, out)
		}
		s.configure("")
		if now := s.status(); now.Nodes[0].PID != after.Nodes[0].PID || now.Nodes[1].PID != after.Nodes[1].PID {
			t.Errorf("%s: nodes have been stopped", name)
		}
	}
	s.await("READY=1", "READY=1")

	// It can be done again, and the end is the end.
	s.run(0, "cluster", "restart")
	s.await("READY=1", "READY=1", "READY=1")
	s.run(0, "cluster", "stop")
	<-s.ended
	if code := s.cmd.ProcessState.ExitCode(); code != 0 {
		t.Errorf("the service ended with %d", code)
	}
}

// A service manager that wants signs of life gets them afterwards as well.
func TestRestartOfAServiceThatIsWatched(t *testing.T) {
	s := startService(t, nil, "cluster", "supervise")
	s.run(0, "cluster", "restart")
	s.await("READY=1", "READY=1")
	s.awaitSigns(3)
}

// A cluster that "cluster start" keeps in the foreground is restarted like one of "cluster supervise", with the number of
// nodes that it was started with.
func TestRestartOfAForegroundStart(t *testing.T) {
	s := startService(t, nil, "cluster", "start", "--foreground", "--nodes", "1")
	before := s.status()
	if said := s.run(0, "cluster", "restart"); !strings.Contains(said, "erlmcp: restarted n1 in ") {
		t.Errorf("it says %s", said)
	}
	s.await("READY=1", "READY=1")
	if after := s.status(); after.PID != before.PID || len(after.Nodes) != 1 || after.Nodes[0].PID == before.Nodes[0].PID {
		t.Errorf("status was %+v and is %+v", before, after)
	}
	blocker, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", s.ports[1])) // of the node that it does not have
	if err != nil {
		t.Fatal(err)
	}
	defer blocker.Close()
	s.run(0, "cluster", "restart")
	s.await("READY=1", "READY=1", "READY=1")
}

// Its nodes have the limit of open files that is configured, or else the one that the service was started with: also when
// another one was configured in between.
func TestRestartOfAServiceWithAnotherLimit(t *testing.T) {
	s := startServiceAfter(t, "ulimit -Sn 700 && ulimit -Hn 4000", nil, "cluster", "supervise")
	for i, c := range []struct{ configured, want int }{{0, 700}, {300, 300}, {0, 700}, {3999, 3999}, {4000, 4000}} {
		limit := filepath.Join(s.dir, fmt.Sprint("limit", i))
		s.configure(fmt.Sprintf("  open_files: %d\n  runtime: command\n  command: {argv: [sh, -c, 'ulimit -Sn >%s.{name}; exec erlmcp node serve --name {name} --host {host} --tcp {tcp} --http {http} --sse {sse}']}\n",
			c.configured, limit))
		s.run(0, "cluster", "restart")
		if text, err := os.ReadFile(limit + ".n2"); err != nil || string(text) != fmt.Sprintln(c.want) {
			t.Errorf("configured %d: the node may open %q files, want %d; %v", c.configured, text, c.want, err)
		}
	}
}

// Nothing is stopped where the configuration is gone once it was read.
func TestRestartOfAServiceWithoutAFile(t *testing.T) {
	s := startService(t, nil, "cluster", "supervise", "--config", "-")
	before := s.status()
	if said := s.run(1, "cluster", "restart"); !strings.Contains(said, "goes on as it is") || !strings.Contains(said, "which cannot be read again") {
		t.Errorf("it says %s", said)
	}
	if now := s.status(); now.Nodes[0].PID != before.Nodes[0].PID || now.Nodes[1].PID != before.Nodes[1].PID {
		t.Error("nodes have been stopped")
	}
}

// A start that fails after all is told to whoever has asked, and to the service manager by the exit code.
func TestRestartOfAServiceThatFails(t *testing.T) {
	s := startService(t, nil, "cluster", "supervise")
	s.configure("  runtime: command\n  command: {argv: [sh, -c, 'echo last words; exit 3']}\n")
	out := s.run(1, "cluster", "restart")
	if !strings.Contains(out, "failed to start: it exited with status 3; its log ends with\n  last words") {
		t.Errorf("it says %s", out)
	}
	<-s.ended
	if code := s.cmd.ProcessState.ExitCode(); code != 1 {
		t.Errorf("the service ended with %d", code)
	}
}
