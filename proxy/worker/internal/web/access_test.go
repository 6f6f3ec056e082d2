package web

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/erlmcp/erlmcp/internal/http1"
	"github.com/erlmcp/erlmcp/proxy"
	"github.com/erlmcp/erlmcp/proxy/internal/accesslog"
	"github.com/erlmcp/erlmcp/proxy/internal/affinity"
	"github.com/erlmcp/erlmcp/proxy/internal/board"
	"github.com/erlmcp/erlmcp/proxy/internal/proxytest"
	"github.com/erlmcp/erlmcp/proxy/worker/internal/access"
)

func TestAccessLogOfHTTP(t *testing.T) {
	path := filepath.Join(t.TempDir(), "access.log")
	b := startWorker(t, []string{proxytest.StartSite(t, proxytest.Hello)}, func(s *proxy.Spec) { s.AccessLog.File = path })
	q, _ := http.NewRequest(http.MethodPost, "http://"+b.Web+"/mcp?token=secret", strings.NewReader("{}"))
	for name, value := range map[string]string{
		"Mcp-Session-Id": "nobody-may-know", "Mcp-Method": "tools/call", "Mcp-Name": `a "tool"`,
		"MCP-Protocol-Version": "2025-06-18", "User-Agent": strings.Repeat("x", 5000), "Cookie": "secret",
	} {
		q.Header.Set(name, value)
	}
	r, err := b.Browser().Do(q)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, r.Body)
	r.Body.Close()
	l := b.ReadAccess(path, 1)[0]
	if time.Since(l.Time) > time.Minute || l.Duration <= 0 || l.Response <= 0 || l.Response > l.Duration {
		t.Errorf("times of %+v", l)
	}
	if l.In < 5000 || l.Out < len("hello") || len(l.Agent) != longestAgent {
		t.Errorf("sizes of %+v", l)
	}
	want := proxytest.AccessLine{
		Time: l.Time, Frontend: "http", Client: "127.0.0.1", Node: "n0", Method: "POST", Path: "/mcp", Status: 200,
		In: l.In, Out: l.Out, Duration: l.Duration, Response: l.Response, MCPMethod: "tools/call", MCPName: `a "tool"`,
		Version: "2025-06-18", Session: true, Agent: l.Agent,
	}
	if l != want {
		t.Errorf("line %+v, want %+v", l, want)
	}
	text, _ := os.ReadFile(path)
	if bytes.Contains(text, []byte("secret")) || bytes.Contains(text, []byte("nobody-may-know")) {
		t.Errorf("a secret in the log: %s", text)
	}
}

// Whatever a node puts where into the endpoint of a legacy event stream, its session id stays unknown.
func TestLoggedPath(t *testing.T) {
	ring, err := affinity.New(make([]byte, affinity.MinKey))
	if err != nil {
		t.Fatal(err)
	}
	ring.SetNodes([]string{"n0"})
	tagged := func(uri string) string {
		return string(ring.AppendEndpoint(nil, []byte(uri), affinity.Place{Since: affinity.At(time.Now())}))
	}
	f := Frontend{ring: ring, routes: newRoutes([]proxy.Route{{Prefix: "/mcp/sse", To: proxy.RouteSSE}, {Prefix: "/app", To: proxy.RouteHTTP}})}
	for _, c := range []struct{ target, want string }{
		{"/mcp/sse", "/mcp/sse"},
		{"/mcp/sse/", "/mcp/sse"},
		{"/mcp/sse?session=secret", "/mcp/sse"},
		{"/mcp/sse/secret", "/mcp/sse"}, // not tagged: lb.sticky.mcp_session is off
		{tagged("/mcp/sse/secret"), "/mcp/sse"},
		{tagged("/mcp/sse/secret/post"), "/mcp/sse"},
		{tagged("/mcp/sse/secret?a=b"), "/mcp/sse"},
		{tagged("/messages/secret"), "/"},
		{tagged("/messages/secret/"), "/"},
		{tagged("/messages/secret/post"), "/"},
		{tagged("/messages/?session=secret"), "/"},
		{tagged("/secret"), "/"},
		{tagged("/app/secret"), "/app"},
		{"/messages/public", "/messages/public"},
		{"/app/a~b", "/app/a~b"},
		{"*", "*"},
	} {
		r := http1.Request{Path: []byte(c.target)}
		if path, query, ok := strings.Cut(c.target, "?"); ok {
			r.Path, r.Query = []byte(path), []byte(query)
		}
		if got := string(f.loggedPath(&r)); got != c.want {
			t.Errorf("%s: %s, want %s", c.target, got, c.want)
		}
	}
}

