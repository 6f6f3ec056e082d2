package swarm

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/pem"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/erlmcp/erlmcp/cluster/node" //nolint:depguard // what the tests have as a target
	"github.com/erlmcp/erlmcp/internal/freeport"
	"github.com/erlmcp/erlmcp/internal/mcp"
	"github.com/erlmcp/erlmcp/internal/mono"
	"github.com/erlmcp/erlmcp/internal/waittest"
	"github.com/erlmcp/erlmcp/loadtest/internal/ask"
	"github.com/erlmcp/erlmcp/loadtest/internal/sources"
	"github.com/erlmcp/erlmcp/loadtest/internal/target"
	"github.com/erlmcp/erlmcp/loadtest/internal/wire"
	"github.com/erlmcp/erlmcp/loadtest/internal/work"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// loopback is more sources than one.
var loopback = sources.In(netip.MustParsePrefix("127.77.0.0/29"), 4)

// endpointOf is where a URL leads.
func endpointOf(t *testing.T, url string) target.Endpoint {
	t.Helper()
	to, err := target.Parse(url)
	must(t, err)
	return target.Endpoint{Target: to, Address: netip.AddrPortFrom(netip.MustParseAddr(to.Host), to.Port)}
}

// startOver starts a swarm over any transport.
func startOver(t *testing.T, e target.Endpoint, w work.Work, connections int, timeout time.Duration) *testSwarm {
	t.Helper()
	swarm, err := Start(func() {}, func(err error) { t.Error(err) })
	must(t, err)
	s := &testSwarm{t, swarm}
	t.Cleanup(func() {
		s.on(func() { s.close(1e6) }) // servers have sessions
		s.await("the end", func(n wire.Counts) bool { return n.Open == 0 })
		s.Stop()
	})
	s.on(func() {
		o := &wire.OpenOrder{
			Driver: wire.Socket, Endpoint: e, Work: w, Connections: connections, Sources: loopback, Timeout: timeout,
			Patience: wire.LeastPatience,
		}
		if err := s.open(mono.Now(), 1e6, o); err != nil {
			t.Error(err)
		}
		s.openRest(mono.Now())
	})
	return s
}

// lead goes through what a run asks of clients: they ask, leave and come back, and close.
func (s *testSwarm) lead(connections int, node string) {
	s.t.Helper()
	s.awaitVerified(connections)
	const requests = 100
	s.on(func() { s.ping(mono.Now(), 1000, &wire.PingOrder{For: requests * time.Millisecond, Record: true}) })
	n := s.await("answers", func(n wire.Counts) bool { return n.Requests.Sent == requests && n.Requests.UnderWay() == 0 })
	if n.Requests.Answered != requests || n.Moved != 0 || n.Dropped != 0 || n.Nodes[node] != connections {
		s.t.Errorf("after requests: %+v", n)
	}
	s.on(func() { s.sticky(1e5, &wire.StickyOrder{Sample: connections / 2}) })
	n = s.await("the sample to be back", func(n wire.Counts) bool { return n.Sticky.Settled() && n.Verified == connections })
	if n.Sticky.Consistent != connections/2 || n.Dropped != 0 || n.Sessions.Lost != 0 || len(n.Failures) != 0 {
		s.t.Errorf("after the sample: %+v", n)
	}
	s.on(func() {
		m, err := s.tally.Measured(s.script)
		if err != nil || len(m.Setup) < 1 || len(m.Nodes) != 1 {
			s.t.Errorf("%+v, %v", m, err)
		}
		s.close(1e5)
	})
	n = s.await("the end", func(n wire.Counts) bool { return n.Open == 0 })
	if n.Verified != 0 || n.Dropped != 0 || n.Requests.Lost != 0 {
		s.t.Errorf("at the end: %+v", n)
	}
	if n.Sessions.Ended != 0 && n.Sessions.Ended != n.Sessions.Begun {
		s.t.Errorf("sessions: %+v", n.Sessions)
	}
	s.on(func() {
		if len(s.stages.since) != 0 || s.loop.Held() != 0 {
			s.t.Errorf("%d stages and %d bytes are left", len(s.stages.since), s.loop.Held())
		}
	})
}

