package line

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/erlmcp/erlmcp/proxy"
	"github.com/erlmcp/erlmcp/proxy/internal/board"
	"github.com/erlmcp/erlmcp/proxy/internal/proxytest"
	"github.com/erlmcp/erlmcp/proxy/internal/wire"
	"github.com/erlmcp/erlmcp/proxy/worker/internal/hubtest"
)

// Whatever clients, nodes and the master do to a worker: who was served by a node that stayed gets all
// its answers in order, nobody hears anything else than answers, and in the end nothing is left.
func TestChaos(t *testing.T) {
	hubtest.NeedsLoopback(t)
	for _, action := range []proxy.Action{proxy.ActionThrottle, proxy.ActionReject} {
		t.Run(string(action), func(t *testing.T) {
			seed := uint64(time.Now().UnixNano())
			t.Logf("seed %d", seed)
			nodes := []string{
				proxytest.StartNode(t, "flaky", flaky(seed)).Address(),
				proxytest.StartNode(t, "goes", nil).Address(),
				proxytest.StartNode(t, "stays", nil).Address(),
			}
			listening := proxytest.OpenFiles(t)
			b := startWorker(t, nodes, func(s *proxy.Spec) {
				s.MaxMessage = 64 << 10
				s.MaxConnections = 200 // nobody gives way
				s.Limits.MaxPerSource = 8
				s.Limits.ConnectionsPerSecond = 0
				s.Limits.MessagesPerSecond = 2000
				s.Limits.Action = action
				s.Limits.Ban.Violations = 0
			})
			end := make(chan struct{})
			var master sync.WaitGroup
			var met map[*pair]bool
			master.Go(func() { met = b.disturb(seed, end) })
			var clients sync.WaitGroup
			var served atomic.Int64
			for i := range 48 {
				clients.Go(func() {
					rng := rand.New(rand.NewPCG(seed, uint64(i)))
					for range 25 {
						if err := b.live(fmt.Sprintf("127.0.8.%d", i%12+1), rng, action == proxy.ActionThrottle, &served); err != nil {
							t.Errorf("client %d: %v", i, err)
							return
						}
					}
				})
			}
			clients.Wait()
			close(end)
			master.Wait()
			t.Logf("%d served to the end by the node that stayed", served.Load())
			if served.Load() == 0 {
				t.Error("nobody was served by the node that stayed")
			}
			b.Eventually("the last client to be gone", func() (gone bool) {
				b.On(func() { gone = b.Open == 0 })
				return gone
			})
			b.On(func() { b.wantNothingLeft(len(nodes), met) })
			const own = 6 // the loop's, three listeners, and one of the runtime's
			b.Eventually("all descriptors to be given back", func() bool { return proxytest.OpenFiles(t) <= listening+own })
		})
	}
}

// flaky answers some lines and then ends in one of several ways.
func flaky(seed uint64) func(*net.TCPConn) {
	var count atomic.Uint64
	return func(c *net.TCPConn) {
		rng := rand.New(rand.NewPCG(seed, 1<<32+count.Add(1)))
		r := bufio.NewReader(c)
		for range rng.IntN(20) {
			line, err := r.ReadString('\n')
			if err != nil {
				return
			}
			if _, err := io.WriteString(c, "flaky:"+line); err != nil {
				return
			}
		}
		switch rng.IntN(4) {
		case 0:
			_ = c.SetLinger(0)
		case 1:
			_ = c.CloseWrite()
			_, _ = io.Copy(io.Discard, r)
		case 2:
			_, _ = io.WriteString(c, "flaky:half")
			_ = c.CloseWrite()
			_, _ = io.Copy(io.Discard, r)
		}
	}
}

// disturb plays a master that changes its mind all the time. It returns the pairs that it has met.
func (b *bench) disturb(seed uint64, end <-chan struct{}) (met map[*pair]bool) {
	met = make(map[*pair]bool)
	rng := rand.New(rand.NewPCG(seed, 1<<33))
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	spec := b.Spec
	slots := make([]wire.NodeSlot, len(spec.Nodes))
	for i, n := range spec.Nodes {
		slots[i] = wire.NodeSlot{Slot: i, Node: n, Addr: b.Backends[i].Addr}
	}
	states := []board.State{board.Up, board.Up, board.Down, board.Draining}
	for {
		select {
		case <-end:
			return met
		case <-tick.C:
		}
		b.On(func() {
			for p := range b.tcp.all {
				met[p] = true
			}
		})
		switch rng.IntN(4) {
		case 0, 1:
			b.Board.SetNodeState(rng.IntN(2), states[rng.IntN(len(states))], time.Now())
			b.On(b.SyncNodes)
		case 2: // the limit of messages goes and comes
			s := spec
			s.Limits.MessagesPerSecond *= rng.IntN(2)
			s.Timeouts.Idle = time.Duration(rng.IntN(2)) * time.Minute
			b.Respec(s, slots...)
		case 3: // a node leaves and comes back
			b.Board.SetNodeState(1, board.Absent, time.Now())
			b.Respec(spec, slots[0], slots[2])
			b.Board.SetNodeState(1, board.Up, time.Now())
			b.Respec(spec, slots...)
		}
	}
}

