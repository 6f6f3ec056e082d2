package master

import (
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/erlmcp/erlmcp/internal/mcp"
	"github.com/erlmcp/erlmcp/proxy"
	"github.com/erlmcp/erlmcp/proxy/internal/affinity"
	"github.com/erlmcp/erlmcp/proxy/internal/board"
	"github.com/erlmcp/erlmcp/proxy/internal/proxytest"
)

func TestExplainHTTP(t *testing.T) {
	b := serve(t, proxytest.StartNodes(t, 2), proxytest.WithSites(t, func(s *proxy.Spec) { s.Limits.MessagesPerSecond = 5 }))
	told := func(want string) {
		t.Helper()
		e, err := b.Explain(t.Context(), "127.0.0.1")
		if err != nil || e.HTTP == nil {
			t.Fatal(e, err)
		}
		if got := fmt.Sprintf("%v %s %v: %s", e.HTTP.Accepted, e.HTTP.Reason, e.HTTP.Nodes, e.HTTP.Why); got != want {
			t.Errorf("\ngot  %s\nwant %s", got, want)
		}
	}
	told("true  [n0]: fewest connections for its weight, equals in turn (lb.balance: leastconn)")
	e, err := b.Explain(t.Context(), "127.0.0.1")
	if want := "session (Mcp-Session-Id), legacy event stream (the URI to post to), cookie (SERVERID), " +
		"source (WebSockets and legacy event streams only), balance (leastconn)"; err != nil || strings.Join(e.HTTP.Order, ", ") != want {
		t.Errorf("order %q, %v", e.HTTP.Order, err)
	}
	if _, err := b.Drain(t.Context(), "n1"); err != nil {
		t.Fatal(err)
	}
	told("true  [n0]: fewest connections for its weight, equals in turn (lb.balance: leastconn)")
	if _, err := b.Ban(t.Context(), "127.0.0.1", time.Minute); err != nil {
		t.Fatal(err)
	}
	if e, err = b.Explain(t.Context(), "127.0.0.1"); err != nil || e.HTTP.Accepted || e.HTTP.Reason != board.ReasonBan.String() || e.HTTP.Why != e.Why {
		t.Errorf("banned: %+v, %v", e.HTTP, err)
	}
	b.reloaded(func(s *proxy.Spec) {
		s.Sticky.MCPSession, s.Sticky.HTTP, s.Sticky.TCP = false, proxy.StickyNone, proxy.StickyNone
	})
	if e, err = b.Explain(t.Context(), "127.0.0.1"); err != nil || !slices.Equal(e.HTTP.Order, []string{"balance (leastconn)"}) {
		t.Errorf("order %q, %v", e.HTTP.Order, err)
	}
}

func TestExplainWithoutHTTP(t *testing.T) {
	b := serve(t, proxytest.StartNodes(t, 1), func(s *proxy.Spec) { s.Listen.HTTP, s.Listen.HTTPS = "", "" })
	if e, err := b.Explain(t.Context(), "127.0.0.1"); err != nil || e.HTTP != nil {
		t.Errorf("%+v, %v", e.HTTP, err)
	}
}

