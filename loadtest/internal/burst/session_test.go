package burst_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/erlmcp/erlmcp/loadtest/internal/burst"
	"github.com/erlmcp/erlmcp/loadtest/internal/target"
)

func endpoint(s *httptest.Server) target.Endpoint {
	return target.Endpoint{
		Target:  target.Target{Transport: target.HTTP, Host: "127.0.0.1", Port: 8080, Path: "/mcp"},
		Address: netip.MustParseAddrPort(s.Listener.Addr().String()),
	}
}

// One session of a server of the official SDK serves all connections of a driver.
func TestSessionOfAll(t *testing.T) {
	for _, name := range []string{"wrk", "hey"} { // ab numbers no requests
		for _, form := range []string{"application/json", "text/event-stream"} {
			t.Run(name+" "+form, func(t *testing.T) {
				d := driver(t, name)
				server := mcp.NewServer(&mcp.Implementation{Name: "s", Version: "1"}, nil)
				handler := mcp.NewStreamableHTTPHandler(func(*http.Request) *mcp.Server { return server },
					&mcp.StreamableHTTPOptions{JSONResponse: form == "application/json"})
				var wrong atomic.Int64
				s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if r.Header.Get("Authorization") != secret {
						wrong.Add(1)
					}
					handler.ServeHTTP(w, r)
				}))
				defer s.Close()
				e := endpoint(s)
				e.Header = []target.Field{{Name: "Authorization", Value: secret}}
				header, end, err := burst.OpenSession(t.Context(), e)
				if err != nil {
					t.Fatal(err)
				}
				j := burst.Job{Endpoint: e, Header: header, Body: []byte(ping), Number: "NUMBER", Connections: 4, Duration: time.Second}
				r, err := d.Run(t.Context(), j)
				if err != nil || r.Answered == 0 || r.Answered != r.Requests {
					t.Errorf("%+v, %v", r, err)
				}
				if err := end(t.Context()); err != nil {
					t.Error(err)
				}
				// The server does not know it any more.
				j.Duration = time.Second
				if r, err = d.Run(t.Context(), j); err != nil || r.Answered != 0 || r.Errors["404"] == 0 {
					t.Errorf("after the end: %+v, %v", r, err)
				}
				if wrong.Load() > 0 {
					t.Errorf("%d requests without what lets them in", wrong.Load())
				}
			})
		}
	}
}

func TestSessionsThatCannotBegin(t *testing.T) {
	for name, c := range map[string]struct {
		status     int
		kind, body string
		want       string
	}{
		"refused":       {401, "text/plain", "who are you?", "status 401: who are you?"},
		"moved":         {307, "text/plain", "", "status 307"},
		"error":         {200, "application/json", `{"jsonrpc":"2.0","id":1,"error":{"code":-32000,"message":"not today"}}`, "not today"},
		"page":          {200, "text/html", "<html>", "the answer to initialize is none: <html>"},
		"stream ends":   {200, "text/event-stream", ": nothing\n\ndata: {}\n\n", "the event stream ends"},
		"flood":         {200, "application/json", `{"result":{"protocolVersion":"` + strings.Repeat("x", 2<<20), "the answer to initialize is none"},
		"event floods":  {200, "text/event-stream", "data: " + strings.Repeat("x", 2<<20), "the event stream ends"},
		"empty version": {200, "application/json", `{"jsonrpc":"2.0","id":1,"result":{"protocolVersion":""}}`, "the answer to initialize is none"},
	} {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", c.kind)
			w.WriteHeader(c.status)
			_, _ = io.WriteString(w, c.body)
		}))
		_, _, err := burst.OpenSession(t.Context(), endpoint(s))
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.HasPrefix(err.Error(), "begin a session at http://127.0.0.1:8080/mcp: ") || len(err.Error()) > 500 {
			t.Errorf("%s: %v", name, err)
		}
		s.Close()
	}
}

// A server that keeps sessions to itself, or has none, is no error.
func TestSessionThatDoesNotEnd(t *testing.T) {
	for id, status := range map[string]int{"": 500, "one": 405, "two": 404, "three": 500} {
		var deleted atomic.Int64
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			switch {
			case r.Method == http.MethodDelete:
				deleted.Add(1)
				w.WriteHeader(status)
			case bytes.Contains(body, []byte("initialized")):
				w.WriteHeader(http.StatusAccepted)
			default:
				if id != "" {
					w.Header().Set("Mcp-Session-Id", id)
				}
				w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
				fmt.Fprint(w, "event: message\r\ndata: {\"jsonrpc\":\"2.0\",\"id\":1,\r\ndata: \"result\":{\"protocolVersion\":\"2025-06-18\"}}\r\n\r\n")
			}
		}))
		header, end, err := burst.OpenSession(t.Context(), endpoint(s))
		if err != nil {
			t.Fatal(err)
		}
		want := "[{Mcp-Protocol-Version 2025-06-18}]"
		if id != "" {
			want = "[{Mcp-Session-Id " + id + "} {Mcp-Protocol-Version 2025-06-18}]"
		}
		if fmt.Sprint(header) != want {
			t.Errorf("header %v", header)
		}
		if err := end(t.Context()); (err != nil) != (id == "three") || (deleted.Load() == 1) != (id != "") {
			t.Errorf("session %q: %v, deleted %d times", id, err, deleted.Load())
		}
		s.Close()
	}
}

// A certificate is checked here, unless anybody is trusted.
func TestSessionOverTLS(t *testing.T) {
	s := httptest.NewTLSServer(http.NotFoundHandler())
	defer s.Close()
	e := endpoint(s)
	e.Secure = true
	begin := func() string {
		_, _, err := burst.OpenSession(context.Background(), e)
		if err == nil {
			t.Fatal("no error")
		}
		return err.Error()
	}
	if err := begin(); !strings.Contains(err, "certificate") {
		t.Error(err)
	}
	e.TLS.Insecure = true
	if err := begin(); !strings.Contains(err, "status 404") {
		t.Error(err)
	}
	e.TLS = target.TLS{CA: "none"}
	if err := begin(); !strings.Contains(err, "no certificate") {
		t.Error(err)
	}
}
