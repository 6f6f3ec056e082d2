package cmd

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/erlmcp/erlmcp/cmd/internal/exit"
	"github.com/erlmcp/erlmcp/healthcheck"
	"github.com/erlmcp/erlmcp/internal/term"
)

// onWrite calls a function before each write.
type onWrite struct {
	io.Writer
	before func()
}

func (w onWrite) Write(p []byte) (int, error) {
	w.before()
	return w.Writer.Write(p)
}

// TestHealthInterrupted stops continuous checks in the first pause: the exit code is the one of the
// round that was shown.
func TestHealthInterrupted(t *testing.T) {
	t.Setenv("ERLMCP_CLUSTER_NODES", "[{name: one, host: 127.0.0.1, tcp: 1}]")
	t.Chdir(t.TempDir())
	ctx, cancel := context.WithCancelCause(t.Context())
	var out bytes.Buffer
	a := &app{
		stdout: term.New(onWrite{&out, func() { cancel(&exit.Stopped{Code: 130, Reason: "stopped"}) }}),
		stderr: term.New(io.Discard),
	}
	a.flags.stateDir = t.TempDir()
	err := a.health(ctx, healthOptions{format: "json", continuous: intervalFlag{on: true, every: time.Hour}})
	if code := exit.Report(ctx, a.stderr, err); code != healthcheck.StatusDown.ExitCode() {
		t.Errorf("exit code %d, error %v", code, err)
	}
	if n := bytes.Count(out.Bytes(), []byte("\n")); n != 1 {
		t.Errorf("%d lines:\n%s", n, out.Bytes())
	}
}

func TestHealthOutputClosed(t *testing.T) {
	t.Setenv("ERLMCP_CLUSTER_NODES", "[{name: one, host: 127.0.0.1, tcp: 1}]")
	t.Chdir(t.TempDir())
	broken, w := io.Pipe()
	closed := errors.New("closed")
	broken.CloseWithError(closed)
	a := &app{stdout: term.New(w), stderr: term.New(io.Discard)}
	a.flags.stateDir = t.TempDir()
	for _, o := range []healthOptions{
		{format: "table"},
		{format: "json", continuous: intervalFlag{on: true}},
		{format: "nagios", wait: true, timeout: time.Second},
	} {
		err := a.health(t.Context(), o)
		if code := exit.Code(err); !errors.Is(err, closed) || code != healthcheck.StatusUnknown.ExitCode() {
			t.Errorf("%s: exit code %d, error %v", o.format, code, err)
		}
	}
}

// TestHealthFollowsTheCluster adds and removes nodes while checks go on: what was removed is not down, and
// what was added is asked.
func TestHealthFollowsTheCluster(t *testing.T) {
	c := startCluster(t, 2)
	cmd := exec.CommandContext(t.Context(), "erlmcp", "health", "--continuous", "0.1", "--json")
	cmd.Env = c.env
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // killed
	})
	rounds := json.NewDecoder(stdout)
	await := func(want string) {
		t.Helper()
		var text string
		for range 300 {
			var r healthcheck.Report
			if err := rounds.Decode(&r); err != nil {
				t.Fatal(err)
			}
			text = string(r.Status)
			for _, n := range r.Nodes {
				text += " " + n.Name
			}
			if text == want {
				return
			}
		}
		t.Fatalf("the last of 300 rounds is %q, not %q", text, want)
	}
	await("healthy n0 n1")
	c.run("cluster", "remove", "n1", "--drain-timeout", "1s")
	await("healthy n0")
	c.run("cluster", "add", "west", "--tcp", freePorts(t, 1)[0], "--http", "0", "--sse", "0")
	await("healthy n0 west")
}

func TestContinuousFlag(t *testing.T) {
	for _, c := range []struct {
		text string
		want intervalFlag
		ok   bool
	}{
		{"true", intervalFlag{on: true}, true},
		{"false", intervalFlag{}, true},
		{"5", intervalFlag{true, 5 * time.Second}, true},
		{"1", intervalFlag{true, time.Second}, true},
		{"0.5", intervalFlag{true, 500 * time.Millisecond}, true},
		{"250ms", intervalFlag{true, 250 * time.Millisecond}, true},
		{"2m", intervalFlag{true, 2 * time.Minute}, true},
		{"0", intervalFlag{}, false},
		{"-1", intervalFlag{}, false},
		{"0.01", intervalFlag{}, false},
		{"1e9", intervalFlag{}, false},
		{"1e300", intervalFlag{}, false},
		{"NaN", intervalFlag{}, false},
		{"Inf", intervalFlag{}, false},
		{"t", intervalFlag{}, false},
		{"", intervalFlag{}, false},
	} {
		var f intervalFlag
		if err := f.Set(c.text); (err == nil) != c.ok || f != c.want {
			t.Errorf("%q: %+v, error %v; want %+v", c.text, f, err, c.want)
		}
	}
}

// A plugin that is ended before it knows anything says so in its one line, with the code for it; what is known stays.
func TestNagiosWhenEnded(t *testing.T) {
	ctx, cancel := context.WithCancelCause(context.Background())
	cancel(&exit.Stopped{Code: exit.Terminated, Reason: "stopped by terminated"})
	var out bytes.Buffer
	a := &app{stdout: term.New(&out)}
	err := a.nagiosUnknown(ctx, ctx.Err())
	if code := exit.Report(ctx, io.Discard, err); code != 3 || out.String() != "ERLMCP UNKNOWN - stopped by terminated\n" {
		t.Errorf("code %d, %q", code, out.String())
	}
	a.answered = true
	if err := a.nagiosUnknown(ctx, exit.With(2)); exit.Code(err) != 2 || strings.Count(out.String(), "\n") != 1 {
		t.Errorf("error %v, %q", err, out.String())
	}
}
