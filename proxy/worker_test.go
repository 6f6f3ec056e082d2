package proxy

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/charmbracelet/log"
	"golang.org/x/sys/unix"

	"github.com/erlmcp/erlmcp/internal/topology"
	"github.com/erlmcp/erlmcp/proxy/internal/affinity"
	"github.com/erlmcp/erlmcp/proxy/internal/board"
)

// bench is a worker in this process between real clients and fake nodes.
type bench struct {
	*worker
	t       testing.TB
	address string // of the TCP frontend
	web     string // of the HTTP frontend
	reports chan Suspect
	kinds   chan string
	done    chan error
}

// Send is the master's ear.
func (b *bench) Send(kind string, data any) error {
	if s, ok := data.(Suspect); ok {
		select {
		case b.reports <- s:
		default:
		}
		return nil
	}
	select {
	case b.kinds <- kind:
	default:
	}
	return nil
}

// startWorker runs a worker over the given node addresses, all of them up.
func startWorker(t testing.TB, nodes []string, change func(*Spec)) *bench {
	t.Helper()
	shared, err := board.Create(board.Layout{Workers: 1, Sources: 1024})
	if err != nil {
		t.Fatal(err)
	}
	spec := Default()
	spec.SourceTable = 1024
	var slots []NodeSlot
	for i, address := range nodes {
		at := netip.MustParseAddrPort(address)
		n := topology.Node{Name: fmt.Sprintf("n%d", i), HTTP: int(at.Port())}
		spec.Nodes = append(spec.Nodes, n)
		slots = append(slots, NodeSlot{Slot: i, Node: n, Address: at})
		shared.Node(i).Weight.Store(256)
		shared.SetNodeState(i, board.Up, time.Now())
	}
	if change != nil {
		change(&spec)
	}
	b := &bench{
		t:       t,
		reports: make(chan Suspect, 1024),
		kinds:   make(chan string, 16),
		done:    make(chan error, 1),
	}
	listeners := make(map[string]int)
	listeners[fileTCP], b.address = listenFD(t)
	listeners[fileHTTP], b.web = listenFD(t)
	b.worker, err = newWorker(WorkerSpec{Spec: spec, Nodes: slots, MaxConnections: 1000, Key: make([]byte, affinity.MinKey)}, shared, listeners, b, log.New(io.Discard))
	if err != nil {
		t.Fatal(err)
	}
	go func() { b.done <- b.loop.Run() }()
	t.Cleanup(func() {
		b.loop.Stop()
		if err := <-b.done; err != nil {
			t.Error(err)
		}
		if n := shared.Active(); n != 0 {
			t.Errorf("%d connections are still counted", n)
		}
		for i := range nodes {
			if n := shared.NodeActive(i); n != 0 {
				t.Errorf("%d connections are still counted to node %d", n, i)
			}
		}
		shared.Close()
	})
	return b
}

// listenFD listens on every address and returns one.
func listenFD(t testing.TB) (fd int, address string) {
	t.Helper()
	ln, err := net.Listen("tcp4", "0.0.0.0:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	file, err := ln.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if fd, err = unix.FcntlInt(file.Fd(), unix.F_DUPFD_CLOEXEC, 0); err != nil {
		t.Fatal(err)
	}
	return fd, fmt.Sprintf("127.0.0.1:%d", ln.Addr().(*net.TCPAddr).Port)
}

// on runs fn on the loop.
func (b *bench) on(fn func()) {
	done := make(chan struct{})
	b.loop.Post(func() { fn(); close(done) })
	<-done
}

func (b *bench) eventually(what string, ok func() bool) {
	b.t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for !ok() {
		if time.Now().After(deadline) {
			b.t.Fatalf("waited in vain: %s", what)
		}
		time.Sleep(time.Millisecond)
	}
}

// dial connects a client, from a source address of its own if one is given.
func (b *bench) dial(from string) *client {
	b.t.Helper()
	return b.dialTo(b.address, from)
}

func (b *bench) dialTo(address, from string) *client {
	b.t.Helper()
	d := net.Dialer{}
	if from != "" {
		if runtime.GOOS != "linux" {
			b.t.Skip("needs all of 127.0.0.0/8")
		}
		d.LocalAddr = &net.TCPAddr{IP: net.ParseIP(from)}
	}
	conn, err := d.Dial("tcp4", address)
	if err != nil {
		b.t.Fatal(err)
	}
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { conn.Close() })
	return &client{b.t, conn.(*net.TCPConn), bufio.NewReader(conn)}
}

