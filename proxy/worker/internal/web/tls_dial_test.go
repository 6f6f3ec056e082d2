package web

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"
	"golang.org/x/sys/unix"

	"github.com/erlmcp/erlmcp/internal/reactor"
	"github.com/erlmcp/erlmcp/proxy"
	"github.com/erlmcp/erlmcp/proxy/internal/proxytest"
	"github.com/erlmcp/erlmcp/proxy/internal/wire"
)

// mirrorSite answers with what it was sent, and says who it is and how it was asked.
func mirrorSite(name string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/mcp/ws":
			proxytest.EchoWebSocket(w, r)
			return
		case "/events":
			w.Header().Set("Content-Type", "text/event-stream")
			for i := range 3 {
				fmt.Fprintf(w, "data: %s %d\n\n", name, i)
				_ = http.NewResponseController(w).Flush()
			}
			return
		}
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		w.Header().Set("X-Node", name)
		w.Header().Set("X-Proto", r.Header.Get("X-Forwarded-Proto"))
		if s := r.TLS; s != nil {
			w.Header().Set("X-TLS", fmt.Sprintf("%s %s %s", tls.VersionName(s.Version), s.ServerName, s.NegotiatedProtocol))
		}
		_, _ = w.Write(body)
	}
}

// A node that speaks TLS and one that does not serve the same clients, whatever these speak.
func TestNodeOverTLS(t *testing.T) {
	ca := proxytest.NewAuthority(t)
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		t.Run(tls.VersionName(version), func(t *testing.T) {
			config := proxytest.ServerConfig(t, ca.Issue("localhost", time.Hour))
			config.MaxVersion = version
			sites := []string{proxytest.StartSecureSite(t, config, mirrorSite("n0")), proxytest.StartSite(t, mirrorSite("n1"))}
			b := startWorker(t, sites, func(s *proxy.Spec) {
				s.NodeTLS = ca.Files(nil)
				s.Balance, s.Sticky.HTTP, s.Sticky.TCP = proxy.BalanceRoundRobin, proxy.StickyNone, proxy.StickyNone
				s.Limits.ConnectionsPerSecond, s.Limits.MessagesPerSecond = 0, 0
			})
			for scheme, address := range map[string]string{"http": b.Web, "https": b.Secure} {
				mixedNodes(t, scheme, address, version)
			}
		})
	}
}

