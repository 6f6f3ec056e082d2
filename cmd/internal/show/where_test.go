package show

import (
	"slices"
	"testing"

	"github.com/erlmcp/erlmcp/proxy"
)

func TestWhereLines(t *testing.T) {
	got := Where([]proxy.ListenerStats{
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
	if got := Where([]proxy.ListenerStats{{Name: "tcp", Address: "127.0.0.1:8000"}}); len(got) != 1 {
		t.Errorf("got %q", got)
	}
}
