package healthcheck

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/erlmcp/erlmcp/internal/topology"
)

// A server that has its endpoint elsewhere is found, and what to write is said.
func TestAdvise(t *testing.T) {
	serve := func(path string, answer http.HandlerFunc) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != path {
				http.NotFound(w, r)
				return
			}
			answer(w, r)
		}
	}
	reply := func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `{"jsonrpc":"2.0","id":1,"result":{}}`)
	}
	status := func(code int) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }
	}
	noSession := func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "Invalid session ID", http.StatusNotFound) }
	stream := func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet {
			w.WriteHeader(http.StatusMethodNotAllowed)
			return
		}
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = io.WriteString(w, "event: endpoint\ndata: /message?sessionId=1\n\n")
	}
	for _, c := range []struct {
		name   string
		handle http.HandlerFunc
		target Target
		want   string
	}{
		{"at its path", serve("/mcp", status(400)), Target{Transport: OverHTTP}, ""},
		{"at its path, by what it says", serve("/mcp", noSession), Target{Transport: OverHTTP}, ""},
		{"at the root", serve("/", reply), Target{Transport: OverHTTP}, "no MCP endpoint at /mcp (404), but one at /: write path: /"},
		{"at another path", serve("/api/mcp", status(401)), Target{Transport: OverHTTP, Path: "/x"}, "no MCP endpoint at /x (404), but one at /api/mcp: write path: /api/mcp"},
		{"at the default", serve("/mcp", status(406)), Target{Transport: OverHTTP, Path: "/"}, "no MCP endpoint at / (404), but one at /mcp: write path: /mcp"},
		{"legacy", serve("/sse", stream), Target{Transport: OverHTTP}, "no MCP endpoint at /mcp (404), but an event stream of 2024-11-05 at /sse: write sse instead of http"},
		{"legacy as such", serve("/sse", stream), Target{Transport: OverSSE}, ""},
		{"nowhere", http.NotFound, Target{Transport: OverHTTP}, "no MCP endpoint at /mcp (404), nor at /mcp, /, /mcp/, /api/mcp, /message, /v1/mcp: write the path of it as path"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := httptest.NewServer(c.handle)
			defer s.Close()
			c.target.Address, c.target.Timeout = strings.TrimPrefix(s.URL, "http://"), time.Second
			r := probeMCP(t.Context(), c.target)
			if !r.OK {
				t.Fatalf("%+v", r)
			}
			if got := Advise(t.Context(), c.target, r); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}

// What speaks something else than is configured is found, and what does not answer is let be.
func TestMisfits(t *testing.T) {
	root := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/" {
			http.NotFound(w, r)
			return
		}
		w.WriteHeader(http.StatusBadRequest)
	}))
	defer root.Close()
	port := portOf(t, root.Listener.Addr().String())
	lines := portOf(t, peer(t, answering(func(string) string { return `{"jsonrpc":"2.0","id":1,"result":{}}` })))
	closed := portOf(t, closedPort(t))
	node := func(name string, tcp, http int) topology.Node {
		return topology.Node{Name: name, Host: "127.0.0.1", TCP: tcp, HTTP: http}
	}
	c := Collector{Spec: Spec{Timeout: time.Second}, Nodes: []topology.Node{
		node("good", lines, 0), node("absent", closed, closed), node("elsewhere", 0, port), node("swapped", port, lines),
	}}
	want := []string{
		fmt.Sprintf("node elsewhere, http 127.0.0.1:%d: no MCP endpoint at /mcp (404), but one at /: write path: /", port),
		fmt.Sprintf("node swapped, tcp 127.0.0.1:%d: speaks HTTP, not newline-delimited JSON-RPC: write http instead of tcp", port),
		fmt.Sprintf("node swapped, http 127.0.0.1:%d: speaks newline-delimited JSON-RPC, not HTTP: write tcp instead of http", lines),
	}
	if got := c.Misfits(t.Context()); !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

func portOf(t *testing.T, address string) int {
	t.Helper()
	at, err := netip.ParseAddrPort(address)
	if err != nil {
		t.Fatal(err)
	}
	return int(at.Port())
}
