package master

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"sync/atomic"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/erlmcp/erlmcp/internal/http1"
	"github.com/erlmcp/erlmcp/internal/reactor"
	"github.com/erlmcp/erlmcp/internal/topology"
	"github.com/erlmcp/erlmcp/internal/waittest"
	"github.com/erlmcp/erlmcp/proxy"
	"github.com/erlmcp/erlmcp/proxy/internal/proxytest"
)

// BenchmarkSparse has many clients say or hear a little each: what an ordinary set-up does all day. Nothing comes in
// batches, so each message wakes somebody, and what that costs is what is measured: CPU of all processes of a balancer
// as its users start it, with its defaults, beside HAProxy and nginx with as many threads or workers as there are cores.
//
//	go test ./proxy/master -run '^$' -bench Sparse -benchtime 5x
//
// The engines run side by side and are loaded in turn; medians of all rounds are printed. A round takes about 45 seconds.
//
//   - messages: 1,000 TCP clients send 5,000 messages a second together, and get their echoes
//   - events: 1,000 event streams get 10 events a second each; HAProxy is told (http-no-delay) not to hold them back
//     for up to 200 ms, which would save it packets and wake-ups, and is not what an event stream is for
//   - frames: 1,000 WebSockets get 10 frames a second each
func BenchmarkSparse(b *testing.B) {
	if runtime.GOOS != "linux" {
		b.Skip("reads /proc")
	}
	clients, long := 1000, 4*time.Second
	if testing.Short() {
		clients, long = 100, time.Second/2
	}
	node := startSparseNode(b)
	engines := []*sparseEngine{sparseBalancer(b, node)}
	for _, find := range []func(testing.TB, sparseNode) *sparseEngine{sparseHAProxy, sparseNginx} {
		if e := find(b, node); e.Command != nil {
			engines = append(engines, e)
		}
	}
	costs := make(map[string][]float64) // by load and engine
	for b.Loop() {
		for _, e := range engines {
			e.Start(b)
		}
		for _, load := range sparseLoads {
			for _, e := range engines {
				key := load.name + " " + e.Name
				costs[key] = append(costs[key], e.measureSparse(b, load, clients, long))
			}
		}
		for _, e := range engines {
			e.Stop()
		}
	}
	table := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "\nload\tengine\tCPU")
	for _, load := range sparseLoads {
		for _, e := range engines {
			cost := proxytest.Median(costs[load.name+" "+e.Name]) * 1e6
			fmt.Fprintf(table, "%s\t%s\t%.1f µs\n", load.name, e.Name, cost)
			b.ReportMetric(cost, load.name+"-"+e.Name+"-µs")
		}
	}
	if err := table.Flush(); err != nil {
		b.Error(err)
	}
	b.ReportMetric(0, "ns/op") // a round is all engines together: its time says nothing
}

// sparseLoad is one way to say little.
type sparseLoad struct {
	name  string
	tcp   bool
	hello string // what a client begins with
	each  string // what it then says, in turn with the others; "": the node does
	heard []byte // what the answers are counted by
}

var sparseLoads = []sparseLoad{
	{name: "message", tcp: true, each: sparseMessage, heard: []byte("\n")},
	{name: "event", hello: "GET /mcp HTTP/1.1\r\nHost: a\r\nAccept: text/event-stream\r\n\r\n", heard: []byte("data:")},
	{name: "frame", hello: "GET /mcp HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n" +
		"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n", heard: []byte(sparseFrame)},
}

const (
	sparseMessage = `{"jsonrpc":"2.0","id":12345,"method":"tools/call","params":{"name":"echo","arguments":{"text":"hello"}}}` + "\n"
	sparseEvent   = "data: " + `{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":1,"progress":50}}` + "\n\n"
	sparseFrame   = "\x81\x5e" + `{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":1,"progress":50}}`

	sparseGap      = 200 * time.Microsecond // between two messages of all clients together
	sparseInterval = 100 * time.Millisecond // between two events of a stream
)

