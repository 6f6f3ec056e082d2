package web

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"

	"github.com/erlmcp/erlmcp/proxy"
	"github.com/erlmcp/erlmcp/proxy/internal/coding"
	"github.com/erlmcp/erlmcp/proxy/internal/proxytest"
)

// What a client unpacks is what the node has sent, in whichever pieces and framing.
func TestZippedBodies(t *testing.T) {
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 0))
	bodies := make(map[string][]byte)
	for i, size := range []int{1, 1023, 1024, 5000, 70_000, 900_000} {
		body := make([]byte, size)
		for k := range body {
			body[k] = "abcdefgh{}[]\",:0123456789    "[random.IntN(29)]
		}
		if i%2 == 1 {
			for k := range body {
				body[k] = byte(random.Uint32()) // does not become shorter
			}
		}
		bodies[fmt.Sprint(size)] = body
	}
	b := startWorker(t, []string{proxytest.StartSite(t, func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		body := bodies[q.Get("size")]
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("ETag", `"1"`)
		w.Header().Set("Accept-Ranges", "bytes")
		switch q.Get("how") {
		case "sized":
			w.Header().Set("Content-Length", fmt.Sprint(len(body)))
		case "close":
			conn, buf, err := http.NewResponseController(w).Hijack()
			if err != nil {
				return
			}
			_, _ = buf.WriteString("HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\n")
			_, _ = buf.Write(body)
			_ = buf.Flush()
			conn.Close()
			return
		}
		for n := 1; len(body) > 0; n *= 7 {
			n = min(n, len(body))
			_, _ = w.Write(body[:n])
			_ = http.NewResponseController(w).Flush()
			body = body[n:]
		}
	})}, proxytest.WithoutLimits)
	web := b.Browser() // asks for gzip by itself, and unpacks it
	for size, body := range bodies {
		for _, how := range []string{"sized", "chunked", "close"} {
			resp, err := web.Get("http://" + b.Web + "/?how=" + how + "&size=" + size)
			if err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(resp.Body)
			resp.Body.Close()
			if err != nil || !bytes.Equal(got, body) {
				t.Fatalf("seed %d: %s bytes, %s: %d came back, %v", seed, size, how, len(got), err)
			}
			if long := len(body) >= coding.MinZipped; how == "sized" && resp.Uncompressed != long || how != "sized" && long && !resp.Uncompressed {
				t.Errorf("%s bytes, %s: compressed is %v", size, how, resp.Uncompressed)
			}
			if resp.Uncompressed && how == "sized" && (resp.Header.Get("ETag") != `W/"1"` || resp.Header.Get("Accept-Ranges") != "" || resp.Header.Get("Vary") != "Accept-Encoding") {
				t.Errorf("header %v", resp.Header)
			}
		}
	}
	b.On(func() {
		if zs := &b.http.zippers; zs.InUse() != 0 || zs.Spares() == 0 || zs.Spares() > coding.MaxSpare {
			t.Errorf("%d compressors are in use, %d are kept", zs.InUse(), zs.Spares())
		}
	})
}

