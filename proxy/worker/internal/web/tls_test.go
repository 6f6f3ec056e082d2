package web

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/erlmcp/erlmcp/internal/reactor"
	"github.com/erlmcp/erlmcp/internal/waittest"
	"github.com/erlmcp/erlmcp/proxy"
	"github.com/erlmcp/erlmcp/proxy/internal/board"
	"github.com/erlmcp/erlmcp/proxy/internal/proxyproto"
	"github.com/erlmcp/erlmcp/proxy/internal/proxytest"
)

// secureDial connects a client that speaks raw within TLS.
func (b *bench) secureDial(config *tls.Config) *tls.Conn {
	b.T.Helper()
	raw := b.DialTo(b.Secure, "")
	conn := tls.Client(raw.TCPConn, config)
	if err := conn.Handshake(); err != nil {
		b.T.Fatal(err)
	}
	return conn
}

func TestTLSRequest(t *testing.T) {
	site := proxytest.StartSite(t, func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, r.Header.Get("X-Forwarded-Proto"))
	})
	b := startWorker(t, []string{site}, nil)
	browser := proxytest.SecureBrowser(t, proxytest.LocalPair())
	for range 3 {
		resp, err := browser.Get("https://" + b.Secure + "/")
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if string(body) != "https" || resp.TLS.NegotiatedProtocol != "http/1.1" && resp.TLS.NegotiatedProtocol != "" {
			t.Errorf("got %q over %q", body, resp.TLS.NegotiatedProtocol)
		}
		if c := resp.Header.Get("Set-Cookie"); !strings.HasSuffix(c, "; Secure") {
			t.Errorf("cookie %q", c)
		}
	}
	if n := b.Cell.Accepted.Load(); n != 1 {
		t.Errorf("%d connections for kept-alive requests", n)
	}
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		config := proxytest.Trusting(proxytest.LocalPair())
		config.MinVersion, config.MaxVersion, config.NextProtos = version, version, []string{"h2", "http/1.1"}
		conn := b.secureDial(config)
		// Two in one record, and a third one byte by byte, the last with an end behind it.
		request := "GET / HTTP/1.1\r\nHost: h\r\n\r\n"
		_, _ = io.WriteString(conn, request+request)
		for i := range request {
			_, _ = io.WriteString(conn, request[i:i+1])
		}
		_ = conn.CloseWrite()
		r := bufio.NewReader(conn)
		for range 3 {
			resp, err := http.ReadResponse(r, nil)
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(resp.Body)
			resp.Body.Close()
			if err != nil || string(body) != "https" {
				t.Fatalf("%q, %v", body, err)
			}
		}
		if rest, err := io.ReadAll(r); err != nil || len(rest) > 0 {
			t.Errorf("instead of the end: %q, %v", rest, err)
		}
		if s := conn.ConnectionState(); s.NegotiatedProtocol != "http/1.1" || s.Version != version {
			t.Errorf("negotiated %q, %x", s.NegotiatedProtocol, s.Version)
		}
	}
}

