package web

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/erlmcp/erlmcp/internal/http1"
	"github.com/erlmcp/erlmcp/internal/mcp"
	"github.com/erlmcp/erlmcp/internal/topology"
	"github.com/erlmcp/erlmcp/proxy"
	"github.com/erlmcp/erlmcp/proxy/internal/board"
	"github.com/erlmcp/erlmcp/proxy/internal/policy"
	"github.com/erlmcp/erlmcp/proxy/internal/proxyproto"
	"github.com/erlmcp/erlmcp/proxy/internal/proxytest"
	"github.com/erlmcp/erlmcp/proxy/internal/wire"
	"github.com/erlmcp/erlmcp/proxy/worker/internal/hub"
)

func TestAddressOf(t *testing.T) {
	for text, want := range map[string]string{
		"192.0.2.7":                "192.0.2.7",
		"192.0.2.7:1234":           "192.0.2.7",
		"2001:db8::7":              "2001:db8::7",
		"[2001:DB8::7]":            "2001:db8::7",
		"[2001:db8::7]:443":        "2001:db8::7",
		"[2001:db8::7]:_obfuscate": "2001:db8::7",
		"::ffff:192.0.2.7":         "192.0.2.7",
		"[::ffff:192.0.2.7]:1":     "192.0.2.7",
		"":                         "", "unknown": "", "_hidden": "", "localhost": "", "192.0.2": "", "192.0.2.300": "", "fe80::1%eth0": "",
		"[192.0.2.7": "", "[2001:db8::7]x": "", "[]": "", "[]:1": "", ":1": "", "192.0.2.7 x": "", "2001:db8::7::": "", "-": "",
		strings.Repeat("f", 60): "",
	} {
		got := ""
		if a := addressOf([]byte(text)); a.IsValid() {
			got = a.String()
		}
		if got != want {
			t.Errorf("%q is read as %q, want %q", text, got, want)
		}
	}
}

var testProxies = policy.Prefixes([]string{"10.0.0.0/8", "fd00::/8", "127.0.0.1"})

// believed reads fields as a trusted peer has sent them: the chain from the client on, scheme and host.
func believed(t testing.TB, fields string) string {
	t.Helper()
	var r http1.Request
	if _, err := r.Parse([]byte("GET / HTTP/1.1\r\nHost: h\r\n" + fields + "\r\n")); err != nil {
		t.Fatalf("%q: %v", fields, err)
	}
	var b belief
	b.read(&r, testProxies)
	var text strings.Builder
	for i := len(b.chain) - 1; i >= 0; i-- {
		fmt.Fprintf(&text, "%v ", b.chain[i])
	}
	return fmt.Sprintf("%s| %s | %s", &text, b.scheme, b.host)
}

