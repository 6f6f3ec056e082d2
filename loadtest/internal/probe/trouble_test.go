package probe

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/erlmcp/erlmcp/internal/mcp"
	"github.com/erlmcp/erlmcp/loadtest/internal/ask"
	"github.com/erlmcp/erlmcp/loadtest/internal/target"
	"github.com/erlmcp/erlmcp/loadtest/internal/work"
)

// always is a server of one answer to everything.
func always(status int, kind, body string, fields ...string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		for i := 0; i < len(fields); i += 2 {
			w.Header().Set(fields[i], fields[i+1])
		}
		w.Header().Set("Content-Type", kind)
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	})
}

// moved has what h serves at /mcp or /sse elsewhere.
func moved(from, to string, h http.Handler) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc(to, func(w http.ResponseWriter, r *http.Request) {
		r.URL.Path = from
		h.ServeHTTP(w, r)
	})
	return mux
}

// silentAt answers nothing at a path.
func silentAt(path string, h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != path {
			h.ServeHTTP(w, r)
			return
		}
		_, _ = io.Copy(io.Discard, r.Body) // so that the end of the connection is seen
		<-r.Context().Done()
	})
}

// sayOnce reads a little and answers with one text.
func sayOnce(text string) func(net.Conn) {
	return func(c net.Conn) {
		_, _ = c.Read(make([]byte, 4<<10))
		_, _ = io.WriteString(c, text)
		_ = c.(*net.TCPConn).CloseWrite()
		_, _ = io.Copy(io.Discard, io.LimitReader(c, 64<<10))
	}
}

