package swarm

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"
	"unsafe"

	"github.com/erlmcp/erlmcp/internal/mcp"
	"github.com/erlmcp/erlmcp/internal/mono"
	"github.com/erlmcp/erlmcp/internal/waittest"
	"github.com/erlmcp/erlmcp/loadtest/internal/ask"
	"github.com/erlmcp/erlmcp/loadtest/internal/sources"
	"github.com/erlmcp/erlmcp/loadtest/internal/target"
	"github.com/erlmcp/erlmcp/loadtest/internal/wire"
	"github.com/erlmcp/erlmcp/loadtest/internal/work"
)

// testSwarm is a swarm on a running loop, against a server that answers as the test likes.
type testSwarm struct {
	t *testing.T
	*Swarm
}

// answer makes the lines to send for the n-th request of a connection, "" for none.
type answer func(id string, n int) string

func nodeReply(id, name string) string {
	return fmt.Sprintf(`{"jsonrpc":"2.0","id":%s,"result":{"content":[{"type":"text","text":%q}]}}`+"\n", id, name)
}

func startSwarm(t *testing.T, connections int, timeout time.Duration, a answer) *testSwarm {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var served sync.WaitGroup
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			served.Go(func() {
				defer conn.Close()
				lines := bufio.NewScanner(conn)
				for n := 0; lines.Scan(); n++ {
					var m mcp.Envelope
					if json.Unmarshal(lines.Bytes(), &m) != nil {
						return
					}
					fmt.Fprint(conn, a(string(m.ID), n))
				}
			})
		}
	}()
	swarm, err := Start(func() {}, func(err error) { t.Error(err) })
	if err != nil {
		t.Fatal(err)
	}
	s := &testSwarm{t, swarm}
	t.Cleanup(func() {
		l.Close()
		s.Stop()
		served.Wait()
	})
	s.on(func() {
		o := &wire.OpenOrder{
			Driver: wire.Socket, Endpoint: target.Endpoint{
				Target: target.Target{Transport: target.TCP}, Address: netip.MustParseAddrPort(l.Addr().String()),
			},
			Work: work.Work{Era: mcp.StatelessEra, Verify: ask.Whoami, Naming: work.ByAnswer}, Connections: connections,
			Sources: sources.KernelsChoice, Timeout: timeout, Patience: wire.LeastPatience,
		}
		if err := s.open(mono.Now(), 1e6, o); err != nil {
			t.Error(err)
		}
		if s.open(mono.Now(), 1e6, o) == nil {
			t.Error("opened twice")
		}
		if s.ramp.next > 1 {
			t.Error("more than one connection of the source was opened")
		}
		s.openRest(mono.Now())
	})
	return s
}

// on runs fn on the loop and waits for it.
func (s *testSwarm) on(fn func()) {
	done := make(chan struct{})
	s.loop.Post(func() { defer close(done); fn() })
	<-done
}

// await waits until the counts are as wanted.
func (s *testSwarm) await(what string, wanted func(wire.Counts) bool) wire.Counts {
	s.t.Helper()
	return waittest.For(s.t, time.Minute, what, func() (n wire.Counts, ok bool) {
		n = s.Counts()
		return n, wanted(n)
	})
}

func (s *testSwarm) awaitVerified(n int) wire.Counts {
	s.t.Helper()
	return s.await("verified connections", func(c wire.Counts) bool { return c.Verified == n })
}

// A connection that does nothing costs an agent little; the kernel's part comes on top.
func TestClientIsSmall(t *testing.T) {
	if size := unsafe.Sizeof(client{}); size > 80 {
		t.Errorf("a client takes %d bytes", size)
	}
}

func TestSwarmNoticesAnotherNode(t *testing.T) {
	s := startSwarm(t, 1, time.Minute, func(id string, n int) string { return nodeReply(id, fmt.Sprintf("node%d", min(n, 1))) })
	s.awaitVerified(1)
	s.on(func() { s.ping(mono.Now(), 1000, &wire.PingOrder{For: 10 * time.Millisecond, Record: true}) })
	n := s.await("answers", func(n wire.Counts) bool { return n.Requests.Sent == 10 && n.Requests.UnderWay() == 0 })
	if n.Moved != 10 || n.Requests.Answered != 10 || n.Nodes["node0"] != 1 {
		t.Errorf("%+v", n)
	}
}

func TestSwarmCountsErrorsAndSilence(t *testing.T) {
	s := startSwarm(t, 1, 300*time.Millisecond, func(id string, n int) string {
		switch n {
		case 0:
			return nodeReply(id, "a")
		case 1:
			return string(mcp.AppendError(nil, []byte(id), mcp.CodeRateLimited, "slow down"))
		case 2:
			return `{"jsonrpc":"2.0","method":"notifications/message"}` + "\n" + nodeReply(id, "a")
		}
		return ""
	})
	s.awaitVerified(1)
	s.on(func() { s.ping(mono.Now(), 1000, &wire.PingOrder{For: 4 * time.Millisecond}) })
	n := s.await("the time-out", func(n wire.Counts) bool { return n.Dropped == 1 })
	if want := (wire.RequestCounts{Sent: 4, Answered: 1, Failed: 1, Lost: 2}); n.Requests != want {
		t.Errorf("%+v", n.Requests)
	}
	if n.Losses["timeout"] != 1 {
		t.Errorf("%+v", n.Losses)
	}
	s.awaitVerified(1) // it comes back
}