func TestBelief(t *testing.T) {
	for fields, want := range map[string]string{
		"":                                     "| |  | ",
		"X-Forwarded-For: 192.0.2.7":           "192.0.2.7 |  | ",
		"X-Forwarded-For: 10.0.0.5, 192.0.2.7": "192.0.2.7 |  | ",
		"X-Forwarded-For: 1.1.1.1, 192.0.2.7, 10.0.0.5,10.1.1.1":                                "192.0.2.7 10.0.0.5 10.1.1.1 |  | ",
		"X-Forwarded-For: 1.1.1.1\nx-FORWARDED-for: 192.0.2.7\nX: y\nX-Forwarded-For: 10.0.0.5": "192.0.2.7 10.0.0.5 |  | ",
		"X-Forwarded-For: 10.0.0.5, 10.0.0.6":                                                   "10.0.0.5 10.0.0.6 |  | ",
		"X-Forwarded-For: 192.0.2.7, unknown":                                                   "|  | ",
		"X-Forwarded-For: 192.0.2.7, unknown, 10.0.0.5":                                         "10.0.0.5 |  | ",
		"X-Forwarded-For: , 192.0.2.7 ,, ":                                                      "192.0.2.7 |  | ",
		"X-Forwarded-For: \", 192.0.2.7":                                                        "192.0.2.7 |  | ",
		"X-Forwarded-For: [2001:db8::7]:443, fd00::1":                                           "2001:db8::7 fd00::1 |  | ",
		"X-Forwarded-For:":                                                                      "|  | ",

		"X-Forwarded-For: 192.0.2.7\nX-Forwarded-Proto: https\nX-Forwarded-Host: mcp.example:8443": "192.0.2.7 | https | mcp.example:8443",
		"X-Forwarded-Proto: HTTPS": "| HTTPS | ",
		"X-Forwarded-For: 192.0.2.7\nX-Forwarded-Proto: gopher\nX-Forwarded-Host: a b": "192.0.2.7 |  | ",
		// Each proxy has added one of each, and the client has forged the first.
		"X-Forwarded-For: 1.1.1.1, 192.0.2.7, 10.0.0.5\nX-Forwarded-Proto: ws, https, http\nX-Forwarded-Host: f, a, b": "192.0.2.7 10.0.0.5 | https | a",
		// One is for all.
		"X-Forwarded-For: 192.0.2.7, 10.0.0.5\nX-Forwarded-Proto: https": "192.0.2.7 10.0.0.5 | https | ",

		"Forwarded: for=192.0.2.7": "192.0.2.7 |  | ",
		"Forwarded: For=\"[2001:db8::7]:4711\";Proto=https;by=10.0.0.1;host=\"h.example:8443\"": "2001:db8::7 | https | h.example:8443",
		"Forwarded: for=1.1.1.1;proto=ws, for=192.0.2.7;proto=https, for=10.0.0.5;proto=http":   "192.0.2.7 10.0.0.5 | https | ",
		"Forwarded: for=192.0.2.7\nForwarded: for=10.0.0.5;proto=http;host=b":                   "192.0.2.7 10.0.0.5 | http | b",
		"Forwarded: for=192.0.2.7, for=unknown;proto=https":                                     "| https | ",
		"Forwarded: for=192.0.2.7, for=_hidden, for=10.0.0.5":                                   "10.0.0.5 |  | ",
		"Forwarded: proto=https;host=a":                                                         "| https | a",
		"Forwarded: for=\", for=192.0.2.7":                                                      "192.0.2.7 |  | ",
		"Forwarded: for=\"a, b\", for=10.0.0.5":                                                 "10.0.0.5 |  | ",
		"Forwarded: for=192.0.2.7;for=1.1.1.1":                                                  "|  | ",
		"Forwarded: for=\"192.0.2.7\\\"\"":                                                      "|  | ",
		"Forwarded: 192.0.2.7":                                                                  "|  | ",
		"Forwarded: for = 192.0.2.7 ; proto = https":                                            "192.0.2.7 | https | ",
		"Forwarded: for=192.0.2.7\nX-Forwarded-Proto: https\nX-Forwarded-Host: a":               "192.0.2.7 | https | a",
		// The client's own, which a proxy that knows only X-Forwarded-For has let pass.
		"Forwarded: for=1.1.1.1;proto=http;host=evil\nX-Forwarded-For: 192.0.2.7": "192.0.2.7 |  | ",
	} {
		sent := ""
		if fields != "" {
			sent = strings.ReplaceAll(fields, "\n", "\r\n") + "\r\n"
		}
		if fields == "" {
			want = "|  | "
		}
		if got := believed(t, sent); got != want {
			t.Errorf("%q\ngot  %s\nwant %s", fields, got, want)
		}
	}
}