// live is one client's life. all says that no line of the client's is rejected.
func (b *bench) live(from string, rng *rand.Rand, all bool, served *atomic.Int64) error {
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
	conn, err := d.Dial("tcp4", b.Address)
	if err != nil {
		return err
	}
	defer conn.Close()
	c := conn.(*net.TCPConn)
	if err := c.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		return err
	}
	lines := rng.IntN(40) + 1
	var said bytes.Buffer
	for i := range lines {
		fmt.Fprintf(&said, `{"id":%d,"method":%q}`+"\n", i, strings.Repeat("m", rng.IntN(4<<10)))
	}
	text := said.String()
	switch rng.IntN(6) {
	case 0: // goes without a word, or in the middle of one
		_, _ = io.WriteString(c, text[:rng.IntN(len(text))])
		return nil
	case 1: // is cut off
		_, _ = io.WriteString(c, text[:rng.IntN(len(text))])
		return c.SetLinger(0)
	case 2: // says too much
		_, _ = io.WriteString(c, strings.Repeat("x", 65<<10))
		_, _ = io.Copy(io.Discard, c)
		return nil
	}
	wrote := make(chan error, 1)
	pause := time.Duration(rng.IntN(3)) * time.Millisecond
	go func() {
		_, err := io.WriteString(c, text)
		if err == nil {
			err = c.CloseWrite()
		}
		wrote <- err
	}()
	time.Sleep(pause) // a slow reader
	heard, err := io.ReadAll(c)
	if writeErr := <-wrote; err == nil {
		err = writeErr
	}
	return judge(text, string(heard), all, err, served)
}

// judge compares what a client has said with what it has heard until its connection ended with err.
func judge(said, heard string, all bool, err error, served *atomic.Int64) error {
	rest, stays := said, false
	for line := range strings.Lines(heard) {
		if strings.Contains(line, `"error"`) {
			continue
		}
		name, text, ok := strings.Cut(line, ":")
		if !ok || name == "flaky" && !strings.HasSuffix(text, "\n") {
			continue
		}
		stays = name == "stays"
		for rest != "" && !strings.HasPrefix(rest, strings.TrimSuffix(text, "\n")) {
			if all {
				return fmt.Errorf("%s answered %.40q, want %.40q", name, text, rest)
			}
			_, rest, _ = strings.Cut(rest, "\n") // that one was rejected
		}
		if rest == "" {
			return fmt.Errorf("%s answered %.40q, which was not said", name, text)
		}
		rest = rest[len(text):]
	}
	if !stays {
		return nil // refused, or cut off with its node
	}
	served.Add(1)
	if err != nil || all && rest != "" {
		return fmt.Errorf("%d bytes of %d were not answered: %w", len(rest), len(said), err)
	}
	return nil
}

// wantNothingLeft looks at a worker without clients, and at pairs it had. It runs on the loop.
func (b *bench) wantNothingLeft(nodes int, had map[*pair]bool) {
	if b.Lingering != 0 || b.Cell.Active.Load() != 0 {
		b.T.Errorf("%d clients linger, %d are counted", b.Lingering, b.Cell.Active.Load())
	}
	for i := range nodes {
		if b.tcp.nodes[i] != nil && b.tcp.nodes[i].pairs != nil || b.Board.NodeActive(i) != 0 {
			b.T.Errorf("node %d still has %d connections", i, b.Board.NodeActive(i))
		}
	}
	b.Board.Sources().Each(func(_ board.SlotID, info board.Info) bool {
		if info.Live != 0 {
			b.T.Errorf("%v still has %d connections", info.Source, info.Live)
		}
		return true
	})
	for p := range had {
		if p.client.Open() || p.node.Open() || p.timer.Pending() || p.held || p.open != 0 {
			b.T.Errorf("a pair that has gone is in use: %+v", p)
		}
	}
}
