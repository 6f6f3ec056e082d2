package http1

import (
	"strings"
	"testing"
)

// TestUnusualRequests has what senders should not do, but what has one meaning, and
// how it is handed on.
func TestUnusualRequests(t *testing.T) {
	const get, post = "GET / HTTP/1.1\r\nHost: a\r\n", "POST / HTTP/1.1\r\nHost: a\r\n"
	for _, c := range []struct{ name, in, want string }{
		{"bare LF", "GET / HTTP/1.1\nHost: a\nX:  b \n\n", get + "X: b\r\n\r\n"},
		{"bare LF in 1.0", "GET / HTTP/1.0\n\n", "GET / HTTP/1.0\r\n\r\n"},
		{"spaces", "GET   /   HTTP/1.1\r\nHost: a\r\n\r\n", get + "\r\n"},
		{"1.2", "GET / HTTP/1.2\r\nHost: a\r\n\r\n", get + "\r\n"},
		{"1.9", "GET / HTTP/1.9\r\nHost: a\r\n\r\n", get + "\r\n"},
		{"quotation marks", `GET /"a"?q={"b":"c"} HTTP/1.1` + "\r\nHost: a\r\n\r\n", `GET /"a"?q={"b":"c"} HTTP/1.1` + "\r\nHost: a\r\n\r\n"},
		{"angle brackets", "GET /<a>?<b> HTTP/1.1\r\nHost: a\r\n\r\n", "GET /<a>?<b> HTTP/1.1\r\nHost: a\r\n\r\n"},
		{"port with zeros", "GET / HTTP/1.1\r\nHost: a:000080\r\n\r\n", "GET / HTTP/1.1\r\nHost: a:000080\r\n\r\n"},
		{"registered name", "GET / HTTP/1.1\r\nHost: a!$&'()*+;=b\r\n\r\n", "GET / HTTP/1.1\r\nHost: a!$&'()*+;=b\r\n\r\n"},
		{"length with zeros", post + "Content-Length: 0010\r\n\r\n", post + "Content-Length: 10\r\n\r\n"},
		{"zeros for a length", post + "Content-Length: 000\r\n\r\n", post + "Content-Length: 0\r\n\r\n"},
		{"option not a token", get + "Connection: close;x, y\r\nY: z\r\n\r\n", get + "\r\n"},
		{"quoted option", get + "Connection: \"close\"\r\n\r\n", get + "\r\n"},
		{"two upgrades", get + "Connection: upgrade\r\nUpgrade: websocket\r\nUpgrade: h2c\r\n\r\n", get + "\r\n"},
		{"trailer not a token", post + "Trailer: a b\r\nTransfer-Encoding: chunked\r\n\r\n", strings.Replace(post, "\r\n", "\r\nTransfer-Encoding: chunked\r\n", 1) + "\r\n"},
		{"nothing expected", get + "Expect:\r\n\r\n", get + "\r\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var r, want Request
			n, err := r.Parse([]byte(c.in))
			if n != len(c.in) || err != nil {
				t.Fatalf("Parse = %d, %v", n, err)
			}
			if _, err := want.Parse([]byte(c.want)); err != nil {
				t.Fatal(err)
			}
			got, wanted := string(appendForwarded(nil, &r)), string(appendForwarded(nil, &want))
			if r.Minor != want.Minor || got != wanted || strings.Contains(c.name, "close") && !r.KeepAlive {
				t.Errorf("HTTP/1.%d: %q, want %q", r.Minor, got, wanted)
			}
		})
	}
}

func TestEmptyLines(t *testing.T) {
	for in, want := range map[string]int{"": 0, "\r": 0, "\r\n": 2, "\n": 1, "\r\n\n\r\nGET": 5, "\r\n\r": 2, "\r\r\n": 0, " \r\n": 0, "GET": 0} {
		if n := EmptyLines([]byte(in)); n != want {
			t.Errorf("%q: %d, want %d", in, n, want)
		}
		var r Request
		if n, err := r.Parse([]byte(in)); (in == "" || in == "\r") && (n != 0 || err != nil) {
			t.Errorf("%q: %d, %v", in, n, err)
		}
	}
}
