package mcp

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

// inspect reads one line with an Inspector and prints what it found.
func inspect(in *Inspector, line string) string {
	in.Reset()
	if _, _, end := in.Next([]byte(line)); !end {
		in.End()
	}
	return found(in)
}

func found(in *Inspector) string {
	var b strings.Builder
	for i := range in.Messages() {
		m := in.Message(i)
		fmt.Fprintf(&b, "(%s %v)", m.ID, m.Method)
	}
	return b.String()
}

func TestInspectorFindsIDs(t *testing.T) {
	long, fits := strings.Repeat("9", MaxID+1), strings.Repeat("9", MaxID)
	for _, c := range []struct{ line, want string }{
		{"", ""},
		{" \r", ""},
		{`{}`, "( false)"},
		{`{"id":1,"method":"ping"}`, "(1 true)"},
		{`{"method":"ping","id":1}`, "(1 true)"},
		{` { "id" : "a,}\"]" , "method" : "ping" } `, `("a,}\"]" true)`},
		{`{"id":-1.5e3}`, "(-1.5e3 false)"},
		{`{"id":null,"method":""}`, "(null true)"},
		{`{"method":"n"}`, "( true)"},
		{`{"params":{"id":1,"method":2},"result":[{"id":3}]}`, "( false)"},
		{`{"i\u0064":1,"\u006d\u0065\u0074\u0068\u006f\u0064":2}`, "(1 true)"},
		{`{"\u006d\u0065\u0074\u0068\u006f\u0064x":2,"idx":1,"ID":3,"i\d":4,"":5}`, "( false)"},
		{`{"` + strings.Repeat("m", 500) + `":1}`, "( false)"},
		{`{"id":1,"id":"second"}`, `("second" false)`},
		{`{"id":1` + strings.Repeat(" ", 500) + `,"method":2}`, "(1 true)"},
		{`{"id":` + strings.Repeat(" ", 500) + `1}`, "(1 false)"},
		{`{"id":` + fits + `}`, "(" + fits + " false)"},
		{`{"id":` + long + `,"method":1}`, "(null true)"},
		{`{"id":"` + long + `","method":1}`, "(null true)"},
		{`{"id":{"x":1},"method":1}`, "(null true)"},
		{`{"id":[1,2],"method":1}`, "(null true)"},
		{`{"id":true}`, "(null false)"},
		{`{"id":1 2}`, "(null false)"},
		{`{"id":nul}`, "(null false)"},
		{"{\"id\":\"a\x01\"}", "(null false)"},
		{`{"id":"open`, "(null false)"},
		{`{"id":12`, "(12 false)"},
		{`{"id":`, "(null false)"},
		{`[]`, "( false)"},
		{`[1]`, "( false)"},
		{`[{"id":1,"method":1},{"method":1},{"id":"b"},4,[{"id":9}],["id",1]]`, `(1 true)( true)("b" false)( false)( false)( false)`},
		{`[{"id":1},{"id":` + long + `},{"id":3}]`, "(1 false)(null false)(3 false)"},
		{`hello`, "( false)"},
		{`"id":1,"method":2`, "( false)"},
		{`{"id":1}{"id":2,"method":3}`, "(1 false)"},
		{`]{"id":1}`, "( false)"},
	} {
		var in Inspector
		if got := inspect(&in, c.line); got != c.want {
			t.Errorf("%q: %s, want %s", c.line, got, c.want)
		}
		if got := inspect(&in, c.line+"\n"); got != c.want {
			t.Errorf("%q and a newline: %s, want %s", c.line, got, c.want)
		}
	}
}

func TestInspectorBounds(t *testing.T) {
	id := `"` + strings.Repeat("i", MaxID-2) + `"`
	line := []byte("[" + strings.TrimSuffix(strings.Repeat(`{"id":`+id+`,"method":1},`, 3*MaxInspected), ",") + "]\n")
	var in Inspector
	_, messages, end := in.Next(line)
	if messages != 3*MaxInspected || !end || in.Messages() != MaxInspected {
		t.Fatalf("%d messages, %d told of", messages, in.Messages())
	}
	for i := range MaxInspected {
		if m := in.Message(i); string(m.ID) != id || !m.Method {
			t.Fatalf("message %d: %s %v", i, m.ID, m.Method)
		}
	}
	if len(in.ids) != MaxInspected*MaxID {
		t.Errorf("keeps %d bytes of ids", len(in.ids))
	}
	if allocs := testing.AllocsPerRun(10, func() { in.Reset(); in.Next(line) }); allocs != 0 && !raceEnabled {
		t.Errorf("%v allocations when reused", allocs)
	}
}