type client struct {
	t testing.TB
	*net.TCPConn
	r *bufio.Reader
}

func (c *client) say(text string) {
	c.t.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		c.t.Fatal(err)
	}
}

func (c *client) hear() string {
	c.t.Helper()
	line, err := c.r.ReadString('\n')
	if err != nil {
		c.t.Fatalf("heard %q, %v", line, err)
	}
	return strings.TrimSuffix(line, "\n")
}

// refusal reads the error line and the end that must follow.
func (c *client) refusal() (code int, retryAfterMs int64) {
	c.t.Helper()
	var reply struct {
		Error struct {
			Code int
			Data struct{ RetryAfterMs int64 }
		}
	}
	if err := json.Unmarshal([]byte(c.hear()), &reply); err != nil {
		c.t.Fatal(err)
	}
	if rest, err := io.ReadAll(c.r); err != nil || len(rest) > 0 {
		c.t.Fatalf("after the refusal: %q, %v", rest, err)
	}
	return reply.Error.Code, reply.Error.Data.RetryAfterMs
}

// fakeNode answers each line with its name, a colon and the line.
type fakeNode struct {
	net.Listener
	mu    sync.Mutex
	conns []*net.TCPConn
}

func startNode(t testing.TB, name string, serve func(*net.TCPConn)) *fakeNode {
	t.Helper()
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	n := &fakeNode{Listener: ln}
	if serve == nil {
		serve = func(c *net.TCPConn) {
			for r := bufio.NewReader(c); ; {
				line, err := r.ReadString('\n')
				if err != nil {
					return
				}
				if _, err := io.WriteString(c, name+":"+line); err != nil {
					return
				}
			}
		}
	}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			n.mu.Lock()
			n.conns = append(n.conns, c.(*net.TCPConn))
			n.mu.Unlock()
			running.Go(func() { serve(c.(*net.TCPConn)); c.Close() })
		}
	})
	t.Cleanup(func() { n.stop(); running.Wait() })
	return n
}

func (n *fakeNode) address() string { return n.Addr().String() }

func (n *fakeNode) stop() {
	n.Close()
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, c := range n.conns {
		c.Close()
	}
}

func TestRelayBothWays(t *testing.T) {
	n := startNode(t, "a", func(c *net.TCPConn) { _, _ = io.Copy(c, c); _ = c.CloseWrite() })
	b := startWorker(t, []string{n.address()}, func(s *Spec) { s.Limits.MessagesPerSecond = 0 })
	c := b.dial("")
	payload := bytes.Repeat([]byte("0123456789abcde\n"), 1<<20/16)
	go func() {
		_, _ = c.Write(payload)
		_ = c.CloseWrite()
	}()
	got, err := io.ReadAll(c.r)
	if err != nil || !bytes.Equal(got, payload) {
		t.Fatalf("%d bytes came back of %d, %v", len(got), len(payload), err)
	}
	b.eventually("the pair to end", func() bool { return b.board.Active() == 0 })
	totals := b.board.NodeTotals(0)
	if totals.Total != 1 || totals.BytesIn != uint64(len(payload)) || totals.BytesOut != uint64(len(payload)) || totals.Messages != 1<<16 {
		t.Fatalf("counted %+v", totals)
	}
}

func TestNodeEndsFirst(t *testing.T) {
	n := startNode(t, "a", func(c *net.TCPConn) {
		_, _ = io.WriteString(c, "bye\n")
		_ = c.CloseWrite()
		_, _ = io.Copy(io.Discard, c)
	})
	b := startWorker(t, []string{n.address()}, nil)
	c := b.dial("")
	if got := c.hear(); got != "bye" {
		t.Fatal(got)
	}
	if _, err := c.r.ReadByte(); err != io.EOF {
		t.Fatalf("after the node's end: %v", err)
	}
	c.say("I can still speak\n")
	c.Close()
	b.eventually("the pair to end", func() bool { return b.board.Active() == 0 })
}

