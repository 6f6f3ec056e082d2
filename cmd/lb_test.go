package cmd

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/erlmcp/erlmcp/cmd/internal/exit"
	"github.com/erlmcp/erlmcp/internal/waittest"
	"github.com/erlmcp/erlmcp/proxy"
)

// foreground is "erlmcp lb serve" in a process of its own, over one node that echoes.
type foreground struct {
	*proxy.Client
	t      *testing.T
	cmd    *exec.Cmd
	stdout *bytes.Buffer // to be read when it has ended, as stderr
	stderr *bytes.Buffer
	dir    string
	config string
	exited chan struct{} // closed when it is reaped
}

func serveLB(t *testing.T) *foreground {
	t.Helper()
	dir, err := os.MkdirTemp("", "erlmcp")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	f := &foreground{Client: proxy.Connect(dir), t: t, dir: dir, config: filepath.Join(dir, "erlmcp.yaml")}
	f.configure(echoNode(t), 100)
	f.start()
	return f
}

// echoNode is a node for checks of kind tcp. It returns its port.
func echoNode(t *testing.T) (port int) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() { _, _ = io.Copy(c, c); c.Close() }()
		}
	}()
	return l.Addr().(*net.TCPAddr).Port
}

func (f *foreground) configure(nodePort, maxConnections int) {
	f.t.Helper()
	text := fmt.Sprintf(`lb:
  listen: {tcp: "127.0.0.1:0", http: "", admin: "", health: ""}
  nodes: [{name: n, host: 127.0.0.1, tcp: %d}]
  checks: {kind: tcp}
  max_connections: %d
`, nodePort, maxConnections)
	if err := os.WriteFile(f.config, []byte(text), 0o600); err != nil {
		f.t.Fatal(err)
	}
}

// start runs the balancer and returns when it answers.
func (f *foreground) start() {
	f.t.Helper()
	f.stdout, f.stderr = &bytes.Buffer{}, &bytes.Buffer{}
	f.cmd = exec.Command("erlmcp", "--config", f.config, "--state-dir", f.dir, "lb", "serve")
	f.cmd.Stdout, f.cmd.Stderr = f.stdout, f.stderr
	if err := f.cmd.Start(); err != nil {
		f.t.Fatal(err)
	}
	cmd, exited := f.cmd, make(chan struct{})
	f.exited = exited
	go func() {
		_ = cmd.Wait() // ProcessState tells
		close(exited)
	}()
	f.t.Cleanup(func() { _ = cmd.Process.Kill() })
	f.await("answers", func(*proxy.Stats) bool { return true })
}

func (f *foreground) await(what string, ok func(*proxy.Stats) bool) {
	f.t.Helper()
	waittest.For(f.t, time.Minute, "it "+what, func() (seen string, wanted bool) {
		s, err := f.Stats(f.t.Context())
		return fmt.Sprintf("%+v, %v", s, err), err == nil && ok(&s)
	})
}

// client connects one client and has it served.
func (f *foreground) client() net.Conn {
	f.t.Helper()
	s, err := f.Stats(f.t.Context())
	if err != nil {
		f.t.Fatal(err)
	}
	c, err := net.Dial("tcp", s.Listeners[0].Address)
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { c.Close() })
	if _, err := io.WriteString(c, "hello\n"); err != nil {
		f.t.Fatal(err)
	}
	if line, err := bufio.NewReader(c).ReadString('\n'); line != "hello\n" {
		f.t.Fatalf("the client heard %q, %v", line, err)
	}
	return c
}

func (f *foreground) signal(s syscall.Signal) {
	f.t.Helper()
	if err := f.cmd.Process.Signal(s); err != nil {
		f.t.Fatal(err)
	}
}

// ends waits for the process and returns its exit code.
func (f *foreground) ends() int {
	f.t.Helper()
	select {
	case <-f.exited:
		return f.cmd.ProcessState.ExitCode()
	case <-time.After(time.Minute):
		f.t.Fatal("it does not end")
		return -1
	}
}

func TestServeObeysSignals(t *testing.T) {
	f := serveLB(t)
	f.client()
	f.configure(echoNode(t), 77)
	f.signal(syscall.SIGHUP)
	f.await("has reloaded", func(s *proxy.Stats) bool { return s.Connections.Max == 77 && s.Connections.Active == 1 })
	f.signal(syscall.SIGTERM)
	f.await("drains", func(s *proxy.Stats) bool { return s.State == proxy.StateDraining && s.Connections.Active == 1 })
	f.signal(syscall.SIGTERM)
	if code := f.ends(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	for _, want := range []string{"INFO lb: serving ", "INFO lb: reloaded ", "INFO lb: draining ", "INFO lb: stopped"} {
		if !strings.Contains(f.stderr.String(), want) {
			t.Errorf("the log lacks %q: %s", want, f.stderr)
		}
	}
}

func TestServeDrainsOnSIGTERM(t *testing.T) {
	f := serveLB(t)
	c := f.client()
	f.signal(syscall.SIGTERM)
	f.await("drains", func(s *proxy.Stats) bool { return s.State == proxy.StateDraining })
	c.Close()
	if code := f.ends(); code != 0 {
		t.Errorf("exit code %d: %s", code, f.stderr)
	}
}

func TestAccessLogOnStandardOutput(t *testing.T) {
	t.Setenv("ERLMCP_LB_ACCESS_LOG_FILE", "-")
	f := serveLB(t)
	f.client().Close()
	f.signal(syscall.SIGTERM)
	if code := f.ends(); code != 0 {
		t.Errorf("exit code %d: %s", code, f.stderr)
	}
	var line struct {
		Frontend string
		Node     string
		BytesIn  int `json:"bytes_in"`
	}
	d := json.NewDecoder(f.stdout)
	if err := d.Decode(&line); err != nil || line.Frontend != "tcp" || line.Node != "n" || line.BytesIn != len("hello\n") {
		t.Errorf("line %+v, %v", line, err)
	}
	if _, err := d.Token(); err != io.EOF {
		t.Errorf("behind the line: %v", err)
	}
}

func TestServeEndsAtOnceOnSecondInterrupt(t *testing.T) {
	f := serveLB(t)
	f.client()
	f.signal(syscall.SIGINT)
	f.await("drains", func(s *proxy.Stats) bool { return s.State == proxy.StateDraining })
	f.signal(syscall.SIGINT)
	if code := f.ends(); code != exit.Interrupted {
		t.Errorf("exit code %d: %s", code, f.stderr)
	}
}

// A balancer that was killed takes its workers along and does not hinder the next one.
func TestServeAfterAKill(t *testing.T) {
	f := serveLB(t)
	c := f.client()
	f.signal(syscall.SIGKILL)
	f.ends()
	if err := c.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Read(make([]byte, 1)); err == nil || os.IsTimeout(err) {
		t.Errorf("the client of a dead balancer reads: %v", err)
	}
	f.start()
	f.client()
	if err := f.StopNow(t.Context()); err != nil {
		t.Error(err)
	}
	if code := f.ends(); code != 0 {
		t.Errorf("exit code %d: %s", code, f.stderr)
	}
}

// A balancer that hangs is ended all the same.
func TestStopNowEndsAFrozenBalancer(t *testing.T) {
	f := serveLB(t)
	f.signal(syscall.SIGSTOP)
	if err := f.StopNow(t.Context()); err != nil {
		t.Error(err)
	}
	f.ends()
}
