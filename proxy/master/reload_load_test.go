package master

import (
	"context"
	"flag"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/erlmcp/erlmcp/internal/topology"
	"github.com/erlmcp/erlmcp/proxy"
	"github.com/erlmcp/erlmcp/proxy/internal/proxytest"
)

var (
	reloadSockets = flag.Int("reload.sockets", 100, "open WebSockets in TestReloadUnderLoad")
	reloadTime    = flag.Duration("reload.time", time.Second, "how long wrk runs in TestReloadUnderLoad")
)

// TestReloadUnderLoad reloads again and again, with every kind of change that workers take over, while wrk
// asks over 64 kept connections and WebSockets are open: no request fails, no WebSocket ends, and each still
// reaches its node. Over TLS the certificate is replaced as well, in every way there is, and who comes then
// sees the new one.
//
//	go test ./proxy/master -run TestReloadUnderLoad -v -reload.sockets 1000 -reload.time 10s
func TestReloadUnderLoad(t *testing.T) {
	wrk, err := exec.LookPath("wrk")
	if err != nil {
		t.Skip("wrk is not installed")
	}
	for _, scheme := range []string{"http", "https"} {
		t.Run(scheme, func(t *testing.T) { reloadedUnderLoad(t, wrk, scheme) })
	}
}

func reloadedUnderLoad(t *testing.T, wrk, scheme string) {
	var nodes []topology.Node
	for i := range 4 {
		echo := proxytest.StartNode(t, "", nil)
		n := echo.Node(fmt.Sprintf("n%d", i))
		at := proxytest.StartSite(t, echoSockets)
		_, port, _ := net.SplitHostPort(at)
		n.HTTP, _ = strconv.Atoi(port)
		nodes = append(nodes, n)
	}
	dir := t.TempDir()
	pair := proxytest.WritePair(t, dir, "127.0.0.1")
	b := serve(t, nil, proxytest.WithTLS(dir, func(s *proxy.Spec) {
		s.Nodes = nodes
		s.Listen.HTTP = "127.0.0.1:0"
		s.Workers = 2
		s.MaxConnections = 4000
		s.HTTP.KeepaliveRequests = 0
		s.Limits.ConnectionsPerSecond, s.Limits.MessagesPerSecond, s.Limits.MaxPerSource = 0, 0, 0
	}))
	for _, n := range nodes {
		b.eventuallyState(n.Name, proxy.NodeUp)
	}
	base := scheme + "://" + b.address(scheme)
	ctx, cancel := context.WithTimeout(t.Context(), *reloadTime+2*time.Minute)
	defer cancel()
	browser := proxytest.SecureBrowser(t, pair)
	sockets := make([]*websocket.Conn, *reloadSockets)
	for i := range sockets {
		c, _, err := websocket.Dial(ctx, base+"/mcp/ws", &websocket.DialOptions{HTTPClient: browser}) //nolint:bodyclose // there is none
		if err != nil {
			t.Fatalf("WebSocket %d: %v", i, err)
		}
		defer func() { _ = c.CloseNow() }()
		sockets[i] = c
	}
	speak := func(text string) {
		t.Helper()
		var wg sync.WaitGroup
		for i, c := range sockets {
			wg.Go(func() {
				if err := c.Write(ctx, websocket.MessageText, []byte(text)); err != nil {
					t.Errorf("WebSocket %d is closed: %v", i, err)
					return
				}
				if _, got, err := c.Read(ctx); err != nil || string(got) != text {
					t.Errorf("WebSocket %d: %q, %v, want %q", i, got, err, text)
				}
			})
		}
		wg.Wait()
	}
	speak("before")

	type result struct {
		output []byte
		err    error
	}
	ended := make(chan result, 1)
	seconds := max(1, int(reloadTime.Seconds()))
	go func() {
		output, err := exec.CommandContext(ctx, wrk, "-t", "2", "-c", "64", "-d", strconv.Itoa(seconds), "--timeout", "10", "--latency", base+"/mcp").CombinedOutput()
		ended <- result{output, err}
	}()
	b.eventually("wrk to ask", func(s *proxy.Stats) bool { return s.HTTP.Requests > uint64(len(sockets))+100 })
	reloads, swaps := 0, 0
	var r result
	for running := true; running || swaps < 2*len(replacements) && scheme == "https"; {
		if scheme == "https" {
			// Every other certificate is left to be found.
			pair = b.replaced(dir, pair, replacements[swaps/2%len(replacements)], swaps%2 == 0)
			swaps++
		}
		b.reloaded(func(s *proxy.Spec) {
			s.Timeouts.Idle = time.Duration(10+reloads%2) * time.Minute
			s.MaxConnections = 4000 + reloads%2
			s.Nodes = slices.Clone(nodes)
			s.Nodes[0].Weight = 1 + reloads%3
			if reloads%4 == 3 {
				s.Nodes = s.Nodes[:3] // the last one leaves, and comes back
			}
		})
		reloads++
		speak(fmt.Sprintf("after reload %d", reloads))
		if running {
			select {
			case r = <-ended:
				running = false
			default:
			}
		}
	}
	if r.err != nil {
		t.Fatalf("wrk: %v\n%s", r.err, r.output)
	}
	report, err := proxytest.ReadWrk(string(r.output))
	if err != nil {
		t.Fatalf("%v\n%s", err, r.output)
	}
	speak("after")
	s := b.stats()
	// wrk connects once before it begins, to see whether it can, and speaks no TLS there.
	if s.HTTP.Responses.ServerError != 0 || s.HTTP.Responses.ClientError != 0 || s.Refused.Handshake > 1 {
		t.Errorf("responses are %+v, %d handshakes failed", s.HTTP.Responses, s.Refused.Handshake)
	}
	t.Logf("%d reloads and %d new certificates during %d requests (%.0f/s, p99 %v) without an error, and %d WebSockets open throughout",
		reloads, swaps, report.Requests, report.Rate, report.P99, len(sockets))
}

