package proxy

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"
	"golang.org/x/sys/unix"
)

// authority issues certificates for tests.
type authority struct {
	t    testing.TB
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  []byte
}

func newAuthority(t testing.TB) *authority {
	t.Helper()
	a := &authority{t: t}
	a.cert = &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "authority of a test"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageCertSign, BasicConstraintsValid: true, IsCA: true,
	}
	var err error
	if a.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificate(rand.Reader, a.cert, a.cert, &a.key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	a.pem = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	return a
}

// issue makes a certificate for a host, and for clients, that is valid for that long.
func (a *authority) issue(host string, valid time.Duration) *keyPair {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: host}, DNSNames: []string{host},
		NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: time.Now().Add(valid),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &key.PublicKey, a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		a.t.Fatal(err)
	}
	return &keyPair{
		cert: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		key:  pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}),
	}
}

// pool is what those know who trust the authority.
func (a *authority) pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(a.pem)
	return pool
}

// files writes the authority's certificate and a pair, if there is one.
func (a *authority) files(pair *keyPair) NodeTLS {
	dir := a.t.TempDir()
	files := NodeTLS{CA: filepath.Join(dir, "ca.pem")}
	overwrite(a.t, files.CA, a.pem)
	if pair != nil {
		files.Cert, files.Key = filepath.Join(dir, "client.crt"), filepath.Join(dir, "client.key")
		overwrite(a.t, files.Cert, pair.cert)
		overwrite(a.t, files.Key, pair.key)
	}
	return files
}

func serverConfig(t testing.TB, p *keyPair) *tls.Config {
	t.Helper()
	pair, err := tls.X509KeyPair(p.cert, p.key)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{pair}}
}

// startSecureSite runs an HTTP server over TLS as a node.
func startSecureSite(t testing.TB, config *tls.Config, h http.HandlerFunc) (address string) {
	t.Helper()
	s := httptest.NewUnstartedServer(h)
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.TLS = config
	s.StartTLS()
	t.Cleanup(s.Close)
	return "https://" + s.Listener.Addr().String()
}

// mirrorSite answers with what it was sent, and says who it is and how it was asked.
func mirrorSite(name string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/mcp/ws":
			echoWebSocket(w, r)
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
	ca := newAuthority(t)
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		t.Run(tls.VersionName(version), func(t *testing.T) {
			config := serverConfig(t, ca.issue("localhost", time.Hour))
			config.MaxVersion = version
			sites := []string{startSecureSite(t, config, mirrorSite("n0")), startSite(t, mirrorSite("n1"))}
			b := startWorker(t, sites, func(s *Spec) {
				s.NodeTLS = ca.files(nil)
				s.Balance, s.Sticky.HTTP, s.Sticky.TCP = BalanceRoundRobin, StickyNone, StickyNone
				s.Limits.ConnectionsPerSecond, s.Limits.MessagesPerSecond = 0, 0
			})
			for scheme, address := range map[string]string{"http": b.web, "https": b.secure} {
				mixedNodes(t, scheme, address, version)
			}
		})
	}
}

func mixedNodes(t *testing.T, scheme, address string, version uint16) {
	browser := secureBrowser(t, testPair())
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
			pingWebSocket(ctx, t, ws, strings.Repeat("x", size))
		}
		_ = ws.Close(websocket.StatusNormalClosure, "")
	}
}

// Connections wait in the pool, and new ones resume a session.
func TestNodeOverTLSIsMetAgain(t *testing.T) {
	ca := newAuthority(t)
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		config := serverConfig(t, ca.issue("localhost", time.Hour))
		config.MaxVersion = version
		var made, resumed atomic.Int64
		config.VerifyConnection = func(s tls.ConnectionState) error {
			made.Add(1)
			if s.DidResume {
				resumed.Add(1)
			}
			return nil
		}
		b := startWorker(t, []string{startSecureSite(t, config, hello)}, func(s *Spec) { s.NodeTLS = ca.files(nil) })
		c := b.visit()
		for range 5 {
			c.say("GET / HTTP/1.1\r\nHost: h\r\n\r\n")
			if resp, body := c.answer("GET"); resp.StatusCode != http.StatusOK || body != "hello" {
				t.Fatalf("%s, %q", resp.Status, body)
			}
		}
		if n := made.Load(); n != 1 {
			t.Errorf("%x: %d connections for five requests", version, n)
		}
		b.on(func() { b.backends[0].forget() })
		c.say("GET / HTTP/1.1\r\nHost: h\r\n\r\n")
		c.answer("GET")
		if made.Load() != 2 || resumed.Load() != 1 {
			t.Errorf("%x: %d connections, %d resumed", version, made.Load(), resumed.Load())
		}
		b.on(func() { // with another authority nothing of before counts
			s := b.given
			s.NodeTrust.CA = newAuthority(t).pem
			if err := b.apply(s); err != nil {
				t.Error(err)
			}
		})
		c.say("GET / HTTP/1.1\r\nHost: h\r\n\r\n")
		c.answer("GET") // over a connection that was there
		b.on(func() { b.backends[0].forget() })
		c.say("GET / HTTP/1.1\r\nHost: h\r\n\r\n")
		c.denied(http.StatusBadGateway)
	}
}

