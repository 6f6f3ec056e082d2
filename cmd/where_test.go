package cmd

import (
	"slices"
	"testing"

	"github.com/erlmcp/erlmcp/internal/topology"
	"github.com/erlmcp/erlmcp/proxy"
)

func TestWhereLines(t *testing.T) {
	got := whereLines([]proxy.ListenerStats{
		{Name: "tcp", Address: "[::]:8000"}, {Name: "http", Address: "0.0.0.0:8080"}, {Name: "https", Address: "192.0.2.1:8443"},
		{Name: "admin", Address: "127.0.0.1:8404"}, {Name: "health", Address: "[::1]:8888"},
	})
	want := []string{
		"MCP over TCP, a message a line: 127.0.0.1:8000",
		"MCP over HTTP: http://127.0.0.1:8080/mcp",
		"MCP over HTTP: https://192.0.2.1:8443/mcp",
		"dashboard: http://127.0.0.1:8404/",
		"open to other machines: tcp [::]:8000, http 0.0.0.0:8080, https 192.0.2.1:8443",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
	if got := whereLines([]proxy.ListenerStats{{Name: "tcp", Address: "127.0.0.1:8000"}}); len(got) != 1 {
		t.Errorf("got %q", got)
	}
}

func TestListensOn(t *testing.T) {
	n := topology.Node{Name: "a", Host: "localhost", TCP: 9001, HTTP: 9101}
	for address, want := range map[string]bool{"127.0.0.1:9001": true, "[::1]:9101": true, "127.0.0.1:19001": false, "127.0.0.1:901": false, "": true} {
		if got := listensOn(n, address); got != want {
			t.Errorf("%q: %v", address, got)
		}
	}
}