func TestAccessLogOfRefusals(t *testing.T) {
	path := filepath.Join(t.TempDir(), "access.log")
	b := startWorker(t, nil, func(s *proxy.Spec) { s.AccessLog.File = path })
	r, err := b.Browser().Get("http://" + b.Web + "/x")
	if err != nil {
		t.Fatal(err)
	}
	r.Body.Close()
	c := b.Visit()
	if _, err := io.WriteString(c, "nonsense\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	lines := b.ReadAccess(path, 2)
	if l := lines[0]; l.Status != 503 || l.Reason != board.ReasonNoNode.String() || l.Path != "/x" || l.Node != "" {
		t.Errorf("without a node: %+v", l)
	}
	if l := lines[1]; l.Status != 400 || l.Reason != board.ReasonBadRequest.String() || l.Client != "127.0.0.1" {
		t.Errorf("nonsense: %+v", l)
	}
}

// The longest line there can be fits, whatever the client says.
func TestLongestAccessLine(t *testing.T) {
	e := &access.Entry{Client: netip.MustParseAddr("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"), Node: strings.Repeat("n", 1000), In: 1<<64 - 1, Out: 1<<64 - 1, Retries: 1<<32 - 1}
	long := bytes.Repeat([]byte{1}, 10000)
	for name, limit := range map[string]int{"method": longestWord, "path": longestPath, "version": longestWord, "mcp_method": longestName, "mcp_name": longestName, "user_agent": longestAgent} {
		e.Request = appendMember(e.Request, `,"`+name+`":`, long, limit)
	}
	if line := e.Append(nil, access.FrontendHTTP, 1<<62); len(line)+len(`,"session":false`) > accesslog.MaxLine || !json.Valid(line) {
		t.Errorf("%d bytes, valid %v", len(line), json.Valid(line))
	}
}

// Whatever a client sends becomes one line of JSON.
func FuzzAccessLine(f *testing.F) {
	for _, head := range []string{
		"GET /a\"b\\c?q HTTP/1.1\r\nHost: h\r\nUser-Agent: \xff\xfe\t\"\r\nMcp-Name: =?base64?Cg==?=\r\n\r\n",
		"POST /mcp HTTP/1.1\r\nHost: h\r\nMcp-Method: \xe2\x80\xa8\r\nMcp-Protocol-Version: \x80\r\n\r\n",
	} {
		f.Add([]byte(head))
	}
	b := startWorker(f, nil, func(s *proxy.Spec) { s.AccessLog.File = os.DevNull })
	addr := netip.MustParseAddr("127.0.0.1")
	f.Fuzz(func(t *testing.T, head []byte) {
		var r http1.Request
		if n, err := r.Parse(head); err != nil || n == 0 {
			return
		}
		var line []byte
		b.On(func() {
			e := b.http.beginEntry(addr, &r)
			line = e.Append(nil, access.FrontendHTTP, b.Loop.Now())
			b.Access.End(e, access.FrontendHTTP, b.Loop.Now())
		})
		if len(line) > accesslog.MaxLine || !json.Valid(line) || bytes.IndexByte(line, '\n') != len(line)-1 {
			t.Fatalf("%d bytes: %q", len(line), line)
		}
	})
}

func TestAccessLogDoesNotAllocate(t *testing.T) {
	path := filepath.Join(t.TempDir(), "access.log")
	b := startWorker(t, nil, func(s *proxy.Spec) { s.AccessLog.File = path })
	var r http1.Request
	if _, err := r.Parse([]byte("POST /mcp HTTP/1.1\r\nHost: a\r\nUser-Agent: b\r\nMcp-Method: ping\r\n\r\n")); err != nil {
		t.Fatal(err)
	}
	addr := netip.MustParseAddr("127.0.0.1")
	var n float64
	b.On(func() {
		n = testing.AllocsPerRun(200, func() {
			e := b.http.beginEntry(addr, &r)
			e.Refused(board.ReasonFull)
			e.Answered(503, b.Loop.Now())
			b.Access.End(e, access.FrontendHTTP, b.Loop.Now())
		})
	})
	if n != 0 {
		t.Errorf("%v allocations a request", n)
	}
	if b.Cell.AccessLogDropped.Load() != 0 {
		t.Error("lines were dropped")
	}
}

func TestAccessLogFollowsItsPath(t *testing.T) {
	dir := t.TempDir()
	first, second := filepath.Join(dir, "1"), filepath.Join(dir, "2")
	site := proxytest.StartSite(t, proxytest.Hello)
	b := startWorker(t, []string{site}, func(s *proxy.Spec) { s.AccessLog.File = first })
	get := func() {
		t.Helper()
		r, err := b.Browser().Get("http://" + b.Web + "/")
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, r.Body)
		r.Body.Close()
	}
	get()
	b.ReadAccess(first, 1)
	b.On(func() { b.Spec.AccessLog.File = second; b.Access.Follow(b.Spec.AccessLog.File, b.Cell, b.Log) })
	get()
	b.ReadAccess(second, 1)
	if err := os.Rename(second, second+".1"); err != nil {
		t.Fatal(err)
	}
	b.On(func() { b.Access.Follow(b.Spec.AccessLog.File, b.Cell, b.Log) })
	get()
	b.ReadAccess(second, 1)
	b.On(func() { b.Spec.AccessLog.File = ""; b.Access.Follow(b.Spec.AccessLog.File, b.Cell, b.Log) })
	get()
	if b.Access.Begin(netip.Addr{}, 0) != nil || b.Cell.AccessLogDropped.Load() != 0 {
		t.Error("the log is not off, or lines were dropped")
	}
}