func TestSourcesStickAndSpread(t *testing.T) {
	nodes := []string{startNode(t, "a", nil).address(), startNode(t, "b", nil).address()}
	b := startWorker(t, nodes, nil)
	seen := map[string]int{}
	for i := range 10 {
		from := fmt.Sprintf("127.0.7.%d", i+1)
		var first string
		for range 4 {
			c := b.dial(from)
			c.say("x\n")
			name, _, _ := strings.Cut(c.hear(), ":")
			if first == "" {
				first = name
				seen[name]++
			}
			if name != first {
				t.Fatalf("%s went to %s, then to %s", from, first, name)
			}
		}
	}
	if seen["a"] != 5 || seen["b"] != 5 {
		t.Fatalf("sources spread %v, want 5 and 5", seen)
	}
	if a0, a1 := b.board.NodeActive(0), b.board.NodeActive(1); a0 != 20 || a1 != 20 {
		t.Fatalf("connections %d and %d, want 20 and 20", a0, a1)
	}
}

// The sources of a lost node are spread by what they are going to bring, not by
// the one connection each has brought so far.
func TestSourcesOfALostNodeSpreadEvenly(t *testing.T) {
	var nodes []string
	for _, name := range []string{"a", "b", "c"} {
		nodes = append(nodes, startNode(t, name, nil).address())
	}
	b := startWorker(t, nodes, nil)
	const sources, each = 24, 8
	connect := func(i int) {
		c := b.dial(fmt.Sprintf("127.0.6.%d", i+1))
		c.say("x\n")
		c.hear()
	}
	for range each {
		for i := range sources {
			connect(i)
		}
	}
	if n := b.board.NodeActive(0); n != sources*each/3 {
		t.Fatalf("%d connections on the first node", n)
	}
	// One node is a little emptier than the other when the first one dies.
	var lost []int
	for i := range sources {
		id, _ := b.board.Sources().Lookup(netip.MustParseAddr(fmt.Sprintf("127.0.6.%d", i+1)))
		if node, _ := b.board.Sources().Sticky(id); node == 0 {
			lost = append(lost, i)
		}
	}
	b.on(func() { b.backends[1].pairs.close() })
	b.board.SetNodeState(0, board.Down, time.Now())
	b.on(b.syncNodes)
	b.eventually("the clients to be gone", func() bool { return b.board.NodeActive(0) == 0 })
	for range each {
		for _, i := range lost {
			connect(i)
		}
	}
	got := []int64{b.board.NodeActive(1), b.board.NodeActive(2)}
	if diff := got[0] - got[1]; diff < -each-1 || diff > each+1 {
		t.Fatalf("%d and %d connections on the nodes that are left", got[0], got[1])
	}
}

func TestDeadNodeIsSkippedAndReported(t *testing.T) {
	dead := startNode(t, "dead", nil)
	dead.stop()
	alive := startNode(t, "alive", nil)
	b := startWorker(t, []string{dead.address(), alive.address()}, func(s *Spec) { s.Sticky.TCP = StickyNone; s.Balance = BalanceRoundRobin })
	for range 6 {
		c := b.dial("")
		c.say("x\n")
		if got := c.hear(); got != "alive:x" {
			t.Fatal(got)
		}
	}
	totals := b.board.NodeTotals(0)
	if totals.ConnectErrors != 3 || totals.Retries != 3 || totals.Total != 0 {
		t.Fatalf("counted %+v", totals)
	}
	for r := range b.reports {
		if r.Slot != 0 || r.Reason != SuspectRefused {
			t.Fatalf("reported %+v", r)
		}
		if r.Errors == errorsInARow {
			return
		}
	}
}

// A connection may fail in the very turn in which its node is found to be down.
// Its error is that node's alone, and the client is served elsewhere.
func TestFailureAndDisplacementInOneTurn(t *testing.T) {
	dead := startNode(t, "dead", nil)
	dead.stop()
	alive := startNode(t, "alive", nil)
	b := startWorker(t, []string{dead.address(), alive.address()}, nil)
	b.board.Node(1).MaxConns.Store(1)
	b.board.Flow(0, 1).Active.Add(1) // full: everybody tries the dead one first
	var look func()
	look = func() {
		node := b.backends[0]
		if node.pairs == nil || node.pairs.node.Open() {
			b.loop.Post(look) // in every turn, after its events
			return
		}
		// The connect was refused; OnClose comes at the end of this turn.
		b.board.Flow(0, 1).Active.Add(-1)
		b.board.Node(1).MaxConns.Store(0)
		b.board.SetNodeState(0, board.Down, time.Now())
		b.syncNodes()
	}
	b.loop.Post(look)
	c := b.dial("")
	c.say("x\n")
	if got := c.hear(); got != "alive:x" {
		t.Fatal(got)
	}
	if errs := b.board.NodeTotals(1).ConnectErrors; errs != 0 {
		t.Fatalf("%d connect errors are blamed on the living node", errs)
	}
}

