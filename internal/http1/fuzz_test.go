package http1

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// seeds are heads and bodies of every kind; the fuzzers mix them.
func seeds(f *testing.F, add func(p []byte)) {
	f.Helper()
	for _, s := range []string{
		"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
		"GET http://u.v:80/p%20q?r=s HTTP/1.0\r\n\r\n",
		"OPTIONS * HTTP/1.1\r\nHost: [::1]:8080\r\nConnection: close, x\r\nX: y\r\n\r\n",
		"POST /mcp HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\nhello" + "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
		"POST /mcp HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: T\r\n\r\n3\r\nabc\r\n2;e=f\r\nde\r\n0\r\nT: u\r\n\r\n",
		"GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
		"GET / HTTP/1.0\r\nConnection: keep-alive\r\nPragma: no-cache\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"GET / HTTP/1.1\nHost: a\n\n", "GET  /<b>?\"   HTTP/1.7\r\nHost: a:000080\r\nContent-Length: 00\r\nConnection: a;b\r\nExpect:\r\n\r\n", "\r\n\n\r", "GET / HTTP/1.1\r\nHost: a\r\n x\r\n\r\n", "GET / HTTP/1.1\r\nA_B: a\x00\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
		"HTTP/1.1 200\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\nHTTP/1.1 ",
		"HTTP/1.0 404 Not Found\r\nConnection: keep-alive\r\n\r\nuntil the end",
		"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n\x81\x00",
		"HTTP/1.1 204 No Content\r\nContent-Length: 3\r\n\r\nabc", "HTTP/1.1 304 Not Modified\r\nContent-Length: 3\r\n\r\n",
	} {
		add([]byte(s))
	}
}

// FuzzRequest holds every accepted request against net/http, and every request
// against itself: in pieces, printed and read again, and forwarded.
func FuzzRequest(f *testing.F) {
	seeds(f, func(p []byte) { f.Add(p, uint16(len(p)/2)) })
	f.Fuzz(func(t *testing.T, p []byte, cut uint16) {
		holdRequest(t, p, int(cut))
	})
}

// TestComposedRequests does the same with requests put together from parts that
// fit, mostly.
func TestComposedRequests(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := compose(t, "line", []string{
			"GET / HTTP/1.1\r\nHost: a\r\n", "GET  /\"<>  HTTP/1.5\r\nHost: a\r\n", "GET / HTTP/1.1\nHost: a\n", "POST /mcp?a HTTP/1.1\r\nHost: a:80\r\n", "POST /mcp HTTP/1.0\r\nHost: a\r\n",
			"GET http://b/c?d HTTP/1.1\r\nHost: b\r\n", "PUT http://b HTTP/1.0\r\n", "OPTIONS * HTTP/1.1\r\nHost: [::]\r\n",
		}, 1, 1)
		p += compose(t, "fields", []string{
			"Content-Length: 5\r\n", "Content-Length: 0\r\n", "Content-Length: 005\r\n", "Transfer-Encoding: chunked\r\n", "TRANSFER-ENCODING:CHUNKED\t\r\n",
			"Connection: close\r\n", "Connection: ,x , keep-alive,\r\n", "Connection: upgrade\r\n", "Upgrade: websocket\r\n",
			"Expect: 100-continue\r\n", "X: y\r\n", "x:\r\n", "Keep-Alive: 5\r\n", "TE: trailers\r\n", "Trailer: X\r\n", "Pragma: no-cache\r\n",
			"Mcp-Session-Id: 1\r\n", "Cookie: a=b\r\n", "Content_Length: 5\r\n", "Transfer-Encoding: identity\r\n", " folded\r\n", "bare: lf\n",
		}, 0, 6) + "\r\n"
		p += compose(t, "body", []string{
			"5\r\n", "hello", "\r\n", "0\r\n", "0\r\n\r\n", "1\r\na\r\n", "2;x=y\r\nab\r\n", "5\r\nhello\r\n", "X: y\r\n", "\n", "GET / HTTP/1.1\r\n",
		}, 0, 8)
		holdRequest(t, []byte(p), rapid.IntRange(0, len(p)).Draw(t, "cut"))
	})
}

// compose joins from least to most of the parts.
func compose(t *rapid.T, label string, parts []string, least, most int) string {
	return strings.Join(rapid.SliceOfN(rapid.SampledFrom(parts), least, most).Draw(t, label), "")
}

// failer is *testing.T or *rapid.T.
type failer interface {
	Helper()
	Fatalf(format string, args ...any)
}

func holdRequest(t failer, p []byte, cut int) {
	t.Helper()
	var r, again Request
	n, err := r.Parse(p)
	piece := p[:min(len(p), cut)]
	m, pieceErr := again.Parse(piece)
	samePiece(t, len(piece), n, m, err, pieceErr)
	if n == 0 {
		return
	}
	// What is behind the head does not matter.
	if m, err := again.Parse(p[:n:n]); m != n || err != nil || describe(&r) != describe(&again) {
		t.Fatalf("alone: %d, %v: %s, want %d: %s", m, err, describe(&again), n, describe(&r))
	}
	samePrinted(t, &r)
	sameForwarded(t, &r)
	sameInNetHTTP(t, &r, p, n)
}