func mixedNodes(t *testing.T, scheme, address string, version uint16) {
	browser := proxytest.SecureBrowser(t, proxytest.LocalPair())
	browser.Transport.(*http.Transport).DisableCompression = true
	base := scheme + "://" + address
	seen := map[string]int{}
	for i, size := range []int{0, 0, 100, 100, 5 << 20, 5 << 20} {
		body := bytes.Repeat([]byte{byte('a' + i)}, size)
		method := "POST"
		if size == 0 {
			method = "GET"
		}
		q, _ := http.NewRequest(method, base+"/mcp", bytes.NewReader(body))
		resp, err := browser.Do(q)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || resp.StatusCode != http.StatusOK || !bytes.Equal(got, body) {
			t.Fatalf("%s of %d bytes: %s, %d bytes, %v", method, size, resp.Status, len(got), err)
		}
		node := resp.Header.Get("X-Node")
		seen[node]++
		want := map[string]string{"n0": tls.VersionName(version) + " localhost http/1.1", "n1": ""}[node]
		if how := resp.Header.Get("X-TLS"); how != want || resp.Header.Get("X-Proto") != scheme {
			t.Errorf("%s was asked over %q, for a client over %q", node, how, resp.Header.Get("X-Proto"))
		}
	}
	if seen["n0"] != 3 || seen["n1"] != 3 {
		t.Errorf("spread %v", seen)
	}
	heard := map[string]bool{}
	for range 2 {
		resp, err := browser.Get(base + "/events")
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		name, _, _ := strings.Cut(strings.TrimPrefix(string(got), "data: "), " ")
		if want := fmt.Sprintf("data: %s 0\n\ndata: %s 1\n\ndata: %s 2\n\n", name, name, name); err != nil || string(got) != want {
			t.Errorf("events %q, %v", got, err)
		}
		heard[name] = true
	}
	if !heard["n0"] || !heard["n1"] {
		t.Errorf("events of %v", heard)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	timeless := *browser
	timeless.Timeout = 0
	for range 2 {
		ws, _, err := websocket.Dial(ctx, base+"/mcp/ws", &websocket.DialOptions{HTTPClient: &timeless}) //nolint:bodyclose // there is none
		if err != nil {
			t.Fatal(err)
		}
		ws.SetReadLimit(1 << 20)
		for _, size := range []int{1, 1000, 100_000} {
			proxytest.PingWebSocket(ctx, t, ws, strings.Repeat("x", size))
		}
		_ = ws.Close(websocket.StatusNormalClosure, "")
	}
}

// Connections wait in the pool, and new ones resume a session.
func TestNodeOverTLSIsMetAgain(t *testing.T) {
	ca := proxytest.NewAuthority(t)
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		config := proxytest.ServerConfig(t, ca.Issue("localhost", time.Hour))
		config.MaxVersion = version
		var made, resumed atomic.Int64
		config.VerifyConnection = func(s tls.ConnectionState) error {
			made.Add(1)
			if s.DidResume {
				resumed.Add(1)
			}
			return nil
		}
		b := startWorker(t, []string{proxytest.StartSecureSite(t, config, proxytest.Hello)}, func(s *proxy.Spec) { s.NodeTLS = ca.Files(nil) })
		c := b.Visit()
		for range 5 {
			c.Say("GET / HTTP/1.1\r\nHost: h\r\n\r\n")
			if resp, body := c.Answer("GET"); resp.StatusCode != http.StatusOK || body != "hello" {
				t.Fatalf("%s, %q", resp.Status, body)
			}
		}
		if n := made.Load(); n != 1 {
			t.Errorf("%x: %d connections for five requests", version, n)
		}
		b.On(func() { b.http.nodes[0].forget() })
		c.Say("GET / HTTP/1.1\r\nHost: h\r\n\r\n")
		c.Answer("GET")
		if made.Load() != 2 || resumed.Load() != 1 {
			t.Errorf("%x: %d connections, %d resumed", version, made.Load(), resumed.Load())
		}
		b.On(func() { // with another authority nothing of before counts
			s := b.Given
			s.NodeTrust.CA = proxytest.NewAuthority(t).PEM
			if err := b.Apply(s); err != nil {
				t.Error(err)
			}
		})
		c.Say("GET / HTTP/1.1\r\nHost: h\r\n\r\n")
		c.Answer("GET") // over a connection that was there
		b.On(func() { b.http.nodes[0].forget() })
		c.Say("GET / HTTP/1.1\r\nHost: h\r\n\r\n")
		c.Denied(http.StatusBadGateway)
	}
}

