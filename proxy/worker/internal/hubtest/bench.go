// Package hubtest runs a worker for the tests of its frontends.
package hubtest

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/charmbracelet/log"

	"github.com/erlmcp/erlmcp/internal/prefork"
	"github.com/erlmcp/erlmcp/internal/reactor"
	"github.com/erlmcp/erlmcp/internal/topology"
	"github.com/erlmcp/erlmcp/internal/waittest"
	"github.com/erlmcp/erlmcp/proxy"
	"github.com/erlmcp/erlmcp/proxy/internal/affinity"
	"github.com/erlmcp/erlmcp/proxy/internal/board"
	"github.com/erlmcp/erlmcp/proxy/internal/proxytest"
	"github.com/erlmcp/erlmcp/proxy/internal/wire"
	"github.com/erlmcp/erlmcp/proxy/worker/internal/hub"
)

// Bench is a worker in this process between real clients and fake nodes.
type Bench struct {
	*hub.Worker
	T       testing.TB
	Address string // of the TCP frontend
	Web     string // of the HTTP frontend
	Secure  string // of the HTTPS frontend
	Given   wire.WorkerSpec
	Reports chan wire.Suspect
	Kinds   chan string
	Done    chan error
}

// Send is the master's ear.
func (b *Bench) Send(kind string, data any) error {
	if s, ok := data.(wire.Suspect); ok {
		select {
		case b.Reports <- s:
		default:
		}
		return nil
	}
	select {
	case b.Kinds <- kind:
	default:
	}
	return nil
}

// Service makes the frontends of a worker.
type Service func(h *hub.Hub) []hub.Frontend

// Start runs a worker over the given node addresses, all of them up. One that begins with https:// is
// of a node called localhost that speaks TLS.
func Start(t testing.TB, nodes []string, change func(*proxy.Spec), serve Service) *Bench {
	t.Helper()
	shared, err := board.Create(board.Layout{Workers: 1, Sources: 1024})
	if err != nil {
		t.Fatal(err)
	}
	spec := proxy.Default()
	spec.SourceTable = 1024
	spec.Limits.Exempt = nil // clients of tests come from this machine
	var slots []wire.NodeSlot
	for i, address := range nodes {
		address, secure := strings.CutPrefix(address, "https://")
		at := netip.MustParseAddrPort(address)
		n := topology.Node{Name: fmt.Sprintf("n%d", i), TCP: int(at.Port()), HTTP: int(at.Port())}
		if secure {
			n = topology.Node{Name: n.Name, URL: fmt.Sprintf("https://localhost:%d/mcp", at.Port())}.Complete()
		}
		spec.Nodes = append(spec.Nodes, n)
		slots = append(slots, wire.NodeSlot{Slot: i, Node: n, Addr: at.Addr()})
		proxytest.MarkUp(shared, i)
	}
	if change != nil {
		change(&spec)
	}
	b := &Bench{
		T:       t,
		Reports: make(chan wire.Suspect, 1024),
		Kinds:   make(chan string, 16),
		Done:    make(chan error, 1),
	}
	pair := proxytest.LocalPair()
	var trust wire.NodeTrust
	for name, into := range map[string]*[]byte{spec.NodeTLS.CA: &trust.CA, spec.NodeTLS.Cert: &trust.Cert, spec.NodeTLS.Key: &trust.Key} {
		if name != "" {
			if *into, err = os.ReadFile(name); err != nil {
				t.Fatal(err)
			}
		}
	}
	b.Given = wire.WorkerSpec{
		Spec: spec, Nodes: slots, MaxConnections: 1000, Key: make([]byte, affinity.MinKey),
		Certificate: pair.Cert, CertificateKey: pair.Key, NodeTrust: trust,
		TicketKeys: [][]byte{make([]byte, wire.TicketKeySize)},
	}
	h, err := hub.New(shared, &b.Given, prefork.Open, b, log.New(io.Discard))
	if err != nil {
		t.Fatal(err)
	}
	frontends := serve(h)
	addresses := map[string]*string{proxy.ListenTCP: &b.Address, proxy.ListenHTTP: &b.Web, proxy.ListenHTTPS: &b.Secure}
	listeners := make(map[string]int)
	for _, f := range frontends {
		for name := range f.Acceptors() {
			listeners[name], *addresses[name] = proxytest.ListenFD(t)
		}
	}
	if b.Worker, err = hub.NewWorker(h, b.Given, listeners, frontends...); err != nil {
		t.Fatal(err)
	}
	go func() { b.Done <- b.Loop.Run() }()
	t.Cleanup(func() {
		b.Loop.Stop()
		if err := <-b.Done; err != nil {
			t.Error(err)
		}
		b.CloseAccess()
		if n := shared.Active(); n != 0 {
			t.Errorf("%d connections are still counted", n)
		}
		if b.Lingering != 0 {
			t.Errorf("%d clients linger", b.Lingering)
		}
		if n, seats := b.Loop.Held(), b.Crowd.Seats(); n != 0 || seats != 0 {
			t.Errorf("%d bytes are still in hand, and %d seats taken", n, seats)
		}
		for i := range nodes {
			if n := shared.NodeActive(i); n != 0 {
				t.Errorf("%d connections are still counted to node %d", n, i)
			}
			if n := shared.NodeTotals(i).Pending; n != 0 {
				t.Errorf("%d requests are still pending at node %d", n, i)
			}
			if n := shared.NodeTotals(i).Idle; n != [board.Transports]int64{} {
				t.Errorf("%d connections to node %d are still idle", n, i)
			}
		}
		shared.Close()
	})
	return b
}

