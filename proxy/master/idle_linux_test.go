package master

import (
	"bufio"
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/erlmcp/erlmcp/internal/topology"
	"github.com/erlmcp/erlmcp/proxy"
	"github.com/erlmcp/erlmcp/proxy/internal/proxytest"
)

var (
	idleStreams = flag.Int("idle.streams", 400, "idle SSE streams in TestIdleMemory")
	idleSockets = flag.Int("idle.sockets", 400, "idle WebSockets in TestIdleMemory")
)

const (
	idlePerProcess = 10_000 // connections; the limit of open files is that of a process
	idlePerSource  = 100
	idleBudget     = 3 << 10 // bytes of user memory a connection
	// idleJudged is from how many connections on the budget is held: below it, the pages that a worker
	// touches once for all are most of what is measured.
	idleJudged = 20_000
)

func init() {
	proxytest.Roles["idlenode"] = idleNode
	proxytest.Roles["idleclients"] = idleClients
}

// TestIdleMemory holds idle SSE streams and WebSockets through real workers, and reports what they add to
// the anonymous memory of these. Clients and nodes are processes of their own, as many as it takes.
//
//	go test ./proxy/master -run TestIdleMemory -v -idle.streams 50000 -idle.sockets 50000
func TestIdleMemory(t *testing.T) {
	total := *idleStreams + *idleSockets
	var nodes []topology.Node
	for i := range max(4, (total+idlePerProcess-1)/idlePerProcess) {
		nodes = append(nodes, startIdleNode(t, fmt.Sprintf("n%d", i)))
	}
	b := serve(t, nil, func(s *proxy.Spec) {
		s.Nodes = nodes
		s.Listen.HTTP = "127.0.0.1:0"
		s.MaxConnections = total + 1000
		s.SourceTable = 16 << 10
		s.Limits.ConnectionsPerSecond, s.Limits.MessagesPerSecond, s.Limits.MaxPerSource = 0, 0, 0
		s.Checks.Interval = time.Second
	})
	b.eventually("all nodes", func(s *proxy.Stats) bool {
		up := 0
		for i := range s.Nodes {
			if s.Nodes[i].State == proxy.NodeUp {
				up++
			}
		}
		return up == len(nodes)
	})
	workers := len(b.stats().Workers)
	before := b.anonymous()
	held := before
	connected := 0
	for _, kind := range []struct {
		name string
		n    int
	}{{"sse", *idleStreams}, {"websocket", *idleSockets}} {
		for rest := kind.n; rest > 0; {
			n := min(rest, idlePerProcess)
			startIdleClients(t, b.address("http"), kind.name, n, connected)
			rest -= n
			connected += n
		}
		now := b.anonymous()
		if kind.n > 0 {
			t.Logf("%d of %s: %.2f KiB each", kind.n, kind.name, float64(now-held)/1024/float64(kind.n))
		}
		held = now
	}
	s := b.stats()
	if s.Connections.Active != int64(total) {
		t.Errorf("%d connections are held, want %d", s.Connections.Active, total)
	}
	if total == 0 {
		return
	}
	each := (held - before) / total
	t.Logf("%d connections over %d workers and %d nodes: %d MiB of anonymous memory before, %d MiB now, %.2f KiB a connection",
		total, workers, len(nodes), before>>20, held>>20, float64(each)/1024)
	if total >= idleJudged && each > idleBudget {
		t.Errorf("%d bytes a connection, want at most %d", each, idleBudget)
	}
}

// anonymous is how much memory the workers have that nobody shares.
func (b *balancer) anonymous() (size int) {
	b.t.Helper()
	for _, w := range b.stats().Workers {
		data, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", w.PID))
		if err != nil {
			b.t.Fatal(err)
		}
		_, rest, ok := strings.Cut(string(data), "\nAnonymous:")
		fields := strings.Fields(rest)
		if !ok || len(fields) < 2 {
			b.t.Fatalf("no anonymous memory in %s", data)
		}
		kib, err := strconv.Atoi(fields[0])
		if err != nil {
			b.t.Fatal(err)
		}
		size += kib << 10
	}
	return size
}