// Whatever keeps TLS from being agreed on is told, to the client and to the master, and another node
// serves the client if there is one.
func TestNodeWithoutAgreement(t *testing.T) {
	ca, other := proxytest.NewAuthority(t), proxytest.NewAuthority(t)
	good := ca.Issue("localhost", time.Hour)
	site := func(p *proxytest.KeyPair, change func(*tls.Config)) string {
		config := proxytest.ServerConfig(t, p)
		if change != nil {
			change(config)
		}
		return proxytest.StartSecureSite(t, config, proxytest.Hello)
	}
	demanding := func(version uint16) func(*tls.Config) {
		return func(c *tls.Config) {
			c.ClientAuth, c.ClientCAs, c.MinVersion, c.MaxVersion = tls.RequireAndVerifyClientCert, ca.Pool(), version, version
		}
	}
	plain := proxytest.StartSite(t, proxytest.Hello)
	for name, test := range map[string]struct {
		node, reason, text string
	}{
		"another name":       {site(ca.Issue("other.test", time.Hour), nil), wire.SuspectTLS, "certificate is not for localhost (names: other.test)"},
		"expired":            {site(ca.Issue("localhost", -time.Hour), nil), wire.SuspectTLS, "certificate expired " + time.Now().Add(-time.Hour).UTC().Format(time.DateOnly)},
		"another authority":  {site(other.Issue("localhost", time.Hour), nil), wire.SuspectTLS, "certificate is of an authority that is not trusted"},
		"certificate in 1.2": {site(good, demanding(tls.VersionTLS12)), wire.SuspectTLS, "handshake refused: tls: "},
		"certificate in 1.3": {site(good, demanding(tls.VersionTLS13)), wire.SuspectTLS, "handshake refused: tls: "},
		"too old":            {site(good, func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS10, tls.VersionTLS11 }), wire.SuspectTLS, "handshake refused: tls: protocol version not supported"},
		"no TLS":             {"https://" + plain, wire.SuspectTLS, "not a TLS server"},
		"closes at once":     {proxytest.ClosesAt(t, 1), "", "the node closed the connection"},
		"closes later":       {proxytest.ClosesAt(t, 200), "", "the node closed the connection"},
	} {
		t.Run(name, func(t *testing.T) {
			b := startWorker(t, []string{test.node}, func(s *proxy.Spec) { s.NodeTLS = ca.Files(nil) })
			for _, method := range []string{"GET", "POST"} {
				c := b.Visit()
				c.Say(method + " / HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n")
				resp, body := c.Answer(method)
				if resp.StatusCode != http.StatusBadGateway || !strings.Contains(body, "TLS could not be agreed on with the node: "+test.text) {
					t.Errorf("%s: %s, %s", method, resp.Status, body)
				}
			}
			if r := <-b.Reports; test.reason != "" && r.Reason != test.reason || test.reason == "" && r.Reason != wire.SuspectClosed && r.Reason != wire.SuspectReset {
				t.Errorf("reported %+v", r)
			}
			b = startWorker(t, []string{test.node, plain}, func(s *proxy.Spec) {
				s.NodeTLS, s.Balance, s.Sticky.HTTP = ca.Files(nil), proxy.BalanceRoundRobin, proxy.StickyNone
			})
			c := b.Visit()
			for range 4 {
				c.Say("GET / HTTP/1.1\r\nHost: h\r\n\r\n")
				if resp, body := c.Answer("GET"); body != "hello" {
					t.Errorf("with another node: %s, %s", resp.Status, body)
				}
			}
		})
	}
}

// The connect timeout holds for connect and handshake together.
func TestNodeThatNeverShakesHands(t *testing.T) {
	b := startWorker(t, []string{proxytest.ClosesAt(t, 1<<20)}, func(s *proxy.Spec) { s.Timeouts.Connect = 100 * time.Millisecond })
	c := b.Visit()
	c.Say("GET / HTTP/1.1\r\nHost: h\r\n\r\n")
	c.Denied(http.StatusServiceUnavailable)
	if r := <-b.Reports; r.Reason != wire.SuspectTimeout {
		t.Errorf("reported %+v", r)
	}
}

func TestNodeThatKnowsUs(t *testing.T) {
	ca := proxytest.NewAuthority(t)
	client := ca.Issue("balancer.test", time.Hour)
	for name, test := range map[string]struct {
		host   string
		change func(*proxy.NodeTLS)
	}{
		"certificate":  {"localhost", func(*proxy.NodeTLS) {}},
		"server name":  {"mcp.test", func(n *proxy.NodeTLS) { n.ServerName = "mcp.test" }},
		"not verified": {"other.test", func(n *proxy.NodeTLS) { n.CA, n.Insecure = "", true }},
	} {
		t.Run(name, func(t *testing.T) {
			config := proxytest.ServerConfig(t, ca.Issue(test.host, time.Hour))
			config.ClientAuth, config.ClientCAs = tls.RequireAndVerifyClientCert, ca.Pool()
			site := proxytest.StartSecureSite(t, config, func(w http.ResponseWriter, r *http.Request) {
				fmt.Fprint(w, r.TLS.PeerCertificates[0].Subject.CommonName, " ", r.TLS.ServerName)
			})
			files := ca.Files(client)
			test.change(&files)
			b := startWorker(t, []string{site}, func(s *proxy.Spec) { s.NodeTLS = files })
			c := b.Visit()
			c.Say("GET / HTTP/1.1\r\nHost: h\r\n\r\n")
			want := "balancer.test localhost"
			if files.ServerName != "" {
				want = "balancer.test mcp.test"
			}
			if resp, body := c.Answer("GET"); body != want {
				t.Errorf("%s, %q", resp.Status, body)
			}
		})
	}
}