// sparseEngine is a balancer with two listeners.
type sparseEngine struct {
	proxytest.Engine
	http string // its address is the one for TCP
}

// measureSparse returns the CPU seconds that one message, event or frame takes.
func (e *sparseEngine) measureSparse(t testing.TB, load sparseLoad, clients int, long time.Duration) float64 {
	to := e.http
	if load.tcp {
		to = e.Address
	}
	loop, err := reactor.NewLoop(reactor.Options{})
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- loop.Run() }()
	defer func() {
		loop.Stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}()
	s := &sparseClients{load: load, list: make([]*sparseClient, clients)}
	for i := range s.list {
		c := &sparseClient{all: s}
		s.list[i] = c
		done := make(chan error, 1)
		loop.Post(func() { // a hundred to a source, as the limits of a balancer allow
			from := netip.AddrFrom4([4]byte{127, 3, byte(i / 20), 1})
			done <- loop.Dial(&c.conn, netip.MustParseAddrPort(to), from, c)
		})
		if err := <-done; err != nil {
			t.Fatalf("%s, %s: %v", e.Name, load.name, err)
		}
	}
	if load.each != "" {
		defer pace(sparseGap, func(i int) { loop.Post(s.list[i%clients].speak) })()
	}
	waittest.Until(t, 20*time.Second, e.Name+" answers every client, load "+load.name, func() bool { return s.answered.Load() == int64(clients) })
	before, heard, begin := e.CPU(t), s.heard.Load(), time.Now()
	time.Sleep(long)
	took, n := time.Since(begin), s.heard.Load()-heard
	cost := (e.CPU(t) - before).Seconds() / float64(n)
	want := took.Seconds() / sparseGap.Seconds()
	if load.each == "" {
		want = took.Seconds() / sparseInterval.Seconds() * float64(clients)
	}
	if lost := s.lost.Load(); lost > 0 {
		t.Errorf("%s lost %d of %d clients", e.Name, lost, clients)
	}
	if float64(n) < want*0.8 {
		t.Logf("%s, %s: only %d of %.0f came: the machine is busy", e.Name, load.name, n, want)
	}
	return cost
}

// pace calls do once every gap, with the number of the call, until stop is called. Who is late catches up.
func pace(gap time.Duration, do func(i int)) (stop func()) {
	ended, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		begin := time.Now()
		for i := 0; ; i++ {
			select {
			case <-ended:
				return
			default:
			}
			if wait := time.Until(begin.Add(time.Duration(i) * gap)); wait > 0 {
				rest(wait)
			}
			do(i)
		}
	}()
	return func() {
		close(ended)
		<-stopped
	}
}

// sparseClients are all clients of one load.
type sparseClients struct {
	load                  sparseLoad
	list                  []*sparseClient
	answered, heard, lost atomic.Int64
}

// sparseClient belongs to its loop.
type sparseClient struct {
	conn     reactor.Conn
	all      *sparseClients
	answered bool
}

func (c *sparseClient) speak() { c.conn.Send([]byte(c.all.load.each)) }

func (c *sparseClient) OnOpen(*reactor.Conn) { c.conn.Send([]byte(c.all.load.hello)) }

func (c *sparseClient) OnData(_ *reactor.Conn, p []byte) (consumed int) {
	if n := bytes.Count(p, c.all.load.heard); n > 0 {
		c.all.heard.Add(int64(n))
		if !c.answered {
			c.answered = true
			c.all.answered.Add(1)
		}
	}
	return len(p)
}

func (c *sparseClient) OnDrained(*reactor.Conn)      {}
func (c *sparseClient) OnEOF(*reactor.Conn)          { c.all.lost.Add(1) }
func (c *sparseClient) OnClose(*reactor.Conn, error) {}

// sparseNode is a node that echoes over TCP, and tells those who listen over HTTP something now and then.
type sparseNode struct{ tcp, http int } // ports on 127.0.0.1

// startSparseNode runs one in a process of its own until the benchmark ends.
func startSparseNode(t testing.TB) (n sparseNode) {
	proxytest.Hold(t, proxytest.PlayRole("sparse"), &n.tcp, &n.http)
	return n
}