// samePiece compares the result of an input with that of a piece of it.
func samePiece(t failer, size, n, m int, err, pieceErr error) {
	t.Helper()
	switch {
	case pieceErr != nil:
		if err == nil || err.Error() != pieceErr.Error() {
			t.Fatalf("the piece of %d says %v, the whole %v", size, pieceErr, err)
		}
	case m != 0 && m != n, m == 0 && n != 0 && n <= size:
		t.Fatalf("the piece of %d says %d, the whole %d", size, m, n)
	}
}

func samePrinted(t failer, r *Request) {
	t.Helper()
	printed := appendRequest(nil, r)
	if len(printed) > MaxHead || bytes.IndexByte(printed, '\r') > MaxRequestLine {
		return // a space behind every colon may be too much
	}
	var again Request
	n, err := again.Parse(printed)
	if n != len(printed) || err != nil || describe(r) != describe(&again) {
		t.Fatalf("printed %q: %d, %v: %s, want %s", printed, n, err, describe(&again), describe(r))
	}
	if second := appendRequest(nil, &again); !bytes.Equal(second, printed) {
		t.Fatalf("printed %q, then %q", printed, second)
	}
}

// sameForwarded checks that what goes to a node is the same request, and has
// nothing of the connection left.
func sameForwarded(t failer, r *Request) {
	t.Helper()
	sent := appendForwarded(nil, r)
	if r.Host == nil || len(sent) > MaxHead || len(r.Fields) > MaxFields-2 {
		return
	}
	var there Request
	n, err := there.Parse(sent)
	if n != len(sent) || err != nil {
		t.Fatalf("forwarded %q: %d, %v", sent, n, err)
	}
	if string(there.Method) != string(r.Method) || string(there.Path) != string(r.Path) || string(there.Query) != string(r.Query) ||
		string(there.Host) != string(r.Host) || there.Body != r.Body || there.Length != r.Length {
		t.Fatalf("forwarded %s as %s", describe(r), describe(&there))
	}
	for i := range there.Fields {
		if there.Hop(i) && there.known[i] != transferEncoding {
			t.Fatalf("forwarded %s", there.Fields[i].Name)
		}
	}
}

func sameInNetHTTP(t failer, r *Request, p []byte, n int) {
	t.Helper()
	line, rest, _ := bytes.Cut(p, []byte("\n"))
	if bytes.Contains(line, []byte("  ")) || line[bytes.LastIndexByte(line, '.')+1] > '1' {
		// net/http is stricter here. All else is read from what was sent.
		usual := fmt.Appendf(nil, "%s %s HTTP/1.%d\r\n", r.Method, r.Target, r.Minor)
		p, n = slices.Concat(usual, rest), n-len(line)-1+len(usual)
	}
	in := bufio.NewReaderSize(bytes.NewReader(p), 2*MaxHead)
	req, err := http.ReadRequest(in)
	if err != nil {
		t.Fatalf("net/http refuses %q: %v", p[:n], err)
	}
	if req.Method != string(r.Method) || req.RequestURI != string(r.Target) || req.ProtoMinor != r.Minor || req.Host != string(r.Host) {
		t.Fatalf("net/http reads %s %s %s for %s", req.Method, req.RequestURI, req.Host, describe(r))
	}
	if req.Close == r.KeepAlive || (len(req.TransferEncoding) > 0) != (r.Body == Chunked) {
		t.Fatalf("net/http: close %v, coding %q for %s", req.Close, req.TransferEncoding, describe(r))
	}
	if r.Body != Chunked && req.ContentLength != r.Length {
		t.Fatalf("net/http: length %d for %s", req.ContentLength, describe(r))
	}
	sameFields(t, &r.Head, req.Header)
	sameBody(t, &r.Head, p[n:], req.Body, in)
}

// sameFields compares all fields but those that net/http takes out.
func sameFields(t failer, h *Head, theirs http.Header) {
	t.Helper()
	ours := http.Header{}
	for _, f := range h.Fields {
		ours.Add(string(f.Name), string(f.Value))
	}
	for _, name := range []string{"Host", "Transfer-Encoding", "Trailer", "Connection", "Cache-Control"} {
		ours.Del(name)
		theirs.Del(name)
	}
	if len(ours) != len(theirs) {
		t.Fatalf("net/http has %q for %q", theirs, ours)
	}
	for i, length := range theirs["Content-Length"] {
		if zeros := len(length) - len(strings.TrimLeft(length, "0")); zeros > 0 {
			theirs["Content-Length"][i] = length[min(zeros, len(length)-1):]
		}
	}
	for name, values := range ours {
		if !slices.Equal(theirs[name], values) {
			t.Fatalf("net/http has %s: %q for %q", name, theirs[name], values)
		}
	}
}

