package http1

import (
	"bytes"
	"testing"
)

const benchRequest = "POST /mcp HTTP/1.1\r\nHost: mcp.example.com:8080\r\nUser-Agent: mcp-client/1.8.0\r\n" +
	"Accept: application/json, text/event-stream\r\nContent-Type: application/json\r\nContent-Length: 118\r\n" +
	"Mcp-Session-Id: 8ac1f0c2-5a1e-4b7c-9d3e-2f6f0c1a7b55~Zm9vYmFyYmF6cXV4\r\nMcp-Protocol-Version: 2025-11-25\r\n" +
	"Accept-Encoding: gzip, deflate, br\r\nConnection: keep-alive\r\nX-Request-Id: 1234567890\r\n\r\n"

const benchResponse = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nCache-Control: no-cache, no-transform\r\n" +
	"Mcp-Session-Id: 8ac1f0c2-5a1e-4b7c-9d3e-2f6f0c1a7b55\r\nDate: Mon, 23 Nov 2026 10:00:00 GMT\r\nContent-Length: 86\r\n\r\n"

var benchChunks = append(bytes.Repeat(AppendChunk(nil, bytes.Repeat([]byte("data"), 64)), 16), LastChunk...)

// exercise does all that is done for one exchange.
func exercise(r *Request, s *Response, b *Body, out []byte) bool {
	if n, err := r.Parse(requestBytes); n != len(requestBytes) || err != nil || r.Get("mcp-session-id") == nil || r.Get("x-request-id") == nil || r.Hop(0) {
		return false
	}
	if n, err := r.Parse(addressBytes); n != len(addressBytes) || err != nil {
		return false
	}
	if n, err := r.Parse(refusedBytes); n != 0 || err == nil {
		return false
	}
	if n, err := s.Parse(responseBytes, false); n != len(responseBytes) || err != nil {
		return false
	}
	b.Reset(Chunked, 0)
	for p := benchChunks; !b.Done(); {
		data, n, err := b.Next(p)
		if err != nil {
			return false
		}
		out = AppendChunk(out[:0], data)
		p = p[n:]
	}
	return true
}

var (
	requestBytes  = []byte(benchRequest)
	responseBytes = []byte(benchResponse)
	refusedBytes  = []byte("GET / HTTP/1.1\r\nHost: a\r\nX : b\r\n\r\n")
	addressBytes  = []byte("OPTIONS http://[0:0:0:0:0:0:0:1]:8080 HTTP/1.1\r\nHost: [0:0:0:0:0:0:0:1]:8080\r\n\r\n")
)

func TestNothingIsAllocated(t *testing.T) {
	var (
		r   Request
		s   Response
		b   Body
		out = make([]byte, 0, 1024)
	)
	if allocs := testing.AllocsPerRun(100, func() {
		if !exercise(&r, &s, &b, out) {
			t.Fatal("something was refused")
		}
	}); allocs != 0 {
		t.Errorf("%v allocations", allocs)
	}
}

func BenchmarkRequest(b *testing.B) {
	var r Request
	b.ReportAllocs()
	b.SetBytes(int64(len(requestBytes)))
	for b.Loop() {
		if _, err := r.Parse(requestBytes); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkResponse(b *testing.B) {
	var r Response
	b.ReportAllocs()
	b.SetBytes(int64(len(responseBytes)))
	for b.Loop() {
		if _, err := r.Parse(responseBytes, false); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkGet(b *testing.B) {
	var r Request
	if _, err := r.Parse(requestBytes); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if r.Get("mcp-session-id") == nil {
			b.Fatal("not found")
		}
	}
}

func BenchmarkChunks(b *testing.B) {
	var body Body
	b.ReportAllocs()
	b.SetBytes(int64(len(benchChunks)))
	for b.Loop() {
		body.Reset(Chunked, 0)
		for p := benchChunks; !body.Done(); {
			_, n, err := body.Next(p)
			if err != nil {
				b.Fatal(err)
			}
			p = p[n:]
		}
	}
}
