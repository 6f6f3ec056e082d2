package healthcheck

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/erlmcp/erlmcp/internal/topology"
)

// saying answers the first bytes of a client and ends the connection.
func saying(text string) func(*net.TCPConn) {
	return func(c *net.TCPConn) {
		_, _ = c.Read(make([]byte, 16<<10))
		_, _ = io.WriteString(c, text)
	}
}

func TestProbeHTTP(t *testing.T) {
	for _, c := range []struct {
		name   string
		serve  func(*net.TCPConn)
		cause  Cause
		text   string
		status string
	}{
		{"healthy", saying("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"), "", "", "200"},
		{"empty", saying("HTTP/1.1 204 No Content\r\n\r\n"), "", "", "204"},
		{"stopping", saying("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"), CauseUnhealthy, "GET /health: 503 Service Unavailable", "503"},
		{"elsewhere", saying("HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Length: 0\r\n\r\n"), CauseUnhealthy, "GET /health: 302 Found", "302"},
		{"closes", saying(""), CauseClosed, "closed without a reply", ""},
		{"cut off", saying("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok"), CauseClosed, "closed in the middle of the answer", ""},
		{"something else", saying("220 mail.example ESMTP\r\n"), CauseProtocol, "not an HTTP answer: ", ""},
		{"endless", saying("HTTP/1.1 200 OK\r\n\r\n" + strings.Repeat("x", maxReply)), CauseProtocol, "no end of the answer in the first 1024 KiB", ""},
		{"frozen", silent, CauseTimeout, "no complete answer within 500ms (frozen?)", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := probeHTTP(t.Context(), Target{Address: peer(t, c.serve), Timeout: 500 * time.Millisecond})
			if r.OK != (c.cause == "") || r.Cause != c.cause || !strings.HasPrefix(r.Error, c.text) || r.Detail["status"] != c.status {
				t.Errorf("%+v", r)
			}
			if r.OK != (r.Latency > 0) {
				t.Errorf("latency %v", r.Latency)
			}
		})
	}
}

func TestProbeTLS(t *testing.T) {
	s := httptest.NewUnstartedServer(http.NotFoundHandler())
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	t.Cleanup(s.Close)
	r := probeTLS(t.Context(), Target{Address: s.Listener.Addr().String()})
	want := s.Certificate()
	if !r.OK || r.Latency <= 0 || r.Detail["version"] != "TLS 1.3" || r.Detail["names"] != certificateNames(want) ||
		r.Detail["expires"] != want.NotAfter.UTC().Format(time.RFC3339) || r.Detail["trust"] == "trusted" {
		t.Errorf("%+v", r)
	}

	refusing := httptest.NewUnstartedServer(http.NotFoundHandler())
	refusing.Config.ErrorLog = s.Config.ErrorLog
	refusing.TLS = &tls.Config{GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return nil, io.ErrNoProgress }}
	refusing.StartTLS()
	t.Cleanup(refusing.Close)
	for _, c := range []struct {
		name, address string
		cause         Cause
	}{
		{"plain", peer(t, saying("HTTP/1.1 400 Bad Request\r\n\r\n")), CauseProtocol},
		{"refusing", refusing.Listener.Addr().String(), CauseProtocol},
		{"closing", peer(t, saying("")), CauseClosed},
		{"frozen", peer(t, silent), CauseTimeout},
		{"gone", closedPort(t), CauseRefused},
	} {
		if r := probeTLS(t.Context(), Target{Address: c.address, Timeout: 500 * time.Millisecond}); r.OK || r.Cause != c.cause {
			t.Errorf("%s: %+v", c.name, r)
		}
	}
}

func TestBadCertificate(t *testing.T) {
	now := time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC)
	c := &x509.Certificate{NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour), DNSNames: []string{"a.example"}}
	for _, k := range []struct {
		host string
		at   time.Time
		want string
	}{
		{"", now, ""},
		{"a.example", now, ""},
		{"b.example", now, "certificate is not for b.example (names: a.example)"},
		{"", now.AddDate(0, 0, 1), "certificate expired 2026-01-02"},
		{"", now.AddDate(0, 0, -1), "certificate not valid before 2026-01-01T23:00:00Z"},
	} {
		if got := badCertificate(c, k.host, k.at); got != k.want {
			t.Errorf("%q at %v: %q, want %q", k.host, k.at, got, k.want)
		}
	}
}

