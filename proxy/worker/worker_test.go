package worker

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/charmbracelet/log"

	"github.com/erlmcp/erlmcp/proxy"
	"github.com/erlmcp/erlmcp/proxy/internal/board"
	"github.com/erlmcp/erlmcp/proxy/internal/proxyproto"
	"github.com/erlmcp/erlmcp/proxy/internal/proxytest"
	"github.com/erlmcp/erlmcp/proxy/internal/wire"
	"github.com/erlmcp/erlmcp/proxy/worker/internal/hub"
)

func TestIdleTimeout(t *testing.T) {
	n := proxytest.StartNode(t, "a", nil)
	b := startWorker(t, []string{n.Address()}, func(s *proxy.Spec) { s.Timeouts.Idle = 150 * time.Millisecond })
	c := b.Dial("")
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
	c := b.Dial("")
	batch := "[{}" + strings.Repeat(",{}", 14) + "]" // half a second more than may come at once
	c.Say(batch + "\nx\n")
	for _, want := range []string{"a:" + batch, "a:x"} {
		if got := c.Hear(); got != want {
			t.Fatalf("heard %q, want %q", got, want)
		}
	}
	if b.Cell.Throttles.Load() == 0 {
		t.Error("nobody was throttled")
	}
}

func TestSilentNodeIsReported(t *testing.T) {
	n := proxytest.StartNode(t, "a", func(c *net.TCPConn) { _, _ = io.Copy(io.Discard, c) })
	b := startWorker(t, []string{n.Address()}, nil)
	b.Dial("").Say("anybody there?\n")
	select {
	case r := <-b.Reports:
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
	c := b.Dial("")
	c.Say("x\n")
	c.Hear()
	b.On(func() { b.Drain(time.Minute) })
	if _, err := net.Dial("tcp4", b.Address); err == nil {
		t.Fatal("a draining worker accepts")
	}
	c.Say("y\n")
	if got := c.Hear(); got != "a:y" {
		t.Fatal(got)
	}
	c.Close()
	if kind := <-b.Kinds; kind != wire.MessageDrained {
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
	c := b.Dial("")
	if got, want := c.Hear(), fmt.Sprintf("%v %v", c.LocalAddr(), c.RemoteAddr()); got != want {
		t.Fatalf("node was told %s, want %s", got, want)
	}
	trusted := b.Dial("127.0.9.1")
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
	if _, ok := b.Board.Sources().Lookup(source.Addr()); !ok {
		t.Fatal("the balancer knows the peer, not the client")
	}
	bad := b.Dial("127.0.9.2")
	bad.Say("GET / HTTP/1.1\r\n")
	if _, err := bad.Reader.ReadByte(); err == nil {
		t.Fatal("a trusted peer without a header was served")
	}
}

// A slot may be freed by the master while a worker, looking at the board a moment before, connects to it.
func TestNodeThatHasLeftKeepsNobody(t *testing.T) {
	b := startWorker(t, []string{proxytest.StartNode(t, "a", nil).Address(), proxytest.StartNode(t, "b", nil).Address()}, func(s *proxy.Spec) {
		s.Balance, s.Sticky.TCP = proxy.BalanceRoundRobin, proxy.StickyNone
	})
	for range 4 {
		c := b.Dial("")
		c.Say("x\n")
		c.Hear()
	}
	b.Board.SetNodeState(0, board.Absent, time.Now())
	b.Respec(b.Spec, wire.NodeSlot{Slot: 1, Node: b.Spec.Nodes[1], Addr: b.Backends[1].Addr})
	b.Eventually("its clients to be gone", func() bool { return b.Board.NodeActive(0) == 0 })
	if n := b.Board.NodeActive(1); n != 2 {
		t.Fatalf("%d connections on the other node", n)
	}
}

// What goes wrong with every client is not said for every client: the loop waits for the log.
func TestComplaintsAreFew(t *testing.T) {
	n := proxytest.StartNode(t, "a", nil)
	for frontend, refused := range map[string]func(*bench){
		"tcp": func(b *bench) {
			if code, _ := b.Dial("").Refusal(); code != -32018 {
				t.Fatal(code)
			}
		},
		"http": func(b *bench) {
			c := b.Visit()
			c.Say(proxytest.GetRequest)
			c.Denied(503)
			c.Close()
		},
	} {
		t.Run(frontend, func(t *testing.T) {
			b := startWorker(t, []string{n.Address(), n.Address()}, func(s *proxy.Spec) { s.Source = "192.0.2.1" }) // not ours
			var lines proxytest.SyncBuffer
			b.On(func() { b.Log = log.New(&lines) })
			start := time.Now()
			for range 20 {
				refused(b)
			}
			most := 1 + int(time.Since(start)/hub.ComplaintEvery)
			if got := strings.Count(lines.String(), "\n"); got == 0 || got > most {
				t.Errorf("%d lines, want 1 to %d:\n%s", got, most, lines.String())
			}
			if n := b.Board.NodeTotals(0).ConnectErrors + b.Board.NodeTotals(1).ConnectErrors; n != 40 {
				t.Errorf("%d attempts are counted", n)
			}
		})
	}
}
