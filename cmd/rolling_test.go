package cmd

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/erlmcp/erlmcp/cluster"
	"github.com/erlmcp/erlmcp/internal/tempo"
	"github.com/erlmcp/erlmcp/internal/waittest"
)

var rollingClients = flag.Int("rolling.clients", 20, "of each kind in TestRollingRestart")

// rollingLoad is clients that do not stop while nodes come and go.
type rollingLoad struct {
	*testing.T
	tcp, http string
	web       *http.Client

	posts, calls, lines atomic.Int64 // answered
	moved, back         atomic.Int64 // sessions begun anew after a 404; TCP clients after a lost connection
	failures            sync.Map     // text: true
}

// TestRollingRestart restarts four nodes one by one under clients of all kinds: no request fails for those
// that can move, displaced TCP clients come back, and never are two nodes out.
//
//	go test ./cmd -run TestRollingRestart -v -rolling.clients 500
func TestRollingRestart(t *testing.T) {
	dir, err := os.MkdirTemp("", "erlmcp") // short: the path of a unix socket must fit
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	ports := freePorts(t, 10)
	var nodes []string
	for i := range 4 {
		nodes = append(nodes, fmt.Sprintf("{name: n%d, host: 127.0.0.1, tcp: %s, http: %s}", i+1, ports[2*i], ports[2*i+1]))
	}
	l := &rollingLoad{T: t, tcp: "127.0.0.1:" + ports[8], http: "http://127.0.0.1:" + ports[9] + "/mcp"}
	run := func(args ...string) {
		t.Helper()
		cmd := exec.Command("erlmcp", args...)
		cmd.Env = append(os.Environ(), "ERLMCP_STATE_DIR="+dir, "XDG_CONFIG_HOME="+dir,
			"ERLMCP_CLUSTER_NODES=["+strings.Join(nodes, ", ")+"]", "ERLMCP_LB_LISTEN_TCP="+l.tcp, "ERLMCP_LB_LISTEN_HTTP=127.0.0.1:"+ports[9],
			"ERLMCP_LB_LISTEN_ADMIN=", "ERLMCP_LB_LISTEN_HEALTH=", "ERLMCP_LB_MAX_CONNECTIONS=10000", "ERLMCP_LB_STICKY_TCP=none", "ERLMCP_LB_LIMITS_EXEMPT=127.0.0.0/8")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%v: %v\n%s", args, err, out)
		}
	}
	run("up")
	t.Cleanup(func() { run("down") })
	transport := &http.Transport{MaxIdleConnsPerHost: 2 * *rollingClients}
	defer transport.CloseIdleConnections()
	l.web = &http.Client{Transport: transport, Timeout: 30 * time.Second}

	ctx, stop := context.WithCancel(t.Context())
	var clients sync.WaitGroup
	for range *rollingClients {
		clients.Go(func() { l.repeat(ctx, l.post) })
		clients.Go(func() { l.session(ctx) })
		clients.Go(func() { l.line(ctx) })
	}
	l.await(1)
	begin := time.Now()
	run("cluster", "restart", "--rolling", "--drain-timeout", "1s")
	took := time.Since(begin)
	l.await(10 * int64(*rollingClients)) // on the nodes that are back
	stop()
	clients.Wait()
	l.failures.Range(func(text, _ any) bool { t.Error(text); return true })
	t.Logf("%d clients of each kind, 4 nodes in %v: %d requests, %d calls of sessions (%d begun anew), %d lines (%d clients displaced and back)",
		*rollingClients, took.Round(time.Millisecond), l.posts.Load(), l.calls.Load(), l.moved.Load(), l.lines.Load(), l.back.Load())

	serves, restarted, seen := map[string]bool{}, map[string]int{}, 0
	err = cluster.Connect(dir).Events(t.Context(), false, func(e cluster.Event) error {
		was := serves[e.Node]
		serves[e.Node] = e.State == cluster.StateReady || e.State == cluster.StateDegraded
		if !was && serves[e.Node] {
			restarted[e.Node]++
		}
		out := 0
		for _, up := range serves {
			if !up {
				out++
			}
		}
		if seen == 4 && out > 1 {
			t.Errorf("%d nodes are out at %+v", out, e)
		}
		seen = max(seen, len(serves)-out) // 4 when all have been up once
		return nil
	})
	if err != nil || seen != 4 {
		t.Errorf("%d nodes were up: %v", seen, err)
	}
	for name, n := range restarted {
		if n != 2 {
			t.Errorf("%s became ready %d times", name, n)
		}
	}
}

