package http1

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

// statusOf is the status of an *Error, 0 of nil.
func statusOf(t *testing.T, err error) int {
	t.Helper()
	if err == nil {
		return 0
	}
	var e *Error
	if !errors.As(err, &e) || e.Text == "" || e.Error() != e.Text {
		t.Fatalf("not an *Error: %#v", err)
	}
	return e.Status
}

// TestRequests has the requests that pass and their one meaning: method, path,
// query, host, framing, and what else is in force.
func TestRequests(t *testing.T) {
	fields := func(n int) string { return strings.Repeat("a: b\r\n", n) }
	for _, c := range []struct{ name, head, want string }{
		{"plain", "GET / HTTP/1.1\r\nHost: a\r\n\r\n", "GET / - a no body keep"},
		{"query", "GET /mcp?a=b?c&d=%zz HTTP/1.1\r\nHost: a:8080\r\n\r\n", "GET /mcp a=b?c&d=%zz a:8080 no body keep"},
		{"empty query", "GET /? HTTP/1.1\r\nHost: a\r\n\r\n", "GET /  a no body keep"},
		{"two slashes", "GET //b/c HTTP/1.1\r\nHost: a\r\n\r\n", "GET //b/c - a no body keep"},
		{"escaped path", "GET /%2F%aB HTTP/1.1\r\nHost: a\r\n\r\n", "GET /%2F%aB - a no body keep"},
		{"unknown method", "M-SEARCH / HTTP/1.1\r\nHost: a\r\n\r\n", "M-SEARCH / - a no body keep"},
		{"methods have case", "connect / HTTP/1.1\r\nHost: a\r\n\r\n", "connect / - a no body keep"},
		{"IPv6", "GET / HTTP/1.1\r\nHost: [::1]:80\r\n\r\n", "GET / - [::1]:80 no body keep"},
		{"empty port", "GET / HTTP/1.1\r\nHost: a:\r\n\r\n", "GET / - a: no body keep"},
		{"absolute", "GET http://b:81/c?d HTTP/1.1\r\nHost: a\r\n\r\n", "GET /c d b:81 no body keep"},
		{"absolute without path", "GET HTTPS://b HTTP/1.1\r\nHost: b\r\n\r\n", "GET / - b no body keep"},
		{"absolute with query", "OPTIONS http://b?c HTTP/1.1\r\nHost: b\r\n\r\n", "OPTIONS / c b no body keep"},
		{"absolute for all", "OPTIONS http://b HTTP/1.1\r\nHost: b\r\n\r\n", "OPTIONS * - b no body keep"},
		{"absolute 1.0", "GET http://b/ HTTP/1.0\r\n\r\n", "GET / - b no body close"},
		{"asterisk", "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", "OPTIONS * - a no body keep"},
		{"1.0", "GET / HTTP/1.0\r\n\r\n", "GET / - - no body close"},
		{"1.0 kept", "GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", "GET / - - no body keep"},
		{"1.0 kept and closed", "GET / HTTP/1.0\r\nConnection: keep-alive, close\r\n\r\n", "GET / - - no body close"},
		{"1.0 upgrade is ignored", "GET / HTTP/1.0\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n", "GET / - - no body close"},
		{"1.0 expectation is ignored", "POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n", "POST / - - sized 1 close"},
		{"close", "GET / HTTP/1.1\r\nHost: a\r\nConnection: foo ,, CLOSE\t\r\n\r\n", "GET / - a no body close"},
		{"close in the second", "GET / HTTP/1.1\r\nHost: a\r\nConnection: foo\r\nConnection: close\r\n\r\n", "GET / - a no body close"},
		{"upgrade", "GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\r\n", "GET / - a no body keep upgrade websocket"},
		{"upgrade not asked for", "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n", "GET / - a no body keep"},
		{"length", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 12\r\n\r\n", "POST / - a sized 12 keep"},
		{"no length", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length:0\r\n\r\n", "POST / - a sized 0 keep"},
		{"longest length", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9223372036854775807\r\n\r\n", "POST / - a sized 9223372036854775807 keep"},
		{"length with white space", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: \t 7 \t\r\n\r\n", "POST / - a sized 7 keep"},
		{"body of a GET", "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 7\r\n\r\n", "GET / - a sized 7 keep"},
		{"chunked", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\tChunKed \r\n\r\n", "POST / - a chunked keep"},
		{"expect", "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-Continue\r\nContent-Length: 1\r\n\r\n", "POST / - a sized 1 keep expect"},
		{"expect chunks", "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n", "POST / - a chunked keep expect"},
		{"expect without body", "GET / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n\r\n", "GET / - a no body keep"},
		{"expect with an empty body", "GET / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 0\r\n\r\n", "GET / - a sized 0 keep"},
		{"odd but clear names", "GET / HTTP/1.1\r\nHost: a\r\n!#$%&'*+-.^_`|~09azAZ: x\r\nMcp-Param-user_id: 7\r\n\r\n", "GET / - a no body keep"},
		{"values of any bytes", "GET / HTTP/1.1\r\nHost: a\r\nX: \xff\x80 \t~\r\nY:\r\n\r\n", "GET / - a no body keep"},
		{"trailer announced", "POST / HTTP/1.1\r\nHost: a\r\nTrailer: X-Sum, \r\nTransfer-Encoding: chunked\r\n\r\n", "POST / - a chunked keep"},
		{"most fields", "GET / HTTP/1.1\r\nHost: a\r\n" + fields(MaxFields-1) + "\r\n", "GET / - a no body keep"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var r Request
			n, err := r.Parse([]byte(c.head + "GET /next"))
			if err != nil || n != len(c.head) {
				t.Fatalf("Parse = %d, %v, want %d", n, err, len(c.head))
			}
			if got := describe(&r); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}

func describe(r *Request) string {
	orNone := func(p []byte) string {
		if p == nil {
			return "-"
		}
		return string(p)
	}
	s := fmt.Sprintf("%s %s %s %s %s", r.Method, r.Path, orNone(r.Query), orNone(r.Host), r.Body)
	if r.Body == Sized {
		s += fmt.Sprintf(" %d", r.Length)
	}
	if r.KeepAlive {
		s += " keep"
	} else {
		s += " close"
	}
	if r.Upgrade != nil {
		s += " upgrade " + string(r.Upgrade)
	}
	if r.ExpectContinue {
		s += " expect"
	}
	return s
}

func TestLongestRequest(t *testing.T) {
	var r Request
	line := "GET /" + strings.Repeat("a", MaxRequestLine-len("GET / HTTP/1.1")) + " HTTP/1.1\r\n"
	head := line + "Host: a\r\nX: " + strings.Repeat("x", MaxHead-len(line)-len("Host: a\r\nX: \r\n\r\n")) + "\r\n\r\n"
	for _, c := range []struct {
		in     string
		n      int
		status int
	}{
		{head, MaxHead, 0},
		{head + "x", MaxHead, 0},
		{head[:MaxHead-1], 0, 0},
		{head[:MaxHead-2] + "x", 0, 0},
		{head[:MaxHead-4] + "x\r\n\r\n", 0, 431},
		{line[:len(line)-2], 0, 0},
		{line[:len(line)-1], 0, 0},
		{"X" + line, 0, 414},
		{strings.Repeat("a", MaxRequestLine+1), 0, 0},
		{strings.Repeat("a", MaxRequestLine+2), 0, 414},
		{strings.Repeat("a", 2*MaxHead), 0, 414},
	} {
		n, err := r.Parse([]byte(c.in))
		if n != c.n || statusOf(t, err) != c.status {
			t.Errorf("%d bytes: Parse = %d, %v, want %d, %d", len(c.in), n, err, c.n, c.status)
		}
	}
}