// On runs fn on the loop.
func (b *Bench) On(fn func()) {
	done := make(chan struct{})
	b.Loop.Post(func() { fn(); close(done) })
	<-done
}

// Pass returns when so much time has passed on the loop, and what was due in it has happened.
func (b *Bench) Pass(d time.Duration) {
	passed := make(passing)
	var timer reactor.Timer
	b.On(func() { b.Loop.Schedule(&timer, d, passed) })
	<-passed
}

type passing chan struct{}

func (p passing) OnTimer(*reactor.Timer) { close(p) }

// Exhaust has a source use up its rates for the next minute: more than is held.
func (b *Bench) Exhaust(source string) {
	b.On(func() {
		s, now := b.Board.Sources(), b.Loop.Now()
		id := s.Find(netip.MustParseAddr(source), now)
		if r := b.Limits.Connection; !r.Unlimited() {
			board.ChargeAnyway(s.ConnectionRate(id), now, r.Interval, r.Burst, 60*int64(time.Second)/r.Interval+int64(r.AtOnce()))
		}
		if r := b.Limits.Message; !r.Unlimited() {
			board.ChargeAnyway(s.MessageRate(id), now, r.Interval, r.Burst, 60*int64(time.Second)/r.Interval+int64(r.AtOnce()))
		}
	})
}

// Banned reports whether a source is.
func (b *Bench) Banned(source string) (yes bool) {
	b.On(func() {
		s, now := b.Board.Sources(), b.Loop.Now()
		yes = s.BannedUntil(s.Find(netip.MustParseAddr(source), now)) > now
	})
	return yes
}

// Eventually waits for something.
func (b *Bench) Eventually(what string, ok func() bool) {
	b.T.Helper()
	waittest.Until(b.T, time.Minute, what, ok)
}

// NeedsLoopback skips a test whose clients have addresses of their own.
func NeedsLoopback(t testing.TB) {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip("needs all of 127.0.0.0/8")
	}
}

// Dial connects a client, from a source address of its own if one is given.
func (b *Bench) Dial(from string) *proxytest.Client {
	b.T.Helper()
	return b.DialTo(b.Address, from)
}

// DialTo connects a client to an address.
func (b *Bench) DialTo(address, from string) *proxytest.Client {
	b.T.Helper()
	d := net.Dialer{}
	if from != "" {
		NeedsLoopback(b.T)
		d.LocalAddr = &net.TCPAddr{IP: net.ParseIP(from)}
	}
	conn, err := d.Dial("tcp4", address)
	if err != nil {
		b.T.Fatal(err)
	}
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		b.T.Fatal(err)
	}
	b.T.Cleanup(func() { conn.Close() })
	return &proxytest.Client{T: b.T, TCPConn: conn.(*net.TCPConn), Reader: bufio.NewReader(conn)}
}