// Whatever stands before what a trusted proxy has added changes nothing.
func FuzzBelief(f *testing.F) {
	for _, s := range []string{"", "1.1.1.1", "for=\"", "a, \"", "unknown", "10.0.0.1", "for=1.1.1.1;proto=https", "[::1]:80", "\\", "=;,"} {
		f.Add(s, false)
		f.Add(s, true)
	}
	f.Add("\r\n", true)
	f.Fuzz(func(t *testing.T, forged string, rfc7239 bool) {
		name, added := "X-Forwarded-For: ", "192.0.2.7, 10.0.0.5"
		if rfc7239 {
			name, added = "Forwarded: ", "for=192.0.2.7, for=10.0.0.5"
		}
		var r http1.Request
		head := []byte("GET / HTTP/1.1\r\nHost: h\r\n" + name + forged + "\r\n\r\n")
		if n, err := r.Parse(head); n != len(head) || err != nil || len(r.Fields) != 2 {
			return // it is not one line
		}
		var b belief
		b.read(&r, testProxies)
		for i, a := range b.chain {
			if !a.IsValid() || i < len(b.chain)-1 && !policy.Contains(testProxies, a) {
				t.Fatalf("%q: believed %v", forged, b.chain)
			}
		}
		const want = "192.0.2.7 10.0.0.5 |  | "
		for _, fields := range []string{name + forged + ", " + added + "\r\n", name + forged + "\r\n" + name + added + "\r\n"} {
			if got := believed(t, fields); got != want {
				t.Fatalf("%q: %s", fields, got)
			}
		}
	})
}

// headsOf is a node that tells the heads of its requests.
func headsOf(t testing.TB) (n *proxytest.FakeNode, heads chan string) {
	heads = make(chan string, 1)
	return proxytest.StartNode(t, "", func(c *net.TCPConn) {
		for r := bufio.NewReader(c); ; {
			head, err := proxytest.ReadHead(r)
			if err != nil {
				return
			}
			heads <- head
			_, _ = io.WriteString(c, "HTTP/1.1 204 No Content\r\n\r\n")
		}
	}), heads
}

// told is what a node is told of where a request came from, in one line, its names without X-Forwarded-.
func told(head string) string {
	var list []string
	for line := range strings.Lines(head) {
		name, value, ok := strings.Cut(strings.TrimSpace(line), ": ")
		if ok && name != "Accept" {
			list = append(list, strings.TrimPrefix(name, "X-Forwarded-")+"="+value)
		}
	}
	return strings.Join(list, " ")
}

const forgery = "X-Forwarded-For: 10.0.0.5\r\nX-Forwarded-For: 10.0.0.6\r\nx-real-ip: 10.0.0.5\r\nX-Real-IP: 10.0.0.6\r\nForwarded: for=10.0.0.5\r\n" +
	"X-FORWARDED-PROTO: https\r\nX-Forwarded-Host: evil\r\nX-Forwarded-Port: 443\r\nX-Forwarded-Ssl: on\r\nX-Forwarded-Scheme: https\r\n" +
	"True-Client-IP: 10.0.0.5\r\nCF-Connecting-IP: 10.0.0.5\r\nX-Client-IP: 10.0.0.5\r\nX-Cluster-Client-IP: 10.0.0.5\r\n"

