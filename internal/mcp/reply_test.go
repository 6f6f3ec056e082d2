package mcp

import (
	"bytes"
	"encoding/json"
	"errors"
	"testing"

	"github.com/erlmcp/erlmcp/internal/rawjson"
)

func TestParseReply(t *testing.T) {
	for _, c := range []struct {
		line, id, result string
		code             int
	}{
		{`{"jsonrpc":"2.0","id":7,"result":{}}` + "\n", "7", "{}", 0},
		{"\t{ \"result\" : [1, {\"id\":2}] ,\r \"id\":\t\"a\\\"\" , \"jsonrpc\":\"2.0\" , \"extra\":{\"error\":1} } \n", `"a\""`, `[1, {"id":2}]`, 0},
		{`{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"parse error"}}`, "null", "", -32700},
		{`{"error":{"message":"m","data":{"a":[1]},"code":-32601},"\u0069d":1,"jsonrpc":"2.0"}`, "1", "", -32601},
		{`{"jsonrpc":"2.0","id":1,"result":null}`, "1", "null", 0},
		{`{"jsonrpc":"2.0","id":1,"id":2,"result":0,"result":1}`, "2", "1", 0},
	} {
		r, err := ParseReply([]byte(c.line))
		if err != nil {
			t.Errorf("%s: %v", c.line, err)
			continue
		}
		code := 0
		if r.Err != nil {
			code = r.Err.Code
		}
		if string(r.ID) != c.id || string(r.Result) != c.result || code != c.code || (r.Err != nil) != (c.code != 0) {
			t.Errorf("%s: id %s, result %s, error %v", c.line, r.ID, r.Result, r.Err)
		}
	}
}

func TestParseReplyRefusesWhatIsNone(t *testing.T) {
	for _, line := range []string{
		"", "\n", "{", `"x"`, "7", "null", "HTTP/1.1 400 Bad Request",
		`[{"jsonrpc":"2.0","id":1,"result":{}}]`,
		`{"jsonrpc":"2.0","id":1,"result":{}} {}`,
		`{"id":1,"result":{}}`,
		`{"jsonrpc":"1.0","id":1,"result":{}}`,
		`{"jsonrpc":2.0,"id":1,"result":{}}`,
		`{"jsonrpc":"2.0","result":{}}`,
		`{"jsonrpc":"2.0","id":{},"result":{}}`,
		`{"jsonrpc":"2.0","id":true,"result":{}}`,
		`{"jsonrpc":"2.0","id":1}`,
		`{"jsonrpc":"2.0","id":1,"result":{},"error":{"code":1,"message":""}}`,
		`{"jsonrpc":"2.0","id":1,"error":null}`,
		`{"jsonrpc":"2.0","id":1,"error":"broken"}`,
		`{"jsonrpc":"2.0","id":1,"error":{"code":"x"}}`,
		`{"jsonrpc":"2.0","id":1,"method":"ping"}`,
		`{"jsonrpc":"2.0","id":1,"method":"ping","result":{}}`,
	} {
		if r, err := ParseReply([]byte(line)); !errors.Is(err, ErrNotReply) {
			t.Errorf("%s: %+v, error %v", line, r, err)
		}
	}
}

func TestReplyNumber(t *testing.T) {
	for raw, want := range map[string]int64{
		"0": 0, "7": 7, "9223372036854775807": 1<<63 - 1,
		"": -1, "-1": -1, "1.0": -1, "1e3": -1, `"7"`: -1, "null": -1, "12345678901234567890": -1,
	} {
		got, ok := Reply{ID: []byte(raw)}.Number()
		if ok != (want >= 0) || ok && got != uint64(want) {
			t.Errorf("%q: %d %v", raw, got, ok)
		}
	}
}

func TestWhoamiNode(t *testing.T) {
	for _, c := range []struct{ line, want string }{
		// The embedded node's, in both eras.
		{`{"jsonrpc":"2.0","id":5,"result":{"content":[{"type":"text","text":"erlmcp1"}],"structuredContent":{"node":"erlmcp1"}}}` + "\n", "erlmcp1"},
		{`{"jsonrpc":"2.0","id":1,"result":{"resultType":"complete","_meta":{"io.modelcontextprotocol/serverInfo":{"name":"erlmcp","version":"1"}},"content":[{"type":"text","text":"erlmcp1"}],"structuredContent":{"node":"erlmcp1"}}}`, "erlmcp1"},
		// Other orders, white space, either half.
		{"\r {\"result\":\t{ \"structuredContent\" : { \"x\":[\"}\"], \"node\" : \"n-2_b\" } , \"content\":[] } , \"id\":1 }", "n-2_b"},
		{`{"result":{"content":[ { "text" : "erlmcp3" , "type":"text" } , {"text":"second"} ]}}`, "erlmcp3"},
		{`{"result":{"structuredContent":{"node":7},"content":[{"text":"erlmcp4"}]}}`, "erlmcp4"},
		// None.
		{``, ""},
		{`{"result":{}}`, ""},
		{`{"result":{"content":[]}}`, ""},
		{`{"result":{"content":[{"type":"text","text":"{\"node\":\"x\"}"}]}}`, ""},
		{`{"result":{"content":[{"type":"text","text":"unknown tool: whoami"}],"isError":true}}`, ""},
		{`{"result":{"content":[{"type":"text","text":"two words"}]}}`, ""},
		{`{"result":{"structuredContent":{"node":""}}}`, ""},
		{`{"error":{"code":1,"message":"m","data":{"result":{"structuredContent":{"node":"x"}}}}}`, ""},
		{`[{"result":{"structuredContent":{"node":"x"}}}]`, ""},
		{`{"result":{"structuredContent":{"node":"x`, ""},
		{`{"result":{"structuredContent":{"node":"` + string(bytes.Repeat([]byte("x"), 65)) + `"}}}`, ""},
	} {
		got, ok := WhoamiNode([]byte(c.line))
		if string(got) != c.want || ok != (c.want != "") {
			t.Errorf("%s: %q %v, want %q", c.line, got, ok, c.want)
		}
	}
}