func TestNodeMarkedDownLosesItsClientsAtOnce(t *testing.T) {
	a, z := startNode(t, "a", nil), startNode(t, "z", nil)
	b := startWorker(t, []string{a.address(), z.address()}, nil)
	first, second := b.dial("127.0.8.1"), b.dial("127.0.8.2")
	first.say("x\n")
	second.say("x\n")
	names := first.hear() + " " + second.hear()
	if names != "a:x z:x" && names != "z:x a:x" {
		t.Fatal(names)
	}
	doomed, other := first, second
	if names == "z:x a:x" {
		doomed, other = second, first
	}
	b.board.SetNodeState(0, board.Down, time.Now())
	b.on(b.syncNodes)
	if _, err := doomed.r.ReadByte(); err != io.EOF {
		t.Fatalf("the dead node's client: %v", err)
	}
	other.say("y\n")
	if got := other.hear(); got != "z:y" {
		t.Fatal(got)
	}
	for _, from := range []string{"127.0.8.1", "127.0.8.2"} {
		c := b.dial(from)
		c.say("again\n")
		if got := c.hear(); got != "z:again" {
			t.Fatalf("%s: %s", from, got)
		}
	}
	if d := b.board.NodeTotals(0).Displaced; d != 1 {
		t.Fatalf("%d displaced", d)
	}
}

func TestRefusals(t *testing.T) {
	n := startNode(t, "a", nil)
	served := func(c *client) {
		c.t.Helper()
		c.say("x\n")
		if got := c.hear(); got != "a:x" {
			c.t.Fatal(got)
		}
	}
	t.Run("full", func(t *testing.T) {
		b := startWorker(t, []string{n.address()}, func(s *Spec) { s.MaxConnections = 1 })
		first := b.dial("")
		served(first)
		if code, _ := b.dial("").refusal(); code != -32018 {
			t.Fatal(code)
		}
		first.Close()
		b.eventually("room", func() bool { return b.board.Active() == 0 })
		served(b.dial(""))
		if got := b.cell.Refused[board.ReasonFull].Load(); got != 1 {
			t.Fatalf("%d refused", got)
		}
	})
	t.Run("node full", func(t *testing.T) {
		b := startWorker(t, []string{n.address()}, nil)
		b.board.Node(0).MaxConns.Store(1)
		served(b.dial(""))
		if code, _ := b.dial("").refusal(); code != -32018 {
			t.Fatal(code)
		}
	})
	t.Run("no node", func(t *testing.T) {
		b := startWorker(t, []string{n.address()}, nil)
		b.board.SetNodeState(0, board.Down, time.Now())
		c := b.dial("")
		c.say("a request that is never read\n")
		if code, _ := c.refusal(); code != -32018 {
			t.Fatal(code)
		}
	})
	t.Run("rate, then ban", func(t *testing.T) {
		b := startWorker(t, []string{n.address()}, func(s *Spec) {
			s.Limits.ConnectionsPerSecond = 1
			s.Limits.Ban.Violations = 2
		})
		served(b.dial(""))
		for range 2 {
			if code, retry := b.dial("").refusal(); code != -32019 || retry <= 0 || retry > 1000 {
				t.Fatal(code, retry)
			}
		}
		if code, retry := b.dial("").refusal(); code != -32017 || retry < 50_000 {
			t.Fatal(code, retry)
		}
		served(b.dial("127.0.8.9")) // somebody else
	})
	t.Run("exempt", func(t *testing.T) {
		b := startWorker(t, []string{n.address()}, func(s *Spec) {
			s.Limits.ConnectionsPerSecond = 1
			s.Limits.Exempt = []string{"127.0.0.0/8"}
		})
		for range 5 {
			served(b.dial(""))
		}
	})
	t.Run("per source", func(t *testing.T) {
		b := startWorker(t, []string{n.address()}, func(s *Spec) { s.Limits.MaxPerSource = 1 })
		served(b.dial(""))
		if code, _ := b.dial("").refusal(); code != -32018 {
			t.Fatal(code)
		}
	})
}