// certificateFor is one that is signed by itself.
func certificateFor(t *testing.T, name string, from, to time.Time) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: from, NotAfter: to, BasicConstraintsValid: true, IsCA: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func TestTroubleWithTheProtocol(t *testing.T) {
	stream := streamable(newSDK("n1"), false, nil)
	secure, s := serveTLS(t, "/mcp", stream, nil)
	plain := secure
	plain.Secure = false
	notTLS := serve(t, "/mcp", stream)
	notTLS.Secure = true
	lines := serveLines(t, speakLines("n1", mcp.StatelessEra))
	asHTTP := as(lines, target.HTTP)
	asHTTP.Path = "/mcp"
	foreign := func(serve func(net.Conn)) target.Endpoint {
		e := as(serveLines(t, serve), target.HTTP)
		e.Path = "/mcp"
		return e
	}
	sse := serve(t, "/sse", legacy(newSDK("n1")))
	streamed := as(sse, target.HTTP)
	html := "<!doctype html><html><body>hello</body></html>"
	for name, c := range map[string]struct {
		at        target.Endpoint
		blame     Blame
		text, fix string
	}{
		"nobody":                     {endpointAt(t, "http://127.0.0.1:1/mcp"), Silent, "no MCP server answers at the target: dial tcp 127.0.0.1:1: connect: connection refused", ""},
		"nobody of lines":            {endpointAt(t, "127.0.0.1:1"), Silent, "no MCP server answers at the target: dial tcp", ""},
		"HTTP for lines":             {as(serve(t, "", stream), target.TCP), Asked, "%A speaks HTTP", "--target http://%A/mcp"},
		"HTTP for lines, elsewhere":  {as(serve(t, "", moved("/mcp", "/api/mcp", stream)), target.TCP), Asked, "%A speaks HTTP", "--target http://%A/api/mcp"},
		"legacy for lines":           {as(sse, target.TCP), Asked, "%A speaks HTTP", "--target http://%A/sse"},
		"TLS for lines":              {as(trusting(secure, s), target.TCP), Asked, "%A speaks TLS", "--target https://%A/mcp"},
		"TLS for HTTP":               {plain, Asked, "%A speaks TLS", "--target https://%A/mcp"},
		"HTTP for TLS":               {notTLS, Asked, "%A does not speak TLS", "--target http://%A/mcp"},
		"lines for HTTP":             {asHTTP, Asked, "%A speaks newline-delimited JSON-RPC, not HTTP", "--target %A"},
		"a TLS alert for HTTP":       {foreign(sayOnce("\x15\x03\x03\x00\x02\x02\x46")), Asked, "%A speaks TLS", "https://"},
		"HTTP/2 only":                {foreign(sayOnce("\x00\x00\x00\x04\x00\x00\x00\x00\x00")), Asked, "%A speaks HTTP/2 only", "--http-version 2"},
		"mail for HTTP":              {foreign(sayOnce("220 mail.example \x1b[1mESMTP\r\n")), Asked, `%A does not speak HTTP: "220 mail.example`, "--target"},
		"mail for lines":             {serveLines(t, sayOnce("220 mail.example \x1b[1mESMTP\r\n")), Asked, `%A does not speak MCP: "220 mail.example  [1mESMTP"`, "--target"},
		"a closed door":              {foreign(func(net.Conn) {}), Silent, "no MCP server answers at the target: ", ""},
		"a closed door of lines":     {serveLines(t, func(net.Conn) {}), Silent, "no MCP server answers at the target: ", ""},
		"a balancer that refuses":    {serveLines(t, sayOnce(string(mcp.AppendError(nil, nil, mcp.CodeBanned, "come back later")))), Refuses, "the target refuses (ban): come back later (JSON-RPC error -32017)", ""},
		"the same over HTTP":         {serve(t, "/mcp", always(503, jsonType, string(mcp.AppendError(nil, nil, mcp.CodeUnavailable, "no node")))), Refuses, "the target refuses (unavailable): no node", ""},
		"not found":                  {serve(t, "/mcp", http.NotFoundHandler()), Asked, "%U answers 404 Not Found, and there is no MCP endpoint at /mcp, /, /mcp/", "--target http://%A/…"},
		"not found, but elsewhere":   {serve(t, "/wrong?key=s3cret-key", moved("/mcp", "/api/mcp", stream)), Asked, "http://%A/wrong?… answers 404 Not Found: 404 page not found; there is Streamable HTTP at http://%A/api/mcp", "--target http://%A/api/mcp"},
		"legacy for Streamable HTTP": {serve(t, "/mcp", legacy(newSDK("n1"))), Asked, "there is HTTP with SSE at http://%A/sse", "--target http://%A/sse"},
		"legacy at the same path":    {streamed, Asked, "there is HTTP with SSE at http://%A/sse", "--target http://%A/sse"},
		"Streamable HTTP for legacy": {as(serve(t, "/mcp", stream), target.SSE), Asked, "there is Streamable HTTP at http://%A/mcp", "--target http://%A/mcp"},
		"no WebSocket":               {as(serve(t, "/mcp", stream), target.WS), Asked, "there is Streamable HTTP at http://%A/mcp", "--target http://%A/mcp"},
		"WebSocket elsewhere":        {as(serve(t, "/socket", moved("/ws", "/mcp/ws", sockets("n1", mcp.SessionEra))), target.WS), Asked, "there is WebSocket at ws://%A/mcp/ws", "--target ws://%A/mcp/ws"},
		"WebSocket for HTTP":         {serve(t, "/mcp", moved("/ws", "/mcp/ws", sockets("n1", mcp.SessionEra))), Asked, "there is WebSocket at ws://%A/mcp/ws", "--target ws://%A/mcp/ws"},
		"legacy elsewhere":           {serve(t, "/a/sse", legacy(newSDK("n1"))), Asked, "there is HTTP with SSE at http://%A/sse", "--target http://%A/sse"},
		"silence at another path":    {serve(t, "/mcp", silentAt("/message", legacy(newSDK("n1")))), Asked, "there is HTTP with SSE at http://%A/sse", "--target http://%A/sse"},
		"no WebSocket, nor other":    {as(serve(t, "/ws", always(200, "text/plain", "ok")), target.WS), Asked, "%U answers 200 OK to an upgrade to WebSocket: ok", "--target"},
		"WebSocket only":             {serve(t, "/ws", always(426, "text/plain", "Upgrade Required")), Asked, "%U answers 426 Upgrade Required: it wants WebSockets", "--target ws://%A/ws"},
		"HTML":                       {serve(t, "/mcp", always(200, "text/html; charset=utf-8", html)), Asked, "%U answers 200 OK with a page of HTML, not MCP", "--target"},
		"a redirect":                 {serve(t, "/mcp", always(308, "", "", "Location", "/v2/mcp?token=s3cret-key")), Asked, "%U answers 308 Permanent Redirect, which leads to http://%A/v2/mcp", "--target http://%A/v2/mcp"},
		"a redirect to TLS":          {serve(t, "/mcp", always(301, "", "", "Location", "https://mcp.example/mcp")), Asked, "%U answers 301 Moved Permanently, which leads to https://mcp.example/mcp", "--target https://mcp.example/mcp"},
		"401":                        {serve(t, "/mcp", always(401, jsonType, `{}`, "WWW-Authenticate", `Bearer realm="mcp"`)), Asked, `%U answers 401 Unauthorized (Bearer realm="mcp")`, "--token-file FILE, or --header"},
		"403":                        {serve(t, "/mcp", always(403, "text/plain", "Invalid Host")), Asked, "%U answers 403 Forbidden: Invalid Host", "Host or Origin"},
		"406":                        {serve(t, "/mcp", always(406, "text/plain", "want other types")), Asked, "%U answers 406 Not Acceptable: want other types", "--header"},
		"415":                        {serve(t, "/mcp", always(415, "text/plain", "want other types")), Asked, "%U answers 415 Unsupported Media Type: want other types", "--header"},
		"502":                        {serve(t, "/mcp", always(502, "text/html", html)), Refuses, "%U answers 502 Bad Gateway with a page of HTML", "in front of it"},
		"no MCP":                     {serve(t, "/mcp", always(200, jsonType, `{"status":"ok"}`)), Asked, `%U answers 200 OK: {"status":"ok"}`, "see to what it says"},
		"errors only":                {serve(t, "/mcp", always(200, jsonType, `{"jsonrpc":"2.0","id":1,"error":{"code":-32600,"message":"never"}}`)), Asked, "%U answers 200 OK: never", ""},
	} {
		t.Run(name, func(t *testing.T) {
			_, trouble := Introduce(t.Context(), c.at)
			if trouble == nil {
				t.Fatal("no trouble")
			}
			fill := func(text string) string {
				return strings.ReplaceAll(strings.ReplaceAll(text, "%A", c.at.Authority()), "%U", c.at.Target.String())
			}
			if trouble.Blame != c.blame || !strings.Contains(trouble.Text, fill(c.text)) || !strings.Contains(trouble.Fix, fill(c.fix)) {
				t.Errorf("%+v", trouble)
			}
			if all := trouble.Text + trouble.Fix; strings.ContainsAny(all, "\n\x1b") || strings.Contains(all, "s3cret-key") || len(all) > 1000 {
				t.Errorf("%q", all)
			}
			if trouble.Error() != trouble.Text || trouble.Unreachable() != (trouble.Blame != Asked) {
				t.Error(trouble)
			}
		})
	}
}