func TestRepliesAreReadWithoutAllocating(t *testing.T) {
	line := []byte(`{"jsonrpc":"2.0","id":5,"result":{"content":[{"type":"text","text":"erlmcp1"}],"structuredContent":{"node":"erlmcp1"}}}`)
	if n := testing.AllocsPerRun(100, func() { WhoamiNode(line) }); n != 0 {
		t.Errorf("WhoamiNode: %v allocations", n)
	}
	if n := testing.AllocsPerRun(100, func() {
		r, _ := ParseReply(line)
		r.Number()
	}); n != 0 && !raceEnabled {
		t.Errorf("ParseReply: %v allocations", n)
	}
}

var replies = []string{
	`{"jsonrpc":"2.0","id":5,"result":{"content":[{"type":"text","text":"erlmcp1"}],"structuredContent":{"node":"erlmcp1"}}}`,
	`{"jsonrpc":"2.0","id":"x","error":{"code":-32601,"message":"no","data":[1,{"a":"\\\""}]}}`,
	`{"\u0069d":1,"res\u0075lt":{"isError":true},"jsonrpc":"2\u002e0"}`, `{"a":}`, `{"a" 1}`, `{"a":"\`, `{:,}[`, `[1,[2],{"b":3}]`,
}

// FuzzField compares with encoding/json where the text is JSON, and elsewhere
// asks only that every step returns.
func FuzzField(f *testing.F) {
	for _, r := range replies {
		f.Add([]byte(r), "id")
		f.Add([]byte(r), "result")
	}
	f.Fuzz(func(t *testing.T, text []byte, name string) {
		for _, c := range name {
			if c <= ' ' || c > '~' || c == '"' || c == '\\' {
				return
			}
		}
		got := field(text, name)
		WhoamiNode(text)
		var object map[string]json.RawMessage
		if json.Unmarshal(text, &object) != nil {
			return
		}
		if want := object[name]; !bytes.Equal(got, want) {
			t.Fatalf("%q of %q is %q, want %q", name, text, got, want)
		}
	})
}

func FuzzElements(f *testing.F) {
	for _, r := range replies {
		f.Add([]byte(r))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		m, _ := rawjson.Array(text)
		var got [][]byte
		for {
			v, ok := m.Next()
			if !ok {
				break
			}
			got = append(got, v)
		}
		var want []json.RawMessage
		if json.Unmarshal(text, &want) != nil || want == nil {
			return
		}
		if len(got) != len(want) {
			t.Fatalf("%d elements of %q, want %d", len(got), text, len(want))
		}
		for i := range got {
			if !bytes.Equal(got[i], want[i]) {
				t.Fatalf("element %d of %q is %q, want %q", i, text, got[i], want[i])
			}
		}
	})
}

func FuzzParseReply(f *testing.F) {
	for _, r := range replies {
		f.Add([]byte(r))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		r, err := ParseReply(line)
		if err != nil {
			if !errors.Is(err, ErrNotReply) {
				t.Fatalf("%q: %v is not ErrNotReply", line, err)
			}
			return
		}
		var want map[string]json.RawMessage
		if err := json.Unmarshal(line, &want); err != nil {
			t.Fatalf("%q was accepted: %v", line, err)
		}
		if !bytes.Equal(r.ID, want["id"]) || !bytes.Equal(r.Result, want["result"]) || (r.Err != nil) != (want["error"] != nil) {
			t.Fatalf("%q: %+v", line, r)
		}
	})
}

func BenchmarkWhoamiNode(b *testing.B) {
	line := []byte(replies[0])
	b.ReportAllocs()
	for b.Loop() {
		WhoamiNode(line)
	}
}

func BenchmarkParseReply(b *testing.B) {
	line := []byte(replies[0])
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ParseReply(line); err != nil {
			b.Fatal(err)
		}
	}
}
