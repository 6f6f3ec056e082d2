package web

import (
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/erlmcp/erlmcp/internal/http1"
	"github.com/erlmcp/erlmcp/internal/mcp"
	"github.com/erlmcp/erlmcp/proxy"
	"github.com/erlmcp/erlmcp/proxy/internal/board"
	"github.com/erlmcp/erlmcp/proxy/internal/coding/codingtest"
	"github.com/erlmcp/erlmcp/proxy/internal/proxytest"
)

const (
	aCall   = `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","arguments":{"b":"]},[{"}}}`
	inBatch = 50
)

var aBatch = "[" + strings.TrimSuffix(strings.Repeat(aCall+",", inBatch), ",") + "]"

func zipWithComment(length int) func(io.Writer) io.WriteCloser {
	return func(w io.Writer) io.WriteCloser {
		z := gzip.NewWriter(w)
		z.Comment = strings.Repeat("-", length)
		return z
	}
}

// utf16 is text in the encoding of that name, big endian.
func utf16(text string) string {
	var p []byte
	for i := range len(text) {
		p = append(p, 0, text[i])
	}
	return string(p)
}

// postWith is a POST with further fields, the body of which has a stated length.
func postWith(fields, body string) string {
	return fmt.Sprintf("POST / HTTP/1.1\r\nHost: h\r\n%sContent-Length: %d\r\n\r\n%s", fields, len(body), body)
}