// A log that nobody takes costs lines, all of which are counted, and no request; when it is taken again,
// it goes on with whole lines.
func TestAccessLogThatBlocks(t *testing.T) {
	path := filepath.Join(t.TempDir(), "fifo")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	b := startWorker(t, []string{proxytest.StartSite(t, proxytest.Hello)}, func(s *proxy.Spec) { proxytest.WithoutLimits(s); s.AccessLog.File = path })
	dropped := func() int { return int(b.Cell.AccessLogDropped.Load()) }
	web, asked := b.Browser(), 0
	askUntilDropped := func() {
		for before := dropped(); dropped() == before; asked++ {
			resp, err := web.Get("http://" + b.Web + "/" + strings.Repeat("x", longestPath))
			if err != nil || resp.StatusCode != http.StatusOK {
				t.Fatal(resp, err)
			}
			_, _ = io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
		}
	}
	askUntilDropped() // the writer waits for somebody to open the other end
	reader, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	askUntilDropped() // now for somebody to read
	var taken bytes.Buffer
	if err := reader.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 64<<10)
	for bytes.Count(taken.Bytes(), []byte("\n"))+dropped() < asked {
		n, err := reader.Read(buf)
		if err != nil {
			t.Fatalf("%d lines and %d dropped of %d: %v", bytes.Count(taken.Bytes(), []byte("\n")), dropped(), asked, err)
		}
		taken.Write(buf[:n])
	}
	for line := range bytes.Lines(taken.Bytes()) {
		var l proxytest.AccessLine
		if err := json.Unmarshal(line, &l); err != nil || len(l.Path) != longestPath {
			t.Fatalf("%q: %v", line, err)
		}
	}
}
