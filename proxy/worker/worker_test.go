package worker

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/erlmcp/erlmcp/proxy"
	"github.com/erlmcp/erlmcp/proxy/internal/board"
	"github.com/erlmcp/erlmcp/proxy/internal/proxyproto"
	"github.com/erlmcp/erlmcp/proxy/internal/proxytest"
	"github.com/erlmcp/erlmcp/proxy/internal/wire"
)

func TestIdleTimeout(t *testing.T) {
	n := proxytest.StartNode(t, "a", nil)
	b := startWorker(t, []string{n.Address()}, func(s *proxy.Spec) { s.Timeouts.Idle = 150 * time.Millisecond })
	c := b.dial("")
	start := time.Now()
	c.Say("x\n")
	c.Hear()
	if _, err := c.Reader.ReadByte(); err != io.EOF {
		t.Fatal(err)
	}
	if idle := time.Since(start); idle < 150*time.Millisecond {
		t.Fatalf("closed after %v", idle)
	}
}

// Waiting for the rate is not being idle.
func TestThrottledLongerThanTheIdleTimeout(t *testing.T) {
	n := proxytest.StartNode(t, "a", nil)
	b := startWorker(t, []string{n.Address()}, func(s *proxy.Spec) {
		s.Timeouts.Idle = 100 * time.Millisecond
		s.Limits.MessagesPerSecond = 10
		s.Limits.Action = proxy.ActionThrottle
	})
	c := b.dial("")
	batch := "[{}" + strings.Repeat(",{}", 14) + "]" // half a second more than may come at once
	c.Say(batch + "\nx\n")
	for _, want := range []string{"a:" + batch, "a:x"} {
		if got := c.Hear(); got != want {
			t.Fatalf("heard %q, want %q", got, want)
		}
	}
	if b.cell.Throttles.Load() == 0 {
		t.Error("nobody was throttled")
	}
}

func TestSilentNodeIsReported(t *testing.T) {
	n := proxytest.StartNode(t, "a", func(c *net.TCPConn) { _, _ = io.Copy(io.Discard, c) })
	b := startWorker(t, []string{n.Address()}, nil)
	b.dial("").Say("anybody there?\n")
	select {
	case r := <-b.reports:
		if r.Reason != wire.SuspectSilent || r.Errors != 0 {
			t.Fatalf("reported %+v", r)
		}
	case <-time.After(time.Minute):
		t.Fatal("nobody was told")
	}
}

func TestDrainWaitsForTheLastClient(t *testing.T) {
	n := proxytest.StartNode(t, "a", nil)
	b := startWorker(t, []string{n.Address()}, nil)
	c := b.dial("")
	c.Say("x\n")
	c.Hear()
	b.on(func() { b.drain(time.Minute) })
	if _, err := net.Dial("tcp4", b.address); err == nil {
		t.Fatal("a draining worker accepts")
	}
	c.Say("y\n")
	if got := c.Hear(); got != "a:y" {
		t.Fatal(got)
	}
	c.Close()
	if kind := <-b.kinds; kind != wire.MessageDrained {
		t.Fatal(kind)
	}
}

func TestProxyProtocol(t *testing.T) {
	n := proxytest.StartNode(t, "a", func(c *net.TCPConn) {
		head := make([]byte, 28)
		if _, err := io.ReadFull(c, head); err != nil {
			return
		}
		h, size, err := proxyproto.Parse(head)
		if err != nil || size != 28 {
			return
		}
		fmt.Fprintf(c, "%v %v\n", h.Source, h.Destination)
		_, _ = io.Copy(c, c)
	})
	b := startWorker(t, []string{n.Address()}, func(s *proxy.Spec) {
		s.ProxyProtocol.Send = true
		s.ProxyProtocol.AcceptFrom = []string{"127.0.9.0/24"}
	})
	c := b.dial("")
	if got, want := c.Hear(), fmt.Sprintf("%v %v", c.LocalAddr(), c.RemoteAddr()); got != want {
		t.Fatalf("node was told %s, want %s", got, want)
	}
	trusted := b.dial("127.0.9.1")
	source, destination := netip.MustParseAddrPort("192.0.2.1:1234"), netip.MustParseAddrPort("198.51.100.2:8000")
	header := proxyproto.Append(nil, source, destination)
	trusted.Say(string(header[:7]))
	trusted.Say(string(header[7:]) + "early\n")
	if got, want := trusted.Hear(), fmt.Sprintf("%v %v", source, destination); got != want {
		t.Fatalf("node was told %s, want %s", got, want)
	}
	if got := trusted.Hear(); got != "early" {
		t.Fatal(got)
	}
	if _, ok := b.board.Sources().Lookup(source.Addr()); !ok {
		t.Fatal("the balancer knows the peer, not the client")
	}
	bad := b.dial("127.0.9.2")
	bad.Say("GET / HTTP/1.1\r\n")
	if _, err := bad.Reader.ReadByte(); err == nil {
		t.Fatal("a trusted peer without a header was served")
	}
}

// A client takes the last words of a lost node also while the worker drains.
func TestDrainWaitsForLastWords(t *testing.T) {
	cut := make(chan struct{})
	n := proxytest.StartNode(t, "a", func(c *net.TCPConn) {
		go func() { <-cut; _ = c.SetLinger(0); c.Close() }()
		chunk := make([]byte, 64<<10)
		for {
			if _, err := c.Write(chunk); err != nil {
				return
			}
		}
	})
	b := startWorker(t, []string{n.Address()}, nil)
	c := b.dial("")
	var p *pair
	b.eventually("the client to be full", func() (full bool) {
		b.on(func() {
			if p = b.backends[0].pairs; p != nil {
				full = p.node.Paused()
			}
		})
		return full
	})
	close(cut)
	b.eventually("the node to be lost", func() (lost bool) {
		b.on(func() { lost = p.state == flushing })
		return lost
	})
	b.on(func() { b.drain(time.Minute) })
	got, err := io.Copy(io.Discard, c.Reader)
	if want := b.board.NodeTotals(0).BytesOut; err != nil || uint64(got) != want {
		t.Fatalf("%d bytes arrived of %d, %v", got, want, err)
	}
	if kind := <-b.kinds; kind != wire.MessageDrained {
		t.Fatal(kind)
	}
}

// A slot may be freed by the master while a worker, looking at the board a moment before, connects to it.
func TestNodeThatHasLeftKeepsNobody(t *testing.T) {
	b := startWorker(t, []string{proxytest.StartNode(t, "a", nil).Address(), proxytest.StartNode(t, "b", nil).Address()}, func(s *proxy.Spec) {
		s.Balance, s.Sticky.TCP = proxy.BalanceRoundRobin, proxy.StickyNone
	})
	for range 4 {
		c := b.dial("")
		c.Say("x\n")
		c.Hear()
	}
	b.board.SetNodeState(0, board.Absent, time.Now())
	b.respec(b.spec, wire.NodeSlot{Slot: 1, Node: b.spec.Nodes[1], Addr: b.backends[1].addr})
	b.eventually("its clients to be gone", func() bool { return b.board.NodeActive(0) == 0 })
	if n := b.board.NodeActive(1); n != 2 {
		t.Fatalf("%d connections on the other node", n)
	}
}