// Bodies larger than all buffers, both ways, read late.
func TestTLSBigBodies(t *testing.T) {
	const size = 16 << 20
	full := make(chan struct{})
	site := proxytest.StartSite(t, func(w http.ResponseWriter, r *http.Request) {
		sum := sha256.New()
		<-full
		if _, err := io.Copy(sum, r.Body); err != nil {
			t.Error(err)
		}
		w.Header().Set("X-Sum", fmt.Sprintf("%x", sum.Sum(nil)))
		_, _ = w.Write(bytes.Repeat([]byte("0123456789abcdef"), size/16))
	})
	b := startWorker(t, []string{site}, func(s *proxy.Spec) { s.MaxMessage = 2 * size })
	waits := func(conn func(*exchange) *reactor.Conn) func() bool { // what is written to the conn of the only exchange
		return func() (waits bool) {
			b.On(func() {
				x := b.http.nodes[0].ports[board.HTTP].exchanges
				waits = x != nil && x.node != nil && conn(x).Pending() > 0
			})
			return waits
		}
	}
	go func() {
		defer close(full)
		if !waittest.Within(time.Minute, waits(func(x *exchange) *reactor.Conn { return &x.node.conn })) {
			t.Error("the request does not wait for the node")
		}
	}()
	browser := proxytest.SecureBrowser(t, proxytest.LocalPair())
	browser.Timeout = 2 * time.Minute
	browser.Transport.(*http.Transport).DisableCompression = true // or hardly anything of the answer would be left
	body := bytes.Repeat([]byte("fedcba9876543210"), size/16)
	resp, err := browser.Post("https://"+b.Secure+"/", "text/plain", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if sum := fmt.Sprintf("%x", sha256.Sum256(body)); resp.Header.Get("X-Sum") != sum {
		t.Errorf("the node got another body")
	}
	b.Eventually("the answer to wait for the client", waits(func(x *exchange) *reactor.Conn { return &x.client.conn }))
	got, err := io.ReadAll(resp.Body)
	if err != nil || !bytes.Equal(got, bytes.Repeat([]byte("0123456789abcdef"), size/16)) {
		t.Errorf("got %d bytes, %v", len(got), err)
	}
}

func TestTLSStreams(t *testing.T) {
	next := make(chan string)
	site := proxytest.StartSite(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/mcp/ws" {
			proxytest.EchoWebSocket(w, r)
			return
		}
		w.Header().Set("Content-Type", "text/event-stream")
		for text := range next {
			fmt.Fprintf(w, "data: %s\n\n", text)
			_ = http.NewResponseController(w).Flush()
		}
	})
	b := startWorker(t, []string{site}, nil)
	browser := proxytest.SecureBrowser(t, proxytest.LocalPair())
	go func() { next <- "0" }()
	resp, err := browser.Get("https://" + b.Secure + "/events")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	events := bufio.NewReader(resp.Body)
	for i := range 3 {
		if i > 0 {
			next <- fmt.Sprint(i)
		}
		line, err := events.ReadString('\n')
		if want := fmt.Sprintf("data: %d\n", i); err != nil || line != want {
			t.Fatalf("event %q, %v, want %q", line, err, want)
		}
		_, _ = events.ReadString('\n')
	}
	close(next)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	ws := proxytest.DialWebSocket(ctx, t, browser, b.Secure)
	for _, size := range []int{1, 1000, 100_000} {
		proxytest.PingWebSocket(ctx, t, ws, strings.Repeat("x", size))
	}
	_ = ws.Close(websocket.StatusNormalClosure, "")
}

// Who cannot agree on TLS is let go, counted, and leaves nothing behind.
func TestTLSRefused(t *testing.T) {
	site := proxytest.StartSite(t, func(w http.ResponseWriter, _ *http.Request) {})
	b := startWorker(t, []string{site}, func(s *proxy.Spec) { s.Timeouts.Request = 200 * time.Millisecond })
	failed := uint64(0)
	counted := func(what string) {
		t.Helper()
		failed++
		b.Eventually(what, func() (counted bool) {
			b.On(func() { counted = b.Refused(board.ReasonHandshake) == failed && b.Open == 0 })
			return counted
		})
	}
	old := proxytest.Trusting(proxytest.LocalPair())
	old.MinVersion, old.MaxVersion = tls.VersionTLS11, tls.VersionTLS11
	raw := b.DialTo(b.Secure, "")
	if err := tls.Client(raw.TCPConn, old).Handshake(); err == nil || !strings.Contains(err.Error(), "protocol version") {
		t.Errorf("TLS 1.1: %v", err)
	}
	counted("TLS 1.1")

	raw = b.DialTo(b.Secure, "")
	raw.Say("\x01\x02\x03 garbage, and more of it\r\n\r\n")
	if n, err := raw.Read(make([]byte, 100)); err == nil && n > 7 {
		t.Errorf("garbage is answered with %d bytes", n)
	}
	counted("garbage")

	raw = b.DialTo(b.Secure, "")
	raw.Say("GET / HTTP/1.1\r\nHost: h\r\n\r\n")
	if got, _ := io.ReadAll(raw); !strings.HasPrefix(string(got), "HTTP/1.1 400 ") {
		t.Errorf("plain HTTP is answered with %q", got)
	}
	counted("plain HTTP")

	raw = b.DialTo(b.Secure, "")
	raw.Say("\x16\x03\x01")
	if _, err := raw.Read(make([]byte, 1)); err == nil {
		t.Error("a slow client is served")
	}
	counted("slow")

	raw = b.DialTo(b.Secure, "")
	raw.Say("\x16\x03\x01")
	raw.Close()
	counted("gone")
	if n := b.Cell.Accepted.Load(); n != failed {
		t.Errorf("%d accepted", n)
	}
}

