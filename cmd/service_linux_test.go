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
	"github.com/erlmcp/erlmcp/internal/waittest"
)

// service is a role of this program in the foreground, as a service manager runs it.
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

// startService starts a role with more variables of the environment, and waits until it is ready.
func startService(t *testing.T, env []string, role ...string) *service {
	t.Helper()
	return startServiceAfter(t, ":", env, role...)
}

// startServiceAfter is startService from a shell that has done something before.
func startServiceAfter(t *testing.T, before string, env []string, role ...string) *service {
	t.Helper()
	dir, err := os.MkdirTemp("", "erlmcp") // short: the path of a unix socket must fit
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	s := &service{t: t, dir: dir, ports: freePorts(t, 2), ended: make(chan struct{})}
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
	s.cmd = exec.Command("sh", append([]string{"-c", before + ` && exec erlmcp "$@"`, "sh"}, s.args(role...)...)...)
	s.cmd.Env = slices.Concat(s.env, []string{"NOTIFY_SOCKET=" + filepath.Join(dir, "notify"), "WATCHDOG_USEC=300000", "ONLY_THE_SERVICE=has-it"}, env)
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
	waittest.For(s.t, time.Minute, "the service manager is told", func() (now string, wanted bool) {
		select {
		case <-s.ended:
			s.t.Fatalf("the service has ended: %v\n%s", s.cmd.ProcessState, &s.output)
		default:
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		now = strings.Join(s.told, " ")
		return now, now == strings.Join(told, " ")
	})
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

// awaitSigns waits for so many more signs of life.
func (s *service) awaitSigns(n int) {
	s.t.Helper()
	first := s.lived()
	waittest.For(s.t, time.Minute, "signs of life", func() (int, bool) { now := s.lived() - first; return now, now >= n })
}

// lived is how many signs of life there were.
func (s *service) lived() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.signs
}

// stop has the service end, and returns what the service manager was told of it.
func (s *service) stop() (stopping string) {
	s.t.Helper()
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		s.t.Fatal(err)
	}
	hung := time.AfterFunc(time.Minute, func() { _ = s.cmd.Process.Kill() })
	defer hung.Stop()
	<-s.ended
	if !s.cmd.ProcessState.Success() {
		s.t.Errorf("it ended with %v", s.cmd.ProcessState)
	}
	waittest.For(s.t, time.Minute, "STOPPING=1", func() (told []string, found bool) { // it may not have been read yet
		s.mu.Lock()
		defer s.mu.Unlock()
		told = slices.Clone(s.told)
		at := slices.IndexFunc(told, func(said string) bool { return strings.HasPrefix(said, "STOPPING=1") })
		if at >= 0 {
			stopping = told[at]
		}
		return told, at >= 0
	})
	return stopping
}
