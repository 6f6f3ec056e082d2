package proxy

import (
	"flag"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/erlmcp/erlmcp/internal/mcp"
)

var (
	sourcesGone = flag.Int("sources.gone", 20_000, "addresses that have come and gone in TestAFullTableOfSources")
	sourcesHeld = flag.Int("sources.held", 3000, "addresses that hold a connection there")
)

// A table that is far too small for the addresses that come by protects as one that is large enough: newcomers are
// bounded, who goes on is banned, and so is who an operator bans.
func TestAFullTableOfSources(t *testing.T) {
	for name, test := range map[string]struct{ gone, held int }{
		"22":   {22, 22},
		"many": {*sourcesGone, *sourcesHeld},
	} {
		t.Run(name, func(t *testing.T) {
			b := serve(t, startNodes(t, 1), func(s *Spec) {
				s.Workers, s.SourceTable, s.MaxConnections = 2, 1024, 6000
				s.Limits.MaxPerSource, s.Limits.ConnectionsPerSecond = 5, 100
				s.Limits.Ban = Ban{Violations: 10, Window: time.Minute, For: time.Minute}
			})
			b.eventuallyState("n0", NodeUp)
			at := b.address("tcp")
			before := b.residents()
			knock := func(from netip.Addr) (*net.TCPConn, error) {
				d := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(from, 0)), Timeout: 10 * time.Second}
				c, err := d.Dial("tcp4", at)
				if err != nil {
					return nil, err
				}
				return c.(*net.TCPConn), nil
			}
			var coming sync.WaitGroup
			held := make([]*net.TCPConn, test.held)
			for worker := range 4 {
				coming.Go(func() {
					for i := worker; i < test.gone+test.held; i += 4 {
						c, err := knock(netip.AddrFrom4([4]byte{127, 20, byte(i >> 8), byte(i)}))
						switch {
						case err != nil:
							t.Errorf("source %d: %v", i, err)
							return
						case i < test.gone:
							_ = c.SetLinger(0)
							c.Close()
						default:
							held[i-test.gone] = c
							t.Cleanup(func() { c.Close() })
						}
					}
				})
			}
			coming.Wait()
			if t.Failed() {
				t.FailNow()
			}
			b.eventually("those to be in who hold one", func(s *Stats) bool { return s.Connections.Active >= int64(test.held*9/10) })
			t.Logf("%+v, %d held", b.stats().Sources, b.stats().Connections.Active)

			// A newcomer.
			served := 0
			for range 20 {
				c := b.dialFrom(at, "127.0.9.1")
				c.say("x\n")
				if line := c.hear(); line == "n0:x" {
					served++
				}
			}
			if served > 5 || served == 0 {
				t.Errorf("a newcomer holds %d, want 5", served)
			}

			// One that goes on.
			banned := func(from string) bool {
				list, err := b.Bans(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				for _, ban := range list {
					if ban.Source == from {
						return true
					}
				}
				return false
			}
			addr := netip.MustParseAddr("127.0.9.2")
			deadline := time.Now().Add(20 * time.Second)
			for !banned("127.0.9.2") {
				if time.Now().After(deadline) {
					t.Fatal("who goes on is not banned")
				}
				for range 200 {
					if c, err := knock(addr); err == nil {
						_ = c.SetLinger(0)
						c.Close()
					}
				}
			}

			// And orders.
			for i := range 50 {
				if _, err := b.Ban(t.Context(), fmt.Sprintf("127.0.10.%d", i+1), time.Hour); err != nil {
					t.Fatal(err)
				}
			}
			for i := range 50 {
				if from := fmt.Sprintf("127.0.10.%d", i+1); !banned(from) {
					t.Errorf("%s is not banned", from)
				}
			}
			if code, _ := b.dialFrom(at, "127.0.10.7").refusal(); code != mcp.CodeBanned {
				t.Errorf("who is banned is told %d", code)
			}
			if err := b.Unban(t.Context(), "127.0.10.7"); err != nil || banned("127.0.10.7") {
				t.Errorf("the ban is not lifted: %v", err)
			}
			b.wantSmall(before, 64<<20)
		})
	}
}

// A source that shares its slot is banned by its address, over HTTP and TCP, and those who share it are not.
func TestABanInASharedSlot(t *testing.T) {
	b := startWorker(t, []string{startNode(t, "a", nil).address()}, func(s *Spec) {
		s.Limits.ConnectionsPerSecond, s.Limits.MessagesPerSecond, s.Limits.Action = 0, 1, ActionReject
		s.Limits.Ban = Ban{Violations: 2, Window: time.Minute, For: time.Minute}
	})
	b.on(func() { // of others
		for i := range 3000 {
			s := b.board.Sources()
			s.Enter(0, s.Find(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), b.loop.Now()))
		}
	})
	c := b.dial("127.0.8.1")
	b.eventually("the ban", func() bool {
		c.say("{\"id\":1,\"method\":\"x\"}\n")
		c.hear()
		return b.banned("127.0.8.1")
	})
	if b.banned("127.0.8.2") {
		t.Error("another is banned")
	}
}