// Whatever a request says of its body, a batch counts as all its messages, or is refused.
func TestBatchesInDisguise(t *testing.T) {
	b := startWorker(t, []string{proxytest.StartSite(t, func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) })}, func(s *proxy.Spec) {
		s.Limits.ConnectionsPerSecond, s.Limits.MessagesPerSecond = 0, 1_000_000
	})
	utf7 := "+AFs-" + aBatch[1:]
	const jsonType = "Content-Type: application/json\r\n"
	for name, test := range map[string]struct {
		fields, body string
		refused      bool
	}{
		"plain":                         {"", aBatch, false},
		"stateless":                     {"Mcp-Protocol-Version: 2026-07-28\r\n", aBatch, false},
		"stateless with a method":       {"Mcp-Protocol-Version: 2026-07-28\r\nMcp-Method: tools/call\r\nMcp-Name: a\r\n", aBatch, false},
		"no revision at all":            {"Mcp-Protocol-Version: z\r\n", aBatch, false},
		"lines":                         {"", "\n[\n" + aBatch[1:], false},
		"values":                        {"", strings.Repeat(aCall, inBatch), false},
		"a value a line":                {"", strings.Repeat(aCall+"\n", inBatch), false},
		"byte order mark":               {"", "\ufeff" + aBatch, false},
		"what is trimmed":               {"", "\x00\v\u00a0" + aBatch, false},
		"comment":                       {"", "/* x */" + aBatch, false},
		"UTF-16 with a mark":            {"", "\xfe\xff" + utf16(aBatch), false},
		"UTF-16 without":                {"", utf16(aBatch), false},
		"UTF-16 by name":                {"Content-Type: application/json; charset=utf-16be\r\n", utf16(aBatch), false},
		"UTF-7":                         {"Content-Type: application/json;charset = \"UTF-7\"\r\n", utf7, false},
		"UTF-7 in a second type":        {jsonType + "Content-Type: text/plain; charset=utf-7\r\n", utf7, false},
		"UTF-7 behind another":          {"Content-Type: application/json; charset=utf-8; charset=utf-7\r\n", utf7, false},
		"UTF-7 in a quoted one":         {"Content-Type: application/json; a=\"; charset=utf-8\"; charset*=utf-7\r\n", utf7, false},
		"charset of nobody":             {"Content-Type: text/plain; charset=cp037\r\n", strings.Repeat("\xad\xc0", len(aBatch)/2), false},
		"coding that is none":           {"Content-Encoding: identity\r\n", aBatch, false},
		"coding that is not applied":    {"Content-Encoding: gzip\r\n", aBatch, false},
		"gzip":                          {"Content-Encoding: gzip\r\n" + jsonType, codingtest.Encoded(codingtest.Gzip, aBatch), true},
		"gzip in capitals":              {"Content-Encoding: GZip\r\n", codingtest.Encoded(codingtest.Gzip, " "+aBatch), true},
		"gzip and a mark":               {"Content-Encoding: x-gzip\r\n", codingtest.Encoded(codingtest.Gzip, "\ufeff"+aBatch), true},
		"gzip and UTF-16":               {"Content-Encoding: gzip\r\n", codingtest.Encoded(codingtest.Gzip, utf16(aBatch)), true},
		"gzip and UTF-7":                {"Content-Encoding: gzip\r\nContent-Type: text/plain; charset=utf-7\r\n", codingtest.Encoded(codingtest.Gzip, utf7), true},
		"gzip in members":               {"Content-Encoding: gzip\r\n", codingtest.Encoded(codingtest.Gzip, "") + codingtest.Encoded(codingtest.Gzip, "\n") + codingtest.Encoded(codingtest.Gzip, aBatch), true},
		"gzip and much space":           {"Content-Encoding: gzip\r\n", codingtest.Encoded(codingtest.Gzip, strings.Repeat(" ", 100<<10)+aBatch), true},
		"gzip of text without end":      {"Content-Encoding: gzip\r\n", codingtest.Encoded(codingtest.Gzip, strings.Repeat(" ", 10<<20)+aBatch), true},
		"gzip twice":                    {"Content-Encoding: gzip, gzip\r\n", codingtest.Encoded(codingtest.Gzip, codingtest.Encoded(codingtest.Gzip, aBatch)), true},
		"gzip in two fields":            {"Content-Encoding: gzip\r\nContent-Encoding: identity\r\n", codingtest.Encoded(codingtest.Gzip, aBatch), true},
		"gzip and a long comment":       {"Content-Encoding: gzip\r\n", codingtest.Encoded(zipWithComment(600), aBatch), true},
		"deflate":                       {"Content-Encoding: deflate\r\n", codingtest.Encoded(codingtest.Zlib, aBatch), true},
		"deflate without a head":        {"Content-Encoding: deflate\r\n", codingtest.Encoded(codingtest.Deflate, aBatch), true},
		"gzip that is called deflate":   {"Content-Encoding: deflate\r\n", codingtest.Encoded(codingtest.Gzip, aBatch), true},
		"deflate that is called gzip":   {"Content-Encoding: gzip\r\n", codingtest.Encoded(codingtest.Zlib, aBatch), true},
		"values in gzip":                {"Content-Encoding: gzip\r\n", codingtest.Encoded(codingtest.Gzip, "{}"+aBatch), true},
		"br":                            {"Content-Encoding: br\r\n" + jsonType, "\x8b\x02\x80[{}]\x03", true},
		"br without a type":             {"Content-Encoding: br\r\n", "\x8b\x02\x80[{}]\x03", true},
		"zstd":                          {"Content-Encoding: zstd\r\nContent-Type: application/vnd.x+json\r\n", "\x28\xb5\x2f\xfd", true},
		"what nobody knows, in a list":  {"Content-Encoding: identity, x\r\n", "x", true},
		"br with two types, one a text": {"Content-Encoding: br\r\nContent-Type: text/plain\r\n" + jsonType, "x", true},
	} {
		for _, chunked := range []bool{false, true} {
			before := b.Cell.Messages.Load()
			c := b.Visit()
			if chunked {
				c.Say("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n" + test.fields + "\r\n")
				for p := []byte(test.body); len(p) > 0; {
					n := min(len(p), 1+len(test.body)/7)
					_, _ = c.Write(http1.AppendChunk(nil, p[:n])) // what is refused is not read
					p = p[n:]
				}
				_, _ = io.WriteString(c, http1.LastChunk)
			} else {
				c.Say(postWith(test.fields, test.body))
			}
			resp, body := c.Answer("POST")
			counted := b.Cell.Messages.Load() - before
			switch {
			case test.refused && (resp.StatusCode != http.StatusUnsupportedMediaType || resp.Header.Get("Accept-Encoding") != "gzip, deflate" || !strings.Contains(body, fmt.Sprint(mcp.CodeInvalidRequest))):
				t.Errorf("%s, chunked %v: %s, %s", name, chunked, resp.Status, body)
			case !test.refused && (resp.StatusCode != http.StatusOK || counted < inBatch):
				t.Errorf("%s, chunked %v: %s, %d messages", name, chunked, resp.Status, counted)
			}
		}
	}
}

