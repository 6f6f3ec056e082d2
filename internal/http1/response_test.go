package http1

import (
	"fmt"
	"strings"
	"testing"
)

func TestResponses(t *testing.T) {
	for _, c := range []struct {
		name, in string
		head     bool
		want     string
	}{
		{"length", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", false, "200 OK: sized 5 keep"},
		{"chunked", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", false, "200 OK: chunked 0 keep drop Transfer-Encoding"},
		{"until close", "HTTP/1.1 200 OK\r\n\r\n", false, "200 OK: until close 0 close"},
		{"1.0", "HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\n", false, "200 OK: sized 5 close"},
		{"1.0 kept", "HTTP/1.0 200 OK\r\nContent-Length: 5\r\nConnection: keep-alive\r\n\r\n", false, "200 OK: sized 5 keep drop Connection"},
		{"close", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\n", false, "200 OK: sized 5 close drop Connection"},
		{"no reason", "HTTP/1.1 404 \r\nContent-Length: 0\r\n\r\n", false, "404 : sized 0 keep"},
		{"no space", "HTTP/1.1 404\r\nContent-Length: 0\r\n\r\n", false, "404 : sized 0 keep"},
		{"reason of words", "HTTP/1.1 599 \xe4 b  c\r\nContent-Length: 0\r\n\r\n", false, "599 \xe4 b  c: sized 0 keep"},
		{"HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", true, "200 OK: no body 0 keep"},
		{"HEAD chunked", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", true, "200 OK: no body 0 keep drop Transfer-Encoding"},
		{"HEAD without length", "HTTP/1.1 200 OK\r\n\r\n", true, "200 OK: no body 0 keep"},
		{"204", "HTTP/1.1 204 No Content\r\n\r\n", false, "204 No Content: no body 0 keep"},
		{"204 with length 0", "HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n", false, "204 No Content: no body 0 keep drop Content-Length"},
		{"204 with a body", "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n", false, "204 No Content: no body 0 close drop Content-Length"},
		{"204 with chunks", "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n", false, "204 No Content: no body 0 close drop Transfer-Encoding"},
		{"304 with a length", "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", false, "304 Not Modified: no body 0 keep"},
		{"304 with chunks", "HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\n\r\n", false, "304 Not Modified: no body 0 close drop Transfer-Encoding"},
		{"100", "HTTP/1.1 100 Continue\r\n\r\n", false, "100 Continue: no body 0 keep"},
		{"101", "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n", false, "101 Switching Protocols: no body 0 keep upgrade websocket drop Connection drop Upgrade"},
		{"event stream", "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: keep-alive, X-Own\r\nX-Own: 1\r\n\r\n", false, "200 OK: until close 0 close drop Connection drop X-Own"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var r Response
			n, err := r.Parse([]byte(c.in+"rest"), c.head)
			if err != nil || n != len(c.in) {
				t.Fatalf("Parse = %d, %v, want %d", n, err, len(c.in))
			}
			got := fmt.Sprintf("%d %s: %s %d", r.Status, r.Reason, r.Body, r.Length)
			if r.KeepAlive {
				got += " keep"
			} else {
				got += " close"
			}
			if r.Upgrade != nil {
				got += " upgrade " + string(r.Upgrade)
			}
			for i, f := range r.Fields {
				if r.Hop(i) {
					got += " drop " + string(f.Name)
				}
			}
			if got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}

func TestRefusedResponses(t *testing.T) {
	const ok = "HTTP/1.1 200 OK\r\n"
	for _, c := range []struct{ name, in string }{
		{"not HTTP", "SSH-2.0-OpenSSH_9.2\r\n"},
		{"empty line first", "\r\n" + ok + "\r\n"},
		{"0.9", "<html>"},
		{"2.0", "HTTP/2.0 200 OK\r\n\r\n"},
		{"bad version", "HTTX/1.1 200 OK\r\n\r\n"},
		{"no status", "HTTP/1.1\r\n\r\n"},
		{"short status", "HTTP/1.1 20 OK\r\n\r\n"},
		{"long status", "HTTP/1.1 2000 OK\r\n\r\n"},
		{"status of letters", "HTTP/1.1 2xx OK\r\n\r\n"},
		{"status with a sign", "HTTP/1.1 +20 OK\r\n\r\n"},
		{"status 0", "HTTP/1.1 000 OK\r\n\r\n"},
		{"status 600", "HTTP/1.1 600 OK\r\n\r\n"},
		{"two spaces", "HTTP/1.1  200 OK\r\n\r\n"},
		{"tab", "HTTP/1.1\t200 OK\r\n\r\n"},
		{"bare LF", "HTTP/1.1 200 OK\n\r\n"},
		{"bare CR", "HTTP/1.1 200 O\rK\r\n\r\n"},
		{"NUL in the reason", "HTTP/1.1 200 O\x00K\r\n\r\n"},
		{"folded", ok + "X: a\r\n b\r\n\r\n"},
		{"space before the colon", ok + "Content-Length : 5\r\n\r\n"},
		{"two lengths", ok + "Content-Length: 5\r\nContent-Length: 5\r\n\r\n"},
		{"bad length", ok + "Content-Length: 5x\r\n\r\n"},
		{"length and coding", ok + "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"},
		{"unknown coding", ok + "Transfer-Encoding: gzip, chunked\r\n\r\n"},
		{"coding in 1.0", "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"},
		{"two sessions", ok + "Mcp-Session-Id: a\r\nMcp-Session-Id: b\r\n\r\n"},
		{"drops the length", ok + "Connection: content-length\r\nContent-Length: 1\r\n\r\n"},
		{"too many fields", ok + strings.Repeat("X: a\r\n", MaxFields+1) + "\r\n"},
		{"too long", ok + "X: " + strings.Repeat("a", MaxHead)},
		{"line without end", "HTTP/1.1 200 " + strings.Repeat("a", MaxHead)},
	} {
		t.Run(c.name, func(t *testing.T) {
			var r Response
			n, err := r.Parse([]byte(c.in), false)
			if got := statusOf(t, err); n != 0 || got != 502 {
				t.Errorf("Parse = %d, %v (status %d), want status 502", n, err, got)
			}
		})
	}
}

// An interim response is handed on without what was for the connection it came on.
func TestAppendInterim(t *testing.T) {
	const head = "HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\nConnection: close, X-Own\r\nX-Own: 1\r\nEmpty:\r\n\r\n"
	var r Response
	if _, err := r.Parse([]byte(head), false); err != nil {
		t.Fatal(err)
	}
	const want = "HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\nEmpty: \r\n\r\n"
	if got := string(r.AppendInterim(nil)); got != want {
		t.Errorf("%q, want %q", got, want)
	}
}
