package master

import (
	"bufio"
	"crypto/tls"
	"flag"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/erlmcp/erlmcp/internal/mcp"
	"github.com/erlmcp/erlmcp/internal/waittest"
	"github.com/erlmcp/erlmcp/proxy"
	"github.com/erlmcp/erlmcp/proxy/internal/board"
	"github.com/erlmcp/erlmcp/proxy/internal/proxytest"
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
			b := serve(t, proxytest.StartNodes(t, 1), func(s *proxy.Spec) {
				s.Workers, s.SourceTable, s.MaxConnections = 2, 1024, 6000
				s.Limits.MaxPerSource, s.Limits.ConnectionsPerSecond = 5, 100
				s.Limits.Ban = proxy.Ban{Violations: 10, Window: time.Minute, For: time.Minute}
			})
			b.eventuallyState("n0", proxy.NodeUp)
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
			b.eventually("those to be in who hold one", func(s *proxy.Stats) bool { return s.Connections.Active >= int64(test.held*9/10) })
			t.Logf("%+v, %d held", b.stats().Sources, b.stats().Connections.Active)

			// A newcomer.
			served := 0
			for range 20 {
				c := b.dialFrom(at, "127.0.9.1")
				c.Say("x\n")
				if line := c.Hear(); line == "n0:x" {
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
			waittest.Until(t, time.Minute, "a ban of who goes on", func() bool {
				for range 200 {
					if c, err := knock(addr); err == nil {
						_ = c.SetLinger(0)
						c.Close()
					}
				}
				return banned("127.0.9.2")
			})

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
			if code, _ := b.dialFrom(at, "127.0.10.7").Refusal(); code != mcp.CodeBanned {
				t.Errorf("who is banned is told %d", code)
			}
			if err := b.Unban(t.Context(), "127.0.10.7"); err != nil || banned("127.0.10.7") {
				t.Errorf("the ban is not lifted: %v", err)
			}
			b.wantSmall(before, 64<<20)
		})
	}
}

// A worker that has none of the connections of who holds most asks the one that has them.
func TestAnotherWorkerGivesWay(t *testing.T) {
	const most, newcomers = 60, 24
	b := serve(t, proxytest.StartNodes(t, 1), func(s *proxy.Spec) {
		s.Workers, s.MaxConnections, s.Limits.SharePercent = 2, most, 100
	})
	b.eventuallyState("n0", proxy.NodeUp)
	at := b.address("tcp")
	for held := int64(0); held < most; { // all of them in the first worker
		c := b.dialFrom(at, "127.0.8.1")
		c.Ask("x")
		if s := b.stats(); s.Workers[1].Active > 0 {
			c.Close()
			b.eventually("it to leave", func(s *proxy.Stats) bool { return s.Workers[1].Active == 0 })
		} else {
			held = s.Workers[0].Active
		}
	}
	for i := range newcomers {
		if node := b.dialFrom(at, fmt.Sprintf("127.0.9.%d", i+1)).Ask("x"); node != "n0" {
			t.Fatalf("newcomer %d: %s", i, node)
		}
	}
	b.eventually("as many to have given way", func(s *proxy.Stats) bool {
		return s.Connections.Active == most && s.Cut.GaveWay == newcomers
	})
	if s := b.stats(); s.Workers[1].Active == 0 || s.Refused.Full != 0 {
		t.Errorf("%d are in the other worker, %d refused", s.Workers[1].Active, s.Refused.Full)
	}
}