// works are the ways to ask a node.
var (
	sessions  = work.Work{Era: mcp.SessionEra, Verify: ask.Whoami, Naming: work.ByAnswer}
	stateless = work.Work{Era: mcp.StatelessEra, Verify: ask.Whoami, Naming: work.ByAnswer}
)

// TestNode leads clients over every transport of a node.
func TestNode(t *testing.T) {
	ports, err := freeport.Find(3)
	must(t, err)
	spec := node.Default()
	spec.Version = "test"
	spec.Node.TCP, spec.Node.HTTP, spec.Node.SSE = ports[0], ports[1], ports[2]
	text, err := json.Marshal(spec)
	must(t, err)
	c := exec.Command(os.Args[0], "node", "serve", string(text))
	var stderr bytes.Buffer
	c.Stderr, c.WaitDelay = &stderr, 10*time.Second
	must(t, c.Start())
	t.Cleanup(func() {
		_ = c.Process.Kill()
		_ = c.Wait()
		if t.Failed() {
			t.Log(stderr.String())
		}
	})
	at := func(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }
	waittest.Until(t, time.Minute, "the node", func() bool {
		for _, port := range ports {
			conn, err := net.Dial("tcp", at(port))
			if err != nil {
				return false
			}
			conn.Close()
		}
		return true
	})
	for name, test := range map[string]struct {
		url  string
		work work.Work
	}{
		"tcp":                  {at(ports[0]), stateless},
		"streamable":           {"http://" + at(ports[1]) + "/mcp", sessions},
		"streamable stateless": {"http://" + at(ports[1]) + "/mcp", stateless},
		"sse":                  {"http://" + at(ports[2]) + "/mcp/sse", sessions},
		"websocket":            {"ws://" + at(ports[1]) + "/mcp/ws", sessions},
		"websocket stateless":  {"ws://" + at(ports[1]) + "/mcp/ws", stateless},
	} {
		t.Run(name, func(t *testing.T) {
			startOver(t, endpointOf(t, test.url), test.work, 40, time.Minute).lead(40, spec.Node.Name)
		})
	}
}

// sdkServer has the tools whoami and fail.
func sdkServer() *sdk.Server {
	server := sdk.NewServer(&sdk.Implementation{Name: "test", Version: "1"}, nil)
	empty := json.RawMessage(`{"type":"object"}`)
	server.AddTool(&sdk.Tool{Name: "whoami", InputSchema: empty}, func(context.Context, *sdk.CallToolRequest) (*sdk.CallToolResult, error) {
		return &sdk.CallToolResult{Content: []sdk.Content{&sdk.TextContent{Text: "a"}}}, nil
	})
	server.AddTool(&sdk.Tool{Name: "fail", InputSchema: empty}, func(context.Context, *sdk.CallToolRequest) (*sdk.CallToolResult, error) {
		return &sdk.CallToolResult{IsError: true, Content: []sdk.Content{&sdk.TextContent{Text: "no"}}}, nil
	})
	return server
}

// overSocket serves MCP over WebSockets.
func overSocket(server *sdk.Server) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ws, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{"mcp"}})
		if err != nil {
			return
		}
		session, err := server.Connect(r.Context(), &socketTransport{ws}, nil)
		if err == nil {
			_ = session.Wait()
		}
		_ = ws.CloseNow()
	})
}

type socketTransport struct{ *websocket.Conn }

func (s *socketTransport) Connect(context.Context) (sdk.Connection, error) { return s, nil }
func (s *socketTransport) SessionID() string                               { return "" }
func (s *socketTransport) Close() error                                    { return s.Conn.Close(websocket.StatusNormalClosure, "") }

func (s *socketTransport) Read(ctx context.Context) (jsonrpc.Message, error) {
	_, p, err := s.Conn.Read(ctx)
	if err != nil {
		return nil, io.EOF
	}
	return jsonrpc.DecodeMessage(p)
}

func (s *socketTransport) Write(ctx context.Context, m jsonrpc.Message) error {
	p, err := jsonrpc.EncodeMessage(m)
	if err != nil {
		return err
	}
	w, err := s.Conn.Writer(ctx, websocket.MessageText)
	if err != nil {
		return err
	}
	half := len(p) / 2
	if _, err := w.Write(p[:half]); err != nil { // in fragments
		return err
	}
	_, err = w.Write(p[half:])
	if err != nil {
		return err
	}
	return w.Close()
}

