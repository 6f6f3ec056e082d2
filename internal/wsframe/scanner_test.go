package wsframe

import (
	"bytes"
	"encoding/binary"
	"slices"
	"strings"
	"testing"

	"github.com/erlmcp/erlmcp/internal/mcp"
)

// appendFrame appends a masked frame of n bytes.
func appendFrame(dst []byte, first byte, n int) []byte {
	dst = append(dst, first)
	switch {
	case n < 126:
		dst = append(dst, masked|byte(n))
	case n < 1<<16:
		dst = binary.BigEndian.AppendUint16(append(dst, masked|126), uint16(n))
	default:
		dst = binary.BigEndian.AppendUint64(append(dst, masked|127), uint64(n))
	}
	dst = append(dst, 1, 2, 3, 4)
	return append(dst, make([]byte, n)...)
}

// countFrames counts the messages in pieces of a stream.
func countFrames(s *Scanner, p []byte, limit uint64) (messages int, tooLong bool) {
	var room []byte
	for len(p) > 0 {
		n, more, tooLong := s.Next(p, limit, &room)
		if tooLong {
			return messages, true
		}
		messages += more
		p = p[n:]
	}
	return messages, false
}

func TestFrames(t *testing.T) {
	join := slices.Concat[[]byte]
	frame := func(first byte, n int) []byte { return appendFrame(nil, first, n) }
	text := func(first byte, payload string) []byte {
		p := appendFrame(nil, first, len(payload))
		at := len(p) - len(payload)
		copy(p[at:], payload)
		unmask(p[at:], [4]byte{1, 2, 3, 4})
		return p
	}
	const batch = `[{"a":"],"},{},{"b":[1,2]}]`
	const limit = 100_000
	for _, test := range []struct {
		name     string
		stream   []byte
		messages int
		tooLong  bool
	}{
		{"text", frame(0x81, 5), 1, false},
		{"empty", frame(0x82, 0), 1, false},
		{"lengths", join(frame(0x81, 125), frame(0x81, 126), frame(0x81, 65535), frame(0x81, 65536)), 4, false},
		{"fragments", join(frame(0x01, 3), frame(0x00, 3), frame(0x80, 3), frame(0x81, 1)), 2, false},
		{"ping within", join(frame(0x01, 3), frame(0x89, 4), frame(0x80, 3)), 1, false},
		{"control", join(frame(0x89, 0), frame(0x8a, 125), frame(0x88, 2)), 0, false},
		{"compressed", frame(0xc1, 9), 1, false},
		{"unmasked", []byte{0x81, 2, 'h', 'i', 0x81, 0}, 2, false},
		{"unfinished", frame(0x81, 500)[:300], 0, false},
		{"as long as may be", frame(0x81, limit), 1, false},
		{"too long", frame(0x81, limit+1)[:20], 0, true},
		{"too long in all", join(frame(0x01, limit), frame(0x80, 1)), 0, true},
		{"two long ones", join(frame(0x81, limit), frame(0x81, limit)), 2, false},
		{"absurd", []byte{0x81, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0, 0x81, 0, 0x81, 0}, 0, false},
		{"fragmented control", join(frame(0x09, 1), frame(0x81, 1)), 0, false},
		{"long control", join(frame(0x89, 126), frame(0x81, 1)), (4 + 126 + 7) / mcp.UnreadBytes, false},
		{"batch", text(0x81, batch), 3, false},
		{"empty batch", text(0x81, "[]"), 1, false},
		{"batch of many", text(0x81, "["+strings.Repeat("{},", 999)+"{}]"), 1000, false},
		{"batch in fragments", join(text(0x01, batch[:9]), frame(0x89, 3), text(0x00, batch[9:10]), text(0x80, batch[10:])), 3, false},
		{"batch and more", join(text(0x82, "\ufeff"+batch), text(0x81, "{}"), text(0x81, batch)), 7, false},
		{"batch that is compressed", text(0xc1, "["+strings.Repeat("{},", 999)+"{}]"), 3001/mcp.UnreadBytes + 1, false},
		{"one in fragments", join(text(0x01, "{\"a\":"), text(0x80, "[1,2]}")), 1, false},
		{"reserved", join(frame(0x81, 1), frame(0x83, 1), frame(0x81, 1)), 1, false},
	} {
		for _, size := range []int{1, 2, 3, 7, 1 << 20} {
			var s Scanner
			messages, tooLong := 0, false
			for p := test.stream; len(p) > 0 && !tooLong; {
				k := min(size, len(p))
				var m int
				m, tooLong = countFrames(&s, p[:k], limit)
				messages += m
				p = p[k:]
			}
			if messages != test.messages || tooLong != test.tooLong {
				t.Errorf("%s in pieces of %d: %d messages, too long: %v", test.name, size, messages, tooLong)
			}
		}
	}
}

