package mcp

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
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

// What a line may mean to somebody is counted.
func TestScannerCountsForOthers(t *testing.T) {
	const call = `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","arguments":{"b":"]},[{"}}}`
	const calls = 50
	list := strings.TrimSuffix(strings.Repeat(call+",", calls), ",")
	batch := "[" + list + "]"
	wide := func(text string, size, at int) string {
		p := make([]byte, len(text)*size)
		for i := range len(text) {
			p[i*size+at] = text[i]
		}
		return string(p)
	}
	for name, line := range map[string]string{
		"plain":                     batch,
		"white space":               " \t\r" + batch + " ",
		"what trim cuts":            "\v\f\x00\x1f\u00a0\u2003\u3000\ufeff" + batch,
		"byte order mark":           "\xef\xbb\xbf" + batch,
		"two of them":               "\xef\xbb\xbf\xef\xbb\xbf" + batch,
		"UTF-16LE":                  wide(batch, 2, 0),
		"UTF-16BE":                  wide(batch, 2, 1),
		"UTF-16LE with a mark":      "\xff\xfe" + wide(batch, 2, 0),
		"UTF-16BE with a mark":      "\xfe\xff" + wide(" "+batch, 2, 1),
		"UTF-32LE":                  wide(batch, 4, 0),
		"UTF-32BE":                  wide(batch, 4, 3),
		"UTF-32BE with a mark":      "\x00\x00\xfe\xff" + wide(batch, 4, 3),
		"comment before":            "/* [ */" + batch,
		"stars":                     "/**[***/" + batch,
		"line comment":              "// [\r" + batch,
		"hash":                      "# [\r" + batch,
		"comment within":            "[/*\"*/" + list + "/*\"*/]",
		"single quotes":             "[{'a':'\"'}," + list + ",{'a':'\"'}]",
		"unquoted":                  "[{a:b\"}," + list + ",{a:b\"}]",
		"triple quotes":             "[{\"a\":\"\"\"\"\"\"}," + list + "]",
		"no commas":                 "[" + strings.Repeat(call+"\t", calls) + "]",
		"semicolons":                "[" + strings.Repeat(call+";", calls) + "]",
		"prefix":                    ")]}'\r" + batch,
		"behind another":            "{}" + batch,
		"behind a number":           "0" + batch,
		"behind a string":           "\"a\"" + batch,
		"behind a literal":          "null" + batch,
		"behind a batch":            "[]" + batch,
		"values":                    strings.Repeat(call, calls),
		"values and spaces":         strings.Repeat(call+" ", calls),
		"values and errors":         strings.Repeat("0"+call, calls),
		"carriage returns":          strings.Repeat(call+"\r", calls),
		"U+2028":                    strings.Repeat(call+"\u2028", calls),
		"U+2029":                    strings.Repeat(call+"\u2029 ", calls),
		"line behind what is none":  "nonsense\r" + batch,
		"line in a value":           "{\"a\":\r" + batch,
		"line in a string":          "{\"a\":\"\r" + batch + "\"}",
		"line in an escape":         "{\"a\":\"\\\r" + batch + "\"}",
		"long separator in a value": "{\"a\":\"x\u2028" + batch + "\"}",
		"line in a comment":         "/*\r" + batch,
	} {
		for seed := range uint64(20) {
			var whole, parts Scanner
			want := whole.Count([]byte(line + "\n"))
			got := 0
			split([]byte(line+"\n"), seed, func(p []byte) { got += parts.Count(p) })
			if want < calls || got != want {
				t.Errorf("%s: %d messages, %d in pieces, there are %d", name, want, got, calls)
			}
		}
		var s Scanner
		for p := []byte(line); len(p) > 0; {
			p = p[s.Text(p, true):]
		}
		if n := s.End(); n < calls && !strings.ContainsAny(line, "\r\u2028\u2029") {
			t.Errorf("%s: %d messages as a text", name, n)
		}
	}
}