func TestWhatIsZipped(t *testing.T) {
	body := strings.Repeat("hello, ", 300)
	const get = "GET / HTTP/1.1\r\nHost: h\r\nAccept-Encoding: gzip\r\n\r\n"
	sized := "Content-Length: " + fmt.Sprint(len(body)) + "\r\n"
	short := "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
	for _, test := range []struct {
		name, asked, answer string
		zipped              bool
		vary                string
	}{
		{"text", get, "200 OK\r\nContent-Type: text/plain\r\n", true, "Accept-Encoding"},
		{"error", get, "500 Oops\r\nContent-Type: application/json\r\n", true, "Accept-Encoding"},
		{"vary", get, "200 OK\r\nContent-Type: text/plain\r\nVary: Origin\r\n", true, "Origin, Accept-Encoding"},
		{"varies", get, "200 OK\r\nContent-Type: text/plain\r\nVary: Origin, accept-encoding\r\n", true, "Origin, accept-encoding"},
		{"varies in a second field", get, "200 OK\r\nContent-Type: text/plain\r\nVary: Origin\r\nVary: Accept-Encoding\r\n", true, "Origin|Accept-Encoding"},
		{"varies by all", get, "200 OK\r\nContent-Type: text/plain\r\nVary: *\r\n", true, "*"},
		{"empty vary", get, "200 OK\r\nContent-Type: text/plain\r\nVary:\r\n", true, "Accept-Encoding"},
		{"two varies", get, "200 OK\r\nContent-Type: text/plain\r\nVary: Origin\r\nVary: Cookie\r\n", true, "Origin, Accept-Encoding|Cookie"},
		{"not asked for", proxytest.GetRequest, "200 OK\r\nContent-Type: text/plain\r\n", false, "Accept-Encoding"},
		{"not asked for, vary", proxytest.GetRequest, "200 OK\r\nContent-Type: text/plain\r\nVary: Origin\r\n", false, "Origin, Accept-Encoding"},
		{"not asked for, varies", proxytest.GetRequest, "200 OK\r\nContent-Type: text/plain\r\nVary: Accept-Encoding\r\n", false, "Accept-Encoding"},
		{"not asked for, varies by all", proxytest.GetRequest, "200 OK\r\nContent-Type: text/plain\r\nVary: *\r\n", false, "*"},
		{"refused", "GET / HTTP/1.1\r\nHost: h\r\nAccept-Encoding: gzip;q=0\r\n\r\n", "200 OK\r\nContent-Type: text/plain\r\n", false, "Accept-Encoding"},
		{"old", "GET / HTTP/1.0\r\nAccept-Encoding: gzip\r\n\r\n", "200 OK\r\nContent-Type: text/plain\r\n", false, "Accept-Encoding"},
		{"picture", get, "200 OK\r\nContent-Type: image/png\r\n", false, ""},
		{"events", get, "200 OK\r\nContent-Type: text/event-stream\r\n", false, ""},
		{"untyped", get, "200 OK\r\n", false, ""},
		{"part", get, "206 Partial Content\r\nContent-Type: text/plain\r\nContent-Range: bytes 0-9/99\r\n", false, "Accept-Encoding"},
		{"no part", get, "416 Range Not Satisfiable\r\nContent-Type: text/plain\r\nContent-Range: bytes */99\r\n", false, "Accept-Encoding"},
		{"encoded", get, "200 OK\r\nContent-Type: text/plain\r\nContent-Encoding: br\r\n", false, ""},
		{"not to be touched", get, "200 OK\r\nContent-Type: text/plain\r\nCache-Control: public, no-transform\r\n", false, ""},
		{"asked not to touch", strings.Replace(get, "Host", "Cache-Control: max-age=0, no-transform\r\nHost", 1), "200 OK\r\nContent-Type: text/plain\r\n", false, "Accept-Encoding"},
		{"digest", get, "200 OK\r\nContent-Type: text/plain\r\nContent-Digest: sha-256=:x:\r\n", false, ""},
		{"short", get, short, false, "Accept-Encoding"}, // had it come in pieces, it would be compressed
	} {
		t.Run(test.name, func(t *testing.T) {
			answer, want := test.answer, body
			if test.name == "short" {
				want = "hello"
			} else {
				answer = "HTTP/1.1 " + answer + sized + "\r\n" + body
			}
			b := startWorker(t, []string{proxytest.StartScript(t, answer).Address()}, nil)
			c := b.Visit()
			c.Say(test.asked)
			resp, got := c.Answer("GET")
			if zipped := resp.Header.Get("Content-Encoding") == "gzip"; zipped != test.zipped || strings.Join(resp.Header["Vary"], "|") != test.vary {
				t.Errorf("zipped: %v, %v", zipped, resp.Header)
			}
			if test.zipped {
				r, err := gzip.NewReader(strings.NewReader(got))
				if err != nil {
					t.Fatal(err)
				}
				plain, err := io.ReadAll(r)
				if err != nil {
					t.Fatal(err)
				}
				got = string(plain)
			}
			if got != want {
				t.Errorf("%q", got)
			}
		})
	}
	t.Run("off", func(t *testing.T) {
		answer := "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n" + sized + "\r\n" + body
		b := startWorker(t, []string{proxytest.StartScript(t, answer).Address()}, func(s *proxy.Spec) { s.HTTP.Gzip = false })
		c := b.Visit()
		c.Say(get)
		if resp, got := c.Answer("GET"); got != body || resp.Header["Vary"] != nil {
			t.Errorf("%q, %v", got, resp.Header)
		}
	})
	t.Run("announced as short", func(t *testing.T) {
		answer := "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello"
		b := startWorker(t, []string{proxytest.StartScript(t, answer).Address()}, nil)
		c := b.Visit()
		c.Say(get)
		if resp, got := c.Answer("GET"); got != "hello" || resp.Header["Vary"] != nil {
			t.Errorf("%q, %v", got, resp.Header)
		}
	})
	t.Run("too many at a time", func(t *testing.T) {
		answer := "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n" + sized + "\r\n" + body
		b := startWorker(t, []string{proxytest.StartScript(t, answer).Address()}, nil)
		var taken []*coding.Zipper
		b.On(func() {
			for z := b.http.zippers.Take(); z != nil; z = b.http.zippers.Take() {
				taken = append(taken, z)
			}
		})
		defer b.On(func() {
			for _, z := range taken {
				b.http.zippers.Put(z)
			}
		})
		c := b.Visit()
		c.Say(get)
		if resp, got := c.Answer("GET"); got != body || resp.Header.Get("Vary") != "Accept-Encoding" {
			t.Errorf("%q, %v", got, resp.Header)
		}
	})
}

