package master

import (
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/erlmcp/erlmcp/internal/topology"
	"github.com/erlmcp/erlmcp/proxy"
	"github.com/erlmcp/erlmcp/proxy/internal/board"
)

// TestHTTPCheckPort checks that kind http asks at the node's HTTP port, not where clients are sent.
func TestHTTPCheckPort(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/health" {
			w.WriteHeader(http.StatusNotFound)
		}
	}))
	t.Cleanup(s.Close)
	at := netip.MustParseAddrPort(s.Listener.Addr().String())
	spec := proxy.Default()
	spec.Checks.Kind = "http"
	m := &member{
		node: topology.Node{Name: "one", Host: "127.0.0.1", TCP: 1, HTTP: int(at.Port())},
		addr: netip.MustParseAddr("127.0.0.1"),
	}
	for _, over := range []board.Transport{board.TCP, board.HTTP} {
		w := m.duty(&spec, over)
		if r := w.probe(t.Context()); !r.OK || r.Kind != "http" || r.Transport != over.String() {
			t.Errorf("%+v", r)
		}
	}
}

// Checks by MCP ask each port in its own way, at the path of the node, with the fields of a file.
func TestMCPCheckOverHTTP(t *testing.T) {
	file := filepath.Join(t.TempDir(), "headers")
	if err := os.WriteFile(file, []byte("Authorization: Bearer a\nX-Other: b"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost || r.URL.Path != "/api/mcp" || r.Header.Get("Authorization") != "Bearer a" || r.Header.Get("X-Other") != "b" {
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		w.WriteHeader(http.StatusBadRequest)
	}))
	t.Cleanup(s.Close)
	port := int(netip.MustParseAddrPort(s.Listener.Addr().String()).Port())
	spec := proxy.Default()
	spec.Checks.HeadersFile = file
	m := &member{node: topology.Node{Name: "one", Host: "127.0.0.1", TCP: port, HTTP: port, Path: "/api/mcp"}, addr: netip.MustParseAddr("127.0.0.1")}
	if r := m.duty(&spec, board.HTTP).probe(t.Context()); !r.OK || r.Detail["status"] != "400" {
		t.Errorf("over HTTP: %+v", r)
	}
	if r := m.duty(&spec, board.TCP).probe(t.Context()); r.OK || r.Error != "speaks HTTP, not newline-delimited JSON-RPC: write http instead of tcp" {
		t.Errorf("over TCP: %+v", r)
	}
	spec.Checks.HeadersFile += ".missing"
	if r := m.duty(&spec, board.HTTP).probe(t.Context()); r.OK || r.Conclusive() {
		t.Errorf("without the file: %+v", r)
	}
}

// A node that is up with its endpoint elsewhere says so for as long as that is so.
func TestCheckAdvises(t *testing.T) {
	var path atomic.Value
	path.Store("/")
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != path.Load() {
			http.NotFound(w, r)
			return
		}
		w.WriteHeader(http.StatusBadRequest)
	}))
	t.Cleanup(s.Close)
	spec := proxy.Default()
	spec.Checks.Timeout = 10 * time.Second
	port := int(netip.MustParseAddrPort(s.Listener.Addr().String()).Port())
	m := &member{node: topology.Node{Name: "one", Host: "127.0.0.1", HTTP: port}, addr: netip.MustParseAddr("127.0.0.1")}
	probe := m.duty(&spec, board.HTTP).probe
	for range 2 {
		if r := probe(t.Context()); !r.OK || r.Detail["advice"] != "no MCP endpoint at /mcp (404), but one at /: write path: /" {
			t.Errorf("%+v", r)
		}
	}
	path.Store("/mcp")
	if r := probe(t.Context()); !r.OK || r.Detail["advice"] != "" {
		t.Errorf("with the endpoint: %+v", r)
	}
}