// A batch of which the last bytes come before the end of the body is seen at that end.
func TestEncodedBatchBeforeTheEnd(t *testing.T) {
	var got atomic.Int64
	b := startWorker(t, []string{proxytest.StartSite(t, func(_ http.ResponseWriter, r *http.Request) {
		for p := make([]byte, 1<<10); ; {
			n, err := r.Body.Read(p)
			got.Add(int64(n))
			if err != nil {
				return
			}
		}
	})}, func(s *proxy.Spec) { s.Limits.ConnectionsPerSecond, s.Limits.MessagesPerSecond = 0, 1_000_000 })
	body := codingtest.Encoded(zipWithComment(500), aBatch)
	const first = 512 // not enough to tell anything
	if len(body) >= maxPeeked {
		t.Fatalf("the body has %d bytes", len(body))
	}
	c := b.Visit()
	c.Say("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nContent-Encoding: gzip\r\n\r\n")
	c.Say(string(http1.AppendChunk(nil, []byte(body[:first]))))
	b.Eventually("the first bytes", func() bool { return got.Load() == first })
	c.Say(string(http1.AppendChunk(nil, []byte(body[first:]))))
	b.Eventually("all bytes", func() bool { return got.Load() == int64(len(body)) })
	c.Say(http1.LastChunk)
	if resp, text := c.Answer("POST"); resp.StatusCode != http.StatusUnsupportedMediaType {
		t.Errorf("%s, %s", resp.Status, text)
	}
}

// A body that is one message, or none of MCP, is one, however it is packed.
func TestEncodedBodiesPass(t *testing.T) {
	var got atomic.Value
	b := startWorker(t, []string{proxytest.StartSite(t, func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got.Store(string(body))
	})}, func(s *proxy.Spec) { s.Limits.ConnectionsPerSecond, s.Limits.MessagesPerSecond = 0, 1_000_000 })
	long := strings.TrimSuffix(aCall, "}") + `,"x":"` + strings.Repeat("text, [text] ", 100<<10) + `"}`
	for name, test := range map[string]struct{ fields, body string }{
		"gzip":             {"Content-Encoding: gzip\r\n", codingtest.Encoded(codingtest.Gzip, aCall)},
		"long gzip":        {"Content-Encoding: gzip\r\n", codingtest.Encoded(codingtest.Gzip, long)},
		"deflate":          {"Content-Encoding: deflate\r\n", codingtest.Encoded(codingtest.Zlib, aCall)},
		"raw deflate":      {"Content-Encoding: deflate\r\n", codingtest.Encoded(codingtest.Deflate, aCall)},
		"gzip of nothing":  {"Content-Encoding: gzip\r\n", codingtest.Encoded(codingtest.Gzip, "")},
		"gzip of text":     {"Content-Encoding: gzip\r\n", codingtest.Encoded(codingtest.Gzip, "text, [text]")},
		"gzip of binary":   {"Content-Encoding: gzip\r\n", codingtest.Encoded(codingtest.Gzip, "\n\x05hello[1,2]")},
		"snappy":           {"Content-Encoding: snappy\r\nContent-Type: application/x-protobuf\r\n", "\x05\x10hello"},
		"br of text":       {"Content-Encoding: br\r\nContent-Type: text/csv\r\n", "\x0b\x02\x80a,b\x03"},
		"form":             {"Content-Type: application/x-www-form-urlencoded; charset=ISO-8859-1\r\n", "a=[1,2,3]&b={}{}"},
		"quoted charset":   {"Content-Type: application/json; charset=\"UTF-8\"\r\n", aCall},
		"pretty":           {"", "{\r\n  \"method\": \"x\",\r\n  \"params\": [\r\n    {},\r\n    {}\r\n  ]\r\n}\r\n"},
		"UTF-16 of a call": {"", "\xfe\xff" + utf16(aCall)},
		"UTF-16 by name":   {"Content-Type: application/json; charset=utf-16be\r\n", utf16(long)},
		"another charset":  {"Content-Type: application/json; charset=shift_jis\r\n", long},
		"braces in text":   {"", `{"a":"\\frac{1}{2} } { [,"}`},
	} {
		before := b.Cell.Messages.Load()
		c := b.Visit()
		c.Say(postWith(test.fields, test.body))
		resp, _ := c.Answer("POST")
		if counted := b.Cell.Messages.Load() - before; resp.StatusCode != http.StatusOK || counted != 1 || got.Load() != test.body {
			t.Errorf("%s: %s, %d messages", name, resp.Status, counted)
		}
	}
}