// Limits are told within TLS; bans before it.
func TestTLSLimits(t *testing.T) {
	site := proxytest.StartSite(t, func(http.ResponseWriter, *http.Request) {})
	b := startWorker(t, []string{site}, func(s *proxy.Spec) { s.Limits.MaxPerSource = 1 })
	hold := b.secureDial(proxytest.Trusting(proxytest.LocalPair()))
	defer hold.Close()
	b.Eventually("the first client", func() bool { return b.Cell.Active.Load() == 1 })
	resp, err := proxytest.SecureBrowser(t, proxytest.LocalPair()).Get("https://" + b.Secure + "/")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusTooManyRequests {
		t.Errorf("got %s", resp.Status)
	}
	b.On(func() {
		sources, now := b.Board.Sources(), b.Loop.Now()
		sources.Ban(sources.Find(netip.MustParseAddr("127.0.0.1"), now), now+int64(time.Minute))
	})
	raw := b.DialTo(b.Secure, "")
	if err := tls.Client(raw.TCPConn, proxytest.Trusting(proxytest.LocalPair())).Handshake(); err == nil {
		t.Error("a banned client shakes hands")
	}
	if b.Refused(board.ReasonBan) != 1 {
		t.Error("the ban is not counted")
	}
}

// Failed handshakes are connections of their source: too many of them are violations, and end in a ban.
func TestTLSFailuresAreLimited(t *testing.T) {
	b := startWorker(t, []string{proxytest.StartSite(t, proxytest.Hello)}, func(s *proxy.Spec) {
		s.Limits.ConnectionsPerSecond = 1
		s.Limits.Ban.Violations = 3
		s.Limits.Exempt = []string{"127.0.0.9"}
		s.ProxyProtocol.AcceptFrom = []string{"127.0.0.8"}
	})
	fail := func(from, said string) {
		t.Helper()
		before := b.Refused(board.ReasonHandshake)
		raw := b.DialTo(b.Secure, from)
		raw.Say(said)
		raw.Close()
		b.Eventually("the failure", func() bool { return b.Refused(board.ReasonHandshake) == before+1 })
	}
	named := string(proxyproto.Append(nil, netip.MustParseAddrPort("192.0.2.7:1234"), netip.MustParseAddrPort("192.0.2.1:443"))) + "garbage"
	for range 4 { // within the rate, or a burst
		if b.Banned("127.0.0.1") || b.Banned("192.0.2.7") {
			t.Error("banned too early")
		}
		fail("127.0.0.9", "garbage")
		fail("127.0.0.8", "neither TLS nor a PROXY header")
	}
	for source, way := range map[string]func(){
		"127.0.0.1": func() { fail("", "garbage") },
		"192.0.2.7": func() { fail("127.0.0.8", named) },
	} {
		way()
		b.Exhaust(source)
		b.Eventually("the ban of "+source, func() bool {
			if b.Banned(source) {
				return true
			}
			way()
			return false
		})
	}
	for _, addr := range []string{"127.0.0.8", "127.0.0.9"} {
		if b.Banned(addr) {
			t.Errorf("%s is banned", addr)
		}
	}
	raw := b.DialTo(b.Secure, "")
	if _, err := raw.Read(make([]byte, 1)); err == nil || b.Refused(board.ReasonBan) != 1 {
		t.Errorf("after the ban: %v, %d refused", err, b.Refused(board.ReasonBan))
	}
}

