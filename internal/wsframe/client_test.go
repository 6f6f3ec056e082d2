package wsframe

import (
	"bytes"
	"errors"
	"strings"
	"testing"
)

// appendServed appends a frame as servers send them.
func appendServed(dst []byte, first byte, payload string) []byte {
	frame := AppendMasked(nil, Opcode(first&opcodeMask), []byte(payload), [4]byte{})
	at := len(frame) - len(payload) - 4
	frame[0], frame[1] = first, frame[1]&^masked
	return append(append(dst, frame[:at]...), payload...)
}

func TestParse(t *testing.T) {
	const limit = 70_000
	for name, test := range map[string]struct {
		stream []byte
		want   Frame
		err    error
	}{
		"text":               {appendServed(nil, 0x81, "hello"), Frame{true, Text, []byte("hello")}, nil},
		"empty":              {appendServed(nil, 0x82, ""), Frame{true, Binary, []byte{}}, nil},
		"first fragment":     {appendServed(nil, 0x01, "a"), Frame{false, Text, []byte("a")}, nil},
		"last fragment":      {appendServed(nil, 0x80, "z"), Frame{true, Continuation, []byte("z")}, nil},
		"ping":               {appendServed(nil, 0x89, "?"), Frame{true, Ping, []byte("?")}, nil},
		"126":                {appendServed(nil, 0x81, strings.Repeat("b", 126)), Frame{true, Text, bytes.Repeat([]byte("b"), 126)}, nil},
		"as long as may be":  {appendServed(nil, 0x81, strings.Repeat("c", limit)), Frame{true, Text, bytes.Repeat([]byte("c"), limit)}, nil},
		"too long":           {appendServed(nil, 0x81, strings.Repeat("c", limit+1))[:10], Frame{}, ErrTooLong},
		"masked":             {AppendMasked(nil, Text, []byte("a"), [4]byte{1, 2, 3, 4}), Frame{}, ErrMasked},
		"compressed":         {[]byte{0xc1, 0}, Frame{}, ErrReserved},
		"reserved":           {[]byte{0x83, 0}, Frame{}, ErrReserved},
		"reserved control":   {[]byte{0x8b, 0}, Frame{}, ErrReserved},
		"long control":       {[]byte{0x89, 126}, Frame{}, ErrControl},
		"fragmented control": {[]byte{0x09, 0}, Frame{}, ErrControl},
	} {
		for cut := range min(len(test.stream), 20) {
			if f, n, err := Parse(test.stream[:cut], limit); n != 0 || f.Payload != nil || err != nil && !errors.Is(err, test.err) {
				t.Errorf("%s: %d bytes of it: %+v, %d, %v", name, cut, f, n, err)
			}
		}
		f, n, err := Parse(append(test.stream, "more"...), limit)
		if !errors.Is(err, test.err) || f.Final != test.want.Final || f.Opcode != test.want.Opcode || !bytes.Equal(f.Payload, test.want.Payload) {
			t.Errorf("%s: %+v, %v", name, f, err)
		}
		if err == nil && n != len(test.stream) {
			t.Errorf("%s: %d of %d bytes", name, n, len(test.stream))
		}
	}
}

// What a client sends is what the balancer reads.
func TestAppendMasked(t *testing.T) {
	for _, size := range []int{0, 1, 7, 125, 126, 65535, 65536} {
		payload := bytes.Repeat([]byte("x"), size)
		frame := AppendMasked([]byte("before"), Text, payload, [4]byte{9, 8, 7, 6})[6:]
		if bytes.Count(frame, []byte("x")) > size/2 {
			t.Errorf("%d bytes are not masked", size)
		}
		if messages, tooLong := countFrames(new(Scanner), frame, 1<<20); messages != 1 || tooLong {
			t.Errorf("%d bytes: %d messages, too long: %v", size, messages, tooLong)
		}
		unmask(frame[len(frame)-size:], [4]byte{9, 8, 7, 6})
		if !bytes.HasSuffix(frame, payload) {
			t.Errorf("%d bytes came out differently", size)
		}
	}
}

// A frame is read the same however much is behind it, and counted as the balancer counts it.
func FuzzParse(f *testing.F) {
	f.Add(appendServed(appendServed(nil, 0x01, "a"), 0x80, "b"), uint16(10))
	f.Add([]byte{0x81, 126, 0, 3, 'a', 'b', 'c', 0x89, 0}, uint16(3))
	f.Add([]byte{0x81, 127, 0xff, 0, 0, 0, 0, 0, 0, 0}, uint16(100))
	f.Fuzz(func(t *testing.T, stream []byte, limit uint16) {
		var s Scanner
		for rest := stream; ; {
			frame, n, err := Parse(rest, int(limit))
			if n == 0 {
				if frame.Payload != nil {
					t.Fatalf("no frame, but %+v", frame)
				}
				return
			}
			if err != nil || len(frame.Payload) > int(limit) {
				t.Fatalf("%+v, %v", frame, err)
			}
			if _, short, err := Parse(rest[:n-1], int(limit)); short != 0 || err != nil {
				t.Fatalf("%d of %d bytes are a frame, %v", short, n, err)
			}
			messages := 0
			for read := 0; read < n; {
				k, m, _ := s.Next(rest[read:n], 1<<32, nil)
				read, messages = read+k, messages+m
			}
			if ends := frame.Final && frame.Opcode < Close; ends != (messages == 1) || !s.Between() {
				t.Fatalf("%+v is %d messages", frame, messages)
			}
			rest = rest[n:]
		}
	})
}