// Where nobody is limited, everything passes.
func TestUnlimitedBodiesPass(t *testing.T) {
	b := startWorker(t, []string{proxytest.StartSite(t, func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) })}, func(s *proxy.Spec) { s.Limits.ConnectionsPerSecond, s.Limits.MessagesPerSecond = 0, 0 })
	for name, test := range map[string]struct{ fields, body string }{
		"gzip": {"Content-Encoding: gzip\r\n", codingtest.Encoded(codingtest.Gzip, aBatch)},
		"br":   {"Content-Encoding: br\r\n", "x"},
	} {
		c := b.Visit()
		c.Say(postWith(test.fields, test.body))
		if resp, _ := c.Answer("POST"); resp.StatusCode != http.StatusOK {
			t.Errorf("%s: %s", name, resp.Status)
		}
	}
}

// However many connections bring batches at once, no more passes than the source can owe.
func TestBatchesAtOnce(t *testing.T) {
	var served atomic.Int64
	const rate, clients = 20, 10
	b := startWorker(t, []string{proxytest.StartSite(t, func(_ http.ResponseWriter, r *http.Request) {
		if _, err := io.Copy(io.Discard, r.Body); err == nil {
			served.Add(1)
		}
	})}, func(s *proxy.Spec) { s.Limits.ConnectionsPerSecond, s.Limits.MessagesPerSecond = 0, rate })
	const inEach = 400
	batch := "[" + strings.TrimSuffix(strings.Repeat(aCall+",", inEach), ",") + "]"
	var all []*proxytest.Client
	for range clients { // all heads conform
		c := b.Visit()
		c.Say(fmt.Sprintf("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n%s", len(batch), batch[:1]))
		all = append(all, c)
	}
	b.Eventually("all heads", func() bool { return b.Cell.Messages.Load() == clients })
	passed := 0
	for _, c := range all {
		_, _ = io.WriteString(c, batch[1:])
		switch resp, body := c.Answer("POST"); resp.StatusCode {
		case http.StatusOK:
			passed++
		case http.StatusTooManyRequests:
			if !strings.Contains(body, fmt.Sprint(mcp.CodeRateLimited)) {
				t.Error(body)
			}
			c.Ended()
		default:
			t.Error(resp.Status)
		}
	}
	if most := rate * int(board.MaxDebt/time.Second+2) / inEach; passed == 0 || passed > most || int(served.Load()) != passed {
		t.Errorf("%d batches passed, %d were served, want 1 to %d", passed, served.Load(), most)
	}
}

// The messages of a batch over a WebSocket are counted, and no extension hides them.
func TestSocketBatches(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	for _, limit := range []int{0, 1_000_000} {
		b := startWorker(t, []string{proxytest.StartSite(t, func(w http.ResponseWriter, r *http.Request) {
			c, err := websocket.Accept(w, r, &websocket.AcceptOptions{CompressionMode: websocket.CompressionContextTakeover})
			if err != nil {
				return
			}
			for {
				kind, data, err := c.Read(r.Context())
				if err != nil || c.Write(r.Context(), kind, data) != nil {
					return
				}
			}
		})}, func(s *proxy.Spec) { proxytest.WithoutLimits(s); s.Limits.MessagesPerSecond = limit })
		c, resp, err := websocket.Dial(ctx, "ws://"+b.Web+"/mcp/ws", &websocket.DialOptions{CompressionMode: websocket.CompressionContextTakeover}) //nolint:bodyclose // it is the socket's
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.CloseNow() })
		if agreed := resp.Header.Get("Sec-WebSocket-Extensions"); (agreed != "") != (limit == 0) {
			t.Errorf("limit %d: agreed on %q", limit, agreed)
		}
		before := b.Cell.Messages.Load()
		if err := c.Write(ctx, websocket.MessageText, []byte(aBatch)); err != nil {
			t.Fatal(err)
		}
		if _, got, err := c.Read(ctx); err != nil || string(got) != aBatch {
			t.Fatalf("%d bytes came back, %v", len(got), err)
		}
		if n := b.Cell.Messages.Load() - before; limit > 0 && n != inBatch {
			t.Errorf("counted %d", n)
		}
	}
}
