package loadtest

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/erlmcp/erlmcp/internal/judge"
	"github.com/erlmcp/erlmcp/internal/mcp"
	"github.com/erlmcp/erlmcp/loadtest/internal/ask"
	"github.com/erlmcp/erlmcp/loadtest/internal/probe"
	"github.com/erlmcp/erlmcp/loadtest/internal/target"
	"github.com/erlmcp/erlmcp/loadtest/internal/wire"
	"github.com/erlmcp/erlmcp/loadtest/internal/work"
	"github.com/erlmcp/erlmcp/loadtest/system"
)

// Servers that do not tell which of them answers are tested all the same, and what cannot be judged is said.
func TestRunOfServersWithoutWhoami(t *testing.T) {
	const unknownMethod = `"error":{"code":-32601,"message":"Method not found"}`
	for name, c := range map[string]struct {
		answers map[string]string
		why     string
	}{
		"stateless era": {map[string]string{
			mcp.MethodCallTool: `"error":{"code":-32602,"message":"Unknown tool: whoami"}`, mcp.MethodDiscover: `"result":{"supportedVersions":["2026-07-28"]}`,
		}, `tools/call whoami is answered "Unknown tool: whoami (JSON-RPC error -32602)"`},
		"session era": {map[string]string{
			mcp.MethodCallTool: `"result":{"isError":true,"content":[{"type":"text","text":"Unknown tool: whoami"}]}`,
			mcp.MethodDiscover: unknownMethod, mcp.MethodPing: `"result":{}`, mcp.MethodInitialize: unknownMethod,
		}, `tools/call whoami is answered "Unknown tool: whoami"`},
		"nothing without a session": {map[string]string{
			mcp.MethodCallTool: `"error":{"code":-32600,"message":"initialize first"}`, mcp.MethodDiscover: `"error":{"code":-32600,"message":"initialize first"}`,
		}, `tools/call whoami is answered "initialize first (JSON-RPC error -32600)"`},
		"nothing but errors": {map[string]string{
			mcp.MethodCallTool: unknownMethod, mcp.MethodDiscover: unknownMethod, mcp.MethodPing: unknownMethod, mcp.MethodInitialize: unknownMethod,
		}, `tools/call whoami is answered "Method not found (JSON-RPC error -32601)"`},
	} {
		t.Run(name, func(t *testing.T) {
			f := startFake(t, 2)
			f.foreign = func(m mcp.Envelope) string { return c.answers[m.Method] }
			s := testSpec(f, 100, 500*time.Millisecond)
			r := mustRun(t, s, Options{System: f})
			if failed(r) != "" || r.Connections.Verified != 100 || r.Requests.Answered == 0 || r.Latency.Count == 0 || r.Nameless != c.why {
				t.Errorf("%s %+v %+v %q", failed(r), r.Connections, r.Requests, r.Nameless)
			}
			if got, want := phases(r), "preflight, baseline, ramp, hold, close"; got != want {
				t.Error(got)
			}
			if len(r.Nodes) != 1 || r.Nodes[0].Name != "" || r.Nodes[0].Connections != 100 || r.Nodes[0].Latency.Count == 0 {
				t.Errorf("%+v", r.Nodes)
			}
			var unjudged []string
			for _, check := range r.Checks {
				if check.Why == nameless {
					unjudged = append(unjudged, check.Name)
				}
			}
			if got := strings.Join(unjudged, " "); got != "distribution sticky failover latency_variance" {
				t.Errorf("not judged: %s", got)
			}
			if !slices.ContainsFunc(r.Preflight, func(q judge.Result) bool { return q.Name == "node_names" && strings.Contains(q.Got, c.why) }) {
				t.Errorf("%+v", r.Preflight)
			}
			f.mu.Lock()
			defer f.mu.Unlock()
			for _, n := range f.nodes {
				if !n.up {
					t.Error("a node was broken")
				}
			}
		})
	}
}

// What such servers get wrong fails a run.
func TestRunSeesServersWithoutWhoamiFail(t *testing.T) {
	f := startFake(t, 1)
	f.foreign = func(m mcp.Envelope) string {
		if m.Method == mcp.MethodDiscover {
			return `"result":{}`
		}
		return `"error":{"code":-32601,"message":"no"}`
	}
	r := mustRun(t, testSpec(f, 20, 100*time.Millisecond), Options{System: f, Progress: func(p Progress) {
		if p.Phase == PhaseBaseline && p.Ended {
			f.refuse.Store(mcp.CodeUnavailable)
		}
	}})
	if r.Verdict != Fail || r.Connections.Failures["unavailable"] != 20*wire.MaxAttempts {
		t.Errorf("%s: %s %+v", r.Verdict, r.Reason, r.Connections)
	}
	f.refuse.Store(0)
	s := testSpec(f, 20, 100*time.Millisecond)
	s.Failover = system.FaultKill
	var e *PreflightError
	if _, err := Run(t.Context(), s, Options{System: f}); !errors.As(err, &e) || e.Unreachable || !strings.Contains(err.Error(), "failover_names") {
		t.Error(err)
	}
}

// Nobody is asked once the run is over.
func TestGatherEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	s := Default()
	if _, err := gather(ctx, &s, system.Unknown{}); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// A target elsewhere is not loaded by accident; nothing is sent to it.