// closesAt is a node that reads so many bytes and closes.
func closesAt(t testing.TB, bytes int64) string {
	return "https://" + startNode(t, "", func(c *net.TCPConn) { _, _ = io.CopyN(io.Discard, c, bytes) }).address()
}

// Whatever keeps TLS from being agreed on is told, to the client and to the master, and another node
// serves the client if there is one.
func TestNodeWithoutAgreement(t *testing.T) {
	ca, other := newAuthority(t), newAuthority(t)
	good := ca.issue("localhost", time.Hour)
	site := func(p *keyPair, change func(*tls.Config)) string {
		config := serverConfig(t, p)
		if change != nil {
			change(config)
		}
		return startSecureSite(t, config, hello)
	}
	demanding := func(version uint16) func(*tls.Config) {
		return func(c *tls.Config) {
			c.ClientAuth, c.ClientCAs, c.MinVersion, c.MaxVersion = tls.RequireAndVerifyClientCert, ca.pool(), version, version
		}
	}
	plain := startSite(t, hello)
	for name, test := range map[string]struct {
		node, reason, text string
	}{
		"another name":       {site(ca.issue("other.test", time.Hour), nil), SuspectTLS, "certificate is not for localhost (names: other.test)"},
		"expired":            {site(ca.issue("localhost", -time.Hour), nil), SuspectTLS, "certificate expired " + time.Now().Add(-time.Hour).UTC().Format(time.DateOnly)},
		"another authority":  {site(other.issue("localhost", time.Hour), nil), SuspectTLS, "certificate is of an authority that is not trusted"},
		"certificate in 1.2": {site(good, demanding(tls.VersionTLS12)), SuspectTLS, "handshake refused: tls: "},
		"certificate in 1.3": {site(good, demanding(tls.VersionTLS13)), SuspectTLS, "handshake refused: tls: "},
		"too old":            {site(good, func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS10, tls.VersionTLS11 }), SuspectTLS, "handshake refused: tls: protocol version not supported"},
		"no TLS":             {"https://" + plain, SuspectTLS, "not a TLS server"},
		"closes at once":     {closesAt(t, 1), "", "the node closed the connection"},
		"closes later":       {closesAt(t, 200), "", "the node closed the connection"},
	} {
		t.Run(name, func(t *testing.T) {
			b := startWorker(t, []string{test.node}, func(s *Spec) { s.NodeTLS = ca.files(nil) })
			for _, method := range []string{"GET", "POST"} {
				c := b.visit()
				c.say(method + " / HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n")
				resp, body := c.answer(method)
				if resp.StatusCode != http.StatusBadGateway || !strings.Contains(body, "TLS could not be agreed on with the node: "+test.text) {
					t.Errorf("%s: %s, %s", method, resp.Status, body)
				}
			}
			if r := <-b.reports; test.reason != "" && r.Reason != test.reason || test.reason == "" && r.Reason != SuspectClosed && r.Reason != SuspectReset {
				t.Errorf("reported %+v", r)
			}
			b = startWorker(t, []string{test.node, plain}, func(s *Spec) {
				s.NodeTLS, s.Balance, s.Sticky.HTTP = ca.files(nil), BalanceRoundRobin, StickyNone
			})
			c := b.visit()
			for range 4 {
				c.say("GET / HTTP/1.1\r\nHost: h\r\n\r\n")
				if resp, body := c.answer("GET"); body != "hello" {
					t.Errorf("with another node: %s, %s", resp.Status, body)
				}
			}
		})
	}
}

// The connect timeout holds for connect and handshake together.
func TestNodeThatNeverShakesHands(t *testing.T) {
	b := startWorker(t, []string{closesAt(t, 1<<20)}, func(s *Spec) { s.Timeouts.Connect = 100 * time.Millisecond })
	c := b.visit()
	c.say("GET / HTTP/1.1\r\nHost: h\r\n\r\n")
	c.denied(http.StatusServiceUnavailable)
	if r := <-b.reports; r.Reason != SuspectTimeout {
		t.Errorf("reported %+v", r)
	}
}

