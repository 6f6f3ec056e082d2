package node

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/charmbracelet/log"

	"github.com/erlmcp/erlmcp/internal/prefork"
	"github.com/erlmcp/erlmcp/internal/reactor"
	"github.com/erlmcp/erlmcp/internal/units"
	"github.com/erlmcp/erlmcp/internal/waittest"
)

// bench is a worker within the test.
type bench struct {
	*worker
	t    testing.TB
	addr string
	done chan struct{} // closed when the loop has ended
}

func startWorker(t testing.TB, tune func(*worker)) *bench {
	t.Helper()
	files, err := prefork.Listen("127.0.0.1:0", 1)
	must(t, err)
	fd, err := syscall.Dup(int(files[0].Fd()))
	must(t, err)
	must(t, files[0].Close())
	name, err := syscall.Getsockname(fd)
	must(t, err)

	loop, err := reactor.NewLoop(reactor.Options{})
	must(t, err)
	shared, file, err := createTally(1)
	must(t, err)
	must(t, file.Close())
	spec := Default()
	spec.Version, spec.MaxMessage = "test", 256*units.KiB
	b := &bench{t: t, done: make(chan struct{})}
	b.worker = newWorker(loop, spec, shared, 0, log.New(io.Discard))
	b.addr = fmt.Sprintf("127.0.0.1:%d", name.(*syscall.SockaddrInet4).Port)
	if tune != nil {
		tune(b.worker)
	}
	must(t, b.listen(fd))
	go func() {
		defer close(b.done)
		if err := loop.Run(); err != nil {
			t.Error(err)
		}
	}()
	t.Cleanup(func() {
		loop.Stop()
		<-b.done
		if n := shared.total(); n != 0 {
			t.Errorf("%d connections are left in the tally", n)
		}
		if b.hoard.held != 0 || len(b.hoard.large) > 0 {
			t.Errorf("%d bytes are still counted as held", b.hoard.held)
		}
		must(t, shared.close())
	})
	return b
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// client is a connection of a test.
type client struct {
	*net.TCPConn
	t  testing.TB
	in *bufio.Reader
}

func dial(t testing.TB, addr string) *client {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	must(t, err)
	must(t, c.SetDeadline(time.Now().Add(time.Minute)))
	t.Cleanup(func() { _ = c.Close() })
	return &client{c.(*net.TCPConn), t, bufio.NewReader(c)}
}

func (c *client) send(text string) {
	c.t.Helper()
	_, err := c.Write([]byte(text))
	must(c.t, err)
}

func (c *client) line() string {
	c.t.Helper()
	line, err := c.in.ReadString('\n')
	must(c.t, err)
	return strings.TrimSuffix(line, "\n")
}

// wants reads lines and compares them.
func (c *client) wants(lines ...string) {
	c.t.Helper()
	for _, want := range lines {
		if got := c.line(); got != want {
			c.t.Fatalf("got  %s\nwant %s", got, want)
		}
	}
}

// ends requires that the server ends its stream now, in order.
func (c *client) ends() {
	c.t.Helper()
	if rest, err := io.ReadAll(c.in); err != nil || len(rest) > 0 {
		c.t.Fatalf("not the end, but %q, %v", rest, err)
	}
}

const initialize = `{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"test","version":"1"}}}` + "\n"

// initialize begins a session.
func (c *client) initialize() {
	c.t.Helper()
	c.send(initialize)
	c.wants(`{"jsonrpc":"2.0","id":0,"result":{"protocolVersion":"2025-11-25","capabilities":{"tools":{}},"serverInfo":{"name":"erlmcp","version":"test"}}}`)
}

func ping(id int) string { return fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"method":"ping"}`+"\n", id) }
func pong(id int) string { return fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"result":{}}`, id) }

func call(id int, tool, arguments string) string {
	return fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"method":"tools/call","params":{"name":%q,"arguments":%s}}`+"\n", id, tool, arguments)
}

func sleep(id, ms int) string { return call(id, "sleep", fmt.Sprintf(`{"milliseconds":%d}`, ms)) }
func slept(id, ms int) string {
	return fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"result":{"content":[{"type":"text","text":"slept %d ms"}]}}`, id, ms)
}