func TestTroubleWithCertificates(t *testing.T) {
	with := func(c tls.Certificate, clients tls.ClientAuthType) (target.Endpoint, *httptest.Server) {
		return serveTLS(t, "/mcp", streamable(newSDK("n1"), false, nil), func(s *httptest.Server) {
			s.TLS = &tls.Config{Certificates: []tls.Certificate{c}, ClientAuth: clients}
		})
	}
	now := time.Now()
	good := certificateFor(t, "name.example", now.Add(-time.Hour), now.Add(time.Hour))
	at, s := with(good, tls.NoClientCert)
	other := trusting(at, s)
	other.TLS.ServerName = "other.example"
	old, oldServer := with(certificateFor(t, "name.example", now.Add(-48*time.Hour), now.Add(-24*time.Hour)), tls.NoClientCert)
	early, earlyServer := with(certificateFor(t, "name.example", now.Add(24*time.Hour), now.Add(48*time.Hour)), tls.NoClientCert)
	mutual, mutualServer := with(good, tls.RequireAnyClientCert)
	only2, only2Server := serveTLS(t, "/mcp", streamable(newSDK("n1"), true, nil), func(s *httptest.Server) {
		s.TLS = &tls.Config{NextProtos: []string{"later"}, Certificates: []tls.Certificate{good}}
	})
	asking1 := trusting(only2, only2Server)
	for name, c := range map[string]struct {
		at        target.Endpoint
		blame     Blame
		text, fix string
	}{
		"not trusted":    {at, Asked, "is of an authority that is not trusted", "--ca FILE"},
		"for others":     {other, Asked, "is not for other.example, but for name.example, 127.0.0.1", "--server-name"},
		"expired":        {trusting(old, oldServer), Refuses, "expired " + now.Add(-24*time.Hour).UTC().Format(time.DateOnly), "renew it"},
		"early":          {trusting(early, earlyServer), Refuses, "is not valid before ", "renew it"},
		"of clients too": {trusting(mutual, mutualServer), Asked, "wants a certificate of its clients", ""},
	} {
		t.Run(name, func(t *testing.T) {
			for _, transport := range []target.Transport{target.HTTP, target.SSE, target.WS} {
				_, trouble := Introduce(t.Context(), as(c.at, transport))
				if trouble == nil || trouble.Blame != c.blame || !strings.Contains(trouble.Text, c.text) || !strings.Contains(trouble.Fix, c.fix) {
					t.Errorf("%s: %+v", transport, trouble)
				}
			}
		})
	}
	if _, trouble := Introduce(t.Context(), asking1); trouble == nil || !strings.Contains(trouble.Fix, "--http-version 2") {
		t.Errorf("%+v", trouble)
	}
	named := trusting(at, s)
	named.TLS.ServerName = "name.example"
	if got, trouble := Introduce(t.Context(), named); trouble != nil || got.Node != "n1" {
		t.Errorf("%+v, %+v", got, trouble)
	}
}