func TestAppendErrorsAnswersEveryRequest(t *testing.T) {
	const one = `{"jsonrpc":"2.0","id":%s,"error":{"code":-32019,"message":"rate limited","data":{"retryAfterMs":250}}}`
	reply := func(id string) string { return fmt.Sprintf(one, id) }
	for _, c := range []struct{ line, want string }{
		{"", ""},
		{`{"id":7,"method":"m"}`, reply("7") + "\n"},
		{`{"method":"notification"}`, ""},
		{`{"id":7,"result":{}}`, ""},
		{`{"id":{},"method":"m"}`, reply("null") + "\n"},
		{`no JSON at all`, reply("null") + "\n"},
		{`[]`, reply("null") + "\n"},
		{`[1]`, "[" + reply("null") + "]\n"},
		{`[{"method":"notification"},{"id":1,"result":2}]`, ""},
		{`[{"id":1,"method":"a"},{"method":"b"},{"id":"c","method":"c"}]`, "[" + reply("1") + "," + reply(`"c"`) + "]\n"},
	} {
		var in Inspector
		inspect(&in, c.line)
		got := string(in.AppendErrors([]byte("before "), CodeRateLimited, "rate limited", Field{"retryAfterMs", 250}))
		if got != "before "+c.want {
			t.Errorf("%q: %q, want %q", c.line, got, c.want)
		}
	}
}

// inspectJSON is what an Inspector finds in a valid line, by encoding/json.
func inspectJSON(t *testing.T, line []byte) string {
	elements := []json.RawMessage{line}
	if bytes.HasPrefix(bytes.TrimLeft(line, " \t\r"), []byte("[")) {
		elements = nil
		if err := json.Unmarshal(line, &elements); err != nil {
			t.Fatal(err)
		}
		if len(elements) == 0 {
			return "( false)"
		}
	}
	var b strings.Builder
	for i, e := range elements {
		if i == MaxInspected {
			break
		}
		var m map[string]json.RawMessage
		if e[0] == '{' {
			if err := json.Unmarshal(e, &m); err != nil {
				t.Fatal(err)
			}
		}
		_, method := m["method"]
		id, ok := m["id"]
		if ok && (len(id) > MaxID || !strings.ContainsRune(`"-0123456789n`, rune(id[0]))) {
			id = []byte("null")
		}
		fmt.Fprintf(&b, "(%s %v)", id, method)
	}
	return b.String()
}

func FuzzInspectorAgainstEncodingJSON(f *testing.F) {
	for i, s := range streams {
		f.Add([]byte(s), uint64(i))
	}
	f.Add([]byte(`[{"id":1,"method":1},{"method":1},{"id":"b"},4,[{"id":9}]]`), uint64(9))
	f.Add([]byte(`{"a":{"id":1},"id":{"b":[1,{"c":"d"}]},"method":{"id":2}}`), uint64(9))
	f.Fuzz(func(t *testing.T, stream []byte, seed uint64) {
		for line := range bytes.Lines(stream) {
			var whole, parts Inspector
			n, messages, end := whole.Next(line)
			if n != len(line) {
				t.Fatalf("read %d bytes of %q", n, line)
			}
			if !end {
				messages = whole.End()
			}
			total := 0
			split(line, seed, func(p []byte) {
				if _, n, end := parts.Next(p); end {
					total = n
				}
			})
			if !end {
				total = parts.End()
			}
			if total != messages || found(&parts) != found(&whole) || parts.batch != whole.batch || parts.empty != whole.empty {
				t.Fatalf("%q: %d %s in pieces, %d %s in one", line, total, found(&parts), messages, found(&whole))
			}
			var s Scanner
			s.Next(bytes.TrimSuffix(line, []byte("\n")))
			want := s.End()
			if one := json.Valid(line) && !bytes.ContainsAny(bytes.TrimRight(line, "\r\n"), "\r\u2028"); messages != want || one && whole.Messages() != min(want, MaxInspected) {
				t.Fatalf("%q: %d messages, %d told of, Scanner counts %d", line, messages, whole.Messages(), want)
			}
			answer := whole.AppendErrors(nil, CodeRateLimited, "rate limited")
			if len(answer) > 0 && !json.Valid(answer) {
				t.Fatalf("%q is answered %q", line, answer)
			}
			if trimmed := bytes.Trim(line, " \t\r\n"); len(trimmed) > 0 && json.Valid(trimmed) {
				if want := inspectJSON(t, trimmed); found(&whole) != want {
					t.Fatalf("%q: %s, want %s", line, found(&whole), want)
				}
			}
		}
	})
}

// End ends the line as a newline does: for a stream that ended without one.
func (in *Inspector) End() (messages int) {
	in.finish()
	return in.scanner.End()
}

// Messages is how many messages of the line can be asked for, at most
// MaxInspected. Valid after the line's end.
func (in *Inspector) Messages() int { return len(in.messages) }