func TestIdleConnectionIsSmall(t *testing.T) {
	if size := unsafe.Sizeof(conn{}); size > 96 {
		t.Errorf("a connection has %d bytes", size)
	}
}

func TestPipelinedAndTornRequests(t *testing.T) {
	c := dial(t, startWorker(t, nil).addr)
	c.initialize()
	c.send(ping(1) + "\n \n" + ping(2) + ping(3)[:20])
	c.wants(pong(1), pong(2))
	for _, b := range []byte(ping(3)[20:] + ping(4)) {
		c.send(string(b))
	}
	c.wants(pong(3), pong(4))
	c.send("{\n")
	c.wants(`{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"the line is not JSON in UTF-8"}}`)
	c.send(call(5, "whoami", "{}"))
	c.wants(`{"jsonrpc":"2.0","id":5,"result":{"content":[{"type":"text","text":"erlmcp1"}],"structuredContent":{"node":"erlmcp1"}}}`)
}

func TestMessageThatIsTooLong(t *testing.T) {
	const tooLong = `{"jsonrpc":"2.0","id":null,"error":{"code":-32600,"message":"the message is too long"}}`
	b := startWorker(t, nil)
	for name, ending := range map[string]string{"finished": "\n" + ping(3), "unfinished": ""} {
		t.Run(name, func(t *testing.T) {
			c := dial(t, b.addr)
			c.send(ping(1))
			c.wants(pong(1))
			c.send(ping(2) + strings.Repeat("x", int(256*units.KiB+1)) + ending)
			c.wants(pong(2), tooLong)
			c.ends()
		})
	}
	c := dial(t, b.addr)
	c.initialize()
	message := strings.Repeat("m", int(256*units.KiB)-len(call(1, "echo", `{"message":""}`))+1)
	c.send(call(1, "echo", fmt.Sprintf(`{"message":%q}`, message)))
	c.wants(fmt.Sprintf(`{"jsonrpc":"2.0","id":1,"result":{"content":[{"type":"text","text":%q}]}}`, message))
}

func TestSleepBlocksNobody(t *testing.T) {
	b := startWorker(t, nil)
	c, other := dial(t, b.addr), dial(t, b.addr)
	c.initialize()
	c.send(sleep(1, 300) + sleep(2, 60_000) + ping(3))
	c.wants(pong(3))
	other.send(ping(4))
	other.wants(pong(4))
	c.send(`{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":2}}` + "\n" + sleep(5, 0))
	c.wants(slept(5, 0), slept(1, 300))

	c.send(strings.Repeat(sleep(6, 60_000), maxAsleep+1))
	c.wants(`{"jsonrpc":"2.0","id":6,"result":{"content":[{"type":"text","text":"too many calls are asleep on this connection"}],"isError":true}}`)
}

func TestEndOfStreamWaitsForReplies(t *testing.T) {
	c := dial(t, startWorker(t, nil).addr)
	c.initialize()
	c.send(sleep(1, 50) + ping(2) + `{"jsonrpc":"2.0","id":3,"unfinished`)
	must(t, c.CloseWrite())
	c.wants(pong(2), slept(1, 50))
	c.ends()
}

