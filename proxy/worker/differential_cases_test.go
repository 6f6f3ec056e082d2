package worker

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
)

// What two readers of one connection may take for different requests: spellings of lengths and codings, ends of lines,
// chunks, targets. Much of it is refused by the balancer; what it forwards must mean one thing.

const (
	theBody    = "hello"
	inChunks   = "5\r\nhello\r\n0\r\n\r\n"
	smuggled   = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
	postLine   = "POST /first HTTP/1.1\r\nHost: a\r\n"
	getLine    = "GET /first HTTP/1.1\r\nHost: a\r\n"
	asChunked  = "Transfer-Encoding: chunked\r\n"
	ofTheBody  = "Content-Length: 5\r\n"
	afterChunk = "0\r\n\r\n" + smuggled
)

var codingLines = []string{
	"Transfer-Encoding: chunked", "transfer-encoding: chunked", "TRANSFER-ENCODING: CHUNKED", "Transfer-Encoding:chunked", "Transfer-Encoding:  chunked", "Transfer-Encoding:\tchunked",
	"Transfer-Encoding: chunked ", "Transfer-Encoding: chunked\t", "Transfer-Encoding : chunked", "Transfer-Encoding\t: chunked", " Transfer-Encoding: chunked", "\tTransfer-Encoding: chunked",
	"Transfer-Encoding: xchunked", "Transfer-Encoding: x chunked", "Transfer-Encoding: chunkedx", "Transfer-Encoding: chunked, identity", "Transfer-Encoding: identity, chunked", "Transfer-Encoding: identity",
	"Transfer-Encoding: gzip, chunked", "Transfer-Encoding: chunked, chunked", "Transfer-Encoding: ,chunked", "Transfer-Encoding: chunked,", "Transfer-Encoding: \"chunked\"", "Transfer-Encoding: 'chunked'",
	"Transfer-Encoding: chunked;a=b", "Transfer-Encoding:\vchunked", "Transfer-Encoding: \x00chunked", "Transfer-Encoding: chunked\x00", "Transfer-Encoding:\r\n chunked", "Transfer-Encoding:\n chunked", "Transfer-Encoding:",
	"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity", "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked", "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", "Transfer-Encoding: x\r\nTransfer-Encoding: chunked",
	"Transfer_Encoding: chunked", "Transfer-Encoding\x00: chunked", "Transfer Encoding: chunked", "X: y\rTransfer-Encoding: chunked", "X: y\nTransfer-Encoding: chunked", "X: y\r\n Transfer-Encoding: chunked", "Transfer-Encoding: chun\xe2\x84\xaaed",
	"Connection: Transfer-Encoding\r\nTransfer-Encoding: chunked", "TE: chunked", "Content-Encoding: chunked", "\x00Transfer-Encoding: chunked", "Transfer-Encoding: \xa0chunked", "Transfer-Encoding: chunked\r", "Transfer-Encoding: cHuNkEd", "Transfer-Encoding\r: chunked",
}

var lengthLines = []string{
	"Content-Length: 5", "content-length: 5", "CONTENT-LENGTH:5", "Content-Length:\t5", "Content-Length: 5 ", "Content-Length : 5", "Content-Length\t: 5", " Content-Length: 5", "Content-Length: +5", "Content-Length: -5", "Content-Length: 05", "Content-Length: 00000005",
	"Content-Length: 0x5", "Content-Length: 5.0", "Content-Length: 5e0", "Content-Length: 5, 5", "Content-Length: 5,5", "Content-Length: 5, 6", "Content-Length: 5 5", "Content-Length: 5;", "Content-Length: \"5\"", "Content-Length: 5\x00", "Content-Length: \x0b5",
	"Content-Length:", "Content-Length: 5\r\nContent-Length: 5", "Content-Length: 5\r\nContent-Length: 6", "Content-Length: 0\r\nContent-Length: 5", "Content-Length: 5\r\nContent-Length: 0", "Content_Length: 5", "Content-Length: 18446744073709551621", "Content-Length: 4294967301",
	"Content-Length:\r\n 5", "Content-Length: 5\r\n 0", "X: y\nContent-Length: 5", "X: y\rContent-Length: 5", "Connection: Content-Length\r\nContent-Length: 5", "Content-Length: \xd9\xa5", "Content Length: 5", "Content-Length: 5\r", "Content-Length: 0", "Content-Length: 000", "Content-Length: 5_0",
}

