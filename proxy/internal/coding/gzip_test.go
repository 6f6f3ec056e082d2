package coding

import (
	"strconv"
	"strings"
	"testing"

	"github.com/erlmcp/erlmcp/internal/http1"
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
		if got := AcceptsGzip(&r); got != want {
			t.Errorf("%q: %v", field, got)
		}
	}
	var r http1.Request
	if _, err := r.Parse([]byte("GET / HTTP/1.1\r\nHost: h\r\nAccept-Encoding: br\r\nAccept-Encoding: gzip\r\n\r\n")); err != nil || !AcceptsGzip(&r) {
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