// service is a way to serve MCP, and to ask there.
type service struct {
	scheme, path string
	handler      func() http.Handler
	work         work.Work
}

func services() map[string]service {
	streamable := func(o *sdk.StreamableHTTPOptions) func() http.Handler {
		return func() http.Handler {
			server := sdkServer()
			return sdk.NewStreamableHTTPHandler(func(*http.Request) *sdk.Server { return server }, o)
		}
	}
	named := func(h func() http.Handler) func() http.Handler {
		return func() http.Handler {
			next := h()
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("X-Served-By", "a")
				next.ServeHTTP(w, r)
			})
		}
	}
	legacy := func() http.Handler {
		server := sdkServer()
		return sdk.NewSSEHandler(func(*http.Request) *sdk.Server { return server }, nil)
	}
	socket := func() http.Handler { return overSocket(sdkServer()) }
	byHeader := work.Work{Era: mcp.SessionEra, Verify: ask.Ping, Naming: work.ByHeader}
	byHeaderStateless := work.Work{Era: mcp.StatelessEra, Verify: ask.Discover, Naming: work.ByHeader}
	return map[string]service{
		"events in answers":   {"http", "/mcp", streamable(&sdk.StreamableHTTPOptions{}), sessions},
		"JSON in answers":     {"http", "/mcp", streamable(&sdk.StreamableHTTPOptions{JSONResponse: true}), sessions},
		"no sessions":         {"http", "/mcp", streamable(&sdk.StreamableHTTPOptions{Stateless: true}), stateless},
		"era without a use":   {"http", "/mcp", streamable(&sdk.StreamableHTTPOptions{Stateless: true}), sessions},
		"by header":           {"http", "/mcp", named(streamable(&sdk.StreamableHTTPOptions{})), byHeader},
		"by header stateless": {"http", "/mcp", named(streamable(&sdk.StreamableHTTPOptions{Stateless: true})), byHeaderStateless},
		"legacy":              {"http", "/sse", legacy, sessions},
		"legacy by header":    {"http", "/sse", named(legacy), byHeader},
		"socket":              {"ws", "/ws", socket, sessions},
		"socket by header":    {"ws", "/ws", named(socket), byHeader},
	}
}

// serve serves a handler, and tells where.
func serve(t *testing.T, v service, secure bool) target.Endpoint {
	t.Helper()
	server := httptest.NewUnstartedServer(v.handler())
	t.Cleanup(server.Close)
	if !secure {
		server.Start()
		return endpointOf(t, v.scheme+"://"+server.Listener.Addr().String()+v.path)
	}
	server.StartTLS()
	e := endpointOf(t, v.scheme+"s://"+server.Listener.Addr().String()+v.path)
	e.TLS.CA = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}))
	return e
}

func TestServers(t *testing.T) {
	for name, v := range services() {
		for _, secure := range []bool{false, true} {
			if secure {
				name += " within TLS"
			}
			t.Run(name, func(t *testing.T) {
				s := startOver(t, serve(t, v, secure), v.work, 10, time.Minute)
				s.lead(10, "a")
			})
		}
	}
}

// chopping hands bytes between clients and a server on in small pieces.
func chopping(t *testing.T, to string, size func() int) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	var all sync.WaitGroup
	var mu sync.Mutex
	var open []net.Conn
	hold := func(c net.Conn) {
		mu.Lock()
		defer mu.Unlock()
		open = append(open, c)
	}
	all.Go(func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", to)
			if err != nil {
				in.Close()
				return
			}
			hold(in)
			hold(out)
			all.Go(func() {
				_, _ = io.Copy(out, in)
				_ = out.(*net.TCPConn).CloseWrite()
			})
			all.Go(func() {
				defer in.Close()
				defer out.Close()
				p := make([]byte, 64<<10)
				for {
					n, err := out.Read(p)
					for rest := p[:n]; len(rest) > 0; {
						k := min(size(), len(rest))
						if _, err := in.Write(rest[:k]); err != nil {
							return
						}
						rest = rest[k:]
					}
					if err != nil {
						return
					}
				}
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		mu.Lock()
		for _, c := range open {
			c.Close()
		}
		mu.Unlock()
		all.Wait()
	})
	return l.Addr().String()
}

