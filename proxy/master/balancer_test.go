package master

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/charmbracelet/log"

	"github.com/erlmcp/erlmcp/internal/topology"
	"github.com/erlmcp/erlmcp/internal/waittest"
	"github.com/erlmcp/erlmcp/proxy"
	"github.com/erlmcp/erlmcp/proxy/internal/proxytest"
	"github.com/erlmcp/erlmcp/proxy/worker"
)

// playWorker is the role of the processes that a master of a test starts.
func playWorker() error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	return worker.Run(ctx, log.New(os.Stderr))
}

// serveAlone is the role of a master that is a process of its own. At its end it waits for nobody.
func serveAlone(stateDir string, s proxy.Spec, said io.Writer) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	s.Timeouts.Drain = 0
	return Serve(ctx, s, Options{StateDir: stateDir, Version: "test", Log: log.New(said)})
}

// balancer is a master in this process with real workers between real clients and fake nodes.
type balancer struct {
	*proxy.Client
	t       testing.TB
	dir     string
	nodes   []*proxytest.FakeNode
	signals chan os.Signal
	cancel  context.CancelFunc
	done    chan error
	log     *proxytest.SyncBuffer

	zone *zone

	mu   sync.Mutex
	file proxy.Spec // what a reload finds
	bad  error
}

// testSpec balances over the nodes with quick checks.
func testSpec(nodes ...*proxytest.FakeNode) proxy.Spec {
	s := proxy.Default()
	s.Listen = proxy.Listen{TCP: "127.0.0.1:0", Admin: "127.0.0.1:0", Health: "127.0.0.1:0"}
	for i, n := range nodes {
		s.Nodes = append(s.Nodes, n.Node(fmt.Sprintf("n%d", i)))
	}
	s.MaxConnections = 1000
	s.SourceTable = 1024
	s.Limits.Exempt = nil // clients of tests come from this machine
	s.SlowStart = 0
	s.Limits.ConnectionsPerSecond = 0
	s.Checks = proxy.Checks{Kind: "tcp", Interval: 50 * time.Millisecond, FastInterval: 10 * time.Millisecond, Timeout: time.Second, Fall: 2, Rise: 2, GiveUp: time.Second}
	return s
}

// serve runs a balancer over the nodes until the test ends.
func serve(t testing.TB, nodes []*proxytest.FakeNode, change func(*proxy.Spec)) *balancer {
	t.Helper()
	s := testSpec(nodes...)
	if change != nil {
		change(&s)
	}
	return serveIn(t, nil, s, nodes)
}

// serveIn runs a balancer that looks names up in z, or in that of the system.
func serveIn(t testing.TB, z *zone, s proxy.Spec, nodes []*proxytest.FakeNode) *balancer {
	t.Helper()
	b := newBalancer(t, s)
	b.nodes, b.zone = nodes, z
	ready := make(chan struct{})
	ctx, cancel := context.WithCancel(context.Background())
	b.cancel = cancel
	go func() { b.done <- Serve(ctx, s, b.options(func() { close(ready) })) }()
	select {
	case <-ready:
	case err := <-b.done:
		t.Fatalf("not serving: %v\n%s", err, b.log)
	}
	t.Cleanup(func() {
		cancel()
		b.signals <- syscall.SIGTERM // the echo
		b.signals <- syscall.SIGTERM // the second
		select {
		case err := <-b.done:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(time.Minute):
			t.Error("the balancer does not end")
		}
		if t.Failed() {
			t.Logf("log:\n%s", b.log)
		}
	})
	return b
}

func newBalancer(t testing.TB, s proxy.Spec) *balancer {
	dir := proxytest.StateDir(t)
	return &balancer{
		Client:  proxy.Connect(dir),
		t:       t,
		dir:     dir,
		signals: make(chan os.Signal, 4),
		done:    make(chan error, 1),
		log:     &proxytest.SyncBuffer{},
		file:    s,
	}
}

