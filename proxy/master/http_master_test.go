package master

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/erlmcp/erlmcp/proxy"
	"github.com/erlmcp/erlmcp/proxy/internal/proxytest"
)

// fetch asks the HTTP frontend for a page.
func (b *balancer) fetch(path string) (*proxytest.Reply, string) {
	b.t.Helper()
	return b.request("http", http.MethodGet, path, "")
}

func TestServeHTTP(t *testing.T) {
	b := serve(t, proxytest.StartNodes(t, 2), proxytest.WithSites(t, func(s *proxy.Spec) { s.Workers = 2 }))
	seen := map[string]int{}
	for range 10 {
		resp, body := b.fetch("/")
		if resp.StatusCode != http.StatusOK || resp.Header.Get("X-Served-By") != body {
			t.Fatalf("%s, %q from %q", resp.Status, body, resp.Header.Get("X-Served-By"))
		}
		seen[body]++
	}
	if len(seen) != 2 {
		t.Errorf("requests spread %v", seen)
	}
	b.dial().Ask("hello") // beside the TCP frontend
	b.eventually("counts", func(s *proxy.Stats) bool {
		n := s.Node("n0")
		return s.HTTP.Requests == 10 && s.HTTP.Responses.Successful == 10 && s.Connections.Active == 1 &&
			n.Requests == uint64(seen["n0"]) && n.Responses.Successful == n.Requests && n.Latency.Count == n.Requests && n.Latency.P50 > 0
	})
	_, metrics := b.get("admin", "/metrics")
	for _, want := range []string{
		"erlmcp_lb_http_requests_total 10\n", `erlmcp_lb_http_responses_total{class="2xx"} 10`,
		`erlmcp_lb_node_http_responses_total{address="` + b.nodes[1].Address() + `",class="2xx",node="n1"} ` + strconv.Itoa(seen["n1"]),
		`erlmcp_lb_node_http_response_seconds_count{address="` + b.nodes[1].Address() + `",node="n1"} ` + strconv.Itoa(seen["n1"]),
		`erlmcp_lb_refused_connections_total{reason="node_lost"} 0`,
	} {
		if !strings.Contains(metrics, want) {
			t.Errorf("/metrics lacks %s", want)
		}
	}
}

// The HTTP listener comes, moves and goes, and the TCP listener stays what it is.
func TestReloadMovesTheHTTPListener(t *testing.T) {
	b := serve(t, proxytest.StartNodes(t, 1), proxytest.WithSites(t, func(s *proxy.Spec) { s.Listen.HTTP = "" }))
	tcp := b.address("tcp")
	c := b.dial()
	c.Ask("hello")
	r := b.reloaded(func(s *proxy.Spec) { s.Listen.HTTP = "127.0.0.1:0" })
	wantKeys(t, r.Changed, "lb.listen.http")
	b.fetch("/")
	b.eventually("the first workers to drain", func(s *proxy.Stats) bool { return len(s.Listeners) >= 4 })

	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	stream, err := (&http.Client{Transport: transport}).Get("http://" + b.address("http") + "/stream")
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Body.Close()
	c.Close()
	b.eventually("the first workers to end", func(s *proxy.Stats) bool { return len(s.Listeners) == 4 })
	b.reloaded(func(s *proxy.Spec) { s.Listen.HTTP = "127.0.0.2:0" })
	if at := b.address("http"); !strings.HasPrefix(at, "127.0.0.2:") {
		t.Errorf("listens on %s", at)
	}
	b.fetch("/")
	stream.Body.Close() // was open all the time
	b.eventually("the second workers to end", func(s *proxy.Stats) bool { return len(s.Listeners) == 4 })
	b.reloaded(func(s *proxy.Spec) { s.Listen.HTTP = "" })
	b.eventually("the third workers to end", func(s *proxy.Stats) bool { return len(s.Listeners) == 3 })
	if at := b.address("tcp"); at != tcp {
		t.Errorf("TCP moved from %s to %s", tcp, at)
	}
	b.dial().Ask("hello")
}

// A node whose HTTP port moves is asked at the new one.
func TestReloadMovesHTTPPorts(t *testing.T) {
	b := serve(t, proxytest.StartNodes(t, 1), proxytest.WithSites(t, nil))
	b.fetch("/")
	moved := proxytest.StartSite(t, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "moved") })
	b.reloaded(func(s *proxy.Spec) { s.Nodes[0].HTTP, _ = strconv.Atoi(moved[strings.LastIndexByte(moved, ':')+1:]) })
	if _, body := b.fetch("/"); body != "moved" {
		t.Errorf("got %q", body)
	}
}