// A tag tells the compressed body from the other one: it is weak whenever the client has, or would get,
// the compressed one, and untouched otherwise.
func TestTagsOfCodings(t *testing.T) {
	const (
		text   = "Content-Type: text/plain\r\nContent-Length: 2100\r\nAccept-Ranges: bytes\r\n"
		strong = "ETag: \"1\"\r\n"
		weak   = "ETag: W/\"1\"\r\n"
	)
	for _, test := range []struct{ name, method, asked, answer, tag, vary, coding, length string }{
		{"compressed", "GET", "Accept-Encoding: gzip\r\n", "200 OK\r\n" + text + strong, `W/"1"`, "Accept-Encoding", "gzip", ""},
		{"weak before", "GET", "Accept-Encoding: gzip\r\n", "200 OK\r\n" + text + weak, `W/"1"`, "Accept-Encoding", "gzip", ""},
		{"as it is", "GET", "", "200 OK\r\n" + text + strong, `"1"`, "Accept-Encoding", "", "2100"},
		{"head", "HEAD", "Accept-Encoding: gzip\r\n", "200 OK\r\n" + text + strong, `W/"1"`, "Accept-Encoding", "gzip", ""},
		{"head as it is", "HEAD", "", "200 OK\r\n" + text + strong, `"1"`, "Accept-Encoding", "", "2100"},
		{"head of a short one", "HEAD", "Accept-Encoding: gzip\r\n", "200 OK\r\nContent-Type: text/plain\r\nContent-Length: 1023\r\n" + strong, `"1"`, "", "", "1023"},
		{"has the compressed one", "GET", "Accept-Encoding: gzip\r\nIf-None-Match: \"0\", W/\"1\"\r\n", "304 Not Modified\r\n" + strong, `W/"1"`, "Accept-Encoding", "", ""},
		{"has the other one", "GET", "Accept-Encoding: gzip\r\nIf-None-Match: \"1\"\r\n", "304 Not Modified\r\n" + strong, `"1"`, "", "", ""},
		{"has a weak one of the node's", "GET", "Accept-Encoding: gzip\r\nIf-None-Match: W/\"1\"\r\n", "304 Not Modified\r\n" + weak, `W/"1"`, "", "", ""},
		{"not modified text", "GET", "Accept-Encoding: gzip\r\nIf-None-Match: \"1\"\r\n", "304 Not Modified\r\nContent-Type: text/plain\r\n" + strong, `"1"`, "Accept-Encoding", "", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			answer := "HTTP/1.1 " + test.answer + "\r\n"
			if test.method == "GET" && strings.Contains(answer, "2100") {
				answer += strings.Repeat("hello, ", 300)
			}
			b := startWorker(t, []string{proxytest.StartScript(t, answer).Address()}, nil)
			c := b.Visit()
			c.Say(test.method + " / HTTP/1.1\r\nHost: h\r\n" + test.asked + "\r\n")
			resp, _ := c.Answer(test.method)
			h := resp.Header
			if h.Get("ETag") != test.tag || strings.Join(h["Vary"], "|") != test.vary || h.Get("Content-Encoding") != test.coding || h.Get("Content-Length") != test.length {
				t.Errorf("%v", h)
			}
			if ranges := h.Get("Accept-Ranges") != ""; ranges && test.coding != "" {
				t.Error("parts of the compressed body are offered")
			}
		})
	}
}

// A piece of a body reaches the client before the next is sent.
func TestZippedPiecesAreNotHeldBack(t *testing.T) {
	next := make(chan bool, 1)
	b := startWorker(t, []string{proxytest.StartSite(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/x-ndjson")
		for range 3 {
			_, _ = io.WriteString(w, "{\"line\":1}\n")
			_ = http.NewResponseController(w).Flush()
			select {
			case <-next:
			case <-r.Context().Done():
				return
			}
		}
	})}, nil)
	resp, err := b.Browser().Get("http://" + b.Web + "/")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if !resp.Uncompressed {
		t.Error("it is not compressed")
	}
	for range 3 {
		got := make([]byte, len("{\"line\":1}\n"))
		if _, err := io.ReadFull(resp.Body, got); err != nil || string(got) != "{\"line\":1}\n" {
			t.Fatalf("%q, %v", got, err)
		}
		next <- true
	}
}

// A node that dies within a body leaves a body that does not look whole, and no compressor in use.
func TestZippedBodyCutShort(t *testing.T) {
	answer := "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 100000\r\n\r\n" + strings.Repeat("x", 5000)
	b := startWorker(t, []string{proxytest.StartScript(t, answer).Address()}, nil)
	resp, err := b.Browser().Get("http://" + b.Web + "/")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if got, err := io.ReadAll(resp.Body); err == nil {
		t.Errorf("%d bytes look whole", len(got))
	}
	b.On(func() {
		if b.http.zippers.InUse() != 0 {
			t.Error("the compressor is in use")
		}
	})
}