// One source has all places of several workers; newcomers find room, whichever worker they come to.
func TestOneSourceGivesWayInAllWorkers(t *testing.T) {
	const most, newcomers = 300, 100
	dir := t.TempDir()
	pair := proxytest.WritePair(t, dir, "127.0.0.1")
	b := serve(t, proxytest.StartNodes(t, 1), proxytest.WithSites(t, proxytest.WithTLS(dir, func(s *proxy.Spec) {
		s.Workers = 4
		s.MaxConnections, s.Limits.SharePercent = most, 100
	})))
	b.eventuallyState("n0", proxy.NodeUp)
	line, web, secure := b.address("tcp"), b.address("http"), b.address("https")
	before := b.residents()
	for i := range most {
		b.dialFrom([]string{line, web}[i%2], "127.0.8.1")
	}
	b.eventually("all places to be taken", func(s *proxy.Stats) bool { return s.Connections.Active == most })
	for i := range newcomers {
		from := fmt.Sprintf("127.0.9.%d", i+1)
		switch i % 3 {
		case 0:
			c := b.dialFrom(line, from)
			if node := c.Ask("x"); node != "n0" {
				t.Fatalf("newcomer %d: %s", i, node)
			}
		case 1:
			c := b.dialFrom(web, from)
			c.Say(proxytest.GetRequest)
			if line, err := c.Reader.ReadString('\n'); err != nil || !strings.Contains(line, "200") {
				t.Fatalf("newcomer %d: %q, %v", i, line, err)
			}
		default:
			c := tls.Client(b.dialFrom(secure, from).TCPConn, proxytest.Trusting(pair))
			_, _ = io.WriteString(c, proxytest.GetRequest)
			if line, err := bufio.NewReader(c).ReadString('\n'); err != nil || !strings.Contains(line, "200") {
				t.Fatalf("newcomer %d: %q, %v", i, line, err)
			}
		}
	}
	b.eventually("those who were asked to have given way", func(s *proxy.Stats) bool {
		return s.Connections.Active <= most && s.Cut.GaveWay >= newcomers
	})
	if s := b.stats(); s.Refused.Full != 0 || s.Cut.GaveWay > newcomers+3 {
		t.Errorf("%d refused, %d gave way", s.Refused.Full, s.Cut.GaveWay)
	}
	b.wantSmall(before, 32<<20)
}

// Clients that come one after the other and stay for a word are spread by weight, however few they are and whichever
// worker they come to.
func TestFewClientsOfABalancer(t *testing.T) {
	nodes := proxytest.StartNodes(t, 3)
	for _, balance := range []proxy.Balance{proxy.BalanceRoundRobin, proxy.BalanceLeastConn} {
		t.Run(string(balance), func(t *testing.T) {
			b := serve(t, nodes, func(s *proxy.Spec) {
				s.Balance, s.Sticky.TCP, s.Workers = balance, proxy.StickyNone, 3
				for i := range s.Nodes {
					s.Nodes[i].Weight = 3 - i
				}
			})
			got := map[string]int{}
			for range 60 {
				c := b.dial()
				got[c.Ask("hello")]++
				c.Close()
				b.eventually("the client to be gone", func(s *proxy.Stats) bool { return s.Connections.Active == 0 })
			}
			for name, want := range map[string]int{"n0": 30, "n1": 20, "n2": 10} {
				if off := got[name] - want; off < -1 || off > 1 {
					t.Errorf("%v", got)
				}
			}
		})
	}
}

// Reasons and what is counted by them stay in step.
func TestEveryCutIsShown(t *testing.T) {
	shown := map[string]bool{}
	var stats proxy.CutStats
	countBy(&stats, func(r board.Reason) uint64 { return uint64(r) })
	stats.Each(func(reason string, n uint64) {
		if board.Reason(n).String() != reason {
			t.Errorf("%s is counted with %v", reason, board.Reason(n))
		}
		shown[reason] = true
	})
	for _, r := range []board.Reason{
		board.ReasonDrain, board.ReasonIdle, board.ReasonUntaken, board.ReasonNodeDown, board.ReasonNodeLost,
		board.ReasonBadReply, board.ReasonClientGone, board.ReasonGaveWay, board.ReasonBadRequest, board.ReasonTooLarge,
	} {
		if !shown[r.String()] {
			t.Errorf("%v is not shown", r)
		}
	}
	if fmt.Sprint(len(shown)) != "10" {
		t.Errorf("shown are %v", shown)
	}
}

// wantSmall checks that no process has grown much.
func (b *balancer) wantSmall(before []uint64, most uint64) {
	b.t.Helper()
	after := b.residents()
	b.t.Logf("memory of master and workers: %d MiB, before %d MiB", proxytest.MiB(after), proxytest.MiB(before))
	for i := range min(len(before), len(after)) {
		if i == 0 && b.stats().PID == os.Getpid() {
			continue // the clients are in the same process
		}
		if after[i] > before[i]+raceFactor*most {
			b.t.Errorf("process %d has grown from %d to %d MiB", i, before[i]>>20, after[i]>>20)
		}
	}
}

// dialFrom connects to a listener from an address.
func (b *balancer) dialFrom(address, from string) *proxytest.Client {
	b.t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
	conn, err := d.Dial("tcp4", address)
	if err != nil {
		b.t.Fatal(err)
	}
	return proxytest.NewClient(b.t, conn, 20*time.Second)
}

// residents reads the memory of the master and its workers.
func (b *balancer) residents() (list []uint64) {
	list = append(list, residentBytes(b.stats().PID))
	for _, w := range b.stats().Workers {
		list = append(list, w.RSSBytes)
	}
	return list
}