func init() {
	proxytest.Roles["sparse"] = benchSparse
	proxytest.Roles["defaults"] = benchDefaults
}

// benchSparse is its role.
func benchSparse([]string) error {
	loop, err := reactor.NewLoop(reactor.Options{})
	if err != nil {
		return err
	}
	s := &sparseSite{loop: loop}
	if _, err := loop.Listen(3, (*sparseEcho)(s)); err != nil {
		return err
	}
	if _, err := loop.Listen(4, s); err != nil {
		return err
	}
	// Each turn speaks to one listener. With few of them most turns find nobody.
	const turns = 1000
	defer pace(sparseInterval/turns, func(i int) { loop.Post(func() { s.tell(i % turns) }) })()
	return loop.Run()
}

type sparseSite struct {
	loop      *reactor.Loop
	listeners []*sparseListener
}

type sparseEcho sparseSite

func (s *sparseEcho) OnAccept(fd int, _ netip.AddrPort) {
	c := new(sparseEchoConn)
	_ = s.loop.Attach(&c.conn, fd, c) // or it is closed
}

func (s *sparseEcho) OnAcceptError(err error) { fmt.Fprintln(os.Stderr, "sparse:", err) }

type sparseEchoConn struct{ conn reactor.Conn }

func (c *sparseEchoConn) OnData(_ *reactor.Conn, p []byte) int {
	c.conn.Send(p)
	return len(p)
}
func (c *sparseEchoConn) OnEOF(*reactor.Conn)          { c.conn.Close() }
func (c *sparseEchoConn) OnOpen(*reactor.Conn)         {}
func (c *sparseEchoConn) OnDrained(*reactor.Conn)      {}
func (c *sparseEchoConn) OnClose(*reactor.Conn, error) {}

func (s *sparseSite) OnAccept(fd int, _ netip.AddrPort) {
	c := &sparseListener{site: s, index: -1}
	_ = s.loop.Attach(&c.conn, fd, c)
}

func (s *sparseSite) OnAcceptError(err error) { fmt.Fprintln(os.Stderr, "sparse:", err) }

// tell sends one of the listeners something.
func (s *sparseSite) tell(i int) {
	if i < len(s.listeners) {
		c := s.listeners[i]
		c.conn.Send(c.what)
	}
}

type sparseListener struct {
	conn    reactor.Conn
	site    *sparseSite
	request http1.Request
	index   int // among the listeners, -1 = not yet
	what    []byte
}

func (c *sparseListener) OnData(_ *reactor.Conn, p []byte) (consumed int) {
	n, err := c.request.Parse(p)
	if err != nil {
		c.conn.Close()
		return len(p)
	}
	if n == 0 || c.index >= 0 {
		return n
	}
	if c.request.Get("upgrade") != nil {
		c.conn.Send([]byte("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"))
		c.what = []byte(sparseFrame)
	} else {
		c.conn.Send([]byte("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-cache\r\nTransfer-Encoding: chunked\r\n\r\n"))
		c.what = fmt.Appendf(nil, "%x\r\n%s\r\n", len(sparseEvent), sparseEvent)
	}
	c.index = len(c.site.listeners)
	c.site.listeners = append(c.site.listeners, c)
	return n
}

func (c *sparseListener) OnEOF(*reactor.Conn)     { c.conn.Close() }
func (c *sparseListener) OnOpen(*reactor.Conn)    {}
func (c *sparseListener) OnDrained(*reactor.Conn) {}

func (c *sparseListener) OnClose(*reactor.Conn, error) {
	if c.index < 0 {
		return
	}
	list := c.site.listeners
	last := list[len(list)-1]
	list[c.index], last.index = last, c.index
	c.site.listeners = list[:len(list)-1]
}

