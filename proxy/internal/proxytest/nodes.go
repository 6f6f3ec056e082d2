package proxytest

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/erlmcp/erlmcp/internal/prefork"
	"github.com/erlmcp/erlmcp/internal/topology"
	"github.com/erlmcp/erlmcp/proxy/internal/board"
	"github.com/erlmcp/erlmcp/proxy/internal/policy"
)

// FakeNode is a node over TCP, see StartNode.
type FakeNode struct {
	net.Listener
	mu    sync.Mutex
	conns []*net.TCPConn
}

// Node describes it under a name, by which alone the balancer knows it.
func (n *FakeNode) Node(name string) topology.Node {
	return topology.Node{Name: name, Host: "127.0.0.1", TCP: n.Addr().(*net.TCPAddr).Port}
}

// Address is where it listens.
func (n *FakeNode) Address() string { return n.Addr().String() }

// Stop ends it, with its connections.
func (n *FakeNode) Stop() {
	n.Close()
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, c := range n.conns {
		c.Close()
	}
}

// StartNode starts a node that answers each line with its name, a colon and the line. A serve that is not nil serves each
// of its connections instead, which is closed when that returns.
func StartNode(t testing.TB, name string, serve func(*net.TCPConn)) *FakeNode {
	t.Helper()
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return ServeNode(t, ln, name, serve)
}

// ServeNode is StartNode with a listener, which it closes when it stops.
func ServeNode(t testing.TB, ln net.Listener, name string, serve func(*net.TCPConn)) *FakeNode {
	n := &FakeNode{Listener: ln}
	if serve == nil {
		serve = func(c *net.TCPConn) {
			for r := bufio.NewReader(c); ; {
				line, err := r.ReadString('\n')
				if err != nil {
					return
				}
				if _, err := io.WriteString(c, name+":"+line); err != nil {
					return
				}
			}
		}
	}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			n.mu.Lock()
			n.conns = append(n.conns, c.(*net.TCPConn))
			n.mu.Unlock()
			running.Go(func() { serve(c.(*net.TCPConn)); c.Close() })
		}
	})
	t.Cleanup(func() { n.Stop(); running.Wait() })
	return n
}

// StartNodes starts that many fake nodes: n0, n1, ….
func StartNodes(t testing.TB, n int) []*FakeNode {
	nodes := make([]*FakeNode, n)
	for i := range nodes {
		nodes[i] = StartNode(t, fmt.Sprintf("n%d", i), nil)
	}
	return nodes
}

// ListenFD listens on every IPv4 address, and returns a descriptor of the listener that is the caller's, and where it is
// found on loopback.
func ListenFD(t testing.TB) (fd int, address string) {
	t.Helper()
	file, port := listen(t, "0.0.0.0:0")
	defer file.Close()
	fd, err := prefork.Duplicate(file)
	if err != nil {
		t.Fatal(err)
	}
	return fd, fmt.Sprintf("127.0.0.1:%d", port)
}

// listen opens a listener as a file.
func listen(t testing.TB, address string) (file *os.File, port int) {
	t.Helper()
	ln, err := net.Listen("tcp4", address)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	if file, err = ln.(*net.TCPListener).File(); err != nil {
		t.Fatal(err)
	}
	return file, ln.Addr().(*net.TCPAddr).Port
}

// ClosesAt is the URL of a node that reads so many bytes of TLS and closes.
func ClosesAt(t testing.TB, bytes int64) (url string) {
	return "https://" + StartNode(t, "", func(c *net.TCPConn) { _, _ = io.CopyN(io.Discard, c, bytes) }).Address()
}

// MarkUp has a slot stand for a node of weight 1 that is up over all transports.
func MarkUp(b *board.Board, slot int) {
	for t := range board.Transports {
		b.Node(slot).Ports[t].Weight.Store(policy.WeightUnit)
	}
	b.SetNodeState(slot, board.Up, time.Now())
}
