package swarm

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/erlmcp/erlmcp/internal/mcp"
	"github.com/erlmcp/erlmcp/internal/mono"
	"github.com/erlmcp/erlmcp/internal/waittest"
	"github.com/erlmcp/erlmcp/loadtest/internal/ask"
	"github.com/erlmcp/erlmcp/loadtest/internal/target"
	"github.com/erlmcp/erlmcp/loadtest/internal/wire"
	"github.com/erlmcp/erlmcp/loadtest/internal/work"
)

// overLines serves MCP in lines over TCP: a session a connection.
func overLines(t *testing.T, server *sdk.Server) target.Endpoint {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	return rawServer(t, target.TCP, func(c net.Conn, in *bufio.Reader, _ int) {
		session, err := server.Connect(ctx, &sdk.IOTransport{Reader: io.NopCloser(in), Writer: c}, nil)
		if err == nil {
			_ = session.Wait()
		}
	})
}

// everywhere are servers of sessions over all transports.
func everywhere(t *testing.T, server *sdk.Server) map[string]target.Endpoint {
	of := func(*http.Request) *sdk.Server { return server }
	over := func(scheme, path string, h http.Handler) target.Endpoint {
		return serve(t, service{scheme, path, func() http.Handler { return h }, work.Work{}}, false)
	}
	return map[string]target.Endpoint{
		"tcp":    overLines(t, server),
		"events": over("http", "/mcp", sdk.NewStreamableHTTPHandler(of, nil)),
		"sse":    over("http", "/sse", sdk.NewSSEHandler(of, nil)),
		"ws":     over("ws", "/ws", overSocket(server)),
		"json":   over("http", "/mcp", withoutStreams(sdk.NewStreamableHTTPHandler(of, &sdk.StreamableHTTPOptions{JSONResponse: true}))),
	}
}

