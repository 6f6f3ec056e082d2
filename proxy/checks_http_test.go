package proxy

import (
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"

	"github.com/erlmcp/erlmcp/internal/topology"
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
	spec := Default()
	spec.Checks.Kind = "http"
	m := &member{
		node:    topology.Node{Name: "one", Host: "127.0.0.1", TCP: 1, HTTP: int(at.Port())},
		address: netip.MustParseAddrPort("127.0.0.1:1"),
	}
	w := m.watch(&spec)
	if r := w.probe(t.Context()); !r.OK || r.Kind != "http" {
		t.Errorf("%+v", r)
	}
}
