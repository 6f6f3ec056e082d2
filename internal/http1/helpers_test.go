package http1

import (
	"fmt"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// decode reads a body in pieces of at most size bytes.
func decode(b *Body, p []byte, size int) (data []byte, used int, err error) {
	for !b.Done() && used < len(p) {
		piece := p[used:min(len(p), used+size)]
		d, n, err := b.Next(piece)
		data = append(data, d...)
		used += n
		if err != nil {
			return data, used, err
		}
		if n == 0 {
			panic("a body that is not done uses nothing")
		}
	}
	return data, used, nil
}

// meaning is what a connection's bytes say: every message with its body, and at
// the end "…" if more is to come, or the status of the refusal.
func meaning(t *testing.T, p []byte) string {
	t.Helper()
	var said []string
	for p = p[EmptyLines(p):]; len(p) > 0; p = p[EmptyLines(p):] {
		var r Request
		n, err := r.Parse(p)
		if err != nil {
			return strings.Join(append(said, fmt.Sprint(statusOf(t, err))), " | ")
		}
		if n == 0 {
			return strings.Join(append(said, "…"), " | ")
		}
		var b Body
		b.Reset(r.Body, r.Length)
		data, used, err := decode(&b, p[n:], len(p))
		head := fmt.Sprintf("%s %s %s {%s}", r.Method, r.Path, r.Host, data)
		switch {
		case err != nil:
			return strings.Join(append(said, head, fmt.Sprint(statusOf(t, err))), " | ")
		case !b.Done():
			return strings.Join(append(said, head+"…"), " | ")
		}
		said = append(said, head)
		p = p[n+used:]
	}
	return strings.Join(said, " | ")
}

// appendRequest prints a request as it was received, but for white space and with
// its target in origin form.
func appendRequest(dst []byte, r *Request) []byte {
	dst = fmt.Appendf(dst, "%s %s", r.Method, r.Path)
	if r.Query != nil {
		dst = fmt.Appendf(dst, "?%s", r.Query)
	}
	dst = fmt.Appendf(dst, " HTTP/1.%d\r\n", r.Minor)
	if r.Host != nil && r.Get("host") == nil {
		dst = fmt.Appendf(dst, "Host: %s\r\n", r.Host)
	}
	for _, f := range r.Fields {
		dst = fmt.Appendf(dst, "%s: %s\r\n", f.Name, f.Value)
	}
	return append(dst, "\r\n"...)
}

// appendForwarded prints a request as a gateway passes it on.
func appendForwarded(dst []byte, r *Request) []byte {
	dst = fmt.Appendf(dst, "%s %s", r.Method, r.Path)
	if r.Query != nil {
		dst = fmt.Appendf(dst, "?%s", r.Query)
	}
	dst = fmt.Appendf(dst, " HTTP/1.1\r\nHost: %s\r\n", r.Host)
	if r.Body == Chunked {
		dst = append(dst, "Transfer-Encoding: chunked\r\n"...)
	}
	for i, f := range r.Fields {
		if !r.Hop(i) && !strings.EqualFold(string(f.Name), "host") {
			dst = fmt.Appendf(dst, "%s: %s\r\n", f.Name, f.Value)
		}
	}
	return append(dst, "\r\n"...)
}

// appendResponse prints a response as it was received, but for white space.
func appendResponse(dst []byte, r *Response) []byte {
	dst = fmt.Appendf(dst, "HTTP/1.%d %d %s\r\n", r.Minor, r.Status, r.Reason)
	for _, f := range r.Fields {
		dst = fmt.Appendf(dst, "%s: %s\r\n", f.Name, f.Value)
	}
	return append(dst, "\r\n"...)
}