func TestThrottleLosesNothing(t *testing.T) {
	n := startNode(t, "a", nil)
	b := startWorker(t, []string{n.address()}, func(s *Spec) { s.Limits.MessagesPerSecond = 50 })
	c := b.dial("")
	const messages = 65
	go func() {
		for i := range messages {
			fmt.Fprintf(c, "%d\n", i)
		}
	}()
	start := time.Now()
	for i := range messages {
		if got, want := c.hear(), fmt.Sprintf("a:%d", i); got != want {
			t.Fatalf("heard %q, want %q", got, want)
		}
	}
	// 50 come at once; the 51st passes and has to be paid for before the next.
	if took := time.Since(start); took < (messages-52)*time.Second/50 {
		t.Errorf("%d messages in %v", messages, took)
	}
	if b.cell.Throttles.Load() == 0 {
		t.Error("nobody was throttled")
	}
}

func TestRejectAnswersWithTheRequestsID(t *testing.T) {
	n := startNode(t, "a", nil)
	b := startWorker(t, []string{n.address()}, func(s *Spec) {
		s.Limits.MessagesPerSecond = 1
		s.Limits.Action = ActionReject
	})
	c := b.dial("")
	c.say(`{"jsonrpc":"2.0","id":1,"method":"ping"}` + "\n")
	if got := c.hear(); got != `a:{"jsonrpc":"2.0","id":1,"method":"ping"}` {
		t.Fatal(got)
	}
	c.say(`{"jsonrpc":"2.0","id":"two","method":"ping"}` + "\n" + `{"jsonrpc":"2.0","method":"notifications/x"}` + "\n" + `[{"jsonrpc":"2.0","id":4,"method":"ping"}]` + "\n")
	for _, id := range []string{`"id":"two"`, `[{"jsonrpc":"2.0","id":4`} {
		got := c.hear()
		if !strings.Contains(got, id) || !strings.Contains(got, "-32019") || !strings.Contains(got, "retryAfterMs") {
			t.Fatalf("heard %q, want an error with %s", got, id)
		}
	}
	b.eventually("three rejects", func() bool { return b.cell.Rejects.Load() == 3 })
}

// An answer of ours must not land inside a line of the node's.
func TestRejectWaitsForTheEndOfTheNodesLine(t *testing.T) {
	release := make(chan struct{})
	n := startNode(t, "a", func(c *net.TCPConn) {
		_, _ = bufio.NewReader(c).ReadString('\n')
		_, _ = io.WriteString(c, "first half, ")
		<-release
		_, _ = io.WriteString(c, "second half\nnext\n")
		_, _ = io.Copy(io.Discard, c)
	})
	b := startWorker(t, []string{n.address()}, func(s *Spec) {
		s.Limits.MessagesPerSecond = 1
		s.Limits.Action = ActionReject
	})
	c := b.dial("")
	c.say(`{"id":1,"method":"ping"}` + "\n")
	if first, err := c.r.Peek(12); err != nil || string(first) != "first half, " {
		t.Fatalf("%q, %v", first, err)
	}
	c.say(`{"id":2,"method":"ping"}` + "\n")
	b.eventually("the reject", func() bool { return b.cell.Rejects.Load() == 1 })
	close(release)
	if got := c.hear(); got != "first half, second half" {
		t.Fatal(got)
	}
	if got := c.hear(); !strings.Contains(got, "-32019") {
		t.Fatal(got)
	}
	if got := c.hear(); got != "next" {
		t.Fatal(got)
	}
}

func TestTooLongMessage(t *testing.T) {
	n := startNode(t, "a", nil)
	b := startWorker(t, []string{n.address()}, func(s *Spec) { s.MaxMessage = 1000 })
	c := b.dial("")
	c.say(strings.Repeat("x", 999) + "\n")
	if got := c.hear(); len(got) != 1001 {
		t.Fatal(len(got))
	}
	c.say(strings.Repeat("x", 1001))
	if code, _ := c.refusal(); code != -32600 {
		t.Fatal(code)
	}
}

