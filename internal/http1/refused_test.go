package http1

import (
	"strings"
	"testing"
)

// TestRefusedRequests has a row for every rule that a head can break.
func TestRefusedRequests(t *testing.T) {
	const get, post = "GET / HTTP/1.1\r\nHost: a\r\n", "POST / HTTP/1.1\r\nHost: a\r\n"
	for _, c := range []struct {
		name, head string
		status     int
	}{
		// The request line.
		{"empty line first", "\r\n" + get + "\r\n", 400}, // whoever reads skips it
		{"TLS", "\x16\x03\x01\x02\x00", 400},
		{"white space first", " " + get + "\r\n", 400},
		{"no version", "GET /\r\n\r\n", 400},
		{"no target", "GET HTTP/1.1\r\n\r\n", 400},
		{"empty target", "GET  HTTP/1.1\r\nHost: a\r\n\r\n", 400},
		{"spaces and no version", "GET /  \r\nHost: a\r\n\r\n", 400},
		{"space in the target", "GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", 400},
		{"tab for space", "GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n", 400},
		{"space at the end", "GET / HTTP/1.1 \r\nHost: a\r\n\r\n", 400},
		{"method not a token", "GE(T / HTTP/1.1\r\nHost: a\r\n\r\n", 400},
		{"NUL in the method", "GET\x00 / HTTP/1.1\r\nHost: a\r\n\r\n", 400},
		{"NUL in the target", "GET /\x00 HTTP/1.1\r\nHost: a\r\n\r\n", 400},
		{"DEL in the target", "GET /\x7f HTTP/1.1\r\nHost: a\r\n\r\n", 400},
		{"NUL in the query", "GET /?\x00 HTTP/1.1\r\nHost: a\r\n\r\n", 400},
		{"byte above ASCII in the target", "GET /\xc3\xa4 HTTP/1.1\r\nHost: a\r\n\r\n", 400},
		{"fragment", "GET /#a HTTP/1.1\r\nHost: a\r\n\r\n", 400},
		{"fragment after query", "GET /?a#b HTTP/1.1\r\nHost: a\r\n\r\n", 400},
		{"backslash in the path", "GET /a\\b HTTP/1.1\r\nHost: a\r\n\r\n", 400},
		{"bad escape", "GET /%zz HTTP/1.1\r\nHost: a\r\n\r\n", 400},
		{"cut escape", "GET /%2 HTTP/1.1\r\nHost: a\r\n\r\n", 400},
		{"bare CR", "GET / HTTP/1.1\rHost: a\r\n\r\n", 400},
		{"two CR", "GET / HTTP/1.1\r\r\nHost: a\r\n\r\n", 400},
		{"bare LF", "GET / HTTP/1.1\nHost: a\r\n\r\n", 400},
		{"small letters", "GET / http/1.1\r\nHost: a\r\n\r\n", 400},
		{"not HTTP", "GET / HTTQ/1.1\r\nHost: a\r\n\r\n", 400},
		{"long version", "GET / HTTP/1.10\r\nHost: a\r\n\r\n", 400},
		{"odd version", "GET / HTTP/1,1\r\nHost: a\r\n\r\n", 400},
		{"version of letters", "GET / HTTP/1.x\r\nHost: a\r\n\r\n", 400},
		{"0.9", "GET / HTTP/0.9\r\n\r\n", 505},
		{"2.0", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505},

		// The target's form.
		{"CONNECT", "CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n", 501},
		{"CONNECT with a path", "CONNECT /a HTTP/1.1\r\nHost: a\r\n\r\n", 400},
		{"authority form", "GET a:80 HTTP/1.1\r\nHost: a\r\n\r\n", 400},
		{"no slash", "GET a/b HTTP/1.1\r\nHost: a\r\n\r\n", 400},
		{"asterisk", "GET * HTTP/1.1\r\nHost: a\r\n\r\n", 400},
		{"asterisk and more", "OPTIONS *a HTTP/1.1\r\nHost: a\r\n\r\n", 400},
		{"another scheme", "GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n", 400},
		{"no scheme", "GET ://a/ HTTP/1.1\r\nHost: a\r\n\r\n", 400},
		{"absolute without host", "GET http:///a HTTP/1.1\r\nHost: a\r\n\r\n", 400},
		{"absolute with user", "GET http://u@a/ HTTP/1.1\r\nHost: a\r\n\r\n", 400},
		{"absolute with a bad port", "GET http://a:x/ HTTP/1.1\r\nHost: a\r\n\r\n", 400},
		{"absolute with a fragment", "GET http://a/#b HTTP/1.1\r\nHost: a\r\n\r\n", 400},
		{"absolute without Host", "GET http://a/ HTTP/1.1\r\n\r\n", 400},
		{"absolute with a bad Host", "GET http://a/ HTTP/1.1\r\nHost: a b\r\n\r\n", 400},

		// Host.
		{"no Host", "GET / HTTP/1.1\r\n\r\n", 400},
		{"two Hosts", get + "Host: a\r\n\r\n", 400},
		{"two Hosts in 1.0", "GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n", 400},
		{"empty Host", "GET / HTTP/1.1\r\nHost:\r\n\r\n", 400},
		{"only a port", "GET / HTTP/1.1\r\nHost: :80\r\n\r\n", 400},
		{"Host with a path", "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400},
		{"Host with a user", "GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", 400},
		{"list of Hosts", "GET / HTTP/1.1\r\nHost: a, b\r\n\r\n", 400},
		{"Host with an escape", "GET / HTTP/1.1\r\nHost: a%00\r\n\r\n", 400},
		{"Host with white space", "GET / HTTP/1.1\r\nHost: a\tb\r\n\r\n", 400},
		{"port too large", "GET / HTTP/1.1\r\nHost: a:65536\r\n\r\n", 400},
		{"port too long", "GET / HTTP/1.1\r\nHost: a:100080\r\n\r\n", 400},
		{"two ports", "GET / HTTP/1.1\r\nHost: a:80:80\r\n\r\n", 400},
		{"IPv6 without brackets", "GET / HTTP/1.1\r\nHost: ::1\r\n\r\n", 400},
		{"IPv6 not closed", "GET / HTTP/1.1\r\nHost: [::1\r\n\r\n", 400},
		{"IPv6 with a zone", "GET / HTTP/1.1\r\nHost: [fe80::1%25lo]\r\n\r\n", 400},
		{"IPv6 too long", "GET / HTTP/1.1\r\nHost: [" + strings.Repeat("0", 99) + "::]\r\n\r\n", 400},
		{"IPv4 in brackets", "GET / HTTP/1.1\r\nHost: [127.0.0.1]\r\n\r\n", 400},
		{"text behind IPv6", "GET / HTTP/1.1\r\nHost: [::1]a\r\n\r\n", 400},

		// Field lines.
		{"folded", get + "X: a\r\n b\r\n\r\n", 400},
		{"folded with a tab", get + "X: a\r\n\tb\r\n\r\n", 400},
		{"folded first", "GET / HTTP/1.1\r\n Host: a\r\n\r\n", 400},
		{"space before the colon", get + "X : a\r\n\r\n", 400},
		{"tab before the colon", get + "X\t: a\r\n\r\n", 400},
		{"no colon", get + "X\r\n\r\n", 400},
		{"no name", get + ": a\r\n\r\n", 400},
		{"name not a token", get + "X(: a\r\n\r\n", 400},
		{"quoted name", get + "\"X\": a\r\n\r\n", 400},
		{"NUL in a name", get + "X\x00: a\r\n\r\n", 400},
		{"byte above ASCII in a name", get + "X\xff: a\r\n\r\n", 400},
		{"NUL in a value", get + "X: a\x00b\r\n\r\n", 400},
		{"NUL in a long value", get + "X: 0123456789\x00\x000123456789\r\n\r\n", 400},
		{"DEL in a long value", get + "X: 01234567\x7f0123456789\r\n\r\n", 400},
		{"bell in a value", get + "X: \a\r\n\r\n", 400},
		{"vertical tab before a value", get + "X: \v1\r\n\r\n", 400},
		{"bare CR in a value", get + "X: a\rb\r\n\r\n", 400},
		{"two CR behind a value", get + "X: a\r\r\n\r\n", 400},
		{"bare LF behind a value", get + "X: a\n\r\n", 400},
		{"bare LF, then CRLF", "GET / HTTP/1.1\nHost: a\nX: a\r\n\n", 400},
		{"bare LF, CRLF at the end", "GET / HTTP/1.1\nHost: a\n\r\n", 400},
		{"bare LF at the end", get + "X: a\r\n\n", 400},
		{"bare CR at the end", get + "X: a\r\n\rX\r\n\r\n", 400},
		{"too many fields", get + strings.Repeat("X: a\r\n", MaxFields) + "\r\n", 431},
		{"too long", get + "X: " + strings.Repeat("a", MaxHead), 431},

		// Connection.
		{"too many options", get + "Connection: " + strings.Repeat("a,", maxOptions+1) + "\r\n\r\n", 400},
		{"drops the length", post + "Connection: Content-Length\r\nContent-Length: 1\r\n\r\n", 400},
		{"drops Host", get + "Connection: close, host\r\n\r\n", 400},
		{"drops the session", get + "Connection: Mcp-Session-Id\r\n\r\n", 400},
		{"drops who asks", get + "Connection: X-Forwarded-For\r\n\r\n", 400},
		{"drops in the second", get + "Connection: a\r\nConnection: cookie\r\n\r\n", 400},
		{"trailer with a length", post + "Trailer: a, Content-Length\r\nTransfer-Encoding: chunked\r\n\r\n", 400},

		// Length.
		{"empty length", post + "Content-Length:\r\n\r\n", 400},
		{"sign", post + "Content-Length: +1\r\n\r\n", 400},
		{"negative", post + "Content-Length: -1\r\n\r\n", 400},
		{"hexadecimal", post + "Content-Length: 0x1\r\n\r\n", 400},
		{"fraction", post + "Content-Length: 1.0\r\n\r\n", 400},
		{"exponent", post + "Content-Length: 1e1\r\n\r\n", 400},
		{"grouped", post + "Content-Length: 1_0\r\n\r\n", 400},
		{"two numbers", post + "Content-Length: 1 0\r\n\r\n", 400},
		{"list", post + "Content-Length: 1, 1\r\n\r\n", 400},
		{"overflow", post + "Content-Length: 9223372036854775808\r\n\r\n", 400},
		{"overflow twice", post + "Content-Length: 18446744073709551617\r\n\r\n", 400},
		{"digits that are not ASCII", post + "Content-Length: \xd9\xa1\r\n\r\n", 400},

		// Sessions, of which one reader could see the first and another the last.
		{"two sessions", get + "Mcp-Session-Id: a\r\nMCP-Session-Id: b\r\n\r\n", 400},
		{"imitated session", get + "Mcp-Session-Id: a\r\nMcp_Session_Id: b\r\n\r\n", 400},
		{"two methods", post + "Mcp-Method: a\r\nMcp-Method: b\r\n\r\n", 400},
		{"imitated address", get + "X_Forwarded_For: 10.0.0.1\r\n\r\n", 400},

		// Expect.
		{"another expectation", post + "Expect: 200-ok\r\nContent-Length: 1\r\n\r\n", 417},
		{"list of expectations", post + "Expect: 100-continue, x\r\nContent-Length: 1\r\n\r\n", 417},
	} {
		t.Run(c.name, func(t *testing.T) {
			var r Request
			n, err := r.Parse([]byte(c.head))
			if got := statusOf(t, err); n != 0 || got != c.status {
				t.Errorf("Parse = %d, %v (status %d), want status %d", n, err, got, c.status)
			}
		})
	}
}

// TestSmuggling sends what makes two readers of a connection disagree about where
// a message ends. Each is refused, or has one meaning.
func TestSmuggling(t *testing.T) {
	const (
		post = "POST /a HTTP/1.1\r\nHost: a\r\n"
		next = "GET /admin HTTP/1.1\r\nHost: b\r\n\r\n"
		te   = "Transfer-Encoding: chunked\r\n"
	)
	chunked := func(body string) string { return post + te + "\r\n" + body }
	coded := func(fields string) string { return post + fields + "\r\n0\r\n\r\n" + next }
	for _, c := range []struct{ name, in, want string }{
		{"CL.TE", post + "Content-Length: 6\r\n" + te + "\r\n0\r\n\r\nG", "400"},
		{"TE.CL", post + te + "Content-Length: 4\r\n\r\n5c\r\nGPOST / HTTP/1.1\r\n\r\n0\r\n\r\n", "400"},
		{"CL.TE with length 0", post + "Content-Length: 0\r\n" + te + "\r\n0\r\n\r\n", "400"},
		{"CL.CL", post + "Content-Length: 6\r\nContent-Length: 5\r\n\r\n12345G", "400"},
		{"CL.CL alike", post + "Content-Length: 5\r\nContent-Length: 5\r\n\r\n12345", "400"},
		{"CL.CL in other letters", post + "Content-Length: 6\r\ncontent-length: 5\r\n\r\n12345G", "400"},
		{"CL.CL imitated", post + "Content_Length: 6\r\nContent-Length: 5\r\n\r\n12345G", "400"},
		{"CL imitated", post + "content-length_: 6\r\nContent-Length: 5\r\n\r\n12345" + next, "POST /a a {12345} | GET /admin b {}"},
		{"CL behind a space", post + "Content-Length : 5\r\n\r\n12345", "400"},
		{"CL behind a bare LF", post + "X: a\nContent-Length: 5\r\n\r\n12345", "400"},
		{"CL behind a bare CR", post + "X: a\rContent-Length: 5\r\n\r\n12345", "400"},
		{"CL behind NUL", post + "X: a\x00Content-Length: 5\r\n\r\n12345", "400"},
		{"CL folded", post + "X: a\r\n Content-Length: 5\r\n\r\n12345", "400"},
		{"CL in a value", post + "X: Content-Length: 5\r\n\r\n" + next, "POST /a a {} | GET /admin b {}"},
		{"CL folded away", post + "Content-Length:\r\n 5\r\n\r\n12345", "400"},

		{"TE", coded(te), "POST /a a {} | GET /admin b {}"},
		{"TE in other letters", coded("tRANSFER-eNCODING: CHUNKED\r\n"), "POST /a a {} | GET /admin b {}"},
		{"TE.TE", coded(te + te), "400"},
		{"TE.TE identity", coded(te + "Transfer-Encoding: identity\r\n"), "400"},
		{"TE.TE nonsense", coded("Transfer-Encoding: x\r\n" + te), "400"},
		{"TE imitated", coded("Transfer_Encoding: chunked\r\n"), "400"},
		{"TE behind a space", coded("Transfer-Encoding : chunked\r\n"), "400"},
		{"TE before a vertical tab", coded("Transfer-Encoding: \vchunked\r\n"), "400"},
		{"TE before NUL", coded("Transfer-Encoding: chunked\x00\r\n"), "400"},
		{"TE before a bare CR", coded("Transfer-Encoding: chunked\r\r\n"), "400"},
		{"TE behind a bare LF", coded("X: x\nTransfer-Encoding: chunked\r\n"), "400"},
		{"TE folded", coded("Transfer-Encoding:\r\n chunked\r\n"), "400"},
		{"TE quoted", coded("Transfer-Encoding: \"chunked\"\r\n"), "400"},
		{"TE with a parameter", coded("Transfer-Encoding: chunked;q=1\r\n"), "400"},
		{"TE empty", coded("Transfer-Encoding:\r\n"), "400"},
		{"TE with a comma", coded("Transfer-Encoding: chunked,\r\n"), "400"},
		{"TE after a comma", coded("Transfer-Encoding: ,chunked\r\n"), "400"},
		{"TE twice in one", coded("Transfer-Encoding: chunked, chunked\r\n"), "400"},
		{"TE not final", coded("Transfer-Encoding: chunked, identity\r\n"), "400"},
		{"TE unknown", coded("Transfer-Encoding: xchunked\r\n"), "501"},
		{"TE identity", coded("Transfer-Encoding: identity\r\n"), "501"},
		{"TE gzip", coded("Transfer-Encoding: gzip, chunked\r\n"), "501"},
		{"TE in 1.0", "POST /a HTTP/1.0\r\nHost: a\r\n" + te + "\r\n0\r\n\r\n", "400"},
		{"TE in 1.0 with CL", "POST /a HTTP/1.0\r\nHost: a\r\nContent-Length: 5\r\n" + te + "\r\n0\r\n\r\n", "400"},
		{"TE named hop-by-hop", coded("Connection: transfer-encoding\r\n" + te), "POST /a a {} | GET /admin b {}"},
		{"CL named hop-by-hop", post + "Connection: content-length\r\nContent-Length: 5\r\n\r\n12345", "400"},

		{"chunks", chunked("1\r\na\r\n0a\r\n0123456789\r\n0\r\n\r\n") + next, "POST /a a {a0123456789} | GET /admin b {}"},
		{"chunk size with 0x", chunked("0x1\r\na\r\n0\r\n\r\n"), "POST /a a {} | 400"},
		{"chunk size with a sign", chunked("+1\r\na\r\n0\r\n\r\n"), "POST /a a {} | 400"},
		{"chunk size negative", chunked("-1\r\na\r\n0\r\n\r\n"), "POST /a a {} | 400"},
		{"chunk size empty", chunked("\r\na\r\n0\r\n\r\n"), "POST /a a {} | 400"},
		{"chunk size behind a space", chunked(" 1\r\na\r\n0\r\n\r\n"), "POST /a a {} | 400"},
		{"chunk size before a space", chunked("1 \r\na\r\n0 \r\n\r\n") + next, "POST /a a {a} | GET /admin b {}"},
		{"chunk size before a space and a digit", chunked("1 1\r\na\r\n0\r\n\r\n"), "POST /a a {} | 400"},
		{"chunk size before a tab", chunked("1\t\r\na\r\n0\t\r\n\r\n") + next, "POST /a a {a} | GET /admin b {}"},
		{"chunk size before a tab and a digit", chunked("1\t1\r\na\r\n0\r\n\r\n"), "POST /a a {} | 400"},
		{"chunk size before NUL", chunked("1\x00\r\na\r\n0\r\n\r\n"), "POST /a a {} | 400"},
		{"chunk size grouped", chunked("1_0\r\na\r\n0\r\n\r\n"), "POST /a a {} | 400"},
		{"chunk size of 2^63", chunked("8000000000000000\r\n"), "POST /a a {} | 400"},
		{"chunk size of 2^64+1", chunked("10000000000000001\r\na\r\n0\r\n\r\n"), "POST /a a {} | 400"},
		{"chunk size with many zeros", chunked("00000000000000001\r\na\r\n0\r\n\r\n"), "POST /a a {} | 400"},
		{"chunk size before a bare LF", chunked("1\na\r\n0\r\n\r\n"), "POST /a a {} | 400"},
		{"chunk size before a bare CR", chunked("1\ra\r\n0\r\n\r\n"), "POST /a a {} | 400"},
		{"chunk size before CR CR", chunked("1\r\r\na\r\n0\r\n\r\n"), "POST /a a {} | 400"},
		{"chunk before a bare LF", chunked("1\r\na\n0\r\n\r\n"), "POST /a a {a} | 400"},
		{"chunk before a bare CR", chunked("1\r\na\r0\r\n\r\n"), "POST /a a {a} | 400"},
		{"chunk longer than said", chunked("1\r\nab\r\n0\r\n\r\n"), "POST /a a {a} | 400"},
		{"chunk shorter than said", chunked("5\r\nab\r\n0\r\n\r\n"), "POST /a a {ab\r\n0} | 400"},
		{"chunk without end", chunked("1\r\na0\r\n\r\n"), "POST /a a {a} | 400"},
		{"last chunk before a bare LF", chunked("0\n\r\n") + next, "POST /a a {} | 400"},
		{"last chunk without empty line", chunked("0\r\n") + next, "POST /a a {} | 400"},
		{"last chunk and a bare LF", chunked("0\r\n\n") + next, "POST /a a {} | 400"},
		{"last chunk and a bare CR", chunked("0\r\n\rX") + next, "POST /a a {} | 400"},
		{"last chunk of many zeros", chunked("000\r\n\r\n") + next, "POST /a a {} | GET /admin b {}"},
		{"extension", chunked("1;a=\"b;c\"\r\na\r\n0;d\r\n\r\n") + next, "POST /a a {a} | GET /admin b {}"},
		{"extension with a bare LF", chunked("1;a\nxx\r\na\r\n0\r\n\r\n"), "POST /a a {} | 400"},
		{"extension with a bare CR", chunked("1;a\rxx\r\na\r\n0\r\n\r\n"), "POST /a a {} | 400"},
		{"extension with CRLF in quotes", chunked("1;a=\"\r\nxx\"\r\na\r\n0\r\n\r\n"), "POST /a a {x} | 400"},
		{"extension with NUL", chunked("1;\x00\r\na\r\n0\r\n\r\n"), "POST /a a {} | 400"},
		{"long extension", chunked("1;" + strings.Repeat("x", maxLineExtension) + "\r\na\r\n0\r\n\r\n"), "POST /a a {} | 400"},
		{"many extensions", chunked(strings.Repeat("1;"+strings.Repeat("x", 255)+"\r\na\r\n", 17)), "POST /a a {aaaaaaaaaaaaaaaa} | 400"},
		{"trailers", chunked("0\r\nX-Sum: 1\r\nContent-Length: 9\r\n\r\n") + next, "POST /a a {} | GET /admin b {}"},
		{"trailer folded", chunked("0\r\nX: 1\r\n 2\r\n\r\n"), "POST /a a {} | 400"},
		{"trailer without colon", chunked("0\r\nX\r\n\r\n"), "POST /a a {} | 400"},
		{"trailer without name", chunked("0\r\n: x\r\n\r\n"), "POST /a a {} | 400"},
		{"trailer behind a space", chunked("0\r\nX : x\r\n\r\n"), "POST /a a {} | 400"},
		{"trailer before a bare LF", chunked("0\r\nX: x\n\r\n"), "POST /a a {} | 400"},
		{"trailer before a bare CR", chunked("0\r\nX: x\rY\r\n\r\n"), "POST /a a {} | 400"},
		{"trailers too long", chunked("0\r\nX: " + strings.Repeat("x", maxTrailers) + "\r\n\r\n"), "POST /a a {} | 431"},

		{"0.CL", "GET /a HTTP/1.1\r\nHost: a\r\nContent-Length: 37\r\n\r\n" + next + next, "GET /a a {" + next + "GET /} | 400"},
		{"0.CL whole", "GET /a HTTP/1.1\r\nHost: a\r\nContent-Length: 33\r\n\r\n" + next + "x" + next, "GET /a a {" + next + "x} | GET /admin b {}"},
		{"HEAD with a body", "HEAD /a HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi" + next, "HEAD /a a {hi} | GET /admin b {}"},
		{"body without length", post + "\r\n" + next, "POST /a a {} | GET /admin b {}"},
		{"Expect and a body", post + "Expect: 100-continue\r\nContent-Length: 2\r\n\r\nhi" + next, "POST /a a {hi} | GET /admin b {}"},
		{"Expect behind a space", post + "Expect: \r\n 100-continue\r\nContent-Length: 2\r\n\r\nhi", "400"},
		{"Expect obscured", post + "Expect: y 100-continue\r\nContent-Length: 2\r\n\r\nhi", "417"},
		{"two expectations", post + "Expect: 100-continue\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nhi", "400"},
		{"0.CL by Expect", "GET /a HTTP/1.1\r\nHost: a\r\nExpect: \t100-continue\r\nContent-Length: 32\r\n\r\n" + next + next, "GET /a a {" + next + "} | GET /admin b {}"},
		{"pipelined", next + next, "GET /admin b {} | GET /admin b {}"},
		{"pipelined behind empty lines", next + "\r\n\n\r\n" + next, "GET /admin b {} | GET /admin b {}"},
		{"pipelined behind a bare CR", next + "\r" + next, "GET /admin b {} | 400"},
		{"body behind bare LFs", strings.ReplaceAll(post, "\r\n", "\n") + "Content-Length: 2\n\nhi" + next, "POST /a a {hi} | GET /admin b {}"},
		{"CL behind a bare CRLF", strings.ReplaceAll(post, "\r\n", "\n") + "X: a\r\nContent-Length: 5\n\n12345", "400"},
		{"CL with zeros", post + "Content-Length: 002\r\n\r\nhi" + next, "POST /a a {hi} | GET /admin b {}"},
		{"pipelined behind text", post + "Content-Length: 1\r\n\r\nab" + next, "POST /a a {a} | bGET /admin b {}"},
		{"pipelined, cut", next + next[:20], "GET /admin b {} | …"},
		{"body cut", post + "Content-Length: 9\r\n\r\n1234", "POST /a a {1234}…"},
		{"two authorities", "GET http://b/x HTTP/1.1\r\nHost: a\r\n\r\n", "GET /x b {}"},
		{"version in the target", "GET /a%20HTTP/1.1%0d%0aHost:x HTTP/1.1\r\nHost: a\r\n\r\n", "GET /a%20HTTP/1.1%0d%0aHost:x a {}"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := meaning(t, []byte(c.in)); got != c.want {
				t.Errorf("got  %q\nwant %q", got, c.want)
			}
		})
	}
}
