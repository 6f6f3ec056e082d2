package http1

import (
	"bytes"
	"math"
	"strings"
	"testing"
)

func TestBodies(t *testing.T) {
	for _, c := range []struct {
		name    string
		framing Framing
		length  int64
		in      string
		data    string
		rest    string
		done    bool
		whole   bool
	}{
		{"none", NoBody, 0, "abc", "", "abc", true, true},
		{"length of no body does not count", NoBody, 5, "abc", "", "abc", true, true},
		{"sized", Sized, 2, "abc", "ab", "c", true, true},
		{"sized 0", Sized, 0, "abc", "", "abc", true, true},
		{"sized, cut", Sized, 4, "abc", "abc", "", false, false},
		{"until close", UntilClose, 0, "abc", "abc", "", false, true},
		{"chunks", Chunked, 0, "3\r\nabc\r\n2\r\nde\r\n0\r\n\r\nrest", "abcde", "rest", true, true},
		{"chunks in capitals", Chunked, 0, "A\r\n0123456789\r\n0\r\n\r\n", "0123456789", "", true, true},
		{"chunks, cut", Chunked, 0, "3\r\nabc\r\n0\r\n", "abc", "", false, false},
		{"length of chunks does not count", Chunked, 1, "0\r\n\r\n", "", "", true, true},
		{"trailers", Chunked, 0, "1\r\na\r\n0\r\nX: y\r\nZ:\r\n\r\nrest", "a", "rest", true, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			for size := 1; size <= len(c.in); size++ {
				var b Body
				b.Reset(UntilClose, 7)
				b.Reset(c.framing, c.length)
				data, used, err := decode(&b, []byte(c.in), size)
				if err != nil || string(data) != c.data || c.in[used:] != c.rest {
					t.Fatalf("in pieces of %d: %q, rest %q, %v", size, data, c.in[used:], err)
				}
				if b.Done() != c.done || (b.End() == nil) != c.whole {
					t.Errorf("in pieces of %d: done %v, end %v", size, b.Done(), b.End())
				}
			}
		})
	}
}

// TestDataComesBeforeTheError: what was good of a piece is not lost with what is
// bad, and the error stays.
func TestDataComesBeforeTheError(t *testing.T) {
	var b Body
	b.Reset(Chunked, 0)
	p := []byte("3\r\nabc\r\nx")
	data, n, err := b.Next(p)
	if string(data) != "abc" || n != len(p)-1 || err != nil {
		t.Fatalf("Next = %q, %d, %v", data, n, err)
	}
	for range 2 {
		if data, n, err = b.Next(p[8:]); data != nil || n != 0 || statusOf(t, err) != 400 {
			t.Errorf("Next = %q, %d, %v", data, n, err)
		}
	}
	if b.Done() || b.End() == nil {
		t.Error("a malformed body is whole")
	}
}

func TestOneChunkAtATime(t *testing.T) {
	var b Body
	b.Reset(Chunked, 0)
	p := []byte("1\r\na\r\n1\r\nb\r\n0\r\n\r\n")
	for _, want := range []struct {
		data string
		used int
	}{{"a", 9}, {"b", len(p)}} {
		data, n, err := b.Next(p)
		if string(data) != want.data || n > want.used || err != nil {
			t.Fatalf("Next = %q, %d, %v, want %q", data, n, err, want.data)
		}
		p = p[n:]
	}
	if !b.Done() || len(p) > 0 {
		t.Errorf("done %v, rest %q", b.Done(), p)
	}
}

func TestAppendChunk(t *testing.T) {
	if got := AppendChunk([]byte("x"), nil); string(got) != "x" {
		t.Errorf("no data gives %q", got)
	}
	for _, size := range []int{1, 9, 10, 15, 16, 17, 255, 256, 4095, 4096, 65535, 65536} {
		want := bytes.Repeat([]byte("d"), size)
		out := append(AppendChunk(nil, want), LastChunk...)
		var b Body
		b.Reset(Chunked, 0)
		data, used, err := decode(&b, out, len(out))
		if !bytes.Equal(data, want) || used != len(out) || err != nil || !b.Done() {
			t.Errorf("a chunk of %d: %d bytes, %v", size, len(data), err)
		}
	}
	for size, want := range map[int]string{1: "1\r\n", 0xabc: "abc\r\n", math.MaxInt64: "7fffffffffffffff\r\n"} {
		if got := string(AppendChunkSize(nil, size)); got != want {
			t.Errorf("size %d gives %q", size, got)
		}
	}
}

// TestLargestChunk does not wrap around.
func TestLargestChunk(t *testing.T) {
	var b Body
	b.Reset(Chunked, 0)
	if _, _, err := b.Next([]byte("7fffffffffffffff\r\n")); err != nil || b.left != math.MaxInt64 {
		t.Fatalf("left %d, %v", b.left, err)
	}
	data, n, err := b.Next([]byte("abc"))
	if string(data) != "abc" || n != 3 || err != nil || b.left != math.MaxInt64-3 {
		t.Errorf("Next = %q, %d, %v, left %d", data, n, err, b.left)
	}
}

// TestExtensionBounds allows exactly what the bounds say.
func TestExtensionBounds(t *testing.T) {
	line := "1;" + strings.Repeat("x", maxLineExtension-1) + "\r\na\r\n"
	for _, c := range []struct {
		in string
		ok bool
	}{
		{strings.Repeat(line, maxExtensions/maxLineExtension) + "0\r\n\r\n", true},
		{strings.Repeat(line, maxExtensions/maxLineExtension) + "0;\r\n\r\n", false},
		{"0\r\nX:" + strings.Repeat("x", maxTrailers-6) + "\r\n\r\n", true},
		{"0\r\nX:" + strings.Repeat("x", maxTrailers-5) + "\r\n\r\n", false},
	} {
		var b Body
		b.Reset(Chunked, 0)
		if _, _, err := decode(&b, []byte(c.in), len(c.in)); (err == nil) != c.ok || b.Done() != c.ok {
			t.Errorf("%d bytes: %v", len(c.in), err)
		}
	}
}