// sparseBalancer is this balancer, with its defaults.
func sparseBalancer(t testing.TB, n sparseNode) *sparseEngine {
	e := &sparseEngine{Engine: proxytest.Engine{Name: "erlmcp", Address: proxytest.FreeAddress(t)}, http: proxytest.FreeAddress(t)}
	dir := proxytest.StateDir(t)
	e.Command = func() *exec.Cmd {
		return proxytest.PlayRole("defaults", dir, e.Address, e.http, strconv.Itoa(n.tcp), strconv.Itoa(n.http))
	}
	return e
}

// benchDefaults is the role of its master: DIR TCP HTTP, then the ports of the node.
func benchDefaults(args []string) error {
	spec := proxy.Default()
	spec.Listen = proxy.Listen{TCP: args[1], HTTP: args[2]}
	node := topology.Node{Name: "n0", Host: "127.0.0.1"}
	var errs [2]error
	node.TCP, errs[0] = strconv.Atoi(args[3])
	node.HTTP, errs[1] = strconv.Atoi(args[4])
	if err := errors.Join(errs[:]...); err != nil {
		return err
	}
	spec.Nodes = []topology.Node{node}
	spec.Checks.Kind = "tcp" // it is no MCP server
	return serveAlone(args[0], spec, io.Discard)
}

func sparseHAProxy(t testing.TB, n sparseNode) *sparseEngine {
	e := &sparseEngine{Engine: proxytest.Engine{Name: "haproxy", Address: proxytest.FreeAddress(t)}, http: proxytest.FreeAddress(t)}
	e.Command = proxytest.HAProxy(t, fmt.Sprintf(`global
  nbthread %d
  maxconn 9000
defaults
  timeout connect 5s
  timeout client 300s
  timeout server 300s
  timeout tunnel 1h
frontend tcp
  mode tcp
  bind %s
  stick-table type ip size 128k expire 30m store conn_rate(1s),conn_cur
  tcp-request connection track-sc0 src
  default_backend tcpnodes
backend tcpnodes
  mode tcp
  balance leastconn
  stick-table type ip size 128k expire 30m
  stick on src
  server n0 127.0.0.1:%d
frontend http
  mode http
  option forwardfor
  option http-no-delay
  bind %s
  stick-table type ip size 128k expire 30m store conn_rate(1s),conn_cur,http_req_rate(1s)
  tcp-request connection track-sc0 src
  http-request deny deny_status 429 if { sc_http_req_rate(0) gt 1000000 }
  default_backend httpnodes
backend httpnodes
  mode http
  option http-no-delay
  balance leastconn
  server n0 127.0.0.1:%d
`, runtime.NumCPU(), e.Address, n.tcp, e.http, n.http))
	return e
}

func sparseNginx(t testing.TB, n sparseNode) *sparseEngine {
	e := &sparseEngine{Engine: proxytest.Engine{Name: "nginx", Address: proxytest.FreeAddress(t)}, http: proxytest.FreeAddress(t)}
	e.Command = proxytest.NginxStream(t, fmt.Sprintf(`daemon off;
worker_processes %d;
pid nginx.pid;
error_log stderr crit;
events { worker_connections 4096; }
stream {
  limit_conn_zone $binary_remote_addr zone=sources:10m;
  upstream nodes { hash $remote_addr consistent; server 127.0.0.1:%d; }
  server {
    listen %s;
    limit_conn sources 10000;
    proxy_pass nodes;
    proxy_timeout 300s;
  }
}
http {
%s  access_log off;
  limit_req_zone $binary_remote_addr zone=rates:10m rate=1000000r/s;
  map $http_upgrade $connection_upgrade { default upgrade; '' ''; }
  server {
    listen %s;
    location / {
      limit_req zone=rates burst=1000000 nodelay;
      proxy_pass http://127.0.0.1:%d;
      proxy_http_version 1.1;
      proxy_buffering off;
      proxy_read_timeout 300s;
      proxy_set_header Host $http_host;
      proxy_set_header Upgrade $http_upgrade;
      proxy_set_header Connection $connection_upgrade;
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
    }
  }
}
`, runtime.NumCPU(), n.tcp, e.Address, proxytest.NginxPaths, e.http, n.http))
	return e
}
