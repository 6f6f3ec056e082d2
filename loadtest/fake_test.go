package loadtest

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/erlmcp/erlmcp/internal/mcp"
	"github.com/erlmcp/erlmcp/loadtest/system"
)

// fake is a balancer with its nodes in one: it keeps a source on a node and puts new sources where
// the fewest connections are. It is its own System.
type fake struct {
	listener net.Listener
	limit    atomic.Pointer[bucket] // of requests; nil: none
	refuse   atomic.Int64           // JSON-RPC code that every connection gets instead of a node; 0: none

	mu     sync.Mutex
	nodes  []*fakeNode
	sticky map[netip.Addr]*fakeNode
	served sync.WaitGroup

	foreign   func(mcp.Envelope) string // what comes behind "id" in replies of servers that are not ours; may be nil
	forgetful bool                      // sources are not kept on their node: who comes back gets another
	detection time.Duration             // of a frozen node
}

type fakeNode struct {
	name   string
	up     bool
	frozen chan struct{} // closed when it goes on; nil when it runs
	since  time.Time
	slow   atomic.Int32 // observations until it is out of slow start
	conns  map[net.Conn]bool
}

func startFake(t *testing.T, nodes int) *fake {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := &fake{listener: l, sticky: make(map[netip.Addr]*fakeNode), detection: 200 * time.Millisecond}
	for i := range nodes {
		f.nodes = append(f.nodes, &fakeNode{name: fmt.Sprintf("node%d", i+1), up: true, since: time.Now(), conns: make(map[net.Conn]bool)})
	}
	go f.accept()
	t.Cleanup(func() {
		l.Close()
		f.mu.Lock()
		for _, n := range f.nodes {
			n.drop()
			if n.frozen != nil {
				close(n.frozen)
			}
		}
		f.mu.Unlock()
		f.served.Wait()
	})
	return f
}

func (f *fake) address() string { return f.listener.Addr().String() }

func (f *fake) accept() {
	for {
		conn, err := f.listener.Accept()
		if err != nil {
			return
		}
		f.served.Go(func() { f.serve(conn) })
	}
}

func (f *fake) serve(conn net.Conn) {
	defer conn.Close()
	if code := f.refuse.Load(); code != 0 {
		_, _ = conn.Write(mcp.AppendError(nil, nil, int(code), "refused"))
		return
	}
	n := f.enter(conn)
	if n == nil {
		_, _ = conn.Write(mcp.AppendError(nil, nil, mcp.CodeUnavailable, "no node"))
		return
	}
	defer f.leave(n, conn)
	for lines := bufio.NewScanner(conn); lines.Scan(); {
		f.mu.Lock()
		frozen := n.frozen
		f.mu.Unlock()
		if frozen != nil {
			<-frozen
		}
		var m mcp.Envelope
		if json.Unmarshal(lines.Bytes(), &m) != nil {
			return
		}
		if b := f.limit.Load(); b != nil && !b.take() {
			_, _ = conn.Write(mcp.AppendError(nil, m.ID, mcp.CodeRateLimited, "too many requests"))
			continue
		}
		if f.foreign != nil {
			fmt.Fprintf(conn, `{"jsonrpc":"2.0","method":"notifications/message"}`+"\n"+`{"jsonrpc":"2.0","id":%s,%s}`+"\n", m.ID, f.foreign(m))
			continue
		}
		fmt.Fprintf(conn, `{"jsonrpc":"2.0","id":%s,"result":{"content":[{"type":"text","text":"%s"}]}}`+"\n", m.ID, n.name)
	}
}

func (f *fake) enter(conn net.Conn) *fakeNode {
	f.mu.Lock()
	defer f.mu.Unlock()
	source := conn.RemoteAddr().(*net.TCPAddr).AddrPort().Addr()
	n := f.sticky[source]
	if n == nil || !n.up || f.forgetful {
		before := n
		n = nil
		for _, m := range f.nodes {
			if m.up && (!f.forgetful || m != before) && (n == nil || len(m.conns) < len(n.conns)) {
				n = m
			}
		}
		if n == nil {
			return nil
		}
		f.sticky[source] = n
	}
	n.conns[conn] = true
	return n
}

func (f *fake) leave(n *fakeNode, conn net.Conn) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(n.conns, conn)
}

func (n *fakeNode) drop() {
	for conn := range n.conns {
		conn.Close()
	}
}

func (f *fake) node(name string) *fakeNode {
	for _, n := range f.nodes {
		if n.name == name {
			return n
		}
	}
	return nil
}

// Observe implements System.
func (f *fake) Observe(context.Context) (system.Observation, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	o := system.Observation{Balancer: &system.BalancerView{PIDs: []int{os.Getpid()}, Max: 1 << 20}, CanBreak: true}
	for _, n := range f.nodes {
		o.Nodes = append(o.Nodes, system.NodeView{Name: n.name, Up: n.up, Since: n.since, Slow: n.slow.Add(-1) >= 0})
	}
	return o, nil
}

// Break implements System.
func (f *fake) Break(_ context.Context, name string, fault system.Fault) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := f.node(name)
	down := func() {
		n.up, n.since = false, time.Now()
		n.drop()
	}
	if fault == system.FaultKill {
		down()
		return nil
	}
	n.frozen = make(chan struct{})
	time.AfterFunc(f.detection, func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		down()
	})
	return nil
}

// Mend implements System.
func (f *fake) Mend(_ context.Context, name string, _ system.Fault) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := f.node(name)
	n.up, n.since = true, time.Now()
	if n.frozen != nil {
		close(n.frozen)
		n.frozen = nil
	}
	return nil
}
