package web

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/erlmcp/erlmcp/proxy"
	"github.com/erlmcp/erlmcp/proxy/internal/proxytest"
)

// Whatever the balancer refuses a page, its script can read.
func TestRefusalsCanBeReadByPages(t *testing.T) {
	const origin = "https://app.example:8443"
	post := func(fields, body string) string {
		return "POST /mcp HTTP/1.1\r\nHost: h\r\nOrigin: " + origin + "\r\n" + fields + fmt.Sprintf("Content-Length: %d\r\n\r\n", len(body)) + body
	}
	silent := func(t *testing.T) string { return proxytest.StartScript(t, "").Address() }
	well := func(t *testing.T) string { return proxytest.StartSite(t, proxytest.Hello) }
	for _, test := range []struct {
		name, asked string
		node        func(*testing.T) string
		change      func(*proxy.Spec)
		status      int
	}{
		{"session gone", post("Mcp-Session-Id: x~AAAAAAAAAAAAAAAA\r\n", "{}"), well, nil, 404},
		{"too large", post("", strings.Repeat("x", 2048)), well, func(s *proxy.Spec) { s.MaxMessage = 1024 }, 413},
		{"malformed", post("Mcp-Session-Id: a\r\nMcp-Session-Id: b\r\n", "{}"), well, nil, 400},
		{"not allowed", strings.Replace(post("", ""), "POST", "TRACE", 1), well, nil, 405},
		{"node lost", post("", "{}"), silent, nil, 502},
		{"rate", strings.Repeat(post("", "{}"), 2), well, func(s *proxy.Spec) { s.Limits.MessagesPerSecond, s.Limits.Action = 1, proxy.ActionReject }, 429},
		{"preflight", strings.Replace(post("Mcp-Session-Id: x~AAAAAAAAAAAAAAAA\r\nAccess-Control-Request-Method: POST\r\n", ""), "POST", "OPTIONS", 1), well, nil, 404},
	} {
		t.Run(test.name, func(t *testing.T) {
			b := startWorker(t, []string{test.node(t)}, test.change)
			c := b.Visit()
			c.Say(test.asked)
			resp, _ := c.Answer("POST")
			if test.name == "rate" {
				if resp.Header.Get("Access-Control-Allow-Origin") != "" {
					t.Errorf("an answer of the node has %v", resp.Header)
				}
				resp, _ = c.Answer("POST")
			}
			h := resp.Header
			if resp.StatusCode != test.status || h.Get("Access-Control-Allow-Origin") != origin || h.Get("Access-Control-Allow-Credentials") != "true" ||
				h.Get("Access-Control-Expose-Headers") != "Retry-After" || h.Get("Vary") != "Origin" {
				t.Errorf("%s, %v", resp.Status, h)
			}
		})
	}
	t.Run("turned away", func(t *testing.T) {
		b := startWorker(t, []string{well(t)}, func(s *proxy.Spec) { s.Limits.MaxPerSource = 1 })
		b.Visit()
		c := b.Visit()
		c.Say(post("", "{}"))
		if resp, _ := c.Answer("POST"); resp.StatusCode != http.StatusTooManyRequests || resp.Header.Get("Access-Control-Allow-Origin") != origin {
			t.Errorf("%s, %v", resp.Status, resp.Header)
		}
	})
	t.Run("others", func(t *testing.T) {
		b := startWorker(t, []string{well(t)}, nil)
		for _, field := range []string{"", "Origin:\r\n", "Origin: https://" + strings.Repeat("a", maxOrigin) + "\r\n"} {
			c := b.Visit()
			c.Say("POST / HTTP/1.1\r\nHost: h\r\nMcp-Session-Id: x~AAAAAAAAAAAAAAAA\r\nContent-Length: 0\r\n" + field + "\r\n")
			if resp, _ := c.Answer("POST"); resp.StatusCode != http.StatusNotFound || resp.Header.Get("Access-Control-Allow-Origin") != "" || resp.Header.Get("Vary") != "" {
				t.Errorf("%.40q: %s, %v", field, resp.Status, resp.Header)
			}
		}
	})
}

// A script in a real browser, on a page of another origin, learns that its session is over and how long
// it has to wait.
func TestPageReadsRefusals(t *testing.T) {
	open := func(w http.ResponseWriter, r *http.Request) { // as a server for pages is
		h := w.Header()
		h.Set("Access-Control-Allow-Origin", r.Header.Get("Origin"))
		h.Set("Access-Control-Allow-Credentials", "true")
		h.Set("Access-Control-Allow-Headers", "content-type, mcp-session-id")
		h.Set("Access-Control-Max-Age", "60")
		h.Set("Vary", "Origin")
		if r.Method == http.MethodOptions {
			w.WriteHeader(http.StatusNoContent)
			return
		}
		_, _ = io.WriteString(w, "hello")
	}
	front := startWorker(t, []string{proxytest.StartSite(t, open)}, func(s *proxy.Spec) { s.Limits.ConnectionsPerSecond = 0; s.Limits.MessagesPerSecond = 0 })
	page := proxytest.StartSite(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		_, _ = io.WriteString(w, "<!doctype html><title>page</title>")
	})
	b := proxytest.Browse(t, "http://"+page)
	ask := func(fields, credentials string) {
		b.Do(chromedp.Evaluate[chromedp.Void](fmt.Sprintf(`window.said = "";
			fetch("http://%s/mcp", {method: "POST", credentials: "%s", headers: {"content-type": "application/json"%s}, body: "{}"})
				.then(async r => { window.said = r.status + " " + r.headers.get("Retry-After") + " " + (await r.text()).length })
				.catch(e => { window.said = "failed: " + e }); undefined`, front.Web, credentials, fields)))
	}
	for _, credentials := range []string{"omit", "include"} {
		ask("", credentials)
		b.Eventually("window.said", "200 null 5")
		ask(`, "mcp-session-id": "x~AAAAAAAAAAAAAAAA"`, credentials)
		b.Eventually(`window.said.slice(0, 9)`, "404 null ")
	}
	front.On(func() {
		now, source := front.Loop.Now(), front.Board.Sources()
		source.Ban(front.http.clients.source, now+int64(90*time.Second))
		for c := front.http.clients; c != nil; c = c.next {
			c.conn.Close() // who is here goes on
		}
	})
	for _, credentials := range []string{"omit", "include"} {
		ask("", credentials)
		b.Eventually(`window.said.slice(0, 4) + (window.said.split(" ")[1] > 30)`, "429 true")
	}
}