// A cookie as the balancer gives it, and a session as it would, name the node that the balancer goes to.
func TestExplainTag(t *testing.T) {
	b := serve(t, proxytest.StartNodes(t, 2), proxytest.WithSites(t, nil))
	key, err := affinity.LoadKey(b.dir + "/" + keyName)
	if err != nil {
		t.Fatal(err)
	}
	ring, err := affinity.New(key)
	if err != nil {
		t.Fatal(err)
	}
	ring.SetNodes([]string{"n0", "n1", "gone"})
	cookie := func(node int) string { return string(ring.AppendCookie(nil, node)) }
	session := func(node int) string {
		return string(ring.AppendSession(nil, []byte("id"), node, affinity.At(time.Now())))
	}
	told := func(kind, value, want string) {
		t.Helper()
		e, err := b.ExplainTag(t.Context(), kind, value)
		if err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprintf("%v %s %s %v %d: %s", e.Tagged, e.Node, e.State, e.Kept, e.Status, e.Why); got != want {
			t.Errorf("%s %s\ngot  %s\nwant %s", kind, value, got, want)
		}
	}
	const nobody = "no present node has its tag: the node was removed, the key is another one, or it was altered"
	told(proxy.TagCookie, cookie(1), "true n1 up true 0: its node is up")
	told(proxy.TagSession, session(0), "true n0 up true 0: its node is up")
	told(proxy.TagCookie, cookie(2), "true   false 0: "+nobody)
	told(proxy.TagSession, session(2), "true   false 404: "+nobody)
	told(proxy.TagSession, "x"+session(0), "true   false 404: "+nobody)
	told(proxy.TagSession, "plain", "false   false 0: it has no tag: no balancer has made it")
	told(proxy.TagCookie, "", "false   false 0: it has no tag: no balancer has made it")
	if _, err := b.ExplainTag(t.Context(), "endpoint", "x"); err == nil {
		t.Error("another kind is answered")
	}
	if _, err := b.Drain(t.Context(), "n0"); err != nil {
		t.Fatal(err)
	}
	told(proxy.TagSession, session(0), "true n0 draining true 0: its node takes no new clients, but keeps those it has")
	if _, err := b.Disable(t.Context(), "n0"); err != nil {
		t.Fatal(err)
	}
	told(proxy.TagSession, session(0), "true n0 maintenance false 404: its node is in maintenance")
	b.reloaded(func(s *proxy.Spec) { s.Sticky.MCPSession, s.Sticky.HTTP = false, proxy.StickyNone })
	told(proxy.TagSession, session(1), "true n1 up false 0: sessions are not looked at (lb.sticky.mcp_session: false)")
	told(proxy.TagCookie, "x", "false   false 0: cookies are not looked at (lb.sticky.http: none)")
}

// An explanation has the rates that bind the client's requests, and uses none of them up.
func TestExplainRatesOfRequests(t *testing.T) {
	b := serve(t, proxytest.StartNodes(t, 1), proxytest.WithSites(t, func(s *proxy.Spec) {
		s.Limits.MessagesPerSecond = 1000
		s.Limits.Tools = []proxy.ToolLimit{{Name: "search", PerSecond: 1}, {Name: "find", PerSecond: 5}}
		s.Limits.Exempt = []string{"192.0.2.0/24"}
	}))
	explain := func(client string) *proxy.HTTPExplanation {
		t.Helper()
		e, err := b.Explain(t.Context(), client)
		if err != nil {
			t.Fatal(err)
		}
		return e.HTTP
	}
	for range 10 {
		for _, tool := range explain("127.0.0.1").Tools {
			if tool.WaitMs != 0 {
				t.Fatalf("nobody has called anything: %+v", tool)
			}
		}
	}
	conn, err := net.Dial("tcp", b.address("http"))
	if err != nil {
		t.Fatal(err)
	}
	c := proxytest.NewClient(t, conn, time.Minute)
	var tools []proxy.ToolState
	b.eventually("a call that would have to wait", func(*proxy.Stats) bool {
		c.Say(proxytest.ToolCall(mcp.Version20260728, "search"))
		c.Answer("POST")
		tools = explain("127.0.0.1").Tools
		return tools[0].WaitMs > 0
	})
	tools[0].WaitMs = 0
	if want := []proxy.ToolState{{Name: "search", RateState: proxy.RateState{PerSecond: 1}}, {Name: "find", RateState: proxy.RateState{PerSecond: 5}}}; !slices.Equal(tools, want) {
		t.Errorf("tools %+v, want %+v", tools, want)
	}
	if h := explain("127.0.0.1"); h.Message != (proxy.MessageState{RateState: proxy.RateState{PerSecond: 1000}, Action: proxy.ActionHold}) {
		t.Errorf("messages %+v", h.Message)
	}
	if h := explain("127.0.0.9"); h.Tools[0].WaitMs != 0 {
		t.Errorf("another client waits: %+v", h.Tools)
	}
	if h := explain("192.0.2.1"); h.Tools != nil || h.Message != (proxy.MessageState{}) {
		t.Errorf("an exempt client has %+v, %+v", h.Tools, h.Message)
	}
	b.reloaded(func(s *proxy.Spec) { s.Limits.Action = proxy.ActionThrottle })
	if h := explain("127.0.0.1"); h.Message.Action != proxy.ActionThrottle {
		t.Errorf("messages %+v", h.Message)
	}
}