// withoutStreams refuses streams of events.
func withoutStreams(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet {
			w.WriteHeader(http.StatusMethodNotAllowed)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func TestSessionsOverLines(t *testing.T) {
	for name, w := range map[string]work.Work{"whoami": sessions, "ping": {Era: mcp.SessionEra, Verify: ask.Ping}} {
		t.Run(name, func(t *testing.T) {
			node := map[string]string{"whoami": "a"}[name]
			startOver(t, overLines(t, sdkServer()), w, 10, time.Minute).lead(10, node)
		})
	}
}

// A server without sessions over TCP is asked without them.
func TestLinesWithoutSessions(t *testing.T) {
	w := work.Work{Era: mcp.SessionEra, Verify: ask.Ping, Session: work.Session{Calls: 2}}
	e := rawServer(t, target.TCP, func(c net.Conn, in *bufio.Reader, _ int) {
		for lines := bufio.NewScanner(in); lines.Scan(); {
			var m mcp.Envelope
			if json.Unmarshal(lines.Bytes(), &m) != nil {
				return
			}
			_, _ = c.Write(mcp.AppendError(nil, m.ID, mcp.CodeMethodNotFound, "no"))
		}
	})
	s := startOver(t, e, w, 3, time.Minute)
	s.awaitVerified(3)
	s.on(func() { s.ping(mono.Now(), 1000, &wire.PingOrder{For: 30 * time.Millisecond}) })
	n := s.await("answers", func(n wire.Counts) bool { return n.Requests.Answered == 30 })
	if n.Sessions != (wire.SessionCounts{}) || n.Attempts != 3 {
		t.Errorf("%+v", n)
	}
}

// A server that asks clients whether they are there is told each time, and keeps all of them.
func TestServersThatPing(t *testing.T) {
	for _, name := range []string{"tcp", "events", "sse", "ws"} { // one that answers in JSON only has no way to ask
		t.Run(name, func(t *testing.T) {
			server := sdk.NewServer(&sdk.Implementation{Name: "test", Version: "1"}, nil)
			s := startOver(t, everywhere(t, server)[name], work.Work{Era: mcp.SessionEra, Verify: ask.Ping}, 3, time.Minute)
			s.awaitVerified(3)
			all := slices.Collect(server.Sessions())
			if len(all) != 3 {
				t.Fatalf("%d sessions", len(all))
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			for range 7 {
				for _, session := range all {
					if err := session.Ping(ctx, nil); err != nil {
						t.Fatal(err)
					}
				}
			}
			if n := s.Counts(); n.Dropped != 0 || n.Verified != 3 || n.Sessions.Begun != 3 {
				t.Errorf("%+v", n)
			}
		})
	}
}

// After so many requests of a client its session ends, and it begins another one, over every transport.
func TestSessionsEnd(t *testing.T) {
	for name, e := range everywhere(t, sdkServer()) {
		t.Run(name, func(t *testing.T) {
			w := sessions
			w.Session.Calls = 4
			s := startOver(t, e, w, 5, time.Minute)
			for asked := int64(4); asked <= 100; asked += 4 {
				s.awaitVerified(5)
				s.on(func() { s.ping(mono.Now(), 1000, &wire.PingOrder{For: 4 * time.Millisecond}) })
				s.await("answers", func(n wire.Counts) bool { return n.Requests.Sent == asked && n.Requests.UnderWay() == 0 })
			}
			n := s.awaitVerified(5)
			if n.Sessions != (wire.SessionCounts{Begun: 30, Ended: 25}) || n.Requests.Answered != 100 || n.Dropped != 0 || len(n.Failures) != 0 {
				t.Errorf("%+v", n)
			}
			s.on(func() { s.close(1e6) })
			n = s.await("the end", func(n wire.Counts) bool { return n.Open == 0 })
			if n.Sessions != (wire.SessionCounts{Begun: 30, Ended: 30}) || n.Dropped != 0 {
				t.Errorf("%+v", n)
			}
		})
	}
}

// A client without an answer to its last request does not end its session before.
func TestSessionsEndWithTheirLastAnswer(t *testing.T) {
	var asked atomic.Int64
	release := make(chan struct{})
	e := rawServer(t, target.HTTP, func(c net.Conn, in *bufio.Reader, _ int) {
		for {
			r, ok := hear(in)
			if !ok {
				return
			}
			if r.Request.Method == http.MethodDelete && asked.Load() < 100 {
				t.Error("a session ends with requests under way")
			}
			if !talk(c, r) {
				asked.Add(1)
				<-release
				asked.Add(100)
				say(c, 200, isJSON, result(r.ID))
			}
		}
	})
	w := stepped
	w.Session.Calls = 1
	s := startOver(t, e, w, 1, time.Minute)
	s.awaitVerified(1)
	s.on(func() { s.ping(mono.Now(), 1000, &wire.PingOrder{For: time.Millisecond}) })
	waittest.Until(t, time.Minute, "the request", func() bool { return asked.Load() == 1 })
	if n := s.Counts(); n.Verified != 0 || n.Sessions.Ended != 0 || n.Dropped != 0 {
		t.Errorf("%+v", n)
	}
	close(release)
	n := s.awaitVerified(1)
	if n.Sessions != (wire.SessionCounts{Begun: 2, Ended: 1}) || n.Requests.Answered != 1 || n.Dropped != 0 {
		t.Errorf("%+v", n)
	}
}

// Requests say which client asks, over every transport.
func TestClientsSayWhoTheyAre(t *testing.T) {
	var mu sync.Mutex
	said := make(map[int]int)
	server := sdkServer()
	server.AddTool(&sdk.Tool{Name: "note", InputSchema: json.RawMessage(`{"type":"object"}`)}, func(_ context.Context, r *sdk.CallToolRequest) (*sdk.CallToolResult, error) {
		var who struct{ Client int }
		_ = json.Unmarshal(r.Params.Arguments, &who)
		mu.Lock()
		defer mu.Unlock()
		said[who.Client]++
		return &sdk.CallToolResult{}, nil
	})
	for name, e := range everywhere(t, server) {
		t.Run(name, func(t *testing.T) {
			w := sessions
			w.Share.FirstClient = 10
			w.Steps = []work.Step{{Name: "note", Method: "tools/call", Params: json.RawMessage(`{"name":"note","arguments":{"client":"{{$client}}"}}`), Weight: 1}}
			s := startOver(t, e, w, 3, time.Minute)
			s.awaitVerified(3)
			s.on(func() { s.ping(mono.Now(), 1000, &wire.PingOrder{For: 6 * time.Millisecond}) })
			s.await("answers", func(n wire.Counts) bool { return n.Requests.Answered == 6 })
			mu.Lock()
			defer mu.Unlock()
			if len(said) != 3 || said[11] != 2 || said[12] != 2 || said[13] != 2 {
				t.Errorf("%v", said)
			}
			clear(said)
		})
	}
}

func TestUnserved(t *testing.T) {
	for _, c := range []struct {
		cause        ask.Cause
		heard, whole bool
		want         bool
	}{
		{ask.CauseReset, false, true, true},
		{ask.CauseReset, true, true, false},
		{ask.CauseClosed, false, true, false},
		{ask.CauseClosed, false, false, true},
		{ask.CauseClosed, true, false, false},
		{ask.CauseTimeout, false, false, false},
	} {
		if got := unserved(c.cause, c.heard, c.whole); got != c.want {
			t.Errorf("%+v: %t", c, got)
		}
	}
}
