package worker

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
)

// bench is a worker in this process between real clients and fake nodes.
type bench struct {
	*worker
	t       testing.TB
	address string // of the TCP frontend
	web     string // of the HTTP frontend
	secure  string // of the HTTPS frontend
	given   wire.WorkerSpec
	reports chan wire.Suspect
	kinds   chan string
	done    chan error
}

// Send is the master's ear.
func (b *bench) Send(kind string, data any) error {
	if s, ok := data.(wire.Suspect); ok {
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
func startWorker(t testing.TB, nodes []string, change func(*proxy.Spec)) *bench {
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
	b := &bench{
		t:       t,
		reports: make(chan wire.Suspect, 1024),
		kinds:   make(chan string, 16),
		done:    make(chan error, 1),
	}
	listeners := make(map[string]int)
	listeners[wire.FileTCP], b.address = proxytest.ListenFD(t)
	listeners[wire.FileHTTP], b.web = proxytest.ListenFD(t)
	listeners[wire.FileHTTPS], b.secure = proxytest.ListenFD(t)
	pair := proxytest.LocalPair()
	var trust wire.NodeTrust
	for name, into := range map[string]*[]byte{spec.NodeTLS.CA: &trust.CA, spec.NodeTLS.Cert: &trust.Cert, spec.NodeTLS.Key: &trust.Key} {
		if name != "" {
			if *into, err = os.ReadFile(name); err != nil {
				t.Fatal(err)
			}
		}
	}
	b.given = wire.WorkerSpec{
		Spec: spec, Nodes: slots, MaxConnections: 1000, Key: make([]byte, affinity.MinKey),
		Certificate: pair.Cert, CertificateKey: pair.Key, NodeTrust: trust,
		TicketKeys: [][]byte{make([]byte, wire.TicketKeySize)},
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

// on runs fn on the loop.
func (b *bench) on(fn func()) {
	done := make(chan struct{})
	b.loop.Post(func() { fn(); close(done) })
	<-done
}

// pass returns when so much time has passed on the loop, and what was due in it has happened.
func (b *bench) pass(d time.Duration) {
	passed := make(passing)
	var timer reactor.Timer
	b.on(func() { b.loop.Schedule(&timer, d, passed) })
	<-passed
}

type passing chan struct{}

func (p passing) OnTimer(*reactor.Timer) { close(p) }

// exhaust has a source use up its rates for the next minute: more than is held.
func (b *bench) exhaust(source string) {
	b.on(func() {
		s, now := b.board.Sources(), b.loop.Now()
		id := s.Find(netip.MustParseAddr(source), now)
		if r := b.limits.Connection; !r.Unlimited() {
			board.ChargeAnyway(s.ConnectionRate(id), now, r.Interval, r.Burst, 60*int64(time.Second)/r.Interval+int64(r.AtOnce()))
		}
		if r := b.limits.Message; !r.Unlimited() {
			board.ChargeAnyway(s.MessageRate(id), now, r.Interval, r.Burst, 60*int64(time.Second)/r.Interval+int64(r.AtOnce()))
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
	waittest.Until(b.t, time.Minute, what, ok)
}

// dial connects a client, from a source address of its own if one is given.
func (b *bench) dial(from string) *proxytest.Client {
	b.t.Helper()
	return b.dialTo(b.address, from)
}

func (b *bench) dialTo(address, from string) *proxytest.Client {
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
	return &proxytest.Client{T: b.t, TCPConn: conn.(*net.TCPConn), Reader: bufio.NewReader(conn)}
}