func TestSwarmGivesUpOnServersWithoutNodes(t *testing.T) {
	for name, text := range map[string]string{
		"reply":   `{"jsonrpc":"2.0","id":1,"result":{}}` + "\n",
		"timeout": "",
		"rate":    string(mcp.AppendError(nil, nil, mcp.CodeRateLimited, "later")),
	} {
		s := startSwarm(t, 1, 50*time.Millisecond, func(string, int) string { return text })
		n := s.await(name, func(n wire.Counts) bool { return n.Failures[name] > 0 })
		if n.Verified != 0 || n.Requests.Sent != 0 {
			t.Errorf("%s: %+v", name, n)
		}
		s.on(func() { s.close(1e6) })
		s.await("the end", func(n wire.Counts) bool { return n.Open == 0 })
	}
}

func TestSwarmClosesInAnyState(t *testing.T) {
	s := startSwarm(t, 200, time.Minute, func(id string, n int) string {
		if n == 0 {
			return nodeReply(id, "a")
		}
		return ""
	})
	s.await("some verified connections", func(n wire.Counts) bool { return n.Verified > 20 })
	s.on(func() {
		s.ping(mono.Now(), 1e5, &wire.PingOrder{})
		s.sticky(1e5, &wire.StickyOrder{Sample: 10})
		s.close(1e5)
		s.close(1)
	})
	n := s.await("the end", func(n wire.Counts) bool { return n.Open == 0 })
	if n.Verified != 0 || n.Dropped != 0 {
		t.Errorf("%+v", n)
	}
	s.on(func() {
		if s.unverified != 0 {
			t.Errorf("%d handshakes are under way", s.unverified)
		}
	})
}

// What the other side closes while the swarm does is not dropped.
func TestSwarmIsClosedFromBothSides(t *testing.T) {
	s := startSwarm(t, 10, time.Minute, func(id string, _ int) string { return nodeReply(id, "a") })
	s.awaitVerified(10)
	s.on(func() {
		s.close(100)
		s.clients[9].OnEOF(&s.clients[9].conn)
	})
	if n := s.await("the end", func(n wire.Counts) bool { return n.Open == 0 }); n.Dropped != 0 || n.Verified != 0 {
		t.Errorf("%+v", n)
	}
}

func TestSwarmSamplesAnew(t *testing.T) {
	s := startSwarm(t, 10, time.Minute, func(id string, _ int) string { return nodeReply(id, "a") })
	s.awaitVerified(10)
	for range 3 {
		s.on(func() { s.sticky(1e5, &wire.StickyOrder{Sample: 4}) })
		n := s.await("the sample", func(n wire.Counts) bool { return n.Verified == 10 && n.Sticky.Settled() })
		if n.Sticky != (wire.StickyCounts{Sampled: 4, Consistent: 4}) || n.Dropped != 0 {
			t.Errorf("%+v", n)
		}
	}
	n := s.await("nothing", func(wire.Counts) bool { return true })
	if n.Attempts != 22 { // ten, and three times four
		t.Errorf("%d attempts", n.Attempts)
	}
}

func TestArmedSwarm(t *testing.T) {
	s := startSwarm(t, 10, time.Minute, func(id string, n int) string {
		if n == 0 {
			return nodeReply(id, "a")
		}
		return ""
	})
	s.awaitVerified(10)
	s.on(func() {
		if n := s.arm("b"); n != 0 {
			t.Errorf("%d clients of an unknown node", n)
		}
		if n := s.arm("a"); n != 10 {
			t.Errorf("%d clients on the node", n)
		}
		s.ramp.rate = 4
		if s.arm("a"); s.patience.Spread != 1250*time.Millisecond {
			t.Errorf("10 clients that came at 4/s come back within %s", s.patience.Spread)
		}
		for i := range 3 {
			s.clients[i].conn.Close()
		}
	})
	n := s.await("the displaced to be back", func(n wire.Counts) bool { return n.Recovered == 3 })
	if n.Displaced != 3 || n.Dropped != 0 || n.FirstLost == 0 || n.LastRecovered < n.FirstLost {
		t.Errorf("%+v", n)
	}
	s.on(func() {
		s.sticky(1e5, &wire.StickyOrder{Sample: 100})
		s.disarm()
		s.clients[0].conn.Close()
	})
	n = s.await("the dropped one to be back", func(n wire.Counts) bool { return n.Dropped == 1 && n.Verified == 10 })
	s.on(func() {
		if n := s.arm(wire.EveryNode); n != 10 {
			t.Errorf("%d clients on all nodes", n)
		}
		s.clients[0].conn.Close()
	})
	s.await("the displaced one to be back", func(n wire.Counts) bool { return n.Recovered == 1 && n.Displaced == 1 && n.Dropped == 1 })
	if n.Sticky.Sampled != 7 {
		t.Errorf("%d clients were sampled, want those that were never displaced", n.Sticky.Sampled)
	}
}