var otherLines = []string{
	"X: y", "X:", "X : y", " X: y", "X", ": y", "X: y\r\n z", "X: y\r\n\tz", "X: y\r\n \r\n z", "X: \x00", "X: \x7f", "X: \x80\xff", "X: a\rb", "X: a\nb", "X\x00: y", "X(: y", "X\xff: y", "X: \"\r\n\"", "X: y\r",
	"Host: b", "Host:", "host: a", "Connection: close", "Connection: keep-alive", "Connection: close, keep-alive", "Connection: X\r\nX: y", "Connection: Host", "Connection: upgrade", "Connection: \x00", "Keep-Alive: timeout=1, max=1", "Proxy-Connection: close", "Proxy-Connection: keep-alive",
	"Expect: 100-continue", "Expect: 100-Continue", "Expect: 200-ok", "Expect: 100-continue, 100-continue", "Expect:", "Expect: \t100-continue", "Expect: 100-continue\r\nExpect: 100-continue", "Expect: y 100-continue",
	"Connection: Upgrade\r\nUpgrade: websocket", "Connection: Upgrade\r\nUpgrade: h2c", "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA", "Upgrade: h2c", "Upgrade: websocket", "Connection: Upgrade\r\nUpgrade: TLS/1.0", "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13",
	"Trailer: Content-Length", "Trailer: X", "TE: trailers", "TE: trailers, chunked", "X-HTTP-Method-Override: HEAD", "X-Original-URL: /smuggled", "Content-Encoding: gzip", "Content-Encoding: identity", "Content-Type: multipart/form-data; boundary=x", "Range: bytes=0-0", "If-None-Match: *", "Max-Forwards: 0",
}

var chunkedBodies = []string{
	"5\r\nhello\r\n0\r\n\r\n", "05\r\nhello\r\n0\r\n\r\n", "000000005\r\nhello\r\n0\r\n\r\n", "0000000000000005\r\nhello\r\n0\r\n\r\n", "00000000000000005\r\nhello\r\n0\r\n\r\n", "+5\r\nhello\r\n0\r\n\r\n", "-5\r\nhello\r\n0\r\n\r\n", "0x5\r\nhello\r\n0\r\n\r\n", "5_\r\nhello\r\n0\r\n\r\n", "5h\r\nhello\r\n0\r\n\r\n",
	"5 \r\nhello\r\n0\r\n\r\n", "5\t\r\nhello\r\n0 \r\n\r\n", " 5\r\nhello\r\n0\r\n\r\n", "5 5\r\nhello\r\n0\r\n\r\n", "5\v\r\nhello\r\n0\r\n\r\n", "5\x00\r\nhello\r\n0\r\n\r\n", "5\nhello\r\n0\r\n\r\n", "5\rhello\r\n0\r\n\r\n", "5\r\r\nhello\r\n0\r\n\r\n", "5\r\nhello\n0\r\n\r\n", "5\r\nhello0\r\n\r\n", "5\r\nhello\r0\r\n\r\n", "5\r\nhelloXX0\r\n\r\n",
	"5;\r\nhello\r\n0\r\n\r\n", "5;a\r\nhello\r\n0\r\n\r\n", "5;a=b\r\nhello\r\n0;c=d\r\n\r\n", "5 ; a=b\r\nhello\r\n0\r\n\r\n", "5;a=\"b\"\r\nhello\r\n0\r\n\r\n", "5;a=\"b;\\\"c\"\r\nhello\r\n0\r\n\r\n", "5;a=\"\r\n\"\r\nhello\r\n0\r\n\r\n", "5;a\nb\r\nhello\r\n0\r\n\r\n", "5;a\rb\r\nhello\r\n0\r\n\r\n", "5;\x00\r\nhello\r\n0\r\n\r\n", "5;;;\r\nhello\r\n0\r\n\r\n", "5,a\r\nhello\r\n0\r\n\r\n", "5;\n\r\nhello\r\n0\r\n\r\n", "5;x\n0\r\n\r\n" + smuggled,
	"0\r\n\r\n", "00\r\n\r\n", "0\n\r\n", "0\r\n\n", "0\n\n", "0\r\n", "0\r\n\r", "0;a=b\r\n\r\n", "0 \r\n\r\n", "0\r\nX: y\r\n\r\n", "0\r\nX: y\r\n z\r\n\r\n", "0\r\nX: y\n\r\n", "0\r\nX\r\n\r\n", "0\r\nX : y\r\n\r\n", "0\r\nContent-Length: 5\r\n\r\n", "0\r\nTransfer-Encoding: chunked\r\n\r\n", "0\r\nHost: b\r\n\r\n", "0\r\n: y\r\n\r\n", "0\r\nX: \x00\r\n\r\n", "0\r\n GET / HTTP/1.1\r\n\r\n", "0\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n",
	"ffffffffffffffff\r\nhello\r\n0\r\n\r\n", "10000000000000005\r\nhello\r\n0\r\n\r\n", "100000005\r\nhello\r\n0\r\n\r\n", "8000000000000005\r\nhello\r\n0\r\n\r\n", "5\r\nhello\r\n5\r\nhello\r\n0\r\n\r\n", "1\r\nh\r\n1\r\ne\r\n0\r\n\r\n", "a\r\n0123456789\r\n0\r\n\r\n", "A\r\n0123456789\r\n0\r\n\r\n", "\r\n5\r\nhello\r\n0\r\n\r\n", "\r\n", "5\r\nhello\r\n\r\n0\r\n\r\n", "5\r\nhello\r\n0\r\n\r\n\r\n", "26\r\n" + smuggled + "\r\n0\r\n\r\n",
}