func TestNodeThatKnowsUs(t *testing.T) {
	ca := newAuthority(t)
	client := ca.issue("balancer.test", time.Hour)
	for name, test := range map[string]struct {
		host   string
		change func(*NodeTLS)
	}{
		"certificate":  {"localhost", func(*NodeTLS) {}},
		"server name":  {"mcp.test", func(n *NodeTLS) { n.ServerName = "mcp.test" }},
		"not verified": {"other.test", func(n *NodeTLS) { n.CA, n.Insecure = "", true }},
	} {
		t.Run(name, func(t *testing.T) {
			config := serverConfig(t, ca.issue(test.host, time.Hour))
			config.ClientAuth, config.ClientCAs = tls.RequireAndVerifyClientCert, ca.pool()
			site := startSecureSite(t, config, func(w http.ResponseWriter, r *http.Request) {
				fmt.Fprint(w, r.TLS.PeerCertificates[0].Subject.CommonName, " ", r.TLS.ServerName)
			})
			files := ca.files(client)
			test.change(&files)
			b := startWorker(t, []string{site}, func(s *Spec) { s.NodeTLS = files })
			c := b.visit()
			c.say("GET / HTTP/1.1\r\nHost: h\r\n\r\n")
			want := "balancer.test localhost"
			if files.ServerName != "" {
				want = "balancer.test mcp.test"
			}
			if resp, body := c.answer("GET"); body != want {
				t.Errorf("%s, %q", resp.Status, body)
			}
		})
	}
}

// Handshakes with nodes that succeed, fail or are left give every descriptor back.
func TestNodesOverTLSLeaveNoDescriptors(t *testing.T) {
	ca := newAuthority(t)
	sites := []string{
		startSecureSite(t, serverConfig(t, ca.issue("localhost", time.Hour)), hello),
		startSecureSite(t, serverConfig(t, newAuthority(t).issue("localhost", time.Hour)), hello),
		closesAt(t, 100), closesAt(t, 1<<20),
	}
	b := startWorker(t, sites, func(s *Spec) {
		s.NodeTLS, s.Balance, s.Sticky.HTTP = ca.files(nil), BalanceRoundRobin, StickyNone
		s.Limits.ConnectionsPerSecond, s.Limits.MessagesPerSecond, s.Timeouts.Connect = 0, 0, 2*time.Second
	})
	visit := func(leave bool) {
		c := b.visit()
		defer c.Close()
		c.say("GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
		if !leave {
			if got, err := io.ReadAll(c.r); err != nil || !bytes.HasSuffix(got, []byte("hello")) {
				t.Errorf("%q, %v", got, err)
			}
		}
	}
	idle := func() (gone bool) {
		b.on(func() {
			gone = b.open == 0
			b.backends[0].forget()
		})
		return gone
	}
	visit(false)
	b.eventually("the first to be gone", idle)
	before := openFiles(t)
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
	b.eventually("all to be gone", idle)
	b.eventually("their descriptors to be given back", func() bool { return idle() && openFiles(t) <= before })
}

// A node that asks for new keys all the time and takes none of the answers does not fill the worker's memory.
func TestKeyUpdatesOfANode(t *testing.T) {
	const updates = 20_000
	ca := newAuthority(t)
	var keys bytes.Buffer
	config := serverConfig(t, ca.issue("localhost", time.Hour))
	config.MinVersion, config.KeyLogWriter, config.SessionTicketsDisabled = tls.VersionTLS13, &keys, true
	skipped, narrow, over := make(chan bool, 1), make(chan struct{}), make(chan struct{})
	node := startNode(t, "", func(c *net.TCPConn) {
		_ = c.SetReadBuffer(4 << 10)
		conn := tls.Server(c, config)
		if err := conn.Handshake(); err != nil {
			t.Error(err)
			return
		}
		if _, err := readHead(bufio.NewReader(conn)); err != nil {
			t.Error(err)
		}
		skipped <- conn.ConnectionState().CipherSuite != tls.TLS_AES_128_GCM_SHA256
		_, line, _ := strings.Cut(keys.String(), "SERVER_TRAFFIC_SECRET_0 ")
		secret, err := hex.DecodeString(strings.Fields(line)[1])
		if err != nil || len(secret) != sha256.Size {
			return
		}
		var r records
		r.rekey(t, secret)
		r.append(23, []byte("HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")...)
		for i := range updates {
			if i%10 == 0 {
				r.append(23, 'x') // else crypto/tls would lose its patience
			}
			r.appendKeyUpdate(t)
		}
		<-narrow
		go func() { _, _ = c.Write(r.out.Bytes()) }()
		<-over
	})
	b := startWorker(t, []string{"https://" + node.address()}, func(s *Spec) { s.NodeTLS = ca.files(nil) })
	c := b.visit()
	c.say("GET / HTTP/1.1\r\nHost: h\r\n\r\n")
	defer close(over)
	if <-skipped {
		close(narrow)
		t.Skip("needs a machine with AES")
	}
	b.on(func() {
		if err := unix.SetsockoptInt(b.http.clients.x.node.conn.FD(), unix.SOL_SOCKET, unix.SO_SNDBUF, 4<<10); err != nil {
			t.Error(err)
		}
	})
	close(narrow)
	// The worker has either read everything or does not read on.
	var pending, before int
	b.eventually("the worker to come to rest", func() (rests bool) {
		b.on(func() { pending = b.http.clients.x.node.conn.Pending() })
		rests = pending > 0 && pending == before
		before = pending
		for range 100 { // turns in which it could read
			b.on(func() {})
		}
		return rests
	})
	if pending > 400<<10 {
		t.Errorf("%d bytes wait for a node that takes none", pending)
	}
	c.Close()
}