// The counts do not depend on how the stream is cut, and every byte is accounted for.
func FuzzFrames(f *testing.F) {
	f.Add(appendFrame(appendFrame(nil, 0x01, 3), 0x80, 200), uint32(5), uint16(1000))
	f.Add(appendFrame(appendFrame(nil, 0x89, 4), 0x81, 70_000)[:500], uint32(77), uint16(65535))
	f.Add([]byte{0x81, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0, 0x81, 0}, uint32(3), uint16(9))
	f.Add([]byte("\x00d0\xa80d"), uint32(101), uint16(65498))
	f.Fuzz(func(t *testing.T, stream []byte, cuts uint32, limit uint16) {
		var whole, cut Scanner
		want, wantLong := countFrames(&whole, stream, uint64(limit))
		got, gotLong, start := 0, false, 0
		for i := 1; i <= len(stream) && !gotLong; i++ {
			if i < len(stream) && cuts>>(i%32)&1 == 0 {
				continue
			}
			var m int
			m, gotLong = countFrames(&cut, stream[start:i], uint64(limit))
			got += m
			start = i
		}
		if got != want || gotLong != wantLong || !wantLong && whole != cut {
			t.Fatalf("%x: %d and %d messages, too long: %v and %v", stream, want, got, wantLong, gotLong)
		}
		var s Scanner
		var room []byte
		for p := stream; len(p) > 0; {
			n, _, tooLong := s.Next(p, uint64(limit), &room)
			if tooLong {
				return
			}
			if n <= 0 || n > len(p) {
				t.Fatalf("read %d of %d bytes", n, len(p))
			}
			p = p[n:]
		}
	})
}

// Frames that are no message but have the node do something are due like one.
func TestFramesThatAreDue(t *testing.T) {
	join := slices.Concat[[]byte]
	frame := func(first byte, n int) []byte { return appendFrame(nil, first, n) }
	for name, test := range map[string]struct {
		stream []byte
		due    int
	}{
		"messages":        {join(frame(0x81, 0), frame(0x82, 100)), 0},
		"pings and pongs": {join(frame(0x89, 0), frame(0x8a, 10), frame(0x89, 125)), 3},
		"long fragments":  {join(frame(0x01, shortFragment), frame(0x00, shortFragment), frame(0x80, 1)), 0},
		"short fragments": {join(frame(0x01, 1), frame(0x00, 0), frame(0x00, shortFragment-1), frame(0x80, 0)), 3},
	} {
		var s Scanner
		countFrames(&s, test.stream, 1000)
		if due := s.TakeDues(); due != test.due || s.TakeDues() != 0 {
			t.Errorf("%s: %d are due, want %d", name, due, test.due)
		}
	}
}

// A large batch in one frame is not unmasked as a whole for each step in which its messages are counted.
func TestBatchesAreUnmaskedInPieces(t *testing.T) {
	const size = 64 << 10
	frame := append([]byte{fin | 1, masked | 127, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0}, "["+strings.Repeat("1,", size/2-1)+"]"...)
	var s Scanner
	var room []byte
	unmasked, messages := 0, 0
	for rest := frame; len(rest) > 0; {
		n, m, _ := s.Next(rest, size, &room)
		rest, messages, unmasked = rest[n:], messages+m, unmasked+len(room)
	}
	if messages < size/2-1 || unmasked > 16*size {
		t.Errorf("for %d messages in %d bytes %d were unmasked", messages, size, unmasked)
	}
}

