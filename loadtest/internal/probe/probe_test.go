package probe

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/erlmcp/erlmcp/internal/mcp"
	"github.com/erlmcp/erlmcp/loadtest/internal/ask"
	"github.com/erlmcp/erlmcp/loadtest/internal/sources"
	"github.com/erlmcp/erlmcp/loadtest/internal/target"
	"github.com/erlmcp/erlmcp/loadtest/internal/work"
)

func TestIntroduce(t *testing.T) {
	var sessions atomic.Int64
	secure, s := serveTLS(t, "/mcp", streamable(newSDK("n1"), false, nil), nil)
	both, h2 := serveTLS(t, "/mcp", streamable(newSDK("n1"), true, nil), func(s *httptest.Server) { s.EnableHTTP2 = true })
	http2 := trusting(both, h2)
	http2.HTTP2 = true
	insecure := secure
	insecure.TLS.Insecure = true
	for name, c := range map[string]struct {
		at   target.Endpoint
		want Introduction
	}{
		"sessions": {serve(t, "/mcp", streamable(newSDK("n1"), false, &sessions)), Introduction{
			Era: mcp.SessionEra, Question: ask.Whoami, Naming: work.ByAnswer, Node: "n1", Server: "test-server 1.2", Stream: true}},
		"stateless": {serve(t, "/mcp", streamable(newSDK("n1"), true, nil)), Introduction{
			Era: mcp.StatelessEra, Question: ask.Whoami, Naming: work.ByAnswer, Node: "n1", Server: "test-server 1.2"}},
		"sessions by header": {serve(t, "/mcp", servedBy("b", streamable(newSDK(""), false, &sessions))), Introduction{
			Era: mcp.SessionEra, Question: ask.Ping, Naming: work.ByHeader, Node: "b", Server: "test-server 1.2", Stream: true, ServedBy: true}},
		"stateless by header": {serve(t, "/mcp", servedBy("b", streamable(newSDK(""), true, nil))), Introduction{
			Era: mcp.StatelessEra, Question: ask.Discover, Naming: work.ByHeader, Node: "b", Server: "test-server 1.2", ServedBy: true}},
		"no sessions, and streams without end": {serve(t, "/mcp", posts("n1", mcp.SessionEra)), Introduction{
			Question: ask.Whoami, Naming: work.ByAnswer, Node: "n1", Server: "small 1"}},
		"nothing to the stateless era": {serve(t, "/mcp", taciturn(posts("n1", mcp.SessionEra))), Introduction{
			Question: ask.Whoami, Naming: work.ByAnswer, Node: "n1", Server: "small 1"}},
		"legacy": {serve(t, "/sse", legacy(newSDK("n1"))), Introduction{
			Question: ask.Whoami, Naming: work.ByAnswer, Node: "n1", Server: "test-server 1.2"}},
		"legacy by header": {serve(t, "/sse", servedBy("b", legacy(newSDK("")))), Introduction{
			Question: ask.Ping, Naming: work.ByHeader, Node: "b", Server: "test-server 1.2", ServedBy: true}},
		"WebSocket of the stateless era": {as(serve(t, "/ws", sockets("n1", mcp.StatelessEra)), target.WS), Introduction{
			Era: mcp.StatelessEra, Question: ask.Whoami, Naming: work.ByAnswer, Node: "n1", Server: "small 1"}},
		"WebSocket with sessions": {as(serve(t, "/ws", servedBy("b", sockets("", mcp.SessionEra))), target.WS), Introduction{
			Question: ask.Ping, Naming: work.ByHeader, Node: "b", Server: "small 1", ServedBy: true}},
		"lines": {serveLines(t, speakLines("n1", mcp.StatelessEra)), Introduction{
			Era: mcp.StatelessEra, Question: ask.Whoami, Naming: work.ByAnswer, Node: "n1"}},
		"lines with sessions": {serveLines(t, speakLines("", mcp.SessionEra)), Introduction{
			Question: ask.Ping, Nameless: `tools/call whoami is answered "no such method (JSON-RPC error -32601)"`}},
		"TLS": {trusting(secure, s), Introduction{
			Question: ask.Whoami, Naming: work.ByAnswer, Node: "n1", Server: "test-server 1.2", Stream: true}},
		"TLS of anybody": {insecure, Introduction{
			Question: ask.Whoami, Naming: work.ByAnswer, Node: "n1", Server: "test-server 1.2", Stream: true}},
		"HTTP/2": {http2, Introduction{
			Era: mcp.StatelessEra, Question: ask.Whoami, Naming: work.ByAnswer, Node: "n1", Server: "test-server 1.2"}},
	} {
		t.Run(name, func(t *testing.T) {
			got, trouble := Introduce(t.Context(), c.at)
			if trouble != nil || got != c.want {
				t.Fatalf("%+v, %+v", got, trouble)
			}
			script, err := got.Work().Compile()
			if err != nil {
				t.Fatal(err)
			}
			h, err := Baseline(t.Context(), c.at, script, sources.Range{Count: 2})
			if err != nil || h.TotalCount() != 2*baselineCalls {
				t.Errorf("baseline: %+v, %v", h, err)
			}
			for _, h := range Straight(t.Context(), script, Node{"n1", c.at}, Node{"none", endpointAt(t, "127.0.0.1:1")}) {
				if h != nil && h.TotalCount() != baselineCalls {
					t.Errorf("straight: %+v", h)
				}
			}
		})
	}
	if n := sessions.Load(); n != 0 {
		t.Errorf("%d sessions were not ended", n)
	}
}

