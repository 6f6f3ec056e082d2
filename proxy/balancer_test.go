package proxy

import (
	"bufio"
	"bytes"
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
)

// playWorker is the role of the processes that a master of a test starts.
func playWorker() error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	return Worker(ctx, log.New(os.Stderr))
}

// balancer is a master in this process with real workers between real clients and fake nodes.
type balancer struct {
	*Client
	t       testing.TB
	dir     string
	nodes   []*fakeNode
	signals chan os.Signal
	cancel  context.CancelFunc
	done    chan error
	log     *syncBuffer

	zone *zone

	mu   sync.Mutex
	file Spec // what a reload finds
	bad  error
}

// syncBuffer is a buffer for several writers.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// testSpec balances over the nodes with quick checks.
func testSpec(nodes ...*fakeNode) Spec {
	s := Default()
	s.Listen = Listen{TCP: "127.0.0.1:0", Admin: "127.0.0.1:0", Health: "127.0.0.1:0"}
	for i, n := range nodes {
		s.Nodes = append(s.Nodes, n.node(fmt.Sprintf("n%d", i)))
	}
	s.MaxConnections = 1000
	s.SourceTable = 1024
	s.Limits.Exempt = nil // clients of tests come from this machine
	s.SlowStart = 0
	s.Limits.ConnectionsPerSecond = 0
	s.Checks = Checks{Kind: "tcp", Interval: 50 * time.Millisecond, FastInterval: 10 * time.Millisecond, Timeout: time.Second, Fall: 2, Rise: 2, GiveUp: time.Second}
	return s
}

// node describes a fake node.
func (n *fakeNode) node(name string) topology.Node {
	return topology.Node{Name: name, Host: "127.0.0.1", TCP: n.Addr().(*net.TCPAddr).Port}
}

// startNodes starts that many fake nodes: n0, n1, ….
func startNodes(t testing.TB, n int) []*fakeNode {
	nodes := make([]*fakeNode, n)
	for i := range nodes {
		nodes[i] = startNode(t, fmt.Sprintf("n%d", i), nil)
	}
	return nodes
}

// stateDir returns a directory with a path short enough for a socket.
func stateDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "lb")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// serve runs a balancer over the nodes until the test ends.
func serve(t testing.TB, nodes []*fakeNode, change func(*Spec)) *balancer {
	t.Helper()
	s := testSpec(nodes...)
	if change != nil {
		change(&s)
	}
	return serveIn(t, nil, s, nodes)
}

// serveIn runs a balancer that looks names up in z, or in that of the system.
func serveIn(t testing.TB, z *zone, s Spec, nodes []*fakeNode) *balancer {
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
		case <-time.After(20 * time.Second):
			t.Error("the balancer does not end")
		}
		if t.Failed() {
			t.Logf("log:\n%s", b.log)
		}
	})
	return b
}

func newBalancer(t testing.TB, s Spec) *balancer {
	dir := stateDir(t)
	return &balancer{
		Client:  Connect(dir),
		t:       t,
		dir:     dir,
		signals: make(chan os.Signal, 4),
		done:    make(chan error, 1),
		log:     &syncBuffer{},
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
		Load: func() (Spec, error) {
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
func (b *balancer) edit(change func(*Spec)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.file.Nodes = slices.Clone(b.file.Nodes)
	change(&b.file)
}

func (b *balancer) stats() *Stats {
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
func (b *balancer) dial() *client {
	b.t.Helper()
	conn, err := net.Dial("tcp", b.address("tcp"))
	if err != nil {
		b.t.Fatal(err)
	}
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { conn.Close() })
	return &client{b.t, conn.(*net.TCPConn), bufio.NewReader(conn)}
}

// eventually waits for the stats to be so.
func (b *balancer) eventually(what string, ok func(s *Stats) bool) {
	b.t.Helper()
	b.patiently(what, 10*time.Second, ok)
}

func (b *balancer) patiently(what string, patience time.Duration, ok func(s *Stats) bool) {
	b.t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(2 * time.Millisecond) {
		s := b.stats()
		if ok(s) {
			return
		}
		if time.Now().After(deadline) {
			text, _ := json.MarshalIndent(s, "", " ")
			b.t.Fatalf("waited in vain for %s: %s", what, text)
		}
	}
}

func (b *balancer) eventuallyState(node, state string) {
	b.t.Helper()
	b.eventually(node+" "+state, func(s *Stats) bool { n := s.Node(node); return n != nil && n.State == state })
}

// get asks an HTTP listener.
func (b *balancer) get(listener, path string) (status int, body string) {
	b.t.Helper()
	transport := &http.Transport{DisableKeepAlives: true}
	resp, err := (&http.Client{Transport: transport}).Get("http://" + b.address(listener) + path)
	if err != nil {
		b.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	return resp.StatusCode, string(text)
}

// ask sends a line and returns which node answered.
func (c *client) ask(line string) (node string) {
	c.t.Helper()
	c.say(line + "\n")
	node, _, _ = strings.Cut(c.hear(), ":")
	return node
}
