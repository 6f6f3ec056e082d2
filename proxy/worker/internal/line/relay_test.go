package line

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/erlmcp/erlmcp/proxy"
	"github.com/erlmcp/erlmcp/proxy/internal/proxytest"
	"github.com/erlmcp/erlmcp/proxy/internal/wire"
)

func TestRelayBothWays(t *testing.T) {
	n := proxytest.StartNode(t, "a", func(c *net.TCPConn) { _, _ = io.Copy(c, c); _ = c.CloseWrite() })
	b := startWorker(t, []string{n.Address()}, func(s *proxy.Spec) { s.Limits.MessagesPerSecond = 0 })
	c := b.Dial("")
	payload := bytes.Repeat([]byte("0123456789abcde\n"), 1<<20/16)
	go func() {
		_, _ = c.Write(payload)
		_ = c.CloseWrite()
	}()
	got, err := io.ReadAll(c.Reader)
	if err != nil || !bytes.Equal(got, payload) {
		t.Fatalf("%d bytes came back of %d, %v", len(got), len(payload), err)
	}
	b.Eventually("the pair to end", func() bool { return b.Board.Active() == 0 })
	totals := b.Board.NodeTotals(0)
	if totals.Total != 1 || totals.BytesIn != uint64(len(payload)) || totals.BytesOut != uint64(len(payload)) || totals.Messages != 1<<16 {
		t.Fatalf("counted %+v", totals)
	}
}

func TestNodeEndsFirst(t *testing.T) {
	n := proxytest.StartNode(t, "a", func(c *net.TCPConn) {
		_, _ = io.WriteString(c, "bye\n")
		_ = c.CloseWrite()
		_, _ = io.Copy(io.Discard, c)
	})
	b := startWorker(t, []string{n.Address()}, nil)
	c := b.Dial("")
	if got := c.Hear(); got != "bye" {
		t.Fatal(got)
	}
	if _, err := c.Reader.ReadByte(); err != io.EOF {
		t.Fatalf("after the node's end: %v", err)
	}
	c.Say("I can still speak\n")
	c.Close()
	b.Eventually("the pair to end", func() bool { return b.Board.Active() == 0 })
}

func TestThrottleLosesNothing(t *testing.T) {
	n := proxytest.StartNode(t, "a", nil)
	b := startWorker(t, []string{n.Address()}, func(s *proxy.Spec) { s.Limits.MessagesPerSecond = 50 })
	c := b.Dial("")
	const messages = 65
	go func() {
		for i := range messages {
			fmt.Fprintf(c, "%d\n", i)
		}
	}()
	start := time.Now()
	for i := range messages {
		if got, want := c.Hear(), fmt.Sprintf("a:%d", i); got != want {
			t.Fatalf("heard %q, want %q", got, want)
		}
	}
	// 50 come at once; the 51st passes and has to be paid for before the next.
	if took := time.Since(start); took < (messages-52)*time.Second/50 {
		t.Errorf("%d messages in %v", messages, took)
	}
	if b.Cell.Throttles.Load() == 0 {
		t.Error("nobody was throttled")
	}
}

func TestRejectAnswersWithTheRequestsID(t *testing.T) {
	n := proxytest.StartNode(t, "a", nil)
	b := startWorker(t, []string{n.Address()}, func(s *proxy.Spec) {
		s.Limits.MessagesPerSecond = 1
		s.Limits.Action = proxy.ActionReject
	})
	c := b.Dial("")
	c.Say(`{"jsonrpc":"2.0","id":1,"method":"ping"}` + "\n")
	if got := c.Hear(); got != `a:{"jsonrpc":"2.0","id":1,"method":"ping"}` {
		t.Fatal(got)
	}
	c.Say(`{"jsonrpc":"2.0","id":"two","method":"ping"}` + "\n" + `{"jsonrpc":"2.0","method":"notifications/x"}` + "\n" + `[{"jsonrpc":"2.0","id":4,"method":"ping"}]` + "\n")
	for _, id := range []string{`"id":"two"`, `[{"jsonrpc":"2.0","id":4`} {
		got := c.Hear()
		if !strings.Contains(got, id) || !strings.Contains(got, "-32019") || !strings.Contains(got, "retryAfterMs") {
			t.Fatalf("heard %q, want an error with %s", got, id)
		}
	}
	b.Eventually("three rejects", func() bool { return b.Cell.Rejects.Load() == 3 })
}

