package attack

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"sync/atomic"
	"testing"
	"time"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/erlmcp/erlmcp/internal/mcp"
	"github.com/erlmcp/erlmcp/internal/mono"
	"github.com/erlmcp/erlmcp/internal/waittest"
	"github.com/erlmcp/erlmcp/loadtest/internal/ask"
	"github.com/erlmcp/erlmcp/loadtest/internal/sources"
	"github.com/erlmcp/erlmcp/loadtest/internal/target"
	"github.com/erlmcp/erlmcp/loadtest/internal/wire"
	"github.com/erlmcp/erlmcp/loadtest/internal/work"
)

// testAttack is an attack on a server that answers as the test likes.
type testAttack struct {
	t *testing.T
	*Attack
}

// started is a server at work.
func started(t *testing.T, h http.Handler) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s
}

// orderFor is the order to open clients to a server.
func orderFor(t *testing.T, s *httptest.Server, connections int) *wire.OpenOrder {
	t.Helper()
	u, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	at := netip.MustParseAddrPort(u.Host)
	return &wire.OpenOrder{
		Driver: wire.Vegeta,
		Endpoint: target.Endpoint{
			Target:  target.Target{Transport: target.HTTP, Secure: u.Scheme == "https", Host: at.Addr().String(), Port: at.Port(), Path: "/mcp"},
			Address: at,
		},
		Work:        work.Work{Era: mcp.SessionEra, Verify: ask.Whoami, Naming: work.ByAnswer},
		Connections: connections, Sources: sources.KernelsChoice, Timeout: time.Minute, Patience: wire.LeastPatience,
	}
}

// order has an attack obey.
func (a *testAttack) order(o *wire.Order) wire.Ack {
	a.t.Helper()
	var answer wire.Ack
	a.Obey(o, func(n wire.Ack, err error) {
		answer = n
		if err != nil {
			a.t.Error(err)
		}
	})
	return answer
}

func startAttack(t *testing.T, o *wire.OpenOrder) *testAttack {
	t.Helper()
	a := &testAttack{t, Start(func() {})}
	t.Cleanup(a.Stop)
	a.order(&wire.Order{Kind: wire.OrderOpen, At: mono.Now(), Rate: 1e5, Open: o})
	a.order(&wire.Order{Kind: wire.OrderRest, At: mono.Now()})
	return a
}

// await waits until the counts are as wanted.
func (a *testAttack) await(what string, wanted func(wire.Counts) bool) wire.Counts {
	a.t.Helper()
	return waittest.For(a.t, time.Minute, what, func() (n wire.Counts, ok bool) {
		n = a.Counts()
		return n, wanted(n)
	})
}

func (a *testAttack) awaitVerified(n int) wire.Counts {
	a.t.Helper()
	return a.await("verified connections", func(c wire.Counts) bool { return c.Verified == n })
}

// ask sends n requests and waits for their ends.
func (a *testAttack) ask(n int) wire.Counts {
	a.t.Helper()
	before := a.Counts().Requests.Sent
	a.order(&wire.Order{Kind: wire.OrderPing, At: mono.Now(), Rate: 1000, Ping: &wire.PingOrder{For: time.Duration(n) * time.Millisecond, Record: true}})
	return a.await("answers", func(c wire.Counts) bool { return c.Requests.Sent == before+int64(n) && c.Requests.UnderWay() == 0 })
}

func (a *testAttack) closeAll() wire.Counts {
	a.t.Helper()
	a.order(&wire.Order{Kind: wire.OrderClose, Rate: 1e5})
	return a.await("the end", func(n wire.Counts) bool { return n.Open == 0 })
}

// script is a server of the session era that a test writes: what comes after the handshake.
type script struct {
	sessions atomic.Int64
	reply    func(w http.ResponseWriter, r *http.Request, id string, n int64) // to the n-th question of all
	asked    atomic.Int64
}

// of is a question on its way.
type of struct {
	ID     json.RawMessage `json:"id"`
	Method string          `json:"method"`
}

func (s *script) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodDelete {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	var q of
	if err := json.NewDecoder(r.Body).Decode(&q); err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	switch q.Method {
	case mcp.MethodInitialize:
		w.Header().Set(mcp.HeaderSessionID, fmt.Sprint("s", s.sessions.Add(1)))
		answerWith(w, fmt.Sprintf(`{"jsonrpc":"2.0","id":%s,"result":{"protocolVersion":"2025-11-25"}}`, q.ID))
	case mcp.MethodInitialized:
		w.WriteHeader(http.StatusAccepted)
	default:
		s.reply(w, r, string(q.ID), s.asked.Add(1))
	}
}

func answerWith(w http.ResponseWriter, line string) {
	w.Header().Set("Content-Type", "application/json")
	fmt.Fprint(w, line)
}

func nodeReply(id, name string) string {
	return fmt.Sprintf(`{"jsonrpc":"2.0","id":%s,"result":{"content":[{"type":"text","text":%q}]}}`, id, name)
}

func sdkHandler(stateless bool) http.Handler {
	server := sdk.NewServer(&sdk.Implementation{Name: "test", Version: "1"}, nil)
	sdk.AddTool(server, &sdk.Tool{Name: "whoami"}, func(context.Context, *sdk.CallToolRequest, struct{}) (*sdk.CallToolResult, any, error) {
		return &sdk.CallToolResult{Content: []sdk.Content{&sdk.TextContent{Text: "a"}}}, nil, nil
	})
	return sdk.NewStreamableHTTPHandler(func(*http.Request) *sdk.Server { return server }, &sdk.StreamableHTTPOptions{Stateless: stateless})
}
