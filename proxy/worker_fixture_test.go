package proxy

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/charmbracelet/log"
	"golang.org/x/sys/unix"

	"github.com/erlmcp/erlmcp/internal/prefork"
	"github.com/erlmcp/erlmcp/internal/topology"
	"github.com/erlmcp/erlmcp/internal/waittest"
	"github.com/erlmcp/erlmcp/proxy/internal/affinity"
	"github.com/erlmcp/erlmcp/proxy/internal/board"
)

// bench is a worker in this process between real clients and fake nodes.
type bench struct {
	*worker
	t       testing.TB
	address string // of the TCP frontend
	web     string // of the HTTP frontend
	secure  string // of the HTTPS frontend
	given   WorkerSpec
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

// startWorker runs a worker over the given node addresses, all of them up. One that begins with https:// is
// of a node called localhost that speaks TLS.
func startWorker(t testing.TB, nodes []string, change func(*Spec)) *bench {
	t.Helper()
	shared, err := board.Create(board.Layout{Workers: 1, Sources: 1024})
	if err != nil {
		t.Fatal(err)
	}
	spec := Default()
	spec.SourceTable = 1024
	spec.Limits.Exempt = nil // clients of tests come from this machine
	var slots []NodeSlot
	for i, address := range nodes {
		address, secure := strings.CutPrefix(address, "https://")
		at := netip.MustParseAddrPort(address)
		n := topology.Node{Name: fmt.Sprintf("n%d", i), TCP: int(at.Port()), HTTP: int(at.Port())}
		if secure {
			n = topology.Node{Name: n.Name, URL: fmt.Sprintf("https://localhost:%d/mcp", at.Port())}.Complete()
		}
		spec.Nodes = append(spec.Nodes, n)
		slots = append(slots, NodeSlot{Slot: i, Node: n, Addr: at.Addr()})
		up(shared, i)
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
	listeners[fileHTTPS], b.secure = listenFD(t)
	pair := testPair()
	var trust nodeTrust
	for name, into := range map[string]*[]byte{spec.NodeTLS.CA: &trust.CA, spec.NodeTLS.Cert: &trust.Cert, spec.NodeTLS.Key: &trust.Key} {
		if name != "" {
			if *into, err = os.ReadFile(name); err != nil {
				t.Fatal(err)
			}
		}
	}
	b.given = WorkerSpec{
		Spec: spec, Nodes: slots, MaxConnections: 1000, Key: make([]byte, affinity.MinKey),
		Certificate: pair.cert, CertificateKey: pair.key, NodeTrust: trust,
		TicketKeys: [][]byte{make([]byte, ticketKeySize)},
	}
	b.worker, err = newWorker(b.given, shared, listeners, prefork.Open, b, log.New(io.Discard))
	if err != nil {
		t.Fatal(err)
	}
	go func() { b.done <- b.loop.Run() }()
	t.Cleanup(func() {
		b.loop.Stop()
		if err := <-b.done; err != nil {
			t.Error(err)
		}
		b.access.close(b.worker)
		if n := shared.Active(); n != 0 {
			t.Errorf("%d connections are still counted", n)
		}
		if b.lingering != 0 || b.http.idle != 0 || b.http.zippers.InUse() != 0 {
			t.Errorf("%d clients linger, %d connections are idle, %d bodies are compressed", b.lingering, b.http.idle, b.http.zippers.InUse())
		}
		if n, seats := b.loop.Held(), b.crowd.Seats(); n != 0 || seats != 0 {
			t.Errorf("%d bytes are still in hand, and %d seats taken", n, seats)
		}
		for i := range nodes {
			if n := shared.NodeActive(i); n != 0 {
				t.Errorf("%d connections are still counted to node %d", n, i)
			}
			if n := shared.NodeTotals(i).Pending; n != 0 {
				t.Errorf("%d requests are still pending at node %d", n, i)
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

// exhaust has a source use up its rates for the next minute: more than is held.
func (b *bench) exhaust(source string) {
	b.on(func() {
		s, now := b.board.Sources(), b.loop.Now()
		id := s.Find(netip.MustParseAddr(source), now)
		if r := b.limits.connection; !r.unlimited() {
			board.ChargeAnyway(s.ConnectionRate(id), now, r.interval, r.burst, 60*int64(time.Second)/r.interval+int64(r.atOnce()))
		}
		if r := b.limits.message; !r.unlimited() {
			board.ChargeAnyway(s.MessageRate(id), now, r.interval, r.burst, 60*int64(time.Second)/r.interval+int64(r.atOnce()))
		}
	})
}

// banned reports whether a source is.
func (b *bench) banned(source string) (yes bool) {
	b.on(func() {
		s, now := b.board.Sources(), b.loop.Now()
		yes = s.BannedUntil(s.Find(netip.MustParseAddr(source), now)) > now
	})
	return yes
}

func (b *bench) eventually(what string, ok func() bool) {
	b.t.Helper()
	waittest.Until(b.t, 10*time.Second, what, ok)
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
	return serveNode(t, ln, name, serve)
}

// serveNode is startNode at a listener.
func serveNode(t testing.TB, ln net.Listener, name string, serve func(*net.TCPConn)) *fakeNode {
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

// up has a slot stand for a node of weight 1 that is up over all transports.
func up(b *board.Board, slot int) {
	for t := range board.Transports {
		b.Node(slot).Ports[t].Weight.Store(weightUnit)
	}
	b.SetNodeState(slot, board.Up, time.Now())
}