var requestLines = []string{
	"GET /first HTTP/1.1", "GET /first HTTP/1.0", "GET /first HTTP/0.9", "GET /first HTTP/1.2", "GET /first HTTP/1.9", "GET /first HTTP/2.0", "GET /first HTTP/1.10", "GET /first HTTP/01.1", "GET /first HTTP/1.01", "GET /first HTTP/1", "GET /first HTTP/1.", "GET /first http/1.1", "GET /first HTTPS/1.1", "GET /first", "GET /first HTTP/1.1 ", "GET /first HTTP/1.1\r", "GET /first HTTP/1.1\x00", "GET /first HTTP/1.1\t",
	"GET  /first HTTP/1.1", "GET /first  HTTP/1.1", " GET /first HTTP/1.1", "\r\nGET /first HTTP/1.1", "\nGET /first HTTP/1.1", "\r\n\r\n\r\nGET /first HTTP/1.1", "\rGET /first HTTP/1.1", "GET\t/first HTTP/1.1", "GET /first\tHTTP/1.1", "GET\v/first HTTP/1.1", "GET /fi rst HTTP/1.1", "GET /first HTTP/1.1 HTTP/1.1", "GET /first HTTP/1.1\nX: y",
	"get /first HTTP/1.1", "G\x00T /first HTTP/1.1", "GET: /first HTTP/1.1", "G(T /first HTTP/1.1", "FOO /first HTTP/1.1", "M-SEARCH /first HTTP/1.1", "PRI /first HTTP/1.1", "HEAD /first HTTP/1.1", "DELETE /first HTTP/1.1", "PUT /first HTTP/1.1", "PATCH /first HTTP/1.1", "OPTIONS /first HTTP/1.1", "OPTIONS * HTTP/1.1", "GET * HTTP/1.1", "TRACE /first HTTP/1.1", "CONNECT a:80 HTTP/1.1", "CONNECT /first HTTP/1.1", "PURGE /first HTTP/1.1", "QUERY /first HTTP/1.1",
	"GET http://a/first HTTP/1.1", "GET http://b/first HTTP/1.1", "GET HTTP://a/first HTTP/1.1", "GET https://a/first HTTP/1.1", "GET ftp://a/first HTTP/1.1", "GET http://a HTTP/1.1", "GET http://a?b HTTP/1.1", "GET http://u@a/first HTTP/1.1", "GET http://a:80/first HTTP/1.1", "GET http:///first HTTP/1.1", "GET http:/first HTTP/1.1", "GET //a/first HTTP/1.1", "GET //first HTTP/1.1", "GET a/first HTTP/1.1", "GET ?first HTTP/1.1", "GET /first?a=b HTTP/1.1", "GET /first? HTTP/1.1", "GET /first#a HTTP/1.1", "GET /first?a#b HTTP/1.1",
	"GET /fi%00rst HTTP/1.1", "GET /fi%0d%0aX:%20y HTTP/1.1", "GET /fi%zzrst HTTP/1.1", "GET /fi%2 HTTP/1.1", "GET /%66irst HTTP/1.1", "GET /a/../first HTTP/1.1", "GET /../../first HTTP/1.1", "GET /./first HTTP/1.1", "GET /first\\a HTTP/1.1", "GET /first\xc3\xa4 HTTP/1.1", "GET /first\"a HTTP/1.1", "GET /<first> HTTP/1.1", "GET /first|a HTTP/1.1", "GET /first{a} HTTP/1.1", "GET /first;a=b HTTP/1.1", "GET /first\x00 HTTP/1.1", "GET /first\x7f HTTP/1.1", "GET /first%20HTTP/1.1%0d%0a HTTP/1.1", "GET /" + "a%2f..%2ffirst" + " HTTP/1.1",
}