func TestOriginAsTheNodeGetsIt(t *testing.T) {
	n, heads := headsOf(t)
	b := startWorker(t, []string{n.Address()}, func(s *proxy.Spec) {
		s.TrustedProxies = []string{"127.0.8.0/24", "10.0.0.0/8"}
		s.ProxyProtocol.AcceptFrom = []string{"127.0.9.1"}
	})
	// By PROXY protocol, its peer is who is trusted or not.
	greeting := func(source string) string {
		return string(proxyproto.Append(nil, netip.MustParseAddrPort(source), netip.MustParseAddrPort("192.0.2.1:80")))
	}
	for _, test := range []struct{ name, from, greeting, fields, want string }{
		{"nothing said", "127.0.0.5", "", "", "Host=h For=127.0.0.5 Proto=http Host=h X-Real-IP=127.0.0.5"},
		{"forged", "127.0.0.5", "", forgery, "Host=h For=127.0.0.5 Proto=http Host=h X-Real-IP=127.0.0.5"},
		{"a proxy for itself", "127.0.8.1", "", "", "Host=h For=127.0.8.1 Proto=http Host=h X-Real-IP=127.0.8.1"},
		{"of a proxy", "127.0.8.1", "", "X-Forwarded-For: 10.0.0.5, 192.0.2.7\r\nX-Real-IP: 192.0.2.8\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: mcp.example\r\nX-Forwarded-Port: 8443\r\n", "Host=h Port=8443 For=192.0.2.7, 127.0.8.1 Proto=https Host=mcp.example X-Real-IP=192.0.2.7"},
		{"of several", "127.0.8.1", "", "X-Forwarded-For: 192.0.2.7:1234\r\nX-Forwarded-For: 10.1.1.1, 10.1.1.2\r\nX-Forwarded-Proto: https\r\n", "Host=h For=192.0.2.7, 10.1.1.1, 10.1.1.2, 127.0.8.1 Proto=https Host=h X-Real-IP=192.0.2.7"},
		{"RFC 7239", "127.0.8.1", "", "Forwarded: for=1.1.1.1, for=\"[2001:db8::7]:80\";proto=https;host=\"a:1\";by=_x, for=10.0.0.5\r\n", "Host=h For=2001:db8::7, 10.0.0.5, 127.0.8.1 Proto=https Host=a:1 X-Real-IP=2001:db8::7 Forwarded=for=\"[2001:db8::7]\";proto=https;host=\"a:1\", for=10.0.0.5, for=127.0.8.1"},
		{"both", "127.0.8.1", "", "Forwarded: for=1.1.1.1;proto=https\r\nX-Forwarded-For: 192.0.2.7\r\n", "Host=h For=192.0.2.7, 127.0.8.1 Proto=http Host=h X-Real-IP=192.0.2.7 Forwarded=for=192.0.2.7;proto=http;host=\"h\", for=127.0.8.1"},
		{"hidden", "127.0.8.1", "", "Forwarded: for=_secret;proto=https\r\n", "Host=h For=127.0.8.1 Proto=https Host=h X-Real-IP=127.0.8.1 Forwarded=for=127.0.8.1;proto=https;host=\"h\""},
		{"by PROXY", "127.0.9.1", greeting("192.0.2.7:1"), forgery, "Host=h For=192.0.2.7 Proto=http Host=h X-Real-IP=192.0.2.7"},
		{"of a proxy by PROXY", "127.0.9.1", greeting("10.0.0.1:1"), "X-Forwarded-For: 192.0.2.7\r\n", "Host=h For=192.0.2.7, 10.0.0.1 Proto=http Host=h X-Real-IP=192.0.2.7"},
		{"PROXY with a line", "127.0.9.1", "PROXY TCP6 2001:db8::7 2001:db8::1 1 2\r\n", "", "Host=h For=2001:db8::7 Proto=http Host=h X-Real-IP=2001:db8::7"},
		{"PROXY of itself", "127.0.9.1", "PROXY UNKNOWN\r\n", "", "Host=h For=127.0.9.1 Proto=http Host=h X-Real-IP=127.0.9.1"},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := b.DialTo(b.Web, test.from)
			c.Say(test.greeting + "GET / HTTP/1.1\r\nHost: h\r\n" + test.fields + "\r\n")
			resp, _ := c.Answer("GET")
			if got := told(<-heads); got != test.want {
				t.Errorf("the node was told\n%s\nwant\n%s", got, test.want)
			}
			if secure := strings.Contains(resp.Header.Get("Set-Cookie"), "; Secure"); secure != strings.Contains(test.want, "Proto=https") {
				t.Errorf("cookie %q", resp.Header.Get("Set-Cookie"))
			}
			c.Close()
		})
	}
}