// However the network cuts what servers say, it is understood in the same way.
func TestCuts(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	for name, v := range services() {
		for how, most := range map[string]int{"byte by byte": 1, "in pieces": 40} {
			t.Run(name+" "+how, func(t *testing.T) {
				var mu sync.Mutex
				r := rand.New(rand.NewPCG(seed, 1))
				e := serve(t, v, false)
				address := chopping(t, e.Address.String(), func() int {
					mu.Lock()
					defer mu.Unlock()
					return 1 + r.IntN(most)
				})
				e.Address = netip.MustParseAddrPort(address)
				startOver(t, e, v.work, 4, time.Minute).lead(4, "a")
			})
		}
	}
}

func TestToolsThatFail(t *testing.T) {
	for name, v := range services() {
		v.work.Steps = []work.Step{
			{Name: "no tool", Method: "tools/call", Params: json.RawMessage(`{"name":"nothing","arguments":{}}`), Weight: 1},
			{Name: "failing tool", Method: "tools/call", Params: json.RawMessage(`{"name":"fail","arguments":{}}`), Weight: 1},
			{Name: "no method", Method: "nonsense", Weight: 1},
		}
		if v.work.Era == mcp.StatelessEra {
			continue // what such a server says to parameters without _meta is another matter
		}
		t.Run(name, func(t *testing.T) {
			s := startOver(t, serve(t, v, false), v.work, 2, time.Minute)
			s.awaitVerified(2)
			s.on(func() { s.ping(mono.Now(), 1000, &wire.PingOrder{For: 30 * time.Millisecond}) })
			n := s.await("answers", func(n wire.Counts) bool { return n.Requests.Sent == 30 && n.Requests.UnderWay() == 0 })
			if n.Requests.Failed != 30 || n.Refused["tool"]+n.Refused["4xx"] != 30 || n.Refused["tool"] < 20 || n.Dropped != 0 {
				t.Errorf("%+v", n)
			}
		})
	}
}

func TestCertificates(t *testing.T) {
	v := services()["JSON in answers"]
	for name, test := range map[string]struct {
		tune   func(*target.Endpoint)
		failed string
	}{
		"unknown authority": {func(e *target.Endpoint) { e.TLS.CA = "" }, "tls"},
		"wrong name":        {func(e *target.Endpoint) { e.TLS.ServerName = "elsewhere.example" }, "tls"},
		"other name":        {func(e *target.Endpoint) { e.TLS.ServerName = "example.com" }, ""},
		"anybody":           {func(e *target.Endpoint) { e.TLS.CA, e.TLS.Insecure = "", true }, ""},
		"no TLS":            {func(e *target.Endpoint) { e.Secure = false }, "4xx"},
	} {
		t.Run(name, func(t *testing.T) {
			e := serve(t, v, true)
			test.tune(&e)
			s := startOver(t, e, v.work, 3, 10*time.Second)
			if test.failed == "" {
				s.awaitVerified(3)
				return
			}
			s.await("failures", func(n wire.Counts) bool { return n.Failures[test.failed] > 2 && n.Verified == 0 })
		})
	}
	e := serve(t, v, true)
	e.TLS.CA = "nothing"
	swarm, err := Start(func() {}, func(err error) { t.Error(err) })
	must(t, err)
	defer swarm.Stop()
	s := &testSwarm{t, swarm}
	s.on(func() {
		if err := s.open(mono.Now(), 1, &wire.OpenOrder{Endpoint: e, Work: v.work, Connections: 1, Sources: loopback}); err == nil {
			t.Error("opened without a certificate to trust")
		}
		e.TLS.CA, e.Header = "", []target.Field{{Name: "Authorization", Value: "Bearer secret\r\nX: y"}}
		err := s.open(mono.Now(), 1, &wire.OpenOrder{Endpoint: e, Work: v.work, Connections: 1, Sources: loopback})
		if err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("a field of two lines: %v", err)
		}
	})
}
