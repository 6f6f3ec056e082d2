package web

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/erlmcp/erlmcp/internal/mcp"
	"github.com/erlmcp/erlmcp/proxy"
	"github.com/erlmcp/erlmcp/proxy/internal/board"
	"github.com/erlmcp/erlmcp/proxy/internal/proxytest"
)

func TestToolLimits(t *testing.T) {
	b := startWorker(t, []string{proxytest.StartSite(t, proxytest.Hello)}, func(s *proxy.Spec) {
		proxytest.WithoutLimits(s)
		s.Limits.Tools = []proxy.ToolLimit{{Name: "search", PerSecond: 2}, {Name: "naïve", PerSecond: 1}}
		s.Limits.Ban.Violations = 100
	})
	c := b.Visit()
	ask := func(request string) *proxytest.Reply {
		t.Helper()
		c.Say(request)
		resp, _ := c.Answer("POST")
		return resp
	}
	const stateless = mcp.Version20260728
	for i := range 2 {
		if resp := ask(proxytest.ToolCall(stateless, "search")); resp.StatusCode != http.StatusOK {
			t.Fatalf("call %d: %s", i, resp.Status)
		}
	}
	c.Say(proxytest.ToolCall(stateless, "search"))
	resp, body := c.Answer("POST")
	if resp.StatusCode != http.StatusTooManyRequests || resp.Header.Get("Retry-After") != "1" || !strings.Contains(body, fmt.Sprint(mcp.CodeRateLimited)) || !strings.Contains(body, "this tool") {
		t.Fatalf("over the rate: %s, %q", resp.Status, body)
	}
	encoded := func(name string) string { return "=?base64?" + base64.StdEncoding.EncodeToString([]byte(name)) + "?=" }
	for _, test := range []struct {
		name, request string
		status        int
	}{
		{"encoded", proxytest.ToolCall(stateless, encoded("search")), 429},
		{"another tool", proxytest.ToolCall(stateless, "find"), 200},
		{"case counts", proxytest.ToolCall(stateless, "Search"), 200},
		{"another method", strings.Replace(proxytest.ToolCall(stateless, "search"), "Mcp-Method: tools/call", "Mcp-Method: prompts/get", 1), 200},
		{"not verified in this era", proxytest.ToolCall(mcp.Version20251125, "search"), 200},
		{"malformed", proxytest.ToolCall(stateless, "=?base64?****?="), 200}, // the node refuses it
		{"too long", proxytest.ToolCall(stateless, encoded(strings.Repeat("x", 5000))), 200},
		{"beyond ASCII", proxytest.ToolCall(stateless, encoded("naïve")), 200},
		{"beyond ASCII, again", proxytest.ToolCall(stateless, encoded("naïve")), 429},
	} {
		if resp := ask(test.request); resp.StatusCode != test.status {
			t.Errorf("%s: %s", test.name, resp.Status)
		}
	}
	if n, m := b.Cell.Rejects.Load(), b.Refused(board.ReasonMessageRate); n != 3 || m != 3 {
		t.Errorf("counted %d, %d", n, m)
	}
	var violations, messages uint64
	b.On(func() { // another source is not concerned
		violations = b.Cell.Rejects.Load()
		messages = b.Cell.Messages.Load()
		b.http.clients.exempt = true
	})
	if messages != 9 {
		t.Errorf("%d messages, %d violations", messages, violations)
	}
	if resp := ask(proxytest.ToolCall(stateless, "search")); resp.StatusCode != http.StatusOK {
		t.Errorf("exempt: %s", resp.Status)
	}
	other := b.DialTo(b.Web, "127.0.0.9")
	other.Say(proxytest.ToolCall(stateless, "search"))
	if resp, _ := other.Answer("POST"); resp.StatusCode != http.StatusOK {
		t.Errorf("another source: %s", resp.Status)
	}
}

func TestToolLimitsBan(t *testing.T) {
	b := startWorker(t, []string{proxytest.StartSite(t, proxytest.Hello)}, func(s *proxy.Spec) {
		proxytest.WithoutLimits(s)
		s.Limits.Tools = []proxy.ToolLimit{{Name: "search", PerSecond: 1}}
		s.Limits.Ban.Violations = 2
	})
	c := b.Visit()
	b.Eventually("the ban", func() bool {
		c.Say(proxytest.ToolCall(mcp.Version20260728, "search"))
		c.Answer("POST")
		return b.Banned("127.0.0.1")
	})
	if n := b.Cell.Rejects.Load(); n < 2 {
		t.Errorf("banned after %d violations", n)
	}
}

func TestRequestsByMethod(t *testing.T) {
	if len(mcp.ClientMethods) >= board.MaxMethods {
		t.Fatalf("%d methods and others have %d counters", len(mcp.ClientMethods), board.MaxMethods)
	}
	b := startWorker(t, []string{proxytest.StartSite(t, proxytest.Hello)}, proxytest.WithoutLimits)
	c := b.Visit()
	post := func(fields, body string) {
		t.Helper()
		c.Say(fmt.Sprintf("POST /mcp HTTP/1.1\r\nHost: h\r\n%sContent-Length: %d\r\n\r\n", fields, len(body)))
		c.Say(body)
		if resp, _ := c.Answer("POST"); resp.StatusCode != http.StatusOK {
			t.Fatal(resp.Status)
		}
	}
	post("MCP-Protocol-Version: 2025-11-25\r\n", `{"jsonrpc":"2.0","id":1,"method":"tools/list"}`)
	post("MCP-Protocol-Version: 2025-11-25\r\n", `{"jsonrpc":"2.0","id":1,"result":{"method":"ping"}}`)
	post("MCP-Protocol-Version: 2025-11-25\r\nMcp-Method: ping\r\n", `{"jsonrpc":"2.0","id":1,"method":"initialize"}`)
	post("MCP-Protocol-Version: 2026-07-28\r\nMcp-Method: tools/call\r\n", `{"method":"ping"}`)
	post("MCP-Protocol-Version: 2026-07-28\r\nMcp-Method: own/method\r\n", `{}`)
	post("", "")
	c.Say("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n11\r\n{\"method\":\"ping\"}\r\n4\r\n    \r\n0\r\n\r\n")
	c.Answer("POST")
	c.Say(proxytest.GetRequest)
	c.Answer("GET")
	var want [board.MaxMethods]uint64
	for _, m := range []string{"tools/list", "initialize", "tools/call", "ping", "another", "another", "another"} {
		want[mcp.MethodNumber([]byte(m))]++
	}
	if got := b.Board.MethodTotals(); got != want {
		t.Errorf("counted %v, want %v", got, want)
	}
}