// Names with underscores are those with hyphens to some servers.
func TestForgedNamesWithUnderscores(t *testing.T) {
	n, _ := headsOf(t)
	b := startWorker(t, []string{n.Address()}, nil)
	for _, name := range []string{"X_Forwarded_For", "X-Forwarded_Port", "True_Client_IP", "x_real_ip"} {
		c := b.Visit()
		c.Say("GET / HTTP/1.1\r\nHost: h\r\n" + name + ": 10.0.0.5\r\n\r\n")
		c.Denied(http.StatusBadRequest)
	}
}

func TestHost(t *testing.T) {
	n, heads := headsOf(t)
	var host string
	b := startWorker(t, []string{n.Address()}, func(s *proxy.Spec) { s.Nodes[0].Host = "node.example" })
	for _, test := range []struct{ set, sent, want string }{
		{proxy.HostClient, "Host: mcp.example\r\n", "Host=mcp.example For=127.0.0.1 Proto=http Host=mcp.example X-Real-IP=127.0.0.1"},
		{proxy.HostNode, "Host: mcp.example\r\n", "Host=NODE For=127.0.0.1 Proto=http Host=mcp.example X-Real-IP=127.0.0.1"},
		{"other.example:81", "Host: mcp.example\r\n", "Host=other.example:81 For=127.0.0.1 Proto=http Host=mcp.example X-Real-IP=127.0.0.1"},
		{"other.example:81", "", "Host=other.example:81 For=127.0.0.1 Proto=http X-Real-IP=127.0.0.1"},
		{proxy.HostClient, "", "Host=" + n.Address() + " For=127.0.0.1 Proto=http X-Real-IP=127.0.0.1"},
	} {
		b.On(func() {
			node := b.Spec.Nodes[0]
			host = node.HTTPAddress()
			b.http.nodes[0].call(test.set, node)
		})
		version := "1"
		if test.sent == "" {
			version = "0"
		}
		c := b.Visit()
		c.Say("GET / HTTP/1." + version + "\r\n" + test.sent + "\r\n")
		if got, want := told(<-heads), strings.ReplaceAll(test.want, "NODE", host); got != want {
			t.Errorf("host: %s\ngot  %s\nwant %s", test.set, got, want)
		}
		c.Answer("GET")
		c.Close()
	}
}

func TestHostOfASSEPort(t *testing.T) {
	shared, err := board.Create(board.Layout{Workers: 1, Sources: 64})
	if err != nil {
		t.Fatal(err)
	}
	defer shared.Close()
	for _, test := range []struct {
		node     topology.Node
		web, sse string
	}{
		{topology.Node{Host: "::1", HTTP: 81, SSE: 82}, "[::1]:81", "[::1]:82"},
		{topology.Node{Host: "n.example", HTTP: 81}, "n.example:81", "n.example:81"},
		{topology.Node{Host: "n.example", SSE: 82}, "n.example:82", "n.example:82"},
	} {
		n := newNode(hub.NewBackend(shared, 0, wire.NodeSlot{Node: test.node}))
		n.call(proxy.HostNode, test.node)
		if web, sse := n.portFor(board.HTTP).host, n.portFor(board.SSE).host; web != test.web || sse != test.sse {
			t.Errorf("%+v: got %q and %q", test.node, web, sse)
		}
	}
}