func TestIntroduceOverIPv6(t *testing.T) {
	l, err := net.Listen("tcp", "[::1]:0")
	if err != nil {
		t.Skip("there is no ::1 here")
	}
	s := httptest.NewUnstartedServer(streamable(newSDK("n1"), true, nil))
	_ = s.Listener.Close()
	s.Listener = l
	s.Start()
	defer s.Close()
	at := endpointAt(t, s.URL+"/mcp")
	if got, trouble := Introduce(t.Context(), at); trouble != nil || got.Node != "n1" {
		t.Errorf("%+v, %+v", got, trouble)
	}
	if _, trouble := Introduce(t.Context(), as(at, target.TCP)); trouble == nil || trouble.Fix != "name its URL: --target "+s.URL+"/mcp" {
		t.Errorf("%+v", trouble)
	}
}

// Of a server of both eras, the one that is wanted is taken.
func TestIntroduceByEra(t *testing.T) {
	stateless, session := streamable(newSDK("n1"), true, nil), streamable(newSDK("n1"), false, nil)
	at := serve(t, "/mcp", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get(mcp.HeaderProtocolVersion) == mcp.Version20260728 {
			stateless.ServeHTTP(w, r)
			return
		}
		session.ServeHTTP(w, r)
	}))
	for _, era := range []mcp.Era{mcp.StatelessEra, mcp.SessionEra} {
		if got, trouble := Introduce(t.Context(), at, era); trouble != nil || got.Era != era || got.Node != "n1" {
			t.Errorf("%s: %+v, %+v", era, got, trouble)
		}
	}
	if got, trouble := Introduce(t.Context(), at); trouble != nil || got.Era != mcp.StatelessEra {
		t.Errorf("%+v, %+v", got, trouble)
	}
}

// A server of one era is not asked in vain for the other.
func TestIntroduceByTheWrongEra(t *testing.T) {
	for _, c := range []struct {
		wanted mcp.Era
		serves http.Handler
		fix    string
	}{
		{mcp.StatelessEra, streamable(newSDK("n1"), false, nil), "--era session, or leave it out"},
		{mcp.SessionEra, posts("n1", mcp.StatelessEra), "--era stateless, or leave it out"},
	} {
		at := serve(t, "/mcp", c.serves)
		if _, trouble := Introduce(t.Context(), at, c.wanted); trouble == nil || trouble.Unreachable() || trouble.Fix != c.fix {
			t.Errorf("%s: %+v", c.wanted, trouble)
		}
	}
}

// What lets clients in is in each request, and nothing else is needed.
func TestFieldsOfTheEndpoint(t *testing.T) {
	guarded := func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Authorization") != "Bearer open-sesame" || r.Host != "name.example" {
				w.Header().Set("WWW-Authenticate", `Bearer realm="x", got="`+r.Header.Get("Authorization")+`"`)
				http.Error(w, "no", http.StatusUnauthorized)
				return
			}
			r.Host = "127.0.0.1"
			h.ServeHTTP(w, r)
		})
	}
	for _, at := range []target.Endpoint{
		serve(t, "/mcp", guarded(streamable(newSDK("n1"), false, nil))),
		serve(t, "/sse", guarded(legacy(newSDK("n1")))),
		as(serve(t, "/ws", guarded(sockets("n1", mcp.SessionEra))), target.WS),
	} {
		_, trouble := Introduce(t.Context(), at)
		if trouble == nil || trouble.Blame != Asked || !strings.Contains(trouble.Text, "401 Unauthorized (Bearer realm=") || !strings.Contains(trouble.Fix, "--token-file") {
			t.Errorf("%s: %+v", at.Transport, trouble)
		}
		at.Header = []target.Field{{Name: "Host", Value: "name.example"}, {Name: "Authorization", Value: "Bearer wrong-word"}}
		_, trouble = Introduce(t.Context(), at)
		if trouble == nil || !strings.Contains(trouble.Text, "what was given to be let in is refused") || strings.Contains(trouble.Text, "wrong-word") {
			t.Errorf("%s: %+v", at.Transport, trouble)
		}
		at.Header[1].Value = "Bearer open-sesame"
		if got, trouble := Introduce(t.Context(), at); trouble != nil || got.Node != "n1" {
			t.Errorf("%s: %+v %+v", at.Transport, got, trouble)
		}
	}
}