// await has so many more answers come to clients of each kind.
func (l *rollingLoad) await(answers int64) {
	l.Helper()
	counters := []*atomic.Int64{&l.posts, &l.calls, &l.lines}
	for _, c := range counters {
		want := c.Load() + answers
		waittest.For(l, time.Minute, "answers come", func() (seen string, enough bool) {
			return fmt.Sprintf("%d requests, %d calls and %d lines answered", l.posts.Load(), l.calls.Load(), l.lines.Load()), c.Load() >= want
		})
	}
}

const rollingPauseOfClients = 50 * time.Millisecond

func (l *rollingLoad) repeat(ctx context.Context, do func() error) {
	for tempo.Pause(ctx, rollingPauseOfClients) == nil {
		if err := do(); err != nil {
			l.failures.Store(err.Error(), true)
		}
	}
}

// post is a request of the stateless era, which any node can answer.
func (l *rollingLoad) post() error {
	r, err := http.NewRequest(http.MethodPost, l.http, strings.NewReader(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"whoami","arguments":{},`+
		`"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}}}`))
	if err != nil {
		return err
	}
	for name, value := range map[string]string{"Content-Type": "application/json", "Accept": "application/json, text/event-stream",
		"MCP-Protocol-Version": "2026-07-28", "Mcp-Method": "tools/call", "Mcp-Name": "whoami"} {
		r.Header.Set(name, value)
	}
	reply, err := l.web.Do(r)
	if err != nil {
		return fmt.Errorf("request: %w", err)
	}
	defer reply.Body.Close()
	body, err := io.ReadAll(reply.Body)
	if err != nil {
		return fmt.Errorf("request: %w", err)
	}
	if reply.StatusCode != http.StatusOK {
		return fmt.Errorf("request: %s: %s", reply.Status, body)
	}
	l.posts.Add(1)
	return nil
}

// session calls in sessions of the session era; a session whose node has ended is begun anew, as clients must.
func (l *rollingLoad) session(ctx context.Context) {
	var s *sdk.ClientSession
	l.repeat(ctx, func() (err error) {
		if s == nil {
			over := &sdk.StreamableClientTransport{Endpoint: l.http, HTTPClient: l.web, DisableStandaloneSSE: true}
			s, err = sdk.NewClient(&sdk.Implementation{Name: "test", Version: "1"}, nil).Connect(context.WithoutCancel(ctx), over,
				&sdk.ClientSessionOptions{ProtocolVersion: "2025-11-25"})
			if err != nil {
				s = nil
				return fmt.Errorf("new session: %w", err)
			}
		}
		_, err = s.CallTool(context.WithoutCancel(ctx), &sdk.CallToolParams{Name: "whoami"})
		switch {
		case err == nil:
			l.calls.Add(1)
			return nil
		case errors.Is(err, sdk.ErrSessionMissing):
			_ = s.Close() // there is nothing to close any more
			s = nil
			l.moved.Add(1)
			return nil
		}
		return fmt.Errorf("session: %w", err)
	})
	if s != nil {
		_ = s.Close()
	}
}

// line asks over one connection after the other, each as long as it lives.
func (l *rollingLoad) line(ctx context.Context) {
	var c net.Conn
	var in *bufio.Reader
	lost := time.Time{}
	l.repeat(ctx, func() (err error) {
		if c == nil {
			if c, err = net.DialTimeout("tcp", l.tcp, 10*time.Second); err != nil {
				c = nil
				return err
			}
			in = bufio.NewReader(c)
		}
		_ = c.SetDeadline(time.Now().Add(10 * time.Second))
		_, err = io.WriteString(c, `{"jsonrpc":"2.0","id":1,"method":"ping"}`+"\n")
		var text []byte
		if err == nil {
			text, err = in.ReadBytes('\n')
		}
		if err == nil && json.Valid(text) {
			if l.lines.Add(1); !lost.IsZero() {
				l.back.Add(1)
				lost = time.Time{}
			}
			return nil
		}
		_ = c.Close()
		c = nil
		if lost.IsZero() {
			lost = time.Now()
		}
		if time.Since(lost) > 5*time.Second {
			return fmt.Errorf("a displaced client is not back after 5s: %w", err)
		}
		return nil
	})
	if c != nil {
		_ = c.Close()
	}
	if time.Since(lost) > 5*time.Second && !lost.IsZero() {
		l.failures.Store("a displaced client never came back", true)
	}
}