// What is one message to everybody is not counted as more.
func TestScannerCountsOne(t *testing.T) {
	for _, text := range []string{
		`{"a":"\\frac{a}{b} } { }["}`,
		`{"a":{"b":[{},{}]}}` + "\r",
		"{\r\n  \"a\": [\r\n    {},\r\n    {}\r\n  ]\r\n}\r\n",
		"{\"a\":\"“{” — [\u2028text]\"}",
		"a=b&c=[1,2]", "<a>[1,2]</a>", "--boundary\r\n\r\n[1,2]", "hello {} [1,2]", "# title\n\ntext [1,2]",
		"\xff\xd8\xff\xe0\x00\x10JFIF[1,2]", "{ 'a': 1, /* [ */ }, {", "{\\rtf1 [1,2]}",
		"\x00\x00\x00\x18ftyp[1,2]", "\x1f\x8b\x08[1,2]", "PK\x03\x04[1,2]", "7", "\"a\"", "-1.5e3", "true",
	} {
		for seed := range uint64(20) {
			var s Scanner
			split([]byte(text), seed, func(p []byte) {
				for len(p) > 0 {
					p = p[s.Text(p, false):]
				}
			})
			if n := s.End(); n != 1 {
				t.Errorf("%q: %d messages", text, n)
			}
		}
		var s Scanner
		if s.Text([]byte(text), true); s.Messages() != 1 {
			t.Errorf("%q at once: %d messages", text, s.Messages())
		}
	}
}

// A stream of objects and batches has as many messages as a decoder finds in it.
func FuzzScannerAgainstDecoder(f *testing.F) {
	for _, s := range streams {
		f.Add([]byte(s), uint64(1))
	}
	f.Add([]byte(`{"a":"}{"}{"b":[1,{}]}[{},{}]0{}"x"null[[1,2]]`), uint64(2))
	f.Fuzz(func(t *testing.T, p []byte, seed uint64) {
		var whole, parts Scanner
		for rest := p; len(rest) > 0; {
			rest = rest[whole.Text(rest, true):]
		}
		split(p, seed, func(p []byte) {
			for len(p) > 0 {
				p = p[parts.Text(p, false):]
			}
		})
		got := whole.End()
		if n := parts.End(); n != got {
			t.Fatalf("%q: %d messages, %d in pieces", p, got, n)
		}
		want, others, d := 0, 0, json.NewDecoder(bytes.NewReader(p))
		for {
			var v any
			if err := d.Decode(&v); err != nil {
				if err == io.EOF && got > want+others || got < want {
					t.Fatalf("%q: %d messages, the decoder finds %d and %d other values", p, got, want, others)
				}
				return
			}
			switch v := v.(type) {
			case []any:
				want += max(1, len(v))
			case map[string]any:
				want++
			default:
				others++
			}
		}
	})
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
			line = bytes.TrimSuffix(line, []byte("\n"))
			want, ok := lineMessages(line)
			if others := bytes.ContainsAny(bytes.TrimSuffix(line, []byte("\r")), "\r\u2028"); ok && got != want && (!others || got < want) || !ok && got < 1 {
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
	allocs := testing.AllocsPerRun(4, func() { // the runtime allocates now and then
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
	numbers := func(size int) []byte {
		return append(append([]byte("["), bytes.Repeat([]byte("1,"), size/2)...), "1]\n"...)
	}
	for name, p := range map[string][]byte{
		"Small": small, "Large": large, "Batch": batch, "Numbers64KiB": numbers(64 << 10), "Numbers16MiB": numbers(16 << 20),
	} {
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

// Count reads all of p and returns the number of messages in the lines that end in it.
func (s *Scanner) Count(p []byte) int {
	total := 0
	for len(p) > 0 {
		n, messages, _ := s.Next(p)
		total += messages
		p = p[n:]
	}
	return total
}