// An answer of ours must not land inside a line of the node's.
func TestRejectWaitsForTheEndOfTheNodesLine(t *testing.T) {
	release := make(chan struct{})
	n := proxytest.StartNode(t, "a", func(c *net.TCPConn) {
		_, _ = bufio.NewReader(c).ReadString('\n')
		_, _ = io.WriteString(c, "first half, ")
		<-release
		_, _ = io.WriteString(c, "second half\nnext\n")
		_, _ = io.Copy(io.Discard, c)
	})
	b := startWorker(t, []string{n.Address()}, func(s *proxy.Spec) {
		s.Limits.MessagesPerSecond = 1
		s.Limits.Action = proxy.ActionReject
	})
	c := b.Dial("")
	c.Say(`{"id":1,"method":"ping"}` + "\n")
	if first, err := c.Reader.Peek(12); err != nil || string(first) != "first half, " {
		t.Fatalf("%q, %v", first, err)
	}
	c.Say(`{"id":2,"method":"ping"}` + "\n")
	b.Eventually("the reject", func() bool { return b.Cell.Rejects.Load() == 1 })
	close(release)
	if got := c.Hear(); got != "first half, second half" {
		t.Fatal(got)
	}
	if got := c.Hear(); !strings.Contains(got, "-32019") {
		t.Fatal(got)
	}
	if got := c.Hear(); got != "next" {
		t.Fatal(got)
	}
}

func TestTooLongMessage(t *testing.T) {
	n := proxytest.StartNode(t, "a", nil)
	b := startWorker(t, []string{n.Address()}, func(s *proxy.Spec) { s.MaxMessage = 1000 })
	c := b.Dial("")
	c.Say(strings.Repeat("x", 999) + "\n")
	if got := c.Hear(); len(got) != 1001 {
		t.Fatal(len(got))
	}
	c.Say(strings.Repeat("x", 1001))
	if code, _ := c.Refusal(); code != -32600 {
		t.Fatal(code)
	}
}

func TestBackPressureIsBounded(t *testing.T) {
	release := make(chan struct{})
	n := proxytest.StartNode(t, "a", func(c *net.TCPConn) {
		<-release
		_, _ = io.Copy(io.Discard, c)
	})
	b := startWorker(t, []string{n.Address()}, func(s *proxy.Spec) { s.Limits.MessagesPerSecond = 0 })
	c := b.Dial("")
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
	b.On(func() {
		for p := b.tcp.nodes[0].pairs; p != nil; p = p.next {
			if held := p.node.Pending(); held == 0 || held > 64<<10 {
				t.Errorf("%d bytes are held for the node", held)
			}
		}
	})
	close(release)
	b.Eventually("the pair to end", func() bool { return b.Board.Active() == 0 })
}

// Answers that wait for the end of the node's line are given up when the node ends its stream inside it.
func TestNodeEndsInsideALine(t *testing.T) {
	n := proxytest.StartNode(t, "a", func(c *net.TCPConn) {
		r := bufio.NewReader(c)
		_, _ = r.ReadString('\n')
		_, _ = io.WriteString(c, "half a line")
		_, _ = r.ReadString('\n')
		_ = c.CloseWrite()
		_, _ = io.Copy(io.Discard, r)
	})
	for _, early := range []bool{true, false} {
		b := startWorker(t, []string{n.Address()}, func(s *proxy.Spec) {
			s.Limits.MessagesPerSecond = 2
			s.Limits.Action = proxy.ActionReject
		})
		c := b.Dial("")
		c.Say("1\n")
		if _, err := c.Reader.Peek(11); err != nil {
			t.Fatal(err)
		}
		if early { // the answer waits before the end comes
			b.On(func() {
				p := b.tcp.nodes[0].pairs
				p.answer([]byte("{}\n"))
				if !p.waiting() {
					t.Error("the answer does not wait")
				}
				p.full.node, p.full.client = false, true
				p.node.Send([]byte("2\n"))
			})
		} else {
			c.Say("2\n")
		}
		if rest, err := io.ReadAll(c.Reader); err != nil || string(rest) != "half a line" {
			t.Fatalf("heard %q, %v", rest, err)
		}
		c.Say("3\n4\n5\n")
		c.Close()
		b.Eventually("the pair to end", func() bool { return b.Board.Active() == 0 })
	}
}