// What a server repeats of what it was sent is not told.
func TestSecretsAreNotTold(t *testing.T) {
	echo := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Error(w, r.Header.Get("Authorization")+" "+r.Header.Get("X-Key")+" "+r.URL.String(), http.StatusTeapot)
	})
	at := serve(t, "/mcp?key=query-s3cret", echo)
	at.Header = []target.Field{{Name: "Authorization", Value: "Bearer bearer-s3cret"}, {Name: "X-Key", Value: "key-s3cret"}}
	for _, transport := range []target.Transport{target.HTTP, target.SSE, target.WS} {
		_, trouble := Introduce(t.Context(), as(at, transport))
		if trouble == nil || strings.Contains(trouble.Text+trouble.Fix, "s3cret") || !strings.Contains(trouble.Text, "418") {
			t.Errorf("%s: %+v", transport, trouble)
		}
	}
	script, err := work.Work{Verify: ask.Ping}.Compile()
	if err != nil {
		t.Fatal(err)
	}
	if err := converse(t.Context(), at, script, at.Address.Addr(), nil); err == nil {
		t.Error("a baseline of a teapot")
	}
}

// A server that says nothing, or does not stop, is left in time.
func TestBoundsOfWhatAServerSays(t *testing.T) {
	ctx, cancel := context.WithTimeoutCause(t.Context(), 300*time.Millisecond, errors.New("the test is over"))
	defer cancel()
	hold := make(chan struct{})
	defer close(hold)
	silentServer := serve(t, "/mcp", http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-hold:
		case <-r.Context().Done():
		}
	}))
	for _, transport := range []target.Transport{target.HTTP, target.SSE, target.WS} {
		if _, trouble := Introduce(ctx, as(silentServer, transport)); trouble == nil || trouble.Blame != Silent || !strings.Contains(trouble.Text, "the test is over") {
			t.Errorf("%s: %+v", transport, trouble)
		}
	}
	endless := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", eventStream)
		for {
			if _, err := fmt.Fprintf(w, "data: %s\n\n", strings.Repeat("x", 1000)); err != nil {
				return
			}
		}
	})
	for _, transport := range []target.Transport{target.HTTP, target.SSE} {
		if _, trouble := Introduce(t.Context(), as(serve(t, "/mcp", endless), transport)); trouble == nil {
			t.Errorf("%s: an endless server introduces itself", transport)
		}
	}
	chatter := serveLines(t, func(c net.Conn) {
		for {
			if _, err := io.WriteString(c, `{"jsonrpc":"2.0","method":"notifications/message"}`+"\n"); err != nil {
				return
			}
		}
	})
	if _, trouble := Introduce(t.Context(), chatter); trouble == nil || trouble.Blame != Silent {
		t.Errorf("%+v", trouble)
	}
}