func TestTry(t *testing.T) {
	number := 0
	step := func(method, params string) work.Step {
		number++
		return work.Step{Name: fmt.Sprint("step ", number), Method: method, Params: []byte(params), Weight: 1}
	}
	const good = `{"name":"greet","arguments":{"text":"you"}}`
	for name, at := range map[string]target.Endpoint{
		"http": serve(t, "/mcp", streamable(newSDK("n1"), false, nil)),
		"sse":  serve(t, "/sse", legacy(newSDK("n1"))),
	} {
		for _, c := range []struct {
			steps     []work.Step
			text, fix string
		}{
			{nil, "", ""},
			{[]work.Step{step("tools/call", good), step("tools/list", "{}"), step("resources/read", `{"uri":"file:///there"}`)}, "", ""},
			{[]work.Step{step("tools/call", good), step("tools/call", `{"name":"gret","arguments":{}}`)},
				`the server has no tool "gret"`, "did you mean greet? It has greet, whoami"},
			{[]work.Step{step("tools/call", `{"name":"other"}`)}, `the server has no tool "other"`, "name one of its own (--tool): greet, whoami"},
			{[]work.Step{step("tools/call", `{"name":"greet","arguments":{"text":1}}`)},
				`the tool "greet" answers with an error: `, "give arguments that it takes (--args): it needs text"},
			{[]work.Step{step("tools/call", `{"name":"greet","arguments":{"text":"fail"}}`)},
				`the tool "greet" answers with an error: no greeting for fail`, "(--args)"},
			{[]work.Step{step("resources/read", `{"uri":"file:///ther"}`)}, `the server has no resource "file:///ther": `, "did you mean file:///there?"},
			{[]work.Step{step("no/method", "{}")}, `no/method `, ""},
		} {
			script, err := work.Work{Era: mcp.SessionEra, Verify: ask.Ping, Steps: c.steps}.Compile()
			if err != nil {
				t.Fatal(err)
			}
			trouble := Try(t.Context(), at, script)
			if c.text == "" {
				if trouble != nil {
					t.Errorf("%s: %+v", name, trouble)
				}
				continue
			}
			if c.steps[0].Method == "no/method" && trouble != nil { // the SDK says it by a status over HTTP
				continue
			}
			if trouble == nil || trouble.Blame != Asked || !strings.HasPrefix(trouble.Text, c.text) || !strings.Contains(trouble.Fix, c.fix) {
				t.Errorf("%s: %s: %+v", name, c.text, trouble)
			}
		}
	}
}

func TestHere(t *testing.T) {
	for text, want := range map[string]bool{
		"127.0.0.1": true, "127.9.9.9": true, "::1": true, "::ffff:127.0.0.1": true, "0.0.0.0": true, "203.0.113.1": false, "2001:db8::1": false,
	} {
		if got := Here(netip.MustParseAddr(text)); got != want {
			t.Errorf("%s: %v", text, got)
		}
	}
}

func TestLocate(t *testing.T) {
	at, _, trouble := Locate(t.Context(), target.Target{Transport: target.TCP, Host: "127.0.0.1", Port: 8000}, false)
	if trouble != nil || at.String() != "127.0.0.1:8000" {
		t.Errorf("%s, %+v", at, trouble)
	}
	s := serveLines(t, speakLines("n1", mcp.StatelessEra))
	at, others, trouble := Locate(t.Context(), target.Target{Transport: target.TCP, Host: "localhost", Port: s.Port}, false)
	if trouble != nil || at != s.Address || len(others) > 1 { // 127.0.0.1 answers, whatever else localhost is
		t.Errorf("%s, %v, %+v", at, others, trouble)
	}
	_, _, trouble = Locate(t.Context(), target.Target{Host: "2001:db8::1", Port: 1}, false)
	if trouble == nil || trouble.Unreachable() || trouble.Text != "2001:db8::1 is not on this machine" {
		t.Errorf("%+v", trouble)
	}
	at, _, trouble = Locate(t.Context(), target.Target{Host: "2001:db8::1", Port: 1}, true)
	if trouble != nil || at.String() != "[2001:db8::1]:1" {
		t.Errorf("%s, %+v", at, trouble)
	}
	if trouble := elsewhere(target.Target{Host: "name.example"}, []netip.Addr{netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("203.0.113.1")}); trouble == nil ||
		trouble.Text != "name.example (127.0.0.1, 203.0.113.1) is not on this machine" || !strings.Contains(trouble.Fix, "--allow-remote-target") {
		t.Errorf("%+v", trouble)
	}
	ended, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("over"))
	if _, _, trouble := Locate(ended, target.Target{Host: "name.example", Port: 1}, false); trouble == nil || !trouble.Unreachable() {
		t.Errorf("%+v", trouble)
	}
}
