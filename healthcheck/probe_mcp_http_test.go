package healthcheck

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// endpoint answers POSTs by the method that they ask for.
func endpoint(t *testing.T, answer func(w http.ResponseWriter, method string)) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var request struct{ Method string }
		if err := json.NewDecoder(r.Body).Decode(&request); err != nil || r.Method != http.MethodPost {
			t.Errorf("%s with body error %v", r.Method, err)
		}
		answer(w, request.Method)
	}))
	t.Cleanup(s.Close)
	return s
}

func TestProbeMCPByHTTP(t *testing.T) {
	status := func(code int) func(http.ResponseWriter, string) {
		return func(w http.ResponseWriter, _ string) { w.WriteHeader(code) }
	}
	reply := func(id, rest string) string { return `{"jsonrpc":"2.0","id":` + id + "," + rest + "}" }
	unknown := `"error":{"code":-32601,"message":"unknown"}`
	body := func(kind, discover, ping string) func(http.ResponseWriter, string) {
		return func(w http.ResponseWriter, method string) {
			w.Header().Set("Content-Type", kind)
			text := discover
			if method == "ping" {
				text = ping
			}
			_, _ = io.WriteString(w, text)
		}
	}
	for _, c := range []struct {
		name   string
		answer func(http.ResponseWriter, string)
		cause  Cause
		text   string
		detail string // method, era, status
	}{
		{"stateless", body("application/json", reply("2", `"result":{}`), ""), "", "", "server/discover stateless 200"},
		{"stateless, and says so", body("application/json", reply("2", `"result":{}`), reply("1", unknown)), "", "", "server/discover stateless 200"},
		{"session era", body("application/json", reply("2", unknown), reply("1", `"result":{}`)), "", "", "ping session 200"},
		{"as events", body("text/event-stream", "event: message\ndata: "+reply("2", unknown)+"\n\n", ": hello\ndata: "+reply("1", `"result":{}`)+"\n\n"), "", "", "ping session 200"},
		{"needs a session", status(400), "", "", "  400"},
		{"needs a token", status(401), "", "", "  401"},
		{"forbids", status(403), "", "", "  403"},
		{"at another path", status(404), "", "", "  404"},
		{"wants GET", status(405), "", "", "  405"},
		{"wants another type", status(406), "", "", "  406"},
		{"limits", status(429), "", "", "  429"},
		{"redirects", status(307), "", "", "  307"},
		{"stopping", status(503), CauseUnhealthy, "POST /mcp: 503 Service Unavailable", "  503"},
		{"chokes on what it does not know", func(w http.ResponseWriter, method string) {
			if method != "ping" {
				w.WriteHeader(http.StatusInternalServerError)
				return
			}
			_, _ = io.WriteString(w, reply("1", `"result":{}`))
		}, "", "", "ping session 200"},
		{"chokes on a ping", func(w http.ResponseWriter, method string) {
			if method == "ping" {
				w.WriteHeader(http.StatusInternalServerError)
				return
			}
			w.WriteHeader(http.StatusBadRequest)
		}, "", "", "  400"},
		{"a web page", body("text/html", "<html>", "<html>"), CauseProtocol, "POST /mcp: 200 OK with text/html, not an MCP reply", "  200"},
		{"nothing", status(202), CauseProtocol, "POST /mcp: 202 Accepted with no content type, not an MCP reply", "  202"},
		{"a stream that ends", body("text/event-stream", ": hi\n\n", ": hi\n\n"), CauseProtocol, "POST /mcp: 200 OK with text/event-stream, not an MCP reply", "  200"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := probeMCP(t.Context(), Target{Address: endpoint(t, c.answer).Listener.Addr().String(), Transport: OverHTTP})
			detail := r.Detail["method"] + " " + r.Detail["era"] + " " + r.Detail["status"]
			if r.OK != (c.cause == "") || r.Cause != c.cause || r.Error != c.text || detail != c.detail {
				t.Errorf("%+v", r)
			}
			if r.OK != (r.Latency > 0) {
				t.Errorf("latency %v", r.Latency)
			}
		})
	}
}