// The more handshakes are under way, the sooner one has to be done.
func TestHandshakePatience(t *testing.T) {
	b := startWorker(t, []string{proxytest.StartSite(t, proxytest.Hello)}, nil)
	most := b.http.maxHandshakes()
	for _, test := range []struct {
		shaking       int
		request, want time.Duration
	}{
		{1, 30 * time.Second, handshakeTime},
		{1, 3 * time.Second, 3 * time.Second},
		{1, 0, handshakeTime},
		{most / 2, 30 * time.Second, handshakeTime},
		{most/2 + 1, 30 * time.Second, hurriedHandshake},
		{most, 0, hurriedHandshake},
		{most, time.Millisecond, time.Millisecond},
	} {
		b.On(func() {
			b.Spec.Timeouts.Request = test.request
			b.http.tls.shaking += test.shaking
			if got := b.http.handshakePatience(); got != test.want {
				t.Errorf("%d under way, requests have %v: %v, want %v", test.shaking, test.request, got, test.want)
			}
			b.http.tls.shaking -= test.shaking
		})
	}
}

// One source cannot take all places for handshakes.
func TestTLSHandshakesOfASource(t *testing.T) {
	const rate, more = 5, 10
	site := proxytest.StartSite(t, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "hi") })
	b := startWorker(t, []string{site}, func(s *proxy.Spec) { s.Limits.ConnectionsPerSecond = rate; s.Limits.Ban.Violations = 0 })
	idle := make([]*proxytest.Client, rate+more)
	for i := range idle {
		idle[i] = b.DialTo(b.Secure, "127.0.0.2")
	}
	b.Eventually("the others to have taken their places", func() bool { return b.Cell.Cut[board.ReasonGaveWay].Load() == more })
	b.On(func() {
		if b.http.tls.shaking != rate {
			t.Errorf("%d handshakes are under way", b.http.tls.shaking)
		}
	})
	raw := b.DialTo(b.Secure, "127.0.0.3")
	conn := tls.Client(raw.TCPConn, proxytest.Trusting(proxytest.LocalPair()))
	_, _ = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
	if got, err := io.ReadAll(conn); err != nil || !bytes.HasSuffix(got, []byte("hi")) {
		t.Errorf("another source gets %q, %v", got, err)
	}
	for _, c := range idle {
		c.Close()
	}
	b.Eventually("nothing to be counted", func() (none bool) {
		b.On(func() { none = b.http.tls.shaking == 0 && b.http.tls.crowd.Seats() == 0 })
		return none
	})
}

func TestTLSBehindPROXY(t *testing.T) {
	site := proxytest.StartSite(t, func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.Header.Get("X-Forwarded-For")) })
	b := startWorker(t, []string{site}, func(s *proxy.Spec) { s.ProxyProtocol.AcceptFrom = []string{"127.0.0.1"} })
	raw := b.DialTo(b.Secure, "")
	raw.Say(string(proxyproto.Append(nil, netip.MustParseAddrPort("192.0.2.7:1234"), netip.MustParseAddrPort("192.0.2.1:443"))))
	conn := tls.Client(raw.TCPConn, proxytest.Trusting(proxytest.LocalPair()))
	_, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
	got, readErr := io.ReadAll(conn)
	if !bytes.HasSuffix(got, []byte("192.0.2.7")) {
		t.Errorf("%q, %v", got, errors.Join(err, readErr))
	}
}