// ambiguousRequests puts them together.
func ambiguousRequests() (list []string) {
	add := func(parts ...string) { list = append(list, strings.Join(parts, "")) }
	for _, coding := range codingLines {
		add(postLine, coding, "\r\n\r\n", inChunks)
		add(postLine, ofTheBody, coding, "\r\n\r\n", theBody)
		add(postLine, coding, "\r\n", fmt.Sprintf("Content-Length: %d\r\n\r\n", len(afterChunk)), afterChunk)
		add(getLine, coding, "\r\n\r\n")
	}
	for _, length := range lengthLines {
		add(postLine, length, "\r\n\r\n", theBody)
		add(postLine, asChunked, length, "\r\n\r\n", inChunks)
		add(getLine, length, "\r\n\r\n", theBody)
	}
	for _, line := range otherLines {
		add(getLine, line, "\r\n\r\n")
		add(postLine, ofTheBody, line, "\r\n\r\n", theBody)
		add(postLine, line, "\r\n", asChunked, "\r\n", inChunks)
	}
	for _, body := range chunkedBodies {
		add(postLine, asChunked, "\r\n", body)
	}
	for _, line := range requestLines {
		add(line, "\r\nHost: a\r\n\r\n")
		add(line, "\r\nHost: a\r\n", ofTheBody, "\r\n", theBody)
	}
	for _, whole := range []string{
		strings.ReplaceAll(getLine+"X: y\r\n\r\n", "\r\n", "\n"), strings.ReplaceAll(postLine+ofTheBody+"\r\n", "\r\n", "\n") + theBody, strings.ReplaceAll(postLine+asChunked+"\r\n", "\r\n", "\n") + inChunks,
		strings.ReplaceAll(getLine+"X: y\r\n\r\n", "\r\n", "\r"), getLine + "X: y\n\r\n", getLine + "X: y\r\n\n", getLine + "\n", "GET /first HTTP/1.1\nHost: a\r\n\r\n", "GET /first HTTP/1.1\r\n\r\n", "GET /first HTTP/1.0\r\n\r\n",
		"POST /first HTTP/1.0\r\n" + asChunked + "\r\n" + inChunks, "POST /first HTTP/1.0\r\n" + ofTheBody + "\r\n" + theBody, "POST /first HTTP/1.0\r\nConnection: keep-alive\r\n" + ofTheBody + "\r\n" + theBody, "POST /first HTTP/1.0\r\nConnection: keep-alive\r\n\r\n" + theBody,
		postLine + "\r\n" + theBody, postLine + ofTheBody + "\r\n" + theBody + "\r\n", postLine + ofTheBody + "\r\n" + theBody + "\n\n", postLine + ofTheBody + "\r\n" + theBody + "x", postLine + ofTheBody + "\r\n" + smuggled, "HEAD /first HTTP/1.1\r\nHost: a\r\n" + ofTheBody + "\r\n" + theBody,
	} {
		add(whole)
	}
	return list
}

// splices are put into requests at random.
var splices = []string{
	"\r\n", "\n", "\r", "\r\n\r\n", " ", "\t", "\v", "\f", "\x00", "\x7f", "\x85", "\xa0", "\xff", ":", ";", ",", "=", "\"", "'", "\\", "#", "?", "%", "%0a", "0", "1", "5", "f", "-", "+", "x", "_",
	"0\r\n\r\n", "5\r\n", asChunked, ofTheBody, "Content-Length: 0\r\n", "Connection: close\r\n", "Connection: Content-Length\r\n", "Host: b\r\n", "Expect: 100-continue\r\n", " HTTP/1.1", "HTTP/1.0", smuggled, "chunked", "identity",
}

// mutant is one of the requests, or the beginning of one and the end of another, with some changes.
func mutant(r *rand.Rand, requests []string) string {
	p := []byte(requests[r.IntN(len(requests))])
	if r.IntN(8) == 0 {
		other := requests[r.IntN(len(requests))]
		p = append(p[:r.IntN(len(p))], other[r.IntN(len(other)):]...)
	}
	for range 1 + r.IntN(3) {
		if len(p) == 0 {
			break
		}
		at := r.IntN(len(p))
		switch r.IntN(6) {
		case 0:
			p = append(p[:at], p[at+1:]...)
		case 1:
			p[at] ^= 1 << r.IntN(8)
		case 2:
			p = append(append(bytes.Clone(p[:at]), byte(r.IntN(256))), p[at:]...)
		case 3: // a line twice
			if lines := bytes.SplitAfter(p, []byte("\r\n")); len(lines) > 1 {
				i := r.IntN(len(lines) - 1)
				p = bytes.Join(append(append(lines[:i+1:i+1], lines[i]), lines[i+1:]...), nil)
			}
		case 4: // two lines change places
			lines := bytes.SplitAfter(p, []byte("\r\n"))
			i, k := r.IntN(len(lines)), r.IntN(len(lines))
			lines[i], lines[k] = lines[k], lines[i]
			p = bytes.Join(lines, nil)
		default:
			p = append(append(bytes.Clone(p[:at]), splices[r.IntN(len(splices))]...), p[at:]...)
		}
	}
	return string(p)
}