// hold is proxytest.Hold of a process whose input ends with this one. It returns its output.
func hold(t *testing.T, cmd *exec.Cmd, ports ...*int) *bufio.Reader {
	t.Helper()
	if _, err := cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	proxytest.Hold(t, cmd, ports...)
	return bufio.NewReader(stdout)
}

func startIdleClients(t *testing.T, address, kind string, n, first int) {
	t.Helper()
	out := hold(t, proxytest.PlayRole("idleclients", address, kind, strconv.Itoa(n), strconv.Itoa(first)))
	if line, err := out.ReadString('\n'); line != "ready\n" {
		t.Fatalf("%d clients of %s: %q, %v", n, kind, line, err)
	}
}

// idleClients is the role: ADDRESS KIND N FIRST. It connects, has the head of each answer, and holds.
func idleClients(args []string) error {
	address, kind := args[0], args[1]
	n, err := strconv.Atoi(args[2])
	if err != nil {
		return err
	}
	first, err := strconv.Atoi(args[3])
	if err != nil {
		return err
	}
	ask, want := "GET /mcp HTTP/1.1\r\nHost: h\r\nAccept: text/event-stream\r\n\r\n", "HTTP/1.1 200 "
	if kind == "websocket" {
		ask = "GET /mcp/ws HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
		want = "HTTP/1.1 101 "
	}
	conns := make([]net.Conn, n)
	for i := range conns {
		source := (first + i) / idlePerSource
		from := &net.TCPAddr{IP: net.IPv4(127, 4, byte(source>>8), byte(source))}
		c, err := (&net.Dialer{LocalAddr: from, Timeout: 20 * time.Second}).Dial("tcp4", address)
		if err != nil {
			return fmt.Errorf("client %d: %w", i, err)
		}
		conns[i] = c
		if err := c.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
			return err
		}
		if _, err := io.WriteString(c, ask); err != nil {
			return fmt.Errorf("client %d: %w", i, err)
		}
		if head, err := idleHead(c); err != nil || !strings.HasPrefix(head, want) {
			return fmt.Errorf("client %d: %q, %w", i, head, err)
		}
	}
	fmt.Println("ready")
	_, err = io.Copy(io.Discard, os.Stdin)
	for _, c := range conns {
		c.Close()
	}
	return err
}

// idleHead reads at least up to an empty line, without a buffer that stays.
func idleHead(c net.Conn) (string, error) {
	var buf [1024]byte
	for n := 0; ; {
		m, err := c.Read(buf[n:])
		if err != nil {
			return string(buf[:n]), err
		}
		if n += m; bytes.Contains(buf[:n], []byte("\r\n\r\n")) {
			return string(buf[:n]), nil
		}
		if n == len(buf) {
			return "", errors.New("a long head")
		}
	}
}

func startIdleNode(t *testing.T, name string) topology.Node {
	t.Helper()
	n := topology.Node{Name: name, Host: "127.0.0.1"}
	hold(t, proxytest.PlayRole("idlenode"), &n.HTTP, &n.TCP)
	return n
}

// idleNode is the role of a node that opens every stream, says one comment, and is silent. It has a
// listener for HTTP and one for checks.
func idleNode([]string) error {
	failed := make(chan error)
	for i, serve := range []func(net.Conn){
		func(c net.Conn) {
			head, err := idleHead(c)
			answer := "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n:\n\n\r\n"
			if strings.Contains(head, "\r\nUpgrade: ") {
				answer = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
			}
			if err == nil {
				_, err = io.WriteString(c, answer)
			}
			if err == nil {
				var one [1]byte
				_, _ = c.Read(one[:])
			}
		},
		func(c net.Conn) { _, _ = c.Read(make([]byte, 1)) },
	} {
		ln, err := net.FileListener(os.NewFile(uintptr(3+i), "listener"))
		if err != nil {
			return err
		}
		go func() {
			for {
				c, err := ln.Accept()
				if err != nil {
					failed <- err
					return
				}
				go func() { defer c.Close(); serve(c) }()
			}
		}()
	}
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin) // until the test is over
		failed <- nil
	}()
	return <-failed
}