// Draining waits for handshakes.
func TestTLSDrain(t *testing.T) {
	site := proxytest.StartSite(t, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "hi") })
	b := startWorker(t, []string{site}, nil)
	raw := b.DialTo(b.Secure, "")
	b.Eventually("the handshake to begin", func() bool { return b.Cell.Accepted.Load() == 1 })
	b.On(func() { b.Drain(20 * time.Second) })
	conn := tls.Client(raw.TCPConn, proxytest.Trusting(proxytest.LocalPair()))
	_, _ = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: h\r\n\r\n")
	if got, err := io.ReadAll(conn); err != nil || !bytes.HasSuffix(got, []byte("hi")) {
		t.Errorf("%q, %v", got, err)
	}
	select {
	case err := <-b.Done:
		b.Done <- err
	case <-time.After(time.Minute):
		t.Error("does not end")
	}
}

// Handshakes that succeed, fail or are left give every descriptor back.
func TestTLSLeavesNoDescriptors(t *testing.T) {
	site := proxytest.StartSite(t, func(w http.ResponseWriter, _ *http.Request) {})
	b := startWorker(t, []string{site}, func(s *proxy.Spec) { s.Limits.ConnectionsPerSecond = 0 })
	visit := func(i int) {
		raw := b.DialTo(b.Secure, "")
		defer raw.Close()
		switch i % 3 {
		case 0:
			conn := tls.Client(raw.TCPConn, proxytest.Trusting(proxytest.LocalPair()))
			_, _ = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
			if got, err := io.ReadAll(conn); err != nil || !bytes.HasPrefix(got, []byte("HTTP/1.1 200 ")) {
				t.Errorf("%q, %v", got, err)
			}
		case 1:
			raw.Say("garbage")
		}
	}
	idle := func() (gone bool) {
		b.On(func() { gone = b.Open == 0 })
		return gone
	}
	visit(0)
	b.Eventually("the first to be gone", idle)
	before := proxytest.OpenFiles(t)
	var visits sync.WaitGroup
	for i := range 90 {
		visits.Go(func() { visit(i) })
	}
	visits.Wait()
	b.Eventually("all to be gone", idle)
	b.Eventually("their descriptors to be given back", func() bool {
		b.On(func() {
			for slot := range b.Backends {
				b.http.nodes[slot].forget() // pooled connections to the node
			}
		})
		return proxytest.OpenFiles(t) <= before
	})
}

// Answers over HTTPS say what lb.http.tls.hsts has, ours and those of nodes that say nothing themselves.
func TestHSTS(t *testing.T) {
	site := proxytest.StartSite(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/own" {
			w.Header().Set("strict-transport-security", "max-age=1")
		}
	})
	for _, set := range []string{"", "max-age=63072000; includeSubDomains"} {
		b := startWorker(t, []string{site}, func(s *proxy.Spec) { s.TLS.HSTS = set })
		ask := func(conn io.ReadWriter, path string) string {
			_, _ = io.WriteString(conn, "GET "+path+" HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
			resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			return strings.Join(resp.Header.Values("Strict-Transport-Security"), "|")
		}
		for path, want := range map[string]string{"/": set, "/own": "max-age=1", "/x y": set} { // the last is refused
			if got := ask(b.secureDial(proxytest.Trusting(proxytest.LocalPair())), path); got != want {
				t.Errorf("%q over TLS, set %q: %q", path, set, got)
			}
		}
		for path, want := range map[string]string{"/": "", "/own": "max-age=1", "/x y": ""} {
			if got := ask(b.Visit(), path); got != want {
				t.Errorf("%q, set %q: %q", path, set, got)
			}
		}
	}
}

func TestHSTSValues(t *testing.T) {
	for value, good := range map[string]bool{
		"": true, "max-age=0": true, "max-age=63072000": true, "Max-Age=1;includeSubDomains;preload": true, "includeSubDomains; max-age=1": true,
		"63072000": false, "max-age": false, "max-age=-1": false, "max-age=1y": false, "includeSubDomains": false, "max-age=1; x": false,
		"max-age=1; max-age=2": false, "max-age=1\r\nX: y": false, "max-age=1; preload=1": false, "max-age=1;": false,
	} {
		s := proxy.Default()
		s.TLS.HSTS = value
		if err := s.Validate(); (err == nil || !strings.Contains(err.Error(), "hsts")) != good {
			t.Errorf("%q: %v", value, err)
		}
	}
}