// Handshakes with nodes that succeed, fail or are left give every descriptor back.
func TestNodesOverTLSLeaveNoDescriptors(t *testing.T) {
	ca := proxytest.NewAuthority(t)
	sites := []string{
		proxytest.StartSecureSite(t, proxytest.ServerConfig(t, ca.Issue("localhost", time.Hour)), proxytest.Hello),
		proxytest.StartSecureSite(t, proxytest.ServerConfig(t, proxytest.NewAuthority(t).Issue("localhost", time.Hour)), proxytest.Hello),
		proxytest.ClosesAt(t, 100), proxytest.ClosesAt(t, 1<<20),
	}
	b := startWorker(t, sites, func(s *proxy.Spec) {
		s.NodeTLS, s.Balance, s.Sticky.HTTP = ca.Files(nil), proxy.BalanceRoundRobin, proxy.StickyNone
		s.Limits.ConnectionsPerSecond, s.Limits.MessagesPerSecond, s.Timeouts.Connect = 0, 0, 2*time.Second
	})
	visit := func(leave bool) {
		c := b.Visit()
		defer c.Close()
		c.Say("GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
		if !leave {
			if got, err := io.ReadAll(c.Reader); err != nil || !bytes.HasSuffix(got, []byte("hello")) {
				t.Errorf("%q, %v", got, err)
			}
		}
	}
	idle := func() (gone bool) {
		b.On(func() {
			gone = b.Open == 0
			b.http.nodes[0].forget()
		})
		return gone
	}
	visit(false)
	b.Eventually("the first to be gone", idle)
	before := proxytest.OpenFiles(t)
	var visits sync.WaitGroup
	places := make(chan struct{}, 8) // whose handshakes are quick even where many programs compute
	for i := range 60 {
		visits.Go(func() {
			places <- struct{}{}
			visit(i%3 == 0)
			<-places
		})
	}
	visits.Wait()
	b.Eventually("all to be gone", idle)
	b.Eventually("their descriptors to be given back", func() bool { return idle() && proxytest.OpenFiles(t) <= before })
}

// A node that asks for new keys all the time and takes none of the answers does not fill the worker's memory.
func TestKeyUpdatesOfANode(t *testing.T) {
	ca := proxytest.NewAuthority(t)
	var keys bytes.Buffer
	config := proxytest.ServerConfig(t, ca.Issue("localhost", time.Hour))
	config.MinVersion, config.KeyLogWriter, config.SessionTicketsDisabled = tls.VersionTLS13, &keys, true
	skipped, narrow, over := make(chan bool, 1), make(chan struct{}), make(chan struct{})
	node := proxytest.StartNode(t, "", func(c *net.TCPConn) {
		_ = c.SetReadBuffer(4 << 10)
		conn := tls.Server(c, config)
		if err := conn.Handshake(); err != nil {
			t.Error(err)
			return
		}
		if _, err := proxytest.ReadHead(bufio.NewReader(conn)); err != nil {
			t.Error(err)
		}
		skipped <- conn.ConnectionState().CipherSuite != tls.TLS_AES_128_GCM_SHA256
		_, line, _ := strings.Cut(keys.String(), "SERVER_TRAFFIC_SECRET_0 ")
		secret, err := hex.DecodeString(strings.Fields(line)[1])
		if err != nil || len(secret) != sha256.Size {
			return
		}
		asked := askingForKeys(t, secret, "HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
		<-narrow
		go func() { _, _ = c.Write(asked) }()
		<-over
	})
	b := startWorker(t, []string{"https://" + node.Address()}, func(s *proxy.Spec) { s.NodeTLS = ca.Files(nil) })
	c := b.Visit()
	c.Say("GET / HTTP/1.1\r\nHost: h\r\n\r\n")
	defer close(over)
	if <-skipped {
		close(narrow)
		t.Skip("needs a machine with AES")
	}
	b.On(func() {
		if err := unix.SetsockoptInt(b.http.clients.x.node.conn.FD(), unix.SOL_SOCKET, unix.SO_SNDBUF, 4<<10); err != nil {
			t.Error(err)
		}
	})
	close(narrow)
	if pending := b.untaken(func() *reactor.Conn { return &b.http.clients.x.node.conn }); pending > mostUntaken {
		t.Errorf("%d bytes wait for a node that takes none", pending)
	}
	c.Close()
}