// A dismissed client that has ended its stream still gets everything that was sent to it before.
func TestDismissedClientGetsWhatIsPending(t *testing.T) {
	n := proxytest.StartNode(t, "a", func(c *net.TCPConn) {
		lines := bytes.Repeat([]byte("0123456789abcde\n"), 4096)
		for {
			if _, err := c.Write(lines); err != nil {
				return
			}
		}
	})
	b := startWorker(t, []string{n.Address()}, func(s *proxy.Spec) { s.MaxMessage = 1000 })
	c := b.Dial("")
	p := b.full()
	c.Say(strings.Repeat("x", 1001))
	if err := c.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	b.Eventually("the end to be seen", func() (seen bool) {
		b.On(func() {
			b.Loop.Cancel(&p.timer) // as if there were no hurry
			seen = p.ended.client
		})
		return seen
	})
	var got uint64
	for {
		line, err := c.Reader.ReadString('\n')
		if err != nil {
			break
		}
		if !strings.Contains(line, "error") {
			got += uint64(len(line))
		}
	}
	if want := b.Board.NodeTotals(0).BytesOut; got < want-15 {
		t.Fatalf("%d bytes arrived of %d", got, want)
	}
}

// The last words of a node reach a client who goes on speaking: closing over what it says would reset the
// connection, and with it what is still on its way.
func TestLastWordsReachAClientWhoSpeaks(t *testing.T) {
	reply := bytes.Repeat([]byte("0123456789abcde\n"), 1<<20/16)
	cut := make(chan struct{})
	n := proxytest.StartNode(t, "a", func(c *net.TCPConn) {
		_, _ = bufio.NewReader(c).ReadString('\n')
		_, _ = c.Write(reply)
		<-cut
		_ = c.SetLinger(0)
	})
	b := startWorker(t, []string{n.Address()}, func(s *proxy.Spec) { s.Limits.MessagesPerSecond = 0 })
	c := b.Dial("")
	c.Say("1\n")
	b.Eventually("the reply to be relayed", func() bool { return b.Board.NodeTotals(0).BytesOut == uint64(len(reply)) })
	var p *pair
	b.On(func() { p = b.tcp.nodes[0].pairs })
	close(cut)
	b.Eventually("the node to be lost", func() bool { return b.Board.NodeActive(0) == 0 })
	b.On(func() { b.Loop.Cancel(&p.timer) }) // as if there were no hurry
	c.Say("2\n")
	if n, err := io.Copy(io.Discard, c.Reader); err != nil || n != int64(len(reply)) {
		t.Fatalf("%d bytes arrived of %d, %v", n, len(reply), err)
	}
}

