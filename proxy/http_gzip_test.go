package proxy

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/erlmcp/erlmcp/proxy/internal/http1"
)

func TestAcceptsGzip(t *testing.T) {
	for field, want := range map[string]bool{
		"gzip": true, "GZIP": true, "x-gzip": true, "deflate, gzip": true, "br;q=1.0, gzip;q=0.8, *;q=0.1": true,
		"gzip;q=0": false, "gzip;q=0.0": false, "gzip;q=0.001": true, "gzip; q=1": true, "gzip ;Q=0.5": true,
		"*": true, "*;q=0": false, "gzip;q=0, *": false, "identity": false, "": false, "br": false,
		"identity, gzip;q=0.5": false, "identity;q=0.5, gzip": true, "gzipped": false,
		"gzip;q=2": false, "gzip;q=x": false, "gzip;q=0.1234": false, "gzip;q=": false, "gzip;q=1.001": false, "gzip;level=1": false,
		"gzip;q=0, gzip": true,
	} {
		var r http1.Request
		head := "GET / HTTP/1.1\r\nHost: h\r\nAccept-Encoding: " + field + "\r\n\r\n"
		if _, err := r.Parse([]byte(head)); err != nil {
			t.Fatal(err)
		}
		if got := acceptsGzip(&r); got != want {
			t.Errorf("%q: %v", field, got)
		}
	}
	var r http1.Request
	if _, err := r.Parse([]byte("GET / HTTP/1.1\r\nHost: h\r\nAccept-Encoding: br\r\nAccept-Encoding: gzip\r\n\r\n")); err != nil || !acceptsGzip(&r) {
		t.Error("the second field is not looked at")
	}
}

func FuzzQuality(f *testing.F) {
	for _, s := range []string{"q=0.5", " q=1.000 ", "Q=0", "q=0.", "level=1", "", "q=1.5"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, params []byte) {
		q := quality(params)
		if q < 0 || q > 1000 {
			t.Fatalf("%q: %d", params, q)
		}
		text := strings.TrimSpace(string(params))
		if q == 0 || text == "" {
			return
		}
		if v, err := strconv.ParseFloat(text[2:], 64); err != nil || int(v*1000+0.5) != q {
			t.Fatalf("%q: %d, %v", params, q, v)
		}
	})
}