// A probe says what speaks there instead.
func TestProbeForeignServer(t *testing.T) {
	tlsPort := peer(t, saying("\x15\x03\x01\x00\x02\x02\x46")) // as OpenSSL says it
	httpPort := endpoint(t, func(w http.ResponseWriter, _ string) { w.WriteHeader(http.StatusBadRequest) }).Listener.Addr().String()
	linePort := peer(t, answering(func(string) string { return `{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"no"}}` }))
	tlsTarget := &tls.Config{InsecureSkipVerify: true} //nolint:gosec // of a test
	for _, c := range []struct {
		name   string
		target Target
		cause  Cause
		text   string
	}{
		{"HTTP where lines are expected", Target{Address: httpPort}, CauseProtocol, "speaks HTTP, not newline-delimited JSON-RPC: write http instead of tcp"},
		{"a page where lines are expected", Target{Address: peer(t, saying("<!DOCTYPE HTML>\n<html>"))}, CauseProtocol, "speaks HTTP, not newline-delimited JSON-RPC: write http instead of tcp"},
		{"TLS where lines are expected", Target{Address: tlsPort}, CauseProtocol, "speaks TLS, not newline-delimited JSON-RPC"},
		{"TLS where HTTP is expected", Target{Address: tlsPort, Transport: OverHTTP}, CauseProtocol, "speaks TLS, not HTTP"},
		{"lines where HTTP is expected", Target{Address: linePort, Transport: OverHTTP}, CauseProtocol, "speaks newline-delimited JSON-RPC, not HTTP"},
		{"plain where TLS is expected", Target{Address: httpPort, Transport: OverHTTP, TLS: tlsTarget}, CauseProtocol, "not a TLS server"},
		{"frozen", Target{Address: peer(t, silent), Transport: OverHTTP}, CauseTimeout, "no complete answer within 500ms (frozen?)"},
		{"closes", Target{Address: peer(t, saying("")), Transport: OverSSE}, CauseClosed, "closed without a reply"},
		{"mail", Target{Address: peer(t, saying("220 mail\r\n")), Transport: OverHTTP}, CauseProtocol, "not an HTTP answer: "},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.target.Timeout = 500 * time.Millisecond
			r := probeMCP(t.Context(), c.target)
			if r.OK || r.Cause != c.cause || !strings.HasPrefix(r.Error, c.text) || r.Transport != c.target.Transport {
				t.Errorf("%+v", r)
			}
		})
	}
}

// What a server must start for a question, it starts once a probe, and not at all where it can refuse.
func TestProbeMCPAsksOnce(t *testing.T) {
	var asked []string
	s := endpoint(t, func(w http.ResponseWriter, method string) {
		asked = append(asked, method)
		w.WriteHeader(http.StatusBadRequest)
	})
	r := probeMCP(t.Context(), Target{Address: s.Listener.Addr().String(), Transport: OverHTTP})
	if !r.OK || len(asked) != 1 || asked[0] != "ping" {
		t.Errorf("%+v after %q", r, asked)
	}
}

func TestProbeMCPSays(t *testing.T) {
	var seen []*http.Request
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen = append(seen, r)
		if len(seen) == 1 {
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		w.WriteHeader(http.StatusUnauthorized)
	}))
	t.Cleanup(s.Close)
	roots := x509.NewCertPool()
	roots.AddCert(s.Certificate())
	r := probeMCP(t.Context(), Target{
		Address: s.Listener.Addr().String(), Transport: OverHTTP, Path: "/api/mcp", Host: "mcp.example.com",
		Header: http.Header{"Authorization": {"Bearer secret"}},
		TLS:    &tls.Config{RootCAs: roots, ServerName: "example.com"},
	})
	if !r.OK || len(seen) != 2 {
		t.Fatalf("%+v, %d requests", r, len(seen))
	}
	for _, q := range seen {
		if q.URL.Path != "/api/mcp" || q.Host != "mcp.example.com" || q.Header.Get("Authorization") != "Bearer secret" || q.Header.Get("Mcp-Session-Id") != "" {
			t.Errorf("asked %s of %s with %v", q.URL, q.Host, q.Header)
		}
	}
	if method := seen[1].Header.Get("Mcp-Method"); method != "server/discover" {
		t.Errorf("Mcp-Method: %q", method)
	}
}