func TestBackPressureIsBounded(t *testing.T) {
	release := make(chan struct{})
	n := startNode(t, "a", func(c *net.TCPConn) {
		<-release
		_, _ = io.Copy(io.Discard, c)
	})
	b := startWorker(t, []string{n.address()}, func(s *Spec) { s.Limits.MessagesPerSecond = 0 })
	c := b.dial("")
	line := append(bytes.Repeat([]byte("x"), 1023), '\n')
	stuck := make(chan int)
	const total = 64 << 20
	go func() {
		sent := 0
		for sent < total {
			_ = c.SetWriteDeadline(time.Now().Add(300 * time.Millisecond))
			n, err := c.Write(line)
			sent += n
			if err != nil {
				stuck <- sent
				line = line[n:]
				_ = c.SetWriteDeadline(time.Now().Add(10 * time.Second))
				_, _ = c.Write(line)
				break
			}
		}
		_ = c.CloseWrite()
	}()
	if sent := <-stuck; sent >= total {
		t.Fatal("nothing held the client back")
	}
	b.on(func() {
		for p := b.backends[0].pairs; p != nil; p = p.next {
			if held := p.node.Pending(); held == 0 || held > 64<<10 {
				t.Errorf("%d bytes are held for the node", held)
			}
		}
	})
	close(release)
	b.eventually("the pair to end", func() bool { return b.board.Active() == 0 })
}

func TestIdleTimeout(t *testing.T) {
	n := startNode(t, "a", nil)
	b := startWorker(t, []string{n.address()}, func(s *Spec) { s.Timeouts.Idle = 150 * time.Millisecond })
	c := b.dial("")
	start := time.Now()
	c.say("x\n")
	c.hear()
	if _, err := c.r.ReadByte(); err != io.EOF {
		t.Fatal(err)
	}
	if idle := time.Since(start); idle < 150*time.Millisecond {
		t.Fatalf("closed after %v", idle)
	}
}

func TestSilentNodeIsReported(t *testing.T) {
	n := startNode(t, "a", func(c *net.TCPConn) { _, _ = io.Copy(io.Discard, c) })
	b := startWorker(t, []string{n.address()}, nil)
	b.dial("").say("anybody there?\n")
	select {
	case r := <-b.reports:
		if r.Reason != SuspectSilent || r.Errors != 0 {
			t.Fatalf("reported %+v", r)
		}
	case <-time.After(5 * time.Second):
		t.Fatal("nobody was told")
	}
}

func TestDrainWaitsForTheLastClient(t *testing.T) {
	n := startNode(t, "a", nil)
	b := startWorker(t, []string{n.address()}, nil)
	c := b.dial("")
	c.say("x\n")
	c.hear()
	b.on(func() { b.drain(time.Minute) })
	if _, err := net.Dial("tcp4", b.address); err == nil {
		t.Fatal("a draining worker accepts")
	}
	c.say("y\n")
	if got := c.hear(); got != "a:y" {
		t.Fatal(got)
	}
	c.Close()
	if kind := <-b.kinds; kind != messageDrained {
		t.Fatal(kind)
	}
}

func TestProxyProtocol(t *testing.T) {
	n := startNode(t, "a", func(c *net.TCPConn) {
		head := make([]byte, 28)
		if _, err := io.ReadFull(c, head); err != nil {
			return
		}
		h, size, err := parseProxyHeader(head)
		if err != nil || size != 28 {
			return
		}
		fmt.Fprintf(c, "%v %v\n", h.source, h.destination)
		_, _ = io.Copy(c, c)
	})
	b := startWorker(t, []string{n.address()}, func(s *Spec) {
		s.ProxyProtocol.Send = true
		s.ProxyProtocol.AcceptFrom = []string{"127.0.9.0/24"}
	})
	c := b.dial("")
	if got, want := c.hear(), fmt.Sprintf("%v %v", c.LocalAddr(), c.RemoteAddr()); got != want {
		t.Fatalf("node was told %s, want %s", got, want)
	}
	trusted := b.dial("127.0.9.1")
	source, destination := netip.MustParseAddrPort("192.0.2.1:1234"), netip.MustParseAddrPort("198.51.100.2:8000")
	header := appendProxyHeader(nil, source, destination)
	trusted.say(string(header[:7]))
	trusted.say(string(header[7:]) + "early\n")
	if got, want := trusted.hear(), fmt.Sprintf("%v %v", source, destination); got != want {
		t.Fatalf("node was told %s, want %s", got, want)
	}
	if got := trusted.hear(); got != "early" {
		t.Fatal(got)
	}
	if _, ok := b.board.Sources().Lookup(source.Addr()); !ok {
		t.Fatal("the balancer knows the peer, not the client")
	}
	bad := b.dial("127.0.9.2")
	bad.say("GET / HTTP/1.1\r\n")
	if _, err := bad.r.ReadByte(); err == nil {
		t.Fatal("a trusted peer without a header was served")
	}
}