func TestSlowReaderIsNotReadFrom(t *testing.T) {
	b := startWorker(t, nil)
	c := dial(t, b.addr)
	c.initialize()
	message := strings.Repeat("m", 32<<10)
	request := call(1, "echo", fmt.Sprintf(`{"message":%q}`, message))

	// Write until the worker and the kernel take no more.
	sent, stuck := 0, false
	for !stuck {
		must(t, c.SetWriteDeadline(time.Now().Add(300*time.Millisecond)))
		n, err := c.Write([]byte(request))
		sent += n
		if stuck = errors.Is(err, os.ErrDeadlineExceeded); !stuck {
			must(t, err)
		}
		if sent > 256<<20 {
			t.Fatal("the worker reads on though nobody reads its replies")
		}
	}
	held := make(chan int)
	b.loop.Post(func() { held <- b.hoard.held })
	if n := <-held; n > 8*maxPending+4*len(request) {
		t.Errorf("%d bytes are held for the slow reader", n)
	}

	// Now read: everything comes.
	must(t, c.SetWriteDeadline(time.Now().Add(time.Minute)))
	go func() {
		_, err := io.WriteString(c, request[sent%len(request):])
		_ = c.CloseWrite()
		if err != nil {
			t.Error(err)
		}
	}()
	for range sent/len(request) + 1 {
		var reply struct {
			Result struct{ Content []struct{ Text string } }
		}
		must(t, json.Unmarshal([]byte(c.line()), &reply))
		if reply.Result.Content[0].Text != message {
			t.Fatal("a reply is not the message")
		}
	}
	c.ends()
}

// Whoever holds most gives way, not whoever comes last or adds to it; and what counts is the memory that is taken.
func TestLargestHolderGivesWay(t *testing.T) {
	b := startWorker(t, func(w *worker) { w.hoard.most = 1 << 20 })
	on := func(do func()) {
		done := make(chan struct{})
		b.loop.Post(func() { do(); close(done) })
		<-done
	}
	begin := func(bytes int) *client {
		c := dial(t, b.addr)
		c.send(ping(0))
		c.wants(pong(0))
		var its *conn
		on(func() { its = b.conns[len(b.conns)-1] })
		c.send(strings.Repeat("x", bytes))
		waitFor(t, func() (held bool) {
			on(func() { held = int(its.held.bytes) >= bytes })
			return held
		})
		return c
	}
	small := begin(8 << 10)
	largest := begin(250 << 10)
	for range 6 { // 100 KiB take 128 or 256
		begin(100 << 10)
		on(func() {
			if b.hoard.held > 1<<20 {
				t.Errorf("%d bytes are held", b.hoard.held)
			}
		})
	}
	if _, err := largest.in.ReadByte(); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("not cut off, but: %v", err)
	}
	small.send("\n" + ping(1))
	small.wants(`{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"the line is not JSON in UTF-8"}}`, pong(1))
	newcomer := dial(t, b.addr)
	newcomer.send(ping(2))
	newcomer.wants(pong(2))
}

// Calls that are asleep are held, too, with their identifiers.
func TestSleepersAreHeld(t *testing.T) {
	b := startWorker(t, func(w *worker) { w.hoard.most = 100 << 10 })
	c := dial(t, b.addr)
	c.initialize()
	id := strings.Repeat("i", 1000)
	var err error
	for i := 0; i < maxAsleep && err == nil; i++ {
		_, err = io.WriteString(c, strings.Replace(sleep(1234, 60_000), "1234", fmt.Sprintf(`"%s%d"`, id[:1000-len(fmt.Sprint(i))], i), 1))
	}
	if err == nil { // who still writes hears of it there
		_, err = c.in.ReadByte()
	}
	if !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("not cut off, but: %v", err)
	}
}

func TestTooManyConnections(t *testing.T) {
	const full = `{"jsonrpc":"2.0","id":null,"error":{"code":-32018,"message":"the node has as many connections as it may have"}}`
	b := startWorker(t, func(w *worker) { w.most = 2 })
	first, second := dial(t, b.addr), dial(t, b.addr)
	first.send(ping(1))
	first.wants(pong(1))
	second.send(ping(1))
	second.wants(pong(1))
	third := dial(t, b.addr)
	third.send(ping(1))
	third.wants(full)
	third.ends()

	must(t, first.Close())
	waitFor(t, func() bool { return b.tally.total() == 1 })
	again := dial(t, b.addr)
	again.send(ping(2))
	again.wants(pong(2))
}