// replacements are the ways in which a new certificate comes to where the balancer reads it.
var replacements = []func(t testing.TB, dir, host string) *proxytest.KeyPair{proxytest.WritePair, rewritePair}

// rewritePair puts a fresh certificate into the place of the one in dir, file by file.
func rewritePair(t testing.TB, dir, host string) *proxytest.KeyPair {
	t.Helper()
	p := proxytest.WritePair(t, t.TempDir(), host)
	for name, data := range map[string][]byte{"lb.key": p.Key, "lb.crt": p.Cert} {
		proxytest.Replace(t, filepath.Join(dir, "live", name), data)
	}
	return p
}

// replaced puts another certificate into the place of old, and requires that new clients see it: at once when
// it is reloaded, else when it has been found.
func (b *balancer) replaced(dir string, old *proxytest.KeyPair, replace func(t testing.TB, dir, host string) *proxytest.KeyPair, reload bool) (fresh *proxytest.KeyPair) {
	b.t.Helper()
	fresh = replace(b.t, dir, "127.0.0.1")
	want := leafOf(b.t, fresh).SerialNumber
	served := func() *big.Int { return b.shown(proxytest.Trusting(old, fresh)).SerialNumber }
	if reload {
		b.reloaded(func(*proxy.Spec) {})
	} else {
		b.eventually("the new certificate", func(*proxy.Stats) bool { return served().Cmp(want) == 0 })
	}
	for range 8 { // whichever worker takes them
		if got := served(); reload && got.Cmp(want) != 0 {
			b.t.Errorf("a new client sees certificate %x, want %x", got, want)
		}
	}
	return fresh
}

// echoSockets is a node that answers requests, and says on a WebSocket what it hears.
func echoSockets(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Upgrade") != "" {
		proxytest.EchoWebSocket(w, r)
		return
	}
	proxytest.Hello(w, r)
}