// TestProbeICMP holds on machines that allow an echo and on those that do not.
func TestProbeICMP(t *testing.T) {
	r := probeICMP(t.Context(), Target{Address: "127.0.0.1:1"})
	if r.OK && r.Latency <= 0 || !r.OK && (r.Cause != CauseLocal || r.Error != pingRight) {
		t.Errorf("%+v", r)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if r := probeICMP(ctx, Target{Address: "127.0.0.1"}); r.OK || r.Conclusive() {
		t.Errorf("canceled: %+v", r)
	}
}

func TestNodeChecks(t *testing.T) {
	all, only := []string{"icmp", "tcp", "mcp", "http", "tls"}, []string{"mcp"}
	both, lines, web := []Listener{{Name: "tcp"}, {Name: "http"}}, []Listener{{Name: "tcp"}}, []Listener{{Name: "https"}}
	for _, c := range []struct {
		node   topology.Node
		kinds  []string
		listen []Listener
		want   string
	}{
		{topology.Node{Host: "h", TCP: 1, HTTP: 2}, all, nil, "icmp h, tcp h:1, mcp h:1, mcp-http h:2, http h:2, tls h:2"},
		{topology.Node{Host: "h", TCP: 1, HTTP: 2, SSE: 3}, only, both, "mcp h:1, mcp-http h:2, mcp-sse h:3"},
		{topology.Node{Host: "h", TCP: 1, HTTP: 2, SSE: 3}, only, lines, "mcp h:1"},
		{topology.Node{Host: "h", TCP: 1, HTTP: 2}, only, web, "mcp-http h:2"},
		{topology.Node{Host: "h", TCP: 1}, all, nil, "icmp h, tcp h:1, mcp h:1"},
		{topology.Node{Host: "h", HTTP: 2}, all, nil, "icmp h, tcp h:2, mcp-http h:2, http h:2, tls h:2"},
		{topology.Node{Host: "h", SSE: 3}, only, nil, "mcp-sse h:3"},
		{topology.Node{Host: "h", SSE: 3}, []string{"tls"}, nil, "tcp h:3"},
		{topology.Node{Host: "h", TCP: 1}, only, web, "mcp h:1"},
	} {
		collector := Collector{Spec: Spec{Kinds: c.kinds}, Listen: c.listen}
		var got []string
		for _, check := range collector.nodeChecks(c.node) {
			r := Result{Kind: check.Kind, Transport: check.Target.Transport}
			got = append(got, r.Name()+" "+check.Target.Address)
		}
		if text := strings.Join(got, ", "); text != c.want {
			t.Errorf("%+v: %s, want %s", c.node, text, c.want)
		}
	}
}

func TestUpOverOneTransport(t *testing.T) {
	ok := func(kind, transport string) Result { return Result{Kind: kind, Transport: transport, OK: true} }
	down := func(transport string) Result {
		return Result{Kind: "mcp", Transport: transport, Cause: CauseRefused, Error: "connection refused"}
	}
	node := func(name, balancer string, checks ...Result) NodeHealth {
		return NodeHealth{Name: name, Balancer: balancer, Checks: checks, Status: nodeStatus(checks)}
	}
	for _, c := range []struct {
		name   string
		nodes  []NodeHealth
		status Status
		why    string
	}{
		{"all up", []NodeHealth{node("a", "up", ok("mcp", "tcp"), ok("mcp", "http"))}, StatusHealthy, ""},
		{
			"one node down over HTTP", []NodeHealth{node("a", "degraded", ok("mcp", "tcp"), down("http")), node("b", "up", ok("mcp", "tcp"), ok("mcp", "http"))},
			StatusDegraded, "a is degraded (mcp-http: connection refused)",
		},
		{
			"not noticed", []NodeHealth{node("a", "up", ok("mcp", "tcp"), down("http")), node("b", "up", ok("mcp", "tcp"), ok("mcp", "http"))},
			StatusDegraded, "a is degraded, which the load balancer has not noticed yet (mcp-http: connection refused)",
		},
		{"nobody over HTTP", []NodeHealth{node("a", "degraded", ok("mcp", "tcp"), down("http"))}, StatusDown, "no node is up over http"},
		{"nobody over TCP", []NodeHealth{node("a", "degraded", down("tcp"), ok("mcp", "http"))}, StatusDown, "no node is up over tcp"},
		{"HTTP alone", []NodeHealth{node("a", "up", ok("tcp", "http"), ok("mcp", "http"))}, StatusHealthy, ""},
		{"SSE alone", []NodeHealth{node("a", "up", ok("mcp", "sse"))}, StatusHealthy, ""},
		{"SSE beside HTTP", []NodeHealth{node("a", "degraded", ok("mcp", "http"), down("sse"))}, StatusDegraded, "a is degraded (mcp-sse: connection refused)"},
		{"down", []NodeHealth{node("a", "down", down("tcp"), down("http"))}, StatusDown, "no node is up"},
	} {
		r := Report{Nodes: c.nodes, LoadBalancer: LoadBalancer{Running: true, State: "running", Checks: []Result{ok("mcp", "tcp")}}}
		status, reasons := (&findings{}).verdict(&r)
		if status != c.status || c.why != "" && (len(reasons) == 0 || reasons[0] != c.why) {
			t.Errorf("%s: %s, %q", c.name, status, reasons)
		}
	}
}