// sameBody compares the bodies, and where the next message begins. What is not
// whole or malformed to us may not be whole to net/http.
func sameBody(t failer, h *Head, p []byte, theirs io.Reader, in *bufio.Reader) {
	t.Helper()
	var b Body
	b.Reset(h.Body, h.Length)
	data, used, err := decode(&b, p, len(p)+1)
	theirData, theirErr := io.ReadAll(theirs)
	switch {
	case err != nil:
		return // net/http is less strict
	case b.End() != nil:
		if theirErr == nil {
			t.Fatalf("net/http reads a whole body from %q", p)
		}
	case theirErr != nil:
		t.Fatalf("net/http refuses the body %q: %v", p, theirErr)
	case !bytes.Equal(data, theirData):
		t.Fatalf("net/http reads %q for %q", theirData, data)
	case in.Buffered() != len(p)-used:
		t.Fatalf("net/http leaves %d bytes behind the body, not %d", in.Buffered(), len(p)-used)
	}
}

// FuzzResponse is FuzzRequest for responses.
func FuzzResponse(f *testing.F) {
	seeds(f, func(p []byte) { f.Add(p, uint16(len(p)/2), len(p)%2 == 0) })
	f.Fuzz(func(t *testing.T, p []byte, cut uint16, head bool) {
		var r, again Response
		n, err := r.Parse(p, head)
		piece := p[:min(len(p), int(cut))]
		m, pieceErr := again.Parse(piece, head)
		samePiece(t, len(piece), n, m, err, pieceErr)
		if n == 0 {
			return
		}
		if m, err := again.Parse(p[:n:n], head); m != n || err != nil {
			t.Fatalf("alone: %d, %v, want %d", m, err, n)
		}
		printed := appendResponse(nil, &r)
		m, err = again.Parse(printed, head)
		switch {
		case len(printed) > MaxHead:
		case m != len(printed) || err != nil:
			t.Fatalf("printed %q: %d, %v", printed, m, err)
		case again.Body != r.Body || again.Length != r.Length || again.KeepAlive != r.KeepAlive || !bytes.Equal(again.Upgrade, r.Upgrade):
			t.Fatalf("printed %q: %+v, want %+v", printed, again.Body, r.Body)
		case !bytes.Equal(appendResponse(nil, &again), printed):
			t.Fatalf("printed %q, then otherwise", printed)
		}
		method := http.MethodGet
		if head {
			method = http.MethodHead
		}
		in := bufio.NewReaderSize(bytes.NewReader(p), 2*MaxHead)
		res, err := http.ReadResponse(in, &http.Request{Method: method})
		if err != nil {
			t.Fatalf("net/http refuses %q: %v", p[:n], err)
		}
		defer res.Body.Close()
		want := strings.TrimLeft(string(r.Reason), " ")
		if res.StatusCode != r.Status || min(res.ProtoMinor, 1) != r.Minor || strings.TrimLeft(strings.TrimPrefix(res.Status, fmt.Sprint(r.Status)), " ") != want {
			t.Fatalf("net/http reads %s for %d %s", res.Status, r.Status, r.Reason)
		}
		if res.Close && r.KeepAlive {
			t.Fatal("net/http closes")
		}
		if r.Body == Sized && res.ContentLength != r.Length {
			t.Fatalf("net/http: length %d for %d", res.ContentLength, r.Length)
		}
		sameFields(t, &r.Head, res.Header)
		sameBody(t, &r.Head, p[n:], res.Body, in)
	})
}

// FuzzBody decodes a body at once and in pieces.
func FuzzBody(f *testing.F) {
	for _, s := range []string{
		"3\r\nabc\r\n0\r\n\r\n", "a;b=c\r\n0123456789\r\n0\r\nX: y\r\n\r\nrest", "7fffffffffffffff\r\nabc", "1\r\nab", "0\r\nX\r\n", "ffffffffffffffff\r\n",
	} {
		f.Add([]byte(s), uint8(Chunked), int64(0), uint8(1))
		f.Add([]byte(s), uint8(Sized), int64(5), uint8(2))
	}
	f.Fuzz(func(t *testing.T, p []byte, framing uint8, length int64, size uint8) {
		reset := func(b *Body) { b.Reset(Framing(framing%4), max(length, 0)) }
		var b, pieces Body
		reset(&b)
		reset(&pieces)
		data, used, err := decode(&b, p[:len(p):len(p)], len(p)+1)
		inPieces, usedInPieces, errInPieces := decode(&pieces, p, int(size)+1)
		if !bytes.Equal(data, inPieces) || used != usedInPieces || !errors.Is(err, errInPieces) || b != pieces {
			t.Fatalf("at once %q, %d, %v; in pieces of %d %q, %d, %v", data, used, err, size+1, inPieces, usedInPieces, errInPieces)
		}
		if used > len(p) || len(data) > used || err == nil && !b.Done() && used < len(p) {
			t.Fatalf("%d of %d bytes used for %d of data, %v", used, len(p), len(data), err)
		}
		if err != nil || !b.Done() || b.framing != Chunked {
			return
		}
		// Written anew it is the same, for a strict reader and for net/http.
		out := append(AppendChunk(nil, data), LastChunk...)
		reset(&b)
		again, used, err := decode(&b, out, len(out))
		if !bytes.Equal(again, data) || used != len(out) || err != nil || !b.Done() {
			t.Fatalf("%q written as %q is %q, %v", data, out, again, err)
		}
	})
}