func TestRemoteTargetIsRefused(t *testing.T) {
	s := Default()
	s.Target = "https://203.0.113.7/mcp"
	f, err := gather(t.Context(), &s, system.Unknown{})
	if err != nil || f.trouble == nil || f.trouble.Unreachable() ||
		f.trouble.Text != "203.0.113.7 is not on this machine" || !strings.Contains(f.trouble.Fix, "--allow-remote-target") {
		t.Errorf("%+v, %v", f.trouble, err)
	}
}

func TestTargetFixes(t *testing.T) {
	for _, c := range []struct {
		trouble probe.Trouble
		seen    system.Observation
		want    string
	}{
		{probe.Trouble{}, system.Observation{}, "start the system (erlmcp up)"},
		{probe.Trouble{Fix: "so"}, system.Observation{Balancer: &system.BalancerView{}}, "so"},
		{probe.Trouble{}, system.Observation{Elsewhere: []string{"tcp 127.0.0.1:8000", "https 127.0.0.1:8443"}},
			"elsewhere: --target 127.0.0.1:8000, or --target https://127.0.0.1:8443/mcp"},
		{probe.Trouble{Blame: probe.Refuses}, system.Observation{}, "see to what it says"},
		{probe.Trouble{Blame: probe.Refuses}, system.Observation{Balancer: &system.BalancerView{}}, "erlmcp lb status"},
		{probe.Trouble{}, system.Observation{Balancer: &system.BalancerView{}}, "erlmcp health"},
	} {
		if got := fixOf(&c.trouble, &c.seen); !strings.Contains(got, c.want) {
			t.Errorf("%+v: %s", c.trouble, got)
		}
	}
}

func TestEndpointOf(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		name = filepath.Join(dir, name)
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return name
	}
	good := Default()
	good.Target, good.Headers, good.TokenFile = "https://localhost/mcp?key=a", []string{"x-tenant: a"}, write("token", "s3cret \r\nmore\n")
	good.ServerName, good.Insecure, good.HTTPVersion = "name", true, "2"
	e, trouble := endpointOf(&good, good.Target)
	if trouble != nil || e.Host != "localhost" || e.Port != 443 || e.TLS != (target.TLS{ServerName: "name", Insecure: true}) || !e.HTTP2 ||
		!slices.Equal(e.Header, []target.Field{{Name: "X-Tenant", Value: "a"}, {Name: "Authorization", Value: "Bearer s3cret"}}) {
		t.Errorf("%+v, %+v", e, trouble)
	}
	for _, c := range []struct {
		change func(*Spec)
		want   string
	}{
		{func(s *Spec) { s.TokenFile = filepath.Join(dir, "none") }, "none: no such file or directory"},
		{func(s *Spec) { s.TokenFile = write("empty", "") }, "empty: its first line is empty"},
		{func(s *Spec) { s.TokenFile = write("two", "s3cret word") }, "two: its first line is no token"},
		{func(s *Spec) { s.TokenFile = write("large", strings.Repeat("x", maxFile+1)) }, "large: it is larger than 64 KiB"},
		{func(s *Spec) { s.TokenFile = dir }, "is a directory"},
		{func(s *Spec) { s.CA = write("key", "s3cret") }, "key: there is no certificate in it"},
		{func(s *Spec) { s.Headers = []string{"s3cret"} }, "one is not of the form NAME: VALUE"},
		{func(s *Spec) { s.Target = "ftp://s3cret" }, "is not a target"},
	} {
		s := good
		c.change(&s)
		if _, trouble := endpointOf(&s, s.Target); trouble == nil || trouble.Unreachable() || !strings.Contains(trouble.Text, c.want) || trouble.Fix == "" {
			t.Errorf("%s: %+v", c.want, trouble)
		} else if s.Target == good.Target && strings.Contains(trouble.Text, "s3cret") {
			t.Errorf("a secret is told: %s", trouble.Text)
		}
	}
}

// What clients ask is the tool or the scenario, as the server is known; what cannot be asked is the fault of who asked.
func TestWorkOf(t *testing.T) {
	who := &probe.Introduction{Era: mcp.SessionEra, Question: ask.Ping, ServedBy: true}
	s := Default()
	if w, trouble := workOf(&s, who); trouble != nil || w.Steps != nil || w.Verify != ask.Ping || w.Naming != work.Nameless {
		t.Errorf("%+v %+v", w, trouble)
	}
	s.Tool, s.Args = "echo", `{"text":"a"}`
	w, trouble := workOf(&s, who)
	if trouble != nil || len(w.Steps) != 1 || w.Steps[0].Method != mcp.MethodCallTool || w.Era != mcp.SessionEra || w.Naming != work.ByHeader {
		t.Errorf("%+v %+v", w, trouble)
	}
	file := filepath.Join(t.TempDir(), "steps.yaml")
	for _, bad := range []string{"[1]", "null", "{", "@" + file} {
		s.Args = bad
		if _, trouble := workOf(&s, who); trouble == nil || trouble.Unreachable() {
			t.Errorf("%s: %+v", bad, trouble)
		}
	}
	if err := os.WriteFile(file, []byte("session: {calls: 3}\nsteps: [{method: tools/list}]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s.Tool, s.Args, s.Scenario = "", "", file
	if w, trouble := workOf(&s, who); trouble != nil || w.Session.Calls != 3 {
		t.Errorf("%+v %+v", w, trouble)
	}
	who.Era = mcp.StatelessEra // which has no sessions
	if _, trouble := workOf(&s, who); trouble == nil || trouble.Unreachable() {
		t.Errorf("%+v", trouble)
	}
}
