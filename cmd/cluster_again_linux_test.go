package cmd

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/erlmcp/erlmcp/cluster"
)

// service is a supervisor in the foreground as a service manager runs it.
type service struct {
	t      *testing.T
	dir    string
	ports  []string
	env    []string
	cmd    *exec.Cmd
	ended  chan struct{}
	output bytes.Buffer // whole when ended is closed

	mu    sync.Mutex
	told  []string // by sd_notify
	signs int      // of life, likewise
}

func startService(t *testing.T, role ...string) *service {
	t.Helper()
	dir, err := os.MkdirTemp("", "erlmcp") // short: the path of a unix socket must fit
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	s := &service{t: t, dir: dir, ports: freePorts(t, 3), ended: make(chan struct{})}
	notify, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(dir, "notify"), Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { notify.Close() })
	go func() {
		buf := make([]byte, 1000)
		for {
			n, err := notify.Read(buf)
			if err != nil {
				return
			}
			s.mu.Lock()
			if said := string(buf[:n]); said == "WATCHDOG=1" {
				s.signs++
			} else {
				s.told = append(s.told, said)
			}
			s.mu.Unlock()
		}
	}()
	s.configure("")
	s.env = append(os.Environ(), "XDG_CONFIG_HOME="+dir, "NO_COLOR=1")
	s.cmd = exec.Command("erlmcp", s.args(role...)...)
	s.cmd.Env = slices.Concat(s.env, []string{"NOTIFY_SOCKET=" + filepath.Join(dir, "notify"), "WATCHDOG_USEC=300000", "ONLY_THE_SERVICE=has-it"})
	s.cmd.Stdout, s.cmd.Stderr = &s.output, &s.output
	input, err := os.Open(filepath.Join(dir, "erlmcp.yaml")) // for --config -
	if err != nil {
		t.Fatal(err)
	}
	defer input.Close()
	s.cmd.Stdin = input
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = s.cmd.Wait()
		close(s.ended)
	}()
	t.Cleanup(func() {
		_ = s.cmd.Process.Signal(syscall.SIGTERM)
		<-s.ended
		if t.Failed() {
			t.Logf("the service, which ended with %v, said\n%s", s.cmd.ProcessState, &s.output)
		}
	})
	s.await("READY=1")
	return s
}

// configure writes a configuration of two nodes and more lines of the section cluster.
func (s *service) configure(more string) {
	s.t.Helper()
	text := fmt.Sprintf("cluster:\n  nodes: [{name: n1, host: 127.0.0.1, tcp: %s}, {name: n2, host: 127.0.0.1, tcp: %s}]\n%s", s.ports[0], s.ports[1], more)
	if err := os.WriteFile(filepath.Join(s.dir, "erlmcp.yaml"), []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

func (s *service) args(more ...string) []string {
	return append([]string{"--state-dir", s.dir, "--config", filepath.Join(s.dir, "erlmcp.yaml")}, more...)
}

// await waits until the service manager has been told exactly this.
func (s *service) await(told ...string) {
	s.t.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		s.mu.Lock()
		now := strings.Join(s.told, " ")
		s.mu.Unlock()
		if now == strings.Join(told, " ") {
			return
		}
		select {
		case <-s.ended:
			s.t.Fatalf("the service has ended: %v\n%s", s.cmd.ProcessState, &s.output)
		default:
		}
		if time.Now().After(deadline) {
			s.t.Fatalf("the service manager was told %s", now)
		}
	}
}

// run runs a command with that exit code and returns what it says.
func (s *service) run(code int, args ...string) string {
	s.t.Helper()
	cmd := exec.Command("erlmcp", s.args(args...)...)
	cmd.Env = s.env
	out, _ := cmd.CombinedOutput()
	if cmd.ProcessState.ExitCode() != code {
		s.t.Fatalf("erlmcp %s: %v, want %d\n%s", strings.Join(args, " "), cmd.ProcessState, code, out)
	}
	return string(out)
}

func (s *service) status() (status cluster.Status) {
	s.t.Helper()
	if err := json.Unmarshal([]byte(s.run(0, "cluster", "status", "--json")), &status); err != nil {
		s.t.Fatal(err)
	}
	return status
}

// A supervisor that a service manager runs is restarted without leaving it.
func TestRestartOfAService(t *testing.T) {
	s := startService(t, "cluster", "supervise")
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
	s := startService(t, "cluster", "supervise")
	s.run(0, "cluster", "restart")
	s.await("READY=1", "READY=1")
	for deadline, first := time.Now().Add(30*time.Second), s.lived(); s.lived() < first+3; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("there are %d signs of life", s.lived()-first)
		}
	}
}

// lived is how many signs of life there were.
func (s *service) lived() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.signs
}

// A cluster that "cluster start" keeps in the foreground is restarted like one of "cluster supervise", with the number of
// nodes that it was started with.
func TestRestartOfAForegroundStart(t *testing.T) {
	s := startService(t, "cluster", "start", "--foreground", "--nodes", "1")
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

// Nothing is stopped where the configuration is gone once it was read.
func TestRestartOfAServiceWithoutAFile(t *testing.T) {
	s := startService(t, "cluster", "supervise", "--config", "-")
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
	s := startService(t, "cluster", "supervise")
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