func (b *balancer) options(ready func()) Options {
	var resolver Resolver
	if b.zone != nil {
		resolver = b.zone
	}
	return Options{
		Resolver: resolver,
		DecodeNodes: func(_ string, text []byte) (nodes []topology.Node, err error) {
			if err = json.Unmarshal(text, &nodes); err == nil && len(nodes) == 0 {
				err = errors.New("lists no node")
			}
			return nodes, err
		},
		StateDir: b.dir,
		Version:  "test",
		Load: func() (proxy.Spec, error) {
			b.mu.Lock()
			defer b.mu.Unlock()
			return b.file, b.bad
		},
		Signals: b.signals,
		Ready:   ready,
		Log:     log.New(b.log),
	}
}

// edit changes what a reload finds.
func (b *balancer) edit(change func(*proxy.Spec)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.file.Nodes = slices.Clone(b.file.Nodes)
	change(&b.file)
}

func (b *balancer) stats() *proxy.Stats {
	b.t.Helper()
	s, err := b.Stats(b.t.Context())
	if err != nil {
		b.t.Fatal(err)
	}
	return &s
}

// address is where that listener is.
func (b *balancer) address(name string) string {
	b.t.Helper()
	for _, l := range b.stats().Listeners {
		if l.Name == name && l.Up {
			return l.Address
		}
	}
	b.t.Fatalf("there is no listener %q", name)
	return ""
}

// dial connects a client.
func (b *balancer) dial() *proxytest.Client {
	b.t.Helper()
	conn, err := net.Dial("tcp", b.address("tcp"))
	if err != nil {
		b.t.Fatal(err)
	}
	return proxytest.NewClient(b.t, conn, time.Minute)
}

// servedBy waits until a newcomer is served by a node, and returns it: workers hear of a node one after the other, and
// that some client is served by it does not say that the next one is.
func (b *balancer) servedBy(node string) (c *proxytest.Client) {
	b.t.Helper()
	b.eventually("a newcomer to be served by "+node, func(*proxy.Stats) bool {
		c = b.dial()
		_, said := io.WriteString(c, "hello\n")
		line, heard := c.Reader.ReadString('\n')
		if said == nil && heard == nil && line == node+":hello\n" {
			return true
		}
		c.Close()
		return false
	})
	return c
}

// eventually waits for the stats to be so.
func (b *balancer) eventually(what string, ok func(s *proxy.Stats) bool) {
	b.t.Helper()
	const patience = time.Minute // on a busy machine
	var s *proxy.Stats
	if !waittest.Within(patience, func() bool { s = b.stats(); return ok(s) }) {
		text, _ := json.MarshalIndent(s, "", " ")
		b.t.Fatalf("waited in vain for %s: %s", what, text)
	}
}

func (b *balancer) eventuallyState(node, state string) {
	b.t.Helper()
	b.eventually(node+" "+state, func(s *proxy.Stats) bool { n := s.Node(node); return n != nil && n.State == state })
}

// request asks an HTTP listener over a connection of its own; headers are names and values, "Host" too.
func (b *balancer) request(listener, method, path, body string, headers ...string) (*proxytest.Reply, string) {
	b.t.Helper()
	r, err := http.NewRequestWithContext(b.t.Context(), method, "http://"+b.address(listener)+path, strings.NewReader(body))
	if err != nil {
		b.t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		if headers[i] == "Host" {
			r.Host = headers[i+1]
			continue
		}
		r.Header.Set(headers[i], headers[i+1])
	}
	resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 10 * time.Second}).Do(r)
	if err != nil {
		b.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	return proxytest.ReplyOf(resp), string(text)
}

// get asks an HTTP listener for a page.
func (b *balancer) get(listener, path string) (status int, body string) {
	b.t.Helper()
	reply, body := b.request(listener, http.MethodGet, path, "")
	return reply.StatusCode, body
}