func TestCompressibleTypes(t *testing.T) {
	for kind, want := range map[string]bool{
		"text/html; charset=utf-8": true, "application/json": true, "Application/JSON;x=y": true, "application/problem+json": true,
		"image/svg+xml": true, "text/event-stream": false, "text/event-stream; charset=utf-8": false, "TEXT/Event-Stream": false,
		"image/png": false, "application/octet-stream": false, "": false, "text/": false, "application/javascript": true,
	} {
		if got := isCompressible([]byte(kind)); got != want {
			t.Errorf("%q: %v", kind, got)
		}
	}
}

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
	b := startWorker(t, []string{startSite(t, func(w http.ResponseWriter, r *http.Request) {
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
	})}, unlimited)
	web := b.browser() // asks for gzip by itself, and unpacks it
	for size, body := range bodies {
		for _, how := range []string{"sized", "chunked", "close"} {
			resp, err := web.Get("http://" + b.web + "/?how=" + how + "&size=" + size)
			if err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(resp.Body)
			resp.Body.Close()
			if err != nil || !bytes.Equal(got, body) {
				t.Fatalf("seed %d: %s bytes, %s: %d came back, %v", seed, size, how, len(got), err)
			}
			if long := len(body) >= minZipped; how == "sized" && resp.Uncompressed != long || how != "sized" && long && !resp.Uncompressed {
				t.Errorf("%s bytes, %s: compressed is %v", size, how, resp.Uncompressed)
			}
			if resp.Uncompressed && how == "sized" && (resp.Header.Get("ETag") != `W/"1"` || resp.Header.Get("Accept-Ranges") != "" || resp.Header.Get("Vary") != "Accept-Encoding") {
				t.Errorf("header %v", resp.Header)
			}
		}
	}
	b.on(func() {
		if zs := &b.http.zippers; zs.used != 0 || zs.spares == 0 || zs.spares > maxSpareZippers || len(zs.out.data) != 0 {
			t.Errorf("%d compressors are in use, %d are kept", zs.used, zs.spares)
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
		{"not asked for", getRequest, "200 OK\r\nContent-Type: text/plain\r\n", false, "Accept-Encoding"},
		{"not asked for, vary", getRequest, "200 OK\r\nContent-Type: text/plain\r\nVary: Origin\r\n", false, "Origin, Accept-Encoding"},
		{"not asked for, varies", getRequest, "200 OK\r\nContent-Type: text/plain\r\nVary: Accept-Encoding\r\n", false, "Accept-Encoding"},
		{"not asked for, varies by all", getRequest, "200 OK\r\nContent-Type: text/plain\r\nVary: *\r\n", false, "*"},
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
			b := startWorker(t, []string{startScript(t, answer).address()}, nil)
			c := b.visit()
			c.say(test.asked)
			resp, got := c.answer("GET")
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
		b := startWorker(t, []string{startScript(t, answer).address()}, func(s *Spec) { s.HTTP.Gzip = false })
		c := b.visit()
		c.say(get)
		if resp, got := c.answer("GET"); got != body || resp.Header["Vary"] != nil {
			t.Errorf("%q, %v", got, resp.Header)
		}
	})
	t.Run("announced as short", func(t *testing.T) {
		answer := "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello"
		b := startWorker(t, []string{startScript(t, answer).address()}, nil)
		c := b.visit()
		c.say(get)
		if resp, got := c.answer("GET"); got != "hello" || resp.Header["Vary"] != nil {
			t.Errorf("%q, %v", got, resp.Header)
		}
	})
	t.Run("too many at a time", func(t *testing.T) {
		answer := "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n" + sized + "\r\n" + body
		b := startWorker(t, []string{startScript(t, answer).address()}, nil)
		b.on(func() { b.http.zippers.used = maxZippers })
		defer b.on(func() { b.http.zippers.used = 0 })
		c := b.visit()
		c.say(get)
		if resp, got := c.answer("GET"); got != body || resp.Header.Get("Vary") != "Accept-Encoding" {
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
			b := startWorker(t, []string{startScript(t, answer).address()}, nil)
			c := b.visit()
			c.say(test.method + " / HTTP/1.1\r\nHost: h\r\n" + test.asked + "\r\n")
			resp, _ := c.answer(test.method)
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
	b := startWorker(t, []string{startSite(t, func(w http.ResponseWriter, r *http.Request) {
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
	resp, err := b.browser().Get("http://" + b.web + "/")
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
	b := startWorker(t, []string{startScript(t, answer).address()}, nil)
	resp, err := b.browser().Get("http://" + b.web + "/")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if got, err := io.ReadAll(resp.Body); err == nil {
		t.Errorf("%d bytes look whole", len(got))
	}
	b.on(func() {
		if b.http.zippers.used != 0 {
			t.Error("the compressor is in use")
		}
	})
}

// What a compressor has given of a body that broke off does not get into the next one.
func TestBrokenBodyLeavesNothing(t *testing.T) {
	var zs zippers
	random := make([]byte, 1<<20)
	_, _ = rand.NewChaCha8([32]byte{}).Read(random) // never fails
	z := zs.take()
	z.write(random)
	if len(zs.out.data) == 0 {
		t.Fatal("the compressor has given nothing yet")
	}
	zs.put(z)
	z = zs.take()
	z.write([]byte("next"))
	r, err := gzip.NewReader(bytes.NewReader(zs.flush(z, true)))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(r); err != nil || string(got) != "next" {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}