// A node that has ended its stream in order has not failed if a reset comes behind that.
func TestResetBehindTheEndIsNoFailure(t *testing.T) {
	cut := make(chan struct{})
	n := proxytest.StartNode(t, "a", func(c *net.TCPConn) {
		_, _ = bufio.NewReader(c).ReadString('\n')
		_ = c.CloseWrite()
		<-cut
		_ = c.SetLinger(0)
	})
	b := startWorker(t, []string{n.Address()}, nil)
	c := b.Dial("")
	c.Say("1\n")
	if _, err := c.Reader.ReadByte(); err != io.EOF {
		t.Fatal(err)
	}
	close(cut)
	b.Eventually("the node to be gone", func() bool { return b.Board.NodeActive(0) == 0 })
	if n := b.Board.NodeTotals(0).Resets; n != 0 {
		t.Errorf("%d resets", n)
	}
	if r := <-b.Reports; r.Reason != wire.SuspectClosed || r.Errors != 0 {
		t.Errorf("reported %+v", r)
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
	c := b.Dial("")
	p := b.full()
	close(cut)
	b.Eventually("the node to be lost", func() (lost bool) {
		b.On(func() { lost = p.state == flushing })
		return lost
	})
	b.On(func() { b.Drain(time.Minute) })
	got, err := io.Copy(io.Discard, c.Reader)
	if want := b.Board.NodeTotals(0).BytesOut; err != nil || uint64(got) != want {
		t.Fatalf("%d bytes arrived of %d, %v", got, want, err)
	}
	if kind := <-b.Kinds; kind != wire.MessageDrained {
		t.Fatal(kind)
	}
}

// What is under way has no timeout by default, however long nothing passes.
func TestARelayUnderWayIsNotIdle(t *testing.T) {
	more := make(chan string)
	asked := make(chan bool, 8)
	slow := proxytest.StartNode(t, "", func(c *net.TCPConn) { // answers the line that was said when more says so
		buf := make([]byte, 100)
		n, err := c.Read(buf)
		asked <- true
		if err == nil {
			<-more
			_, _ = c.Write(buf[:n])
		}
	})
	relay := startWorker(t, []string{slow.Address()}, nil)
	c := relay.Dial("")
	c.Say("x\n")
	<-asked
	relay.On(func() { // as short as they may be, but only once it is under way
		t := &relay.Spec.Timeouts
		t.Connect, t.Request, t.Keepalive, t.Send = time.Millisecond, time.Millisecond, time.Millisecond, time.Millisecond
		for p := range relay.tcp.all {
			p.schedule()
		}
	})
	relay.Pass(50 * time.Millisecond) // long enough for what must not happen
	more <- ""
	if got := c.Hear(); got != "x" {
		t.Errorf("heard %q", got)
	}
}

// A batch over TCP takes as long as its messages would one by one, whatever is done with those over the rate.
func TestBatchesOverTCPAreThrottled(t *testing.T) {
	const rate, messages, step = 200, 500, 64 // so many are counted at once
	batch := "[" + strings.TrimSuffix(strings.Repeat("{},", messages), ",") + "]"
	for _, action := range []proxy.Action{proxy.ActionDefault, proxy.ActionReject} {
		b := startWorker(t, []string{proxytest.StartNode(t, "a", nil).Address()}, func(s *proxy.Spec) {
			s.Limits.ConnectionsPerSecond, s.Limits.MessagesPerSecond, s.Limits.Action = 0, rate, action
		})
		c := b.Dial("")
		start := time.Now()
		c.Say("\ufeff" + batch + "\n")
		if got := c.Hear(); got != "a:\ufeff"+batch {
			t.Fatalf("%q: %q", action, got)
		}
		if took := time.Since(start); took < (messages-rate-step)*time.Second/rate {
			t.Errorf("%q: took %v", action, took)
		}
		if n, throttles := b.Cell.Messages.Load(), b.Cell.Throttles.Load(); n != messages || throttles == 0 {
			t.Errorf("%q: %d messages, %d throttles", action, n, throttles)
		}
	}
}

// What is said last counts without the end of its line.
func TestLastLineCounts(t *testing.T) {
	b := startWorker(t, []string{proxytest.StartNode(t, "a", nil).Address()}, proxytest.WithoutLimits)
	for said, want := range map[string]uint64{"{}": 1, "{}\n{}": 2, "{}\n": 1, "[{},{}": 2, "{}{}": 2, "": 0, " ": 0} {
		before := b.Cell.Messages.Load()
		c := b.Dial("")
		c.Say(said)
		if err := c.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, c); err != nil {
			t.Fatal(err)
		}
		if n := b.Cell.Messages.Load() - before; n != want {
			t.Errorf("%q: counted %d, want %d", said, n, want)
		}
	}
}