// Over the connection of a trusted proxy each client has limits and bans of its own, and the proxy has none.
func TestClientsOfAProxyAreLimitedAlone(t *testing.T) {
	b := startWorker(t, []string{proxytest.StartSite(t, proxytest.Hello)}, func(s *proxy.Spec) {
		s.TrustedProxies = []string{"127.0.0.1"}
		s.Limits.MessagesPerSecond, s.Limits.ConnectionsPerSecond, s.Limits.MaxPerSource = 2, 1, 5
		s.Limits.Action, s.Limits.Ban.Violations = proxy.ActionReject, 1
		s.Limits.Exempt = []string{"192.0.2.99"}
	})
	var open []*proxytest.Client
	for range 20 { // more than its address may have, and in no time
		open = append(open, b.Visit())
	}
	c := open[0]
	ask := func(client string) int {
		fields := ""
		if client != "" {
			fields = "X-Forwarded-For: " + client + "\r\n"
		}
		c.Say("GET / HTTP/1.1\r\nHost: h\r\n" + fields + "\r\n")
		resp, _ := c.Answer("GET")
		return resp.StatusCode
	}
	var refused, later int
	for range 60 {
		if ask("192.0.2.7") == http.StatusTooManyRequests {
			refused++
		}
	}
	if refused < 3 {
		t.Errorf("%d of 60 requests of a client were refused", refused)
	}
	for i := range 100 {
		if got := ask(fmt.Sprintf("198.51.100.%d", i)); got != http.StatusOK {
			t.Fatalf("another client of the proxy gets %d", got)
		}
	}
	for range 60 {
		if ask("192.0.2.99") != http.StatusOK || ask("") != http.StatusOK {
			later++
		}
	}
	if later > 0 {
		t.Errorf("%d requests of the proxy, or of a client that is exempt, were refused", later)
	}
	b.On(func() {
		sources, now := b.Board.Sources(), b.Loop.Now()
		for addr, want := range map[string]bool{"192.0.2.7": true, "198.51.100.1": false, "127.0.0.1": false} {
			id, ok := sources.Lookup(netip.MustParseAddr(addr))
			if banned := ok && sources.BannedUntil(id) > now; !ok || banned != want {
				t.Errorf("%s is banned: %v (known: %v)", addr, banned, ok)
			}
			if live := sources.Live(id); addr != "127.0.0.1" && live != 0 {
				t.Errorf("%s has %d requests under way", addr, live)
			}
		}
	})
	if n := b.Refused(board.ReasonRate) + b.Refused(board.ReasonPerSource); n != 0 {
		t.Errorf("%d refusals of connections", n)
	}
}

// Requests under way are the connections of a client that comes through a proxy.
func TestMaxPerSourceThroughAProxy(t *testing.T) {
	release := make(chan struct{})
	b := startWorker(t, []string{proxytest.StartSite(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/hold" {
			<-release
		}
	})}, func(s *proxy.Spec) {
		s.TrustedProxies, s.Limits.MaxPerSource = []string{"127.0.0.1"}, 2
	})
	ask := func(path, client string) *proxytest.Client {
		c := b.Visit()
		c.Say("GET " + path + " HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: " + client + "\r\n\r\n")
		return c
	}
	live := func(addr string) (n int) {
		b.On(func() {
			if id, ok := b.Board.Sources().Lookup(netip.MustParseAddr(addr)); ok {
				n = b.Board.Sources().Live(id)
			}
		})
		return n
	}
	held := []*proxytest.Client{ask("/hold", "192.0.2.7"), ask("/hold", "192.0.2.7")}
	b.Eventually("two requests", func() bool { return live("192.0.2.7") == 2 })
	if code := ask("/", "192.0.2.7").Denied(http.StatusTooManyRequests); code != mcp.CodeRateLimited {
		t.Errorf("code %d", code)
	}
	if resp, _ := ask("/", "192.0.2.8").Answer("GET"); resp.StatusCode != http.StatusOK {
		t.Errorf("another client gets %s", resp.Status)
	}
	close(release)
	for _, c := range held {
		c.Answer("GET")
	}
	b.Eventually("none", func() bool { return live("192.0.2.7") == 0 })
	if resp, _ := ask("/", "192.0.2.7").Answer("GET"); resp.StatusCode != http.StatusOK {
		t.Errorf("afterwards it gets %s", resp.Status)
	}
}

