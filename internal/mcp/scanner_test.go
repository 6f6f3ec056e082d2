package mcp

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

func TestScannerCounts(t *testing.T) {
	for _, c := range []struct {
		stream string
		want   []int // messages of each line
		rest   int   // of what follows the last newline
	}{
		{"", nil, 0},
		{"\n", []int{0}, 0},
		{" \t\r\n\r\n", []int{0, 0}, 0},
		{`{"id":1}` + "\n", []int{1}, 0},
		{`{"id":1}` + "\r\n" + `{"id":2}`, []int{1}, 1},
		{"  {}\n", []int{1}, 0},
		{"[]\n", []int{1}, 0},
		{"[ ]\n", []int{1}, 0},
		{"[{}]\n[{},{}]\n", []int{1, 2}, 0},
		{"\t[ {\"a\":[1,2,{\"b\":3}]} , {} ,\r {}]\r\n", []int{3}, 0},
		{`[{"a":"],[}{,"},{"b":"\",\""},{"c":"\\"},4]` + "\n", []int{4}, 0},
		{`[1,"two",null,[3,3,3]]`, nil, 4},
		{"[{},{}] trailing, [1,2]\n{}\n", []int{2, 1}, 0},
		{"hello, world\n", []int{1}, 0},
		{"\"a,b\"\n", []int{1}, 0},
		{"[1,2\n[3\n", []int{2, 1}, 0},                // a line ends, whatever is open
		{`["a,` + "\n" + `{}` + "\n", []int{1, 1}, 0}, // so does a string
		{`["\`, nil, 1},
	} {
		var s Scanner
		var got []int
		p := []byte(c.stream)
		for len(p) > 0 {
			n, messages, end := s.Next(p)
			if end {
				got = append(got, messages)
			}
			p = p[n:]
		}
		if rest := s.End(); fmt.Sprint(got) != fmt.Sprint(c.want) || rest != c.rest {
			t.Errorf("%q: %v and %d, want %v and %d", c.stream, got, rest, c.want, c.rest)
		}
	}
}

func TestScannerInLine(t *testing.T) {
	var s Scanner
	for _, step := range []struct {
		piece string
		want  bool
	}{{"", false}, {" \r", false}, {"{", true}, {"}", true}, {"\n", false}, {"\n  ", false}, {"[", true}, {"\n", false}} {
		s.Next([]byte(step.piece))
		if s.InLine() != step.want {
			t.Fatalf("after %q: InLine = %v", step.piece, s.InLine())
		}
	}
}

// split cuts p into pieces, by seed, and calls f with each.
func split(p []byte, seed uint64, f func([]byte)) {
	r := rand.New(rand.NewPCG(seed, 1))
	for len(p) > 0 {
		n := 1 + r.IntN(min(len(p), 1+r.IntN(40)))
		f(p[:n:n])
		p = p[n:]
	}
}

var streams = []string{
	`{"jsonrpc":"2.0","id":1,"method":"ping"}` + "\n",
	`[{"jsonrpc":"2.0","id":"a","method":"x","params":{"id":[1,2]}},{"method":"y"},{"id":null,"result":{}}]` + "\r\n",
	"[{},{\"a\":\"\\\\\"},\"\\\",\",[],5]\n\n \n[]\n[1,2",
	`{"id":{"a":[1,"}"]},"method":"m"}` + "\n" + `[[{"id":1}],{"\u0069d":7,"m\u0065thod":""}]` + "\n",
	`{"params":{"method":1,"id":2},"id": "x\"y" , "method" : "z"}` + "\n}{][\"\n",
	`{"id":1,"id":"twice","result":1}` + "\n" + `{"id":` + strings.Repeat("9", 300) + `,"method":""}` + "\n",
	"[,,]\n[\"\\u00", "{\"id\":  1   \t ,\"method\":1}\n{\"a\":1", "nonsense\n[\xff\xfe,\x00]\n",
}

func FuzzScannerIgnoresHowAStreamIsCut(f *testing.F) {
	for i, s := range streams {
		f.Add([]byte(s), uint64(i))
	}
	f.Fuzz(func(t *testing.T, stream []byte, seed uint64) {
		var whole, parts Scanner
		want := whole.Count(stream)
		got := 0
		split(stream, seed, func(p []byte) { got += parts.Count(p) })
		if got != want || whole != parts || whole.InLine() != parts.InLine() {
			t.Fatalf("%d in pieces, %d in one; %+v, %+v", got, want, parts, whole)
		}
		if a, b := whole.End(), parts.End(); a != b || whole != (Scanner{}) {
			t.Fatalf("the last line: %d in pieces, %d in one", b, a)
		}
	})
}

// lineMessages is what Scanner counts, by encoding/json; ok is false for a line
// that is not JSON.
func lineMessages(line []byte) (n int, ok bool) {
	line = bytes.Trim(line, " \t\r")
	if len(line) == 0 {
		return 0, true
	}
	if !json.Valid(line) {
		return 1, false
	}
	var batch []json.RawMessage
	if json.Unmarshal(line, &batch) == nil && line[0] == '[' {
		return max(1, len(batch)), true
	}
	return 1, true
}

func FuzzScannerAgainstEncodingJSON(f *testing.F) {
	for _, s := range streams {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, stream []byte) {
		var s Scanner
		for line := range bytes.Lines(stream) {
			n, got, end := s.Next(line)
			if n != len(line) {
				t.Fatalf("read %d bytes of the line %q", n, line)
			}
			if !end {
				got = s.End()
			}
			want, ok := lineMessages(bytes.TrimSuffix(line, []byte("\n")))
			if ok && got != want || !ok && got < 1 {
				t.Fatalf("%q: %d messages, want %d", line, got, want)
			}
		}
	})
}

func TestScannerKeepsNothing(t *testing.T) {
	const size = 16 << 20
	piece := bytes.Repeat([]byte(`{"a":"b\\"},`), 64<<10/12)
	var s Scanner
	open, closing, newline := []byte("["), []byte("{}]"), []byte("\n")
	allocs := testing.AllocsPerRun(1, func() {
		s.Count(open)
		for sent := 0; sent < size; sent += len(piece) {
			if s.Count(piece) != 0 {
				t.Fatal("counted before the line's end")
			}
		}
		s.Count(closing)
		pieces := (size + len(piece) - 1) / len(piece)
		if got, want := s.Count(newline), pieces*(len(piece)/12)+1; got != want {
			t.Fatalf("%d messages in a 16 MiB batch, want %d", got, want)
		}
	})
	if allocs != 0 {
		t.Errorf("%v allocations", allocs)
	}
}

func BenchmarkScanner(b *testing.B) {
	small := []byte(strings.Repeat(`{"jsonrpc":"2.0","id":123456,"method":"tools/call","params":{"name":"whoami"}}`+"\n", 800))
	large := append(append([]byte(`{"jsonrpc":"2.0","id":1,"result":"`), bytes.Repeat([]byte("x"), 64<<10)...), "\"}\n"...)
	batch := []byte("[" + strings.TrimSuffix(strings.Repeat(`{"jsonrpc":"2.0","id":123456,"method":"tools/call","params":{"name":"whoami"}},`, 800), ",") + "]\n")
	for name, p := range map[string][]byte{"Small": small, "Large": large, "Batch": batch} {
		b.Run(name, func(b *testing.B) {
			var s Scanner
			b.SetBytes(int64(len(p)))
			b.ReportAllocs()
			for b.Loop() {
				s.Count(p)
			}
		})
		b.Run(name+"Inspected", func(b *testing.B) {
			var in Inspector
			b.SetBytes(int64(len(p)))
			b.ReportAllocs()
			for b.Loop() {
				for rest := p; len(rest) > 0; {
					in.Reset()
					n, _, _ := in.Next(rest)
					rest = rest[n:]
				}
			}
		})
	}
}