// The growth of messages is their length, however they are cut into frames and pieces, and nothing else's.
func TestGrowth(t *testing.T) {
	const long = 1000
	for name, test := range map[string]struct {
		stream []byte
		want   []int64 // lengths of messages
	}{
		"none":               {appendFrame(nil, 0x89, 4), nil},
		"one":                {appendFrame(nil, 0x82, 3*long), []int64{3 * long}},
		"in fragments":       {appendFrame(appendFrame(appendFrame(nil, 0x02, long-1), 0x00, long), 0x80, 2), []int64{2*long + 1}},
		"many":               {bytes.Repeat(appendFrame(nil, 0x82, long), 3), []int64{long, long, long}},
		"with pings between": {appendFrame(appendFrame(appendFrame(appendFrame(nil, 0x02, 5), 0x89, 4), 0x80, 6), 0x89, 0), []int64{11}},
	} {
		for _, size := range []int{1, 7, len(test.stream)} {
			var s Scanner
			var room []byte
			var got []int64
			for rest := test.stream; len(rest) > 0; {
				n, _, _ := s.Next(rest[:min(size, len(rest))], 1<<20, &room)
				rest = rest[n:]
				switch before, now := s.Growth(); {
				case before == 0 && now > 0:
					got = append(got, now)
				case now != before:
					if last := len(got) - 1; last < 0 || got[last] != before {
						t.Fatalf("%s in pieces of %d: from %d to %d, behind %v", name, size, before, now, got)
					}
					got[len(got)-1] = now
				}
			}
			if !slices.Equal(got, test.want) {
				t.Errorf("%s in pieces of %d: %v, want %v", name, size, got, test.want)
			}
		}
	}
}

// A limit that is lowered binds what comes, and not a message that has ended.
func TestLimitIsLoweredBehindAMessage(t *testing.T) {
	var s Scanner
	countFrames(&s, appendFrame(nil, 0x82, 100), 1000)
	if _, tooLong := countFrames(&s, appendFrame(nil, 0x89, 4), 50); tooLong {
		t.Error("a ping is too long")
	}
	if _, tooLong := countFrames(&s, appendFrame(nil, 0x82, 51), 50); !tooLong {
		t.Error("a message is not too long")
	}
}

func TestAppendClose(t *testing.T) {
	frame := AppendClose(nil, 1009)
	if !bytes.Equal(frame, []byte{0x88, 2, 1009 >> 8, 1009 & 0xff}) {
		t.Errorf("% x", frame)
	}
	var s Scanner
	if !s.Between() || s.Closing() {
		t.Error("a new stream is in a frame, or closing")
	}
	for i := range frame {
		if n, messages, tooLong := s.Next(frame[i:i+1], 0, nil); n != 1 || messages != 0 || tooLong {
			t.Errorf("byte %d: read %d, %d messages, too long: %v", i, n, messages, tooLong)
		}
		if whole := i+1 == len(frame); s.Between() != whole || s.Closing() != (i > 0) {
			t.Errorf("behind byte %d: between frames: %v, closing: %v", i, s.Between(), s.Closing())
		}
	}
}

func TestScanningAllocatesNothing(t *testing.T) {
	stream := appendFrame(appendFrame(appendFrame(nil, 0x01, 3), 0x89, 4), 0x80, 70_000)
	room := make([]byte, 0, len(stream))
	var s Scanner
	if n := testing.AllocsPerRun(100, func() {
		for p := stream; len(p) > 0; {
			n, _, _ := s.Next(p, 1<<20, &room)
			p = p[n:]
		}
	}); n != 0 {
		t.Errorf("%v allocations a message", n)
	}
}