// Balance and stickiness by source, and the log, go by the client too.
func TestSourceOfARequest(t *testing.T) {
	file := filepath.Join(t.TempDir(), "access.log")
	var nodes []string
	for i := range 4 {
		nodes = append(nodes, proxytest.StartSite(t, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, i) }))
	}
	b := startWorker(t, nodes, func(s *proxy.Spec) {
		s.TrustedProxies, s.Balance, s.Sticky.HTTP = []string{"127.0.0.1"}, proxy.BalanceSource, proxy.StickyNone
		s.AccessLog.File = file
	})
	c, seen := b.Visit(), make(map[string]bool)
	for i := range 40 {
		var first string
		for _, path := range []string{"/", "/", "/mcp/sse"} {
			c.Say(fmt.Sprintf("GET %s HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: 192.0.2.%d\r\n\r\n", path, i))
			_, got := c.Answer("GET")
			if first == "" {
				first = got
			}
			if got != first {
				t.Errorf("client %d is at node %s, then at %s", i, first, got)
			}
		}
		seen[first] = true
	}
	if len(seen) != len(nodes) {
		t.Errorf("40 clients of one proxy are at the nodes %v", seen)
	}
	b.Eventually("the log", func() bool {
		b.On(func() { b.Access.Flush(b.Loop.Now()) })
		text, _ := os.ReadFile(file)
		return bytes.Count(text, []byte("\n")) == 120
	})
	text, err := os.ReadFile(file)
	if err != nil || bytes.Count(text, []byte(`"client":"192.0.2.39"`)) != 3 || bytes.Contains(text, []byte(`"client":"127.0.0.1"`)) {
		t.Errorf("%s\n%v", text, err)
	}
}

func TestToolLimitsThroughAProxy(t *testing.T) {
	b := startWorker(t, []string{proxytest.StartSite(t, proxytest.Hello)}, func(s *proxy.Spec) {
		s.TrustedProxies, s.Limits.Tools = []string{"127.0.0.1"}, []proxy.ToolLimit{{Name: "search", PerSecond: 1}}
		s.Limits.Ban.Violations = 0
	})
	c := b.Visit()
	ask := func(client string) int {
		c.Say(strings.Replace(proxytest.ToolCall("2026-07-28", "search"), "\r\n\r\n", "\r\nX-Forwarded-For: "+client+"\r\n\r\n", 1))
		resp, _ := c.Answer("POST")
		return resp.StatusCode
	}
	refused := 0
	for range 20 {
		if ask("192.0.2.7") == http.StatusTooManyRequests {
			refused++
		}
	}
	if refused == 0 {
		t.Error("the limit of a tool binds no client of a proxy")
	}
	if got := ask("192.0.2.8"); got != http.StatusOK {
		t.Errorf("another client gets %d", got)
	}
}

// A WebSocket through a proxy is throttled by the rate of its client.
func TestSocketRateThroughAProxy(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	b := startWorker(t, []string{proxytest.StartSocketEcho(t)}, func(s *proxy.Spec) {
		s.TrustedProxies, s.Limits.MessagesPerSecond = []string{"127.0.0.1"}, 20
	})
	for _, client := range []string{"", "192.0.2.7"} { // the proxy itself, and a client of it
		header := make(http.Header)
		if client != "" {
			header.Set("X-Forwarded-For", client)
		}
		c, _, err := websocket.Dial(ctx, "ws://"+b.Web+"/mcp/ws", &websocket.DialOptions{HTTPHeader: header}) //nolint:bodyclose // it is the socket's
		if err != nil {
			t.Fatal(err)
		}
		for range 40 {
			if err := c.Write(ctx, websocket.MessageText, []byte("{}")); err != nil {
				t.Fatal(err)
			}
		}
		for range 40 {
			if _, _, err := c.Read(ctx); err != nil {
				t.Fatal(err)
			}
		}
		if throttled := b.Cell.Throttles.Load() > 0; throttled != (client != "") {
			t.Errorf("client %q is throttled: %v", client, throttled)
		}
		_ = c.CloseNow()
	}
}