func TestDrain(t *testing.T) {
	b := startWorker(t, nil)
	idle, busy, mute := dial(t, b.addr), dial(t, b.addr), dial(t, b.addr)
	for _, c := range []*client{idle, busy, mute} {
		c.initialize()
	}
	busy.send(sleep(1, 400))
	mute.send(ping(2)[:10])
	waitFor(t, func() bool { return b.tally.total() == 3 })
	arrived := make(chan struct{})
	b.loop.Post(func() {
		// The loop is held up: these bytes have arrived, but nobody has read them.
		busy.send(ping(3) + ping(4))
		waitFor(t, func() bool { return unread(b.conns[1].FD()) })
		close(arrived)
	})
	<-arrived
	b.loop.Post(b.drain)

	idle.ends()
	mute.ends()
	busy.wants(pong(3), pong(4))
	busy.send(ping(5)) // it is not leaving yet
	busy.wants(pong(5), slept(1, 400))
	busy.ends()
	if _, err := net.Dial("tcp", b.addr); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("a client that comes while draining: %v", err)
	}
	for _, c := range []*client{idle, busy, mute} {
		must(t, c.Close())
	}
	select {
	case <-b.done:
	case <-time.After(time.Minute):
		t.Error("the worker still runs")
	}
}

// A client is told to leave only when it has read its replies, for which it gets more time than for leaving.
func TestDrainWaitsForASlowReader(t *testing.T) {
	b := startWorker(t, nil)
	c := dial(t, b.addr)
	waitFor(t, func() bool { return b.tally.total() == 1 })
	sent, leaving := make(chan int, 1), make(chan bool, 1)
	b.loop.Post(func() {
		conn, n, chunk := b.conns[0], 0, make([]byte, 16<<10)
		for conn.Pending() == 0 {
			conn.Send(chunk)
			n += len(chunk)
		}
		sent <- n
		b.drain()
		leaving <- conn.leaving
	})
	want := <-sent
	if <-leaving {
		t.Error("the client has to leave before it has its replies")
	}
	if n, err := io.Copy(io.Discard, c.in); err != nil || n != int64(want) {
		t.Errorf("%d bytes arrived of %d, %v", n, want, err)
	}
}

// Requests that were read but not looked at, because the client is slow, are answered as well.
func TestDrainAnswersWhatIsInHand(t *testing.T) {
	b := startWorker(t, nil)
	c := dial(t, b.addr)
	waitFor(t, func() bool { return b.tally.total() == 1 })
	on := func(fn func()) {
		done := make(chan struct{})
		b.loop.Post(func() { fn(); close(done) })
		<-done
	}
	filler := 0
	on(func() {
		for chunk := make([]byte, 16<<10); b.conns[0].Pending() <= maxPending; filler += len(chunk) {
			b.conns[0].Send(chunk)
		}
	})
	const requests = 100
	c.send(strings.Repeat(ping(1), requests))
	waitFor(t, func() (paused bool) {
		on(func() { paused = b.conns[0].Paused() })
		return paused
	})
	on(b.drain)
	_, err := io.CopyN(io.Discard, c.in, int64(filler))
	must(t, err)
	for range requests {
		c.wants(pong(1))
	}
	c.ends()
}

func TestDrainClosesWhoDoesNot(t *testing.T) {
	b := startWorker(t, nil)
	dial(t, b.addr).initialize()
	b.loop.Post(b.drain)
	select {
	case <-b.done:
	case <-time.After(linger + time.Minute):
		t.Error("the worker still waits for the client to close")
	}
}

// BenchmarkRoundTrip is one client that asks again when it is answered; its own work is in the numbers.
func BenchmarkRoundTrip(b *testing.B) {
	for _, depth := range []int{1, 64} {
		b.Run(fmt.Sprintf("pipelined %d", depth), func(b *testing.B) {
			c := dial(b, startWorker(b, nil).addr)
			c.initialize()
			requests := []byte(strings.Repeat(call(1, "whoami", "{}"), depth))
			b.ReportAllocs()
			for range b.N/depth + 1 {
				_, err := c.Write(requests)
				must(b, err)
				for range depth {
					_, err := c.in.ReadSlice('\n')
					must(b, err)
				}
			}
		})
	}
}

// waitFor waits until something is true.
func waitFor(t *testing.T, what func() bool) {
	t.Helper()
	waittest.Until(t, time.Minute, "what has to be true", what)
}
